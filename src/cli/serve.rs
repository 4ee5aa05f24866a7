//! `mapkeep serve`: becomes the daemon beside this program.
//!
//! May: exec. Never: read the configuration, or open anything; descriptors and environment of a service manager
//! go through untouched, and the process id stays. Called by: the `mapkeep` command.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The exit status when the daemon cannot be started (sysexits' EX_UNAVAILABLE).
const UNAVAILABLE: u8 = 69;

/// Runs `mapkeepd serve` with these words; returns only if that fails.
pub(crate) fn run(words: &[OsString]) -> ExitCode {
    // The real path, so that a link to this program finds what is beside the real file.
    let own = std::env::current_exe().and_then(std::fs::canonicalize);
    let (path, error) = match own {
        Ok(own) => {
            let daemon = own.with_file_name("mapkeepd");
            let error = Command::new(&daemon).arg("serve").args(words).exec();
            (daemon, error)
        }
        Err(error) => ("mapkeepd".into(), error),
    };
    let _ = writeln!(std::io::stderr(), "mapkeep serve: {}: {error}", path.display());
    ExitCode::from(UNAVAILABLE)
}
