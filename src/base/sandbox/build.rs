//! Turns policy/seccomp.json into constant tables. A policy with a flaw does not build.

// A build script talks to Cargo through standard output and fails by its exit status.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "build/policy.rs"]
mod policy;

use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    if let Err(reason) = run() {
        eprintln!("policy/seccomp.json: {reason}");
        process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|e| format!("{name}: {e}"));
    let source = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../../../policy/seccomp.json");
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-changed=build");
    let text = fs::read_to_string(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    let code = policy::generate(&text, &variable("CARGO_CFG_TARGET_ARCH")?)?;
    let target = PathBuf::from(variable("OUT_DIR")?).join("policy.rs");
    fs::write(&target, code).map_err(|e| format!("{}: {e}", target.display()))
}
