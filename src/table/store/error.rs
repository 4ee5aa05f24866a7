//! Why a store does not do what it is asked.

use std::fmt;

/// Why a store does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Another program holds the file locked.
    Busy,
    /// The file system is full, or the file may not grow.
    NoRoom(String),
    /// The key is longer than the format allows.
    KeyTooLong {
        /// Its length as it would be stored, in bytes.
        length: usize,
        /// The longest that can be stored, in bytes.
        limit: usize,
    },
    /// The format has no empty keys.
    KeyEmpty,
    /// The file contradicts itself, or is not of this format.
    Corrupt(String),
    /// Reading, writing or syncing failed.
    Io(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Busy => out.write_str("another program holds its file locked"),
            StoreError::NoRoom(what) => write!(out, "there is no room on its file system ({what})"),
            StoreError::KeyTooLong { length, limit } => {
                write!(out, "a key of {length} bytes is longer than the {limit} that the format allows")
            }
            StoreError::KeyEmpty => out.write_str("the format has no empty keys"),
            StoreError::Corrupt(what) => write!(out, "its file is damaged: {what}"),
            StoreError::Io(what) => write!(out, "its file cannot be used: {what}"),
        }
    }
}

impl std::error::Error for StoreError {}
