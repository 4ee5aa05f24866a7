//! Where the daemon and the workers are.

use super::failure;
use crate::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The daemon, with the workers beside it. `cargo run` builds only the program that it runs; then the other three
/// are built first, with the cargo that runs us.
pub(crate) fn find(out: &mut dyn Write) -> Result<PathBuf, Error> {
    let own = std::env::current_exe()?;
    let daemon = own.with_file_name("mapkeepd");
    let beside = |name: &str| own.with_file_name(name).is_file();
    let complete = || daemon.is_file() && beside("mapkeep-worker") && beside("mapkeep-writer");
    if let (Some(cargo), Some(source)) = (std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR")) {
        writeln!(out, "building mapkeepd, mapkeep-worker and mapkeep-writer beside this program ...")?;
        let mut build = Command::new(cargo);
        build
            .args(["build", "--quiet", "--bins", "--manifest-path"])
            .arg(Path::new(&source).join("Cargo.toml"));
        if own.parent().is_some_and(|folder| folder.ends_with("release")) {
            build.arg("--release");
        }
        if !build.status()?.success() {
            return Err(failure("cargo could not build them; its messages are above"));
        }
    }
    if complete() {
        return Ok(daemon);
    }
    Err(failure(format!(
        "{}, mapkeep-worker and mapkeep-writer must be in one directory with mapkeep",
        daemon.display()
    )))
}
