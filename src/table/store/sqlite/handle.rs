//! The files that SQLite may open, and what it does with one, with its result codes.
//!
//! Purpose: the safe half of the VFS: names to descriptors, results to codes. May: call [`Descriptors`].
//! Never: hold a file that was not registered. Called by: `files`, for SQLite; the store, to register.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libsqlite3_sys as ffi;

use super::descriptors::{Descriptors, Part, Read};

/// The stores that SQLite may open, by number.
static REGISTERED: Mutex<BTreeMap<u64, Arc<Descriptors>>> = Mutex::new(BTreeMap::new());

fn registered() -> MutexGuard<'static, BTreeMap<u64, Arc<Descriptors>>> {
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets SQLite open these files as `/NUMBER` and `/NUMBER-wal`, until [`forget`].
pub(super) fn register(files: &Arc<Descriptors>) -> u64 {
    let mut all = registered();
    let number = all.last_key_value().map_or(0, |(last, _)| last.wrapping_add(1));
    all.insert(number, Arc::clone(files));
    number
}

pub(super) fn forget(number: u64) {
    registered().remove(&number);
}

/// One file of a store, as SQLite has it open.
pub(super) struct Handle {
    files: Arc<Descriptors>,
    part: Part,
}

impl Handle {
    /// The file of a name that SQLite made from that of a store.
    pub fn named(name: &[u8]) -> Option<Handle> {
        let name = str::from_utf8(name).ok()?.strip_prefix('/')?;
        let (number, part) =
            name.strip_suffix("-wal").map_or((name, Part::Main), |number| (number, Part::Log));
        let files = registered().get(&number.parse().ok()?).map(Arc::clone)?;
        Some(Handle { files, part })
    }

    pub fn read(&self, at: i64, out: &mut [u8]) -> c_int {
        let read = |at| self.files.read(self.part, at, out);
        match u64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput.into()).and_then(read) {
            Ok(Read::Whole) => ffi::SQLITE_OK,
            Ok(Read::Short) => ffi::SQLITE_IOERR_SHORT_READ,
            Ok(Read::Damaged) => ffi::SQLITE_IOERR_DATA,
            // What waits to be written goes first, and may find the file system full.
            Err(error) => code(Err(error), ffi::SQLITE_IOERR_READ),
        }
    }

    pub fn write(&self, at: i64, bytes: &[u8]) -> c_int {
        let write = |at| self.files.write(self.part, at, bytes);
        let result = u64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput.into()).and_then(write);
        code(result, ffi::SQLITE_IOERR_WRITE)
    }

    pub fn truncate(&self, size: i64) -> c_int {
        let truncate = |size| self.files.truncate(self.part, size);
        let result = u64::try_from(size).map_err(|_| io::ErrorKind::InvalidInput.into()).and_then(truncate);
        code(result, ffi::SQLITE_IOERR_TRUNCATE)
    }

    pub fn sync(&self) -> c_int {
        code(self.files.sync(self.part), ffi::SQLITE_IOERR_FSYNC)
    }

    /// The result code, and the length in bytes.
    pub fn size(&self) -> (c_int, i64) {
        match self.files.size(self.part) {
            Ok(size) => (ffi::SQLITE_OK, i64::try_from(size).unwrap_or(i64::MAX)),
            Err(_) => (ffi::SQLITE_IOERR_FSTAT, 0),
        }
    }
}

/// A full file system has a code of its own.
fn code(result: io::Result<()>, otherwise: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => ffi::SQLITE_FULL,
            _ => otherwise,
        },
    }
}
