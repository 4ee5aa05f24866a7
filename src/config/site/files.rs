//! The configuration directory and its files.
//!
//! May: open files for reading. Which of them a caller cannot do without is up to the caller.

use mapkeep_broker_trust::read_file;
use mapkeep_config_text::FileName;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The configuration directory that is compiled into Debian's Postfix.
const DEFAULT_DIRECTORY: &str = "/etc/postfix";

/// The configuration directory that was named, or else that of the environment, or the built-in one.
pub fn directory_or_default(named: Option<PathBuf>) -> PathBuf {
    let of_environment = || std::env::var_os("MAIL_CONFIG").filter(|name| !name.is_empty());
    named.or_else(|| of_environment().map(PathBuf::from)).unwrap_or_else(|| DEFAULT_DIRECTORY.into())
}

/// A file of the configuration that cannot be read. Its Display is `PATH: why`.
#[derive(Debug)]
pub struct Unreadable {
    /// Which one.
    pub file: FileName,
    /// Its path.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.path.display(), self.error)
    }
}

/// The text of the files; empty for one that cannot be read.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) main: Vec<u8>,
    pub(crate) master: Vec<u8>,
    pub(crate) keep: Vec<u8>,
    /// The files that exist and cannot be read; main.cf also if it does not exist.
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Files {
    /// Reads those in `directory`.
    pub(crate) fn read(directory: &Path) -> Files {
        let mut unreadable = Vec::new();
        let mut text_of = |file: FileName| {
            let path = directory.join(file.to_string());
            read_file(&path).unwrap_or_else(|error| {
                if file == FileName::MainCf || error.kind() != io::ErrorKind::NotFound {
                    unreadable.push(Unreadable { file, path, error });
                }
                Vec::new()
            })
        };
        let [main, master, keep] = [FileName::MainCf, FileName::MasterCf, FileName::KeepCf].map(&mut text_of);
        Files { main, master, keep, unreadable }
    }
}
