//! The engine of `lmdb:` tables: real LMDB files, changed in place by liblmdb, beside Postfix programs.
//!
//! Purpose: [`Store`] on the two descriptors of an lmdb file. May: lock, check and change that file. Never: touch it
//! without the lock that Postfix programs honour; let liblmdb see a file that has not been checked; hold a lock or a
//! transaction while nothing is to be done.
//!
//! | file | purpose |
//! |---|---|
//! | `table.rs` | one transaction at a time, under the lock, on a file that is known to be good |
//! | `file.rs` | the descriptors and the lock |
//! | `format.rs`, `check.rs` | the check before liblmdb may touch a file |
//! | `salvage.rs` | what can be read of a damaged file |
//! | `ffi.rs` | liblmdb |
//! | `calls.rs` | what liblmdb asks of the C library |

mod calls;
mod check;
mod ffi;
mod file;
mod format;
mod salvage;
mod table;

#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;

use crate::{Store, StoreError};
use ffi::{Code, Txn, Write};
pub use salvage::{Entries, salvage, salvage_file};
use table::{State, Table};

/// The longest key that can be stored, in bytes.
pub const MAX_KEY: usize = 511;

/// How large the map may grow that [`LmdbStore::open`] makes, in bytes: 64 GiB. The file is never larger than the map.
pub const MAP_LIMIT: u64 = 64 << 30;

/// An lmdb table.
#[derive(Debug)]
pub struct LmdbStore {
    table: Table,
    /// The changes of the open group, for when it has to be restarted.
    group: Vec<Change>,
    /// Why the open group cannot be committed any more.
    lost: Option<StoreError>,
}

/// A change of the open group; without a value, a deletion.
#[derive(Debug)]
struct Change {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Change {
    /// False: there was nothing to delete.
    fn make(&self, txn: &mut Txn<Write>) -> Result<bool, Code> {
        match &self.value {
            Some(value) => txn.put(&self.key, value).map(|()| true),
            None => txn.delete(&self.key),
        }
    }
}

impl LmdbStore {
    /// Opens a table: `data` was opened with O_RDWR, `meta` with O_WRONLY and O_DSYNC, both from the same file. An empty
    /// file becomes a table. The file is read wholly, to check it.
    ///
    /// The descriptors are taken even if this fails; [`salvage_file`] then needs one that the caller has kept.
    /// The process must ignore SIGXFSZ.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a file that fails the check; no errors of keys.
    pub fn open(data: OwnedFd, meta: OwnedFd) -> Result<LmdbStore, StoreError> {
        LmdbStore::open_with_limit(data, meta, MAP_LIMIT)
    }

    /// As [`LmdbStore::open`], with another limit for the map, in bytes. A change that does not fit is
    /// [`StoreError::NoRoom`].
    ///
    /// # Errors
    /// As for [`LmdbStore::open`].
    pub fn open_with_limit(data: OwnedFd, meta: OwnedFd, limit: u64) -> Result<LmdbStore, StoreError> {
        let mut table = Table::new(data, meta, limit);
        table.read()?;
        table.rest();
        Ok(LmdbStore { table, group: Vec::new(), lost: None })
    }

    /// Makes a change in the open group, which is opened if there is none.
    fn change(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool, StoreError> {
        if key.is_empty() {
            return Err(StoreError::KeyEmpty);
        }
        if key.len() > MAX_KEY {
            return Err(StoreError::KeyTooLong { length: key.len(), limit: MAX_KEY });
        }
        if let Some(error) = &self.lost {
            return Err(error.clone());
        }
        self.table.write()?;
        let change = Change { key: key.to_vec(), value: value.map(<[u8]>::to_vec) };
        loop {
            let made = match self.table.state() {
                State::Writing(txn) => change.make(txn),
                _ => return Err(self.lose(StoreError::Busy)),
            };
            match made {
                Ok(made) => {
                    self.group.push(change);
                    return Ok(made);
                }
                Err(Code::MAP_FULL) => self.grow()?,
                Err(code) => return Err(self.broken(code)),
            }
        }
    }

    /// Makes the changes of the open group again, in a map that is large enough for them.
    fn grow(&mut self) -> Result<(), StoreError> {
        loop {
            if let Err(error) = self.table.grow() {
                return Err(self.lose(error));
            }
            let State::Writing(txn) = self.table.state() else { return Err(self.lose(StoreError::Busy)) };
            match self.group.iter().try_for_each(|change| change.make(txn).map(drop)) {
                Ok(()) => return Ok(()),
                Err(Code::MAP_FULL) => {}
                Err(code) => return Err(self.broken(code)),
            }
        }
    }

    /// liblmdb has refused: the open group is lost, and the transaction ended.
    fn broken(&mut self, code: Code) -> StoreError {
        let error = self.table.failure(code);
        if self.group.is_empty() && !self.is_open() {
            self.table.end();
            return error;
        }
        self.lose(error)
    }

    /// The open group is lost. Others need not wait for it any more.
    fn lose(&mut self, error: StoreError) -> StoreError {
        self.group.clear();
        self.table.end();
        self.lost = Some(error.clone());
        error
    }
}

impl Store for LmdbStore {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StoreError> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Ok(false);
        }
        if let Some(error) = &self.lost {
            return Err(error.clone());
        }
        self.table.read()?;
        let found = match self.table.state() {
            State::Reading(txn) => txn.get(key, value),
            State::Writing(txn) => txn.get(key, value),
            _ => Ok(false),
        };
        found.map_err(|code| self.broken(code))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.change(key, Some(value)).map(drop)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, StoreError> {
        self.change(key, None)
    }

    fn after(
        &mut self,
        last: Option<&[u8]>,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        if let Some(error) = &self.lost {
            return Err(error.clone());
        }
        self.table.read()?;
        // No stored key is longer, so the entries after a longer key are those after its truncated form.
        let last = last.unwrap_or_default();
        let last = last.get(..MAX_KEY).unwrap_or(last);
        let found = match self.table.state() {
            State::Reading(txn) => txn.after(last, key, value),
            State::Writing(txn) => txn.after(last, key, value),
            _ => Ok(false),
        };
        found.map_err(|code| self.broken(code))
    }

    fn is_open(&self) -> bool {
        self.lost.is_some() || self.table.is_writing()
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if let Some(error) = self.lost.take() {
            return Err(error);
        }
        loop {
            match self.table.commit() {
                Ok(()) => {
                    self.group.clear();
                    return Ok(());
                }
                Err(Code::MAP_FULL) => {
                    if let Err(error) = self.grow() {
                        self.undo();
                        return Err(error);
                    }
                }
                Err(code) => {
                    let error = self.table.failure(code);
                    self.undo();
                    return Err(error);
                }
            }
        }
    }

    fn undo(&mut self) {
        self.lost = None;
        self.group.clear();
        if self.table.is_writing() {
            self.table.end();
        }
    }

    fn rest(&mut self) {
        if !self.table.is_writing() {
            self.table.rest();
        }
    }
}
