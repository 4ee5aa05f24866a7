//! Where the daemon and the worker are.

use super::DemoError;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The daemon, with the worker beside it. `cargo run` builds only the program that it runs; then the other two
/// are built first, with the cargo that runs us.
pub(crate) fn find(out: &mut dyn Write) -> Result<PathBuf, DemoError> {
    let own = std::env::current_exe()?;
    let daemon = own.with_file_name("mapkeepd");
    let complete = || daemon.is_file() && own.with_file_name("mapkeep-worker").is_file();
    if let (Some(cargo), Some(source)) = (std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR")) {
        writeln!(out, "building mapkeepd and mapkeep-worker beside this program ...")?;
        let mut build = Command::new(cargo);
        build
            .args(["build", "--quiet", "--bins", "--manifest-path"])
            .arg(Path::new(&source).join("Cargo.toml"));
        if own.parent().is_some_and(|folder| folder.ends_with("release")) {
            build.arg("--release");
        }
        if !build.status()?.success() {
            return Err(DemoError("cargo could not build them; its messages are above".to_owned()));
        }
    }
    if complete() {
        return Ok(daemon);
    }
    Err(DemoError(format!("{} and mapkeep-worker must be in one directory with mapkeep", daemon.display())))
}
