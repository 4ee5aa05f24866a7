//! Where the daemon and the workers are.

use super::failure;
use crate::error::Error;
use mapkeep_config_site::checks::{DAEMON, Programs, own_path};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The daemon, with the workers beside it. `cargo run` builds only the program that it runs; then the others
/// are built first, with the cargo that runs us.
pub(crate) fn find(out: &mut dyn Write) -> Result<PathBuf, Error> {
    let own = own_path().map_err(failure)?;
    let names = Programs::names(None);
    let listed = in_words(names.iter().copied());
    if let (Some(cargo), Some(source)) = (std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR")) {
        writeln!(out, "building {listed} beside this program ...")?;
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
    if names.iter().all(|name| own.with_file_name(name).is_file()) {
        return Ok(own.with_file_name(DAEMON));
    }
    let folder = own.parent().unwrap_or(Path::new("/"));
    Err(failure(format!("{listed} must be in one directory with mapkeep, {}", folder.display())))
}

/// `a, b and c`
fn in_words(names: impl ExactSizeIterator<Item = &'static str>) -> String {
    let last = names.len().saturating_sub(1);
    names
        .enumerate()
        .map(|(place, name)| match place {
            0 => name.to_owned(),
            place if place == last => format!(" and {name}"),
            _ => format!(", {name}"),
        })
        .collect()
}
