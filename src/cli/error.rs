//! How a command ends: the exit status, and what it says if it cannot go on.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// The exit status of every command. The values from 64 on are those of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Found, all served, all written, all well.
    Success = 0,
    /// Not found, or not all of it.
    Failure = 1,
    Usage = 64,
    /// No service, or none that could be started.
    Unavailable = 69,
    /// The output cannot be written.
    Output = 74,
    Temporary = 75,
    /// The table is not approved.
    Denied = 77,
    Config = 78,
}

/// What ends a command early: the exit status and what to tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) exit: Exit,
    text: String,
}

impl Error {
    pub(crate) fn new(exit: Exit, text: impl fmt::Display) -> Error {
        Error { exit, text: text.to_string() }
    }

    /// A command line that is not understood because of `word`; `why` is the problem with it.
    pub(crate) fn word(why: &str, word: impl AsRef<OsStr>) -> Error {
        Error::new(Exit::Usage, format_args!("{why} \"{}\"", word.as_ref().as_bytes().escape_ascii()))
    }

    /// A command line that lacks something.
    pub(crate) fn missing(what: &str) -> Error {
        Error::new(Exit::Usage, format_args!("{what} is missing"))
    }

    /// The error of `command`, for standard error.
    pub(crate) fn message(&self, command: &str) -> String {
        match self.exit {
            Exit::Usage => format!("{command}: {} (see {command} --help)", self.text),
            _ => format!("{command}: {}", self.text),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::new(Exit::Failure, error)
    }
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Error {
        match error {
            lexopt::Error::UnexpectedOption(option) => Error::word("unknown option", option),
            lexopt::Error::UnexpectedArgument(argument) => Error::word("unexpected argument", argument),
            lexopt::Error::UnexpectedValue { option, .. } => {
                Error::word("this option takes no value:", option)
            }
            lexopt::Error::MissingValue { option } => {
                Error::word("this option needs a value:", option.unwrap_or_default())
            }
            other => Error::word("not understood:", other.to_string()),
        }
    }
}
