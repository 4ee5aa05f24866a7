//! Ends the build where the system's PCRE2 is not installed: pcre2-sys would build a copy of its own, of another version
//! than that of Postfix, without a word.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed=PCRE2_SYS_STATIC");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    let program = std::env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let found = Command::new(&program).args(["--exists", "libpcre2-8"]).status();
    if !found.is_ok_and(|status| status.success()) {
        println!(
            "cargo::error={} does not find libpcre2-8: install Debian's libpcre2-dev and pkg-config, then build again \
             (after cargo clean -p pcre2-sys)",
            program.display()
        );
        return ExitCode::FAILURE;
    }
    if std::env::var_os("PCRE2_SYS_STATIC").is_some_and(|value| value != "0") {
        println!("cargo::error=PCRE2_SYS_STATIC is not 0: the system's libpcre2 has to be linked; unset it");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
