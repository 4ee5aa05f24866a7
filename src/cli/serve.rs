//! `mapkeep serve`: becomes the daemon beside this program.
//!
//! May: exec. Never: read the configuration, or open anything; descriptors and environment of a service manager
//! go through untouched, and the process id stays.

use crate::error::{Error, Exit};
use mapkeep_config_site::checks::own_path;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(crate) const USAGE: &str = "\
usage: mapkeep serve [-n proxymap|proxywrite] [-c CONFIG_DIR] [--socket PATH]... [-o NAME=VALUE]... [-v] [--stderr]
Runs mapkeepd as a service of its own, without master(8), in the foreground until SIGTERM. On SIGHUP it reads
the configuration again. Without --socket it listens where main.cf tells clients to look, or on the sockets that a
service manager passes. Without -c, the directory is the one that MAIL_CONFIG names, or /etc/postfix.
-o  overrides a parameter of main.cf
-v  logs more; --stderr logs to standard error
exit status: 0 stopped by a signal, 1 failed (standard error says why), 64 wrong usage, 69 mapkeepd cannot be run";

/// Runs `mapkeepd serve` with these words; returns only if that fails. mapkeepd looks at the words.
pub(crate) fn run(words: &[OsString]) -> Result<Exit, Error> {
    let problem = match own_path() {
        Ok(own) => {
            let daemon = own.with_file_name("mapkeepd");
            let error = Command::new(&daemon).arg("serve").args(words).exec();
            format!("{}: {error}", daemon.display())
        }
        Err(problem) => problem.to_string(),
    };
    Err(Error::new(Exit::Unavailable, problem))
}
