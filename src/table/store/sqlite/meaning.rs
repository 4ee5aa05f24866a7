//! What errors of SQLite and of the kernel mean.

use std::io;

use rusqlite::ffi;

use super::descriptors::Descriptors;
use crate::StoreError;

/// What an error of SQLite means.
pub(super) fn meaning(error: &rusqlite::Error, files: &Descriptors) -> StoreError {
    let rusqlite::Error::SqliteFailure(code, text) = error else {
        // A column of a type other than the requested one, or a missing row.
        return StoreError::Corrupt(error.to_string());
    };
    let text = || text.clone().unwrap_or_else(|| code.to_string());
    match (code.extended_code, code.extended_code & 0xff) {
        (ffi::SQLITE_IOERR_DATA, _) => {
            StoreError::Corrupt("a page of the main file does not have its checksum".to_owned())
        }
        (_, ffi::SQLITE_FULL) => StoreError::NoRoom(files.reason().to_string()),
        (_, ffi::SQLITE_IOERR) => StoreError::Io(format!("{}: {}", text(), files.reason())),
        (_, ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED) => StoreError::Busy,
        (_, ffi::SQLITE_NOMEM) => StoreError::Io("out of memory".to_owned()),
        (_, ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_CONSTRAINT | ffi::SQLITE_ERROR) => {
            StoreError::Corrupt(text())
        }
        _ => StoreError::Io(text()),
    }
}

/// What an error of the kernel means.
pub(crate) fn io_meaning(error: &io::Error) -> StoreError {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => StoreError::NoRoom(error.to_string()),
        _ => StoreError::Io(error.to_string()),
    }
}
