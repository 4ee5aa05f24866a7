//! The store of a hash or btree table: an SQLite database on two descriptors.
//!
//! Purpose: hold the truth of the table while the service runs, durable at each commit, and know what has changed since
//! the last checkpoint. May: use the two descriptors that it was given. Never: open a file, wait for a lock.
//!
//! Each entry has the number of the change that made it, its version. A deleted entry stays as a tombstone (an entry
//! without a value) until a checkpoint has been saved that does not have it: so an import can tell what the file does
//! not know yet. See `meta` for what is known of the file.

mod berkeley;
pub(crate) mod calls;
mod contents;
mod descriptors;
#[cfg(test)]
mod faults;
mod files;
mod handle;
mod import;
mod log;
mod meaning;
mod meta;
mod opening;
mod pages;
mod rows;
mod salvage;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::{Store, StoreError};
use descriptors::Descriptors;
use meta::Meta;

pub use berkeley::{Form, read_file};
pub use contents::Contents;
pub use import::Imported;
pub(crate) use meaning::io_meaning;
pub use opening::{Unopened, prepare};
pub use salvage::{Rescued, RescuedEntry, salvage};

/// A table in an SQLite database.
pub struct SqliteStore {
    // The connection goes first, then the registration that it was made by.
    connection: Connection,
    registration: opening::Registration,
    files: Arc<Descriptors>,
    meta: Meta,
    /// The newest version given; no version is given twice, even if its change is undone.
    version: i64,
    /// The newest version that is committed.
    changed: i64,
    /// The newest version in the open group.
    grouped: i64,
    /// There may be tombstones.
    has_tombstones: bool,
    /// How many pages of changes are collected in the log.
    log_pages: u64,
    is_open: bool,
}

/// The number of pages of changes that are collected in the log before they are moved to the main file. The log then
/// stays at about this size, and a commit that does not make it longer costs less.
const LOG_PAGES: u64 = 1000;
/// Fewer pages than this are not worth the two syncs that it takes to bring them into the main file.
const MIN_LOG_PAGES: u64 = 8;

const GET: &str = "SELECT value FROM entries WHERE key = ?1 AND value IS NOT NULL";
const FIRST: &str = "SELECT key, value FROM entries WHERE value IS NOT NULL ORDER BY key LIMIT 1";
const AFTER: &str =
    "SELECT key, value FROM entries WHERE key > ?1 AND value IS NOT NULL ORDER BY key LIMIT 1";
const MANY_AFTER: &str =
    "SELECT key, value FROM entries WHERE key > ?1 AND value IS NOT NULL ORDER BY key LIMIT ?2";
const MANY: &str = "SELECT key, value FROM entries WHERE value IS NOT NULL ORDER BY key LIMIT ?1";
const PUT: &str = "INSERT INTO entries VALUES (?1, ?2, ?3) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version";
/// For entries that already have a version.
const PUT_NEWER: &str = "INSERT INTO entries VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE \
                         SET value = excluded.value, version = excluded.version WHERE version < excluded.version";
const DELETE: &str = "UPDATE entries SET value = NULL, version = ?2 WHERE key = ?1 AND value IS NOT NULL";

impl SqliteStore {
    /// Opens the store in `main` and its log `log`, both open for reading and writing; in empty files, a new one.
    /// It reads the whole of both, and checks it. The main file stays locked for other programs until the store is
    /// dropped.
    ///
    /// # Errors
    /// The reason, with the descriptors: [`StoreError::Busy`] if another program has the file open,
    /// [`StoreError::Corrupt`] if a check fails: then [`salvage`] may help.
    pub fn open(main: OwnedFd, log: OwnedFd) -> Result<SqliteStore, Unopened> {
        opening::open(main, log)
    }

    /// Closes a damaged store without changing its files, and returns the descriptors, for [`salvage`]. Changes that
    /// wait for a commit are lost.
    #[must_use]
    pub fn close(self) -> Option<(OwnedFd, OwnedFd)> {
        let SqliteStore { connection, registration, files, .. } = self;
        opening::shut(connection, registration, files)
    }

    /// Whether anything has changed, and was committed, since the last checkpoint that was saved.
    #[must_use]
    pub fn unsaved(&self) -> bool {
        self.changed > self.meta.saved
    }

    /// What an error of SQLite means.
    fn meaning(&self, error: &rusqlite::Error) -> StoreError {
        meaning::meaning(error, &self.files)
    }

    /// Runs a statement that returns no rows, and returns how many entries it changed.
    fn run(&self, statement: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        self.connection
            .prepare_cached(statement)
            .and_then(|mut statement| statement.execute(values))
            .map_err(|error| self.meaning(&error))
    }

    /// Runs a statement that returns at most one row.
    fn ask<T>(
        &self,
        statement: &str,
        values: impl rusqlite::Params,
        take: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let ask = || {
            let mut statement = self.connection.prepare_cached(statement)?;
            let mut rows = statement.query(values)?;
            rows.next()?.map(take).transpose()
        };
        ask().map_err(|error: rusqlite::Error| self.meaning(&error))
    }

    /// Begins a group, if none is open.
    fn begin(&mut self) -> Result<(), StoreError> {
        if !self.is_open {
            // What a failed commit has left, if it could not be cut off then.
            self.files.cut().map_err(|error| io_meaning(&error))?;
            self.run("BEGIN IMMEDIATE", [])?;
            self.grouped = self.changed;
            self.is_open = true;
        }
        Ok(())
    }

    /// Makes one change in the open group, with the next version. An error ends the group.
    fn change(
        &mut self,
        make: impl FnOnce(&SqliteStore, i64) -> Result<usize, StoreError>,
    ) -> Result<usize, StoreError> {
        self.begin()?;
        let version = self.version.saturating_add(1);
        let changed = make(self, version);
        match &changed {
            Ok(0) => {}
            Ok(_) => self.seen(version),
            Err(error) => self.fail(error),
        }
        changed
    }

    /// Notes that the open group has this version.
    fn seen(&mut self, version: i64) {
        self.version = self.version.max(version);
        self.grouped = self.grouped.max(version);
    }

    /// Ends the group after an error. If the file system is full, the space that the log releases may be all there is;
    /// and from now on the log must not grow to that length again.
    fn fail(&mut self, error: &StoreError) {
        self.undo();
        if matches!(error, StoreError::NoRoom(_)) {
            self.log_pages = self.log_pages.min(self.files.logged_pages() / 4).max(MIN_LOG_PAGES);
            self.empty_log();
        }
    }

    /// Copies the log into the main file if it has more than this number of pages. The next change restarts it.
    fn tidy(&mut self, pages: u64) {
        if self.files.logged_pages() > pages {
            // Whatever it returns, nothing is lost: changes that are not in the main file stay in the log.
            let _ = self.ask("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            self.files.log_is_old();
        }
    }

    /// Runs `act` as a group of its own, and commits it.
    fn alone<T>(
        &mut self,
        act: impl FnOnce(&mut SqliteStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.is_open {
            return Err(StoreError::Io("changes of entries wait for a commit".to_owned()));
        }
        self.begin()?;
        let result = match act(self) {
            Ok(result) => result,
            Err(error) => {
                self.fail(&error);
                return Err(error);
            }
        };
        self.commit()?;
        Ok(result)
    }

    /// Hands at most `count` entries after the key `last` to `take`, in ascending order, as long as that returns true,
    /// and leaves the key of the last one in `last`. False if there are no more entries.
    pub(crate) fn each_after(
        &mut self,
        last: &mut Option<Vec<u8>>,
        count: usize,
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<bool, StoreError> {
        let mut each = || {
            let mut statement =
                self.connection.prepare_cached(if last.is_some() { MANY_AFTER } else { MANY })?;
            let mut rows = match last.take() {
                Some(last) => statement.query((last, count as i64))?,
                None => statement.query([count as i64])?,
            };
            let mut left = count;
            while let Some(row) = rows.next()? {
                let (key, value) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
                left = left.saturating_sub(1);
                if !take(key, value) || left == 0 {
                    *last = Some(key.to_vec());
                    return Ok(true);
                }
            }
            Ok(false)
        };
        each().map_err(|error: rusqlite::Error| self.meaning(&error))
    }

    /// Moves the log into the main file and truncates it, as far as possible.
    fn empty_log(&self) {
        let _ = self.ask("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

impl Store for SqliteStore {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StoreError> {
        Ok(self.ask(GET, [key], |row| take(row, 0, value))?.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.change(|store, version| store.run(PUT, (key, value, version))).map(|_| ())
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, StoreError> {
        let began = !self.is_open;
        let count = self.change(|store, version| store.run(DELETE, (key, version)))?;
        self.has_tombstones |= count > 0;
        if count == 0 && began {
            self.undo();
        }
        Ok(count > 0)
    }

    fn after(
        &mut self,
        last: Option<&[u8]>,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        let take = |row: &Row<'_>| take(row, 0, key).and_then(|()| take(row, 1, value));
        let found = match last {
            None => self.ask(FIRST, [], take)?,
            Some(last) => self.ask(AFTER, [last], take)?,
        };
        Ok(found.is_some())
    }

    fn is_open(&self) -> bool {
        self.is_open
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if !self.is_open {
            return Ok(());
        }
        if let Err(error) = self.run("COMMIT", []) {
            self.fail(&error);
            return Err(error);
        }
        self.files.committed();
        self.changed = self.grouped;
        self.is_open = false;
        // If there is time, this is done while no client waits.
        self.tidy(self.log_pages.saturating_mul(2));
        Ok(())
    }

    fn rest(&mut self) {
        if !self.is_open {
            self.tidy(self.log_pages);
        }
    }

    fn undo(&mut self) {
        if !self.is_open {
            return;
        }
        // After some errors SQLite has ended the transaction by itself; then there is nothing to roll back.
        if !self.connection.is_autocommit() {
            let _ = self.run("ROLLBACK", []);
        }
        self.is_open = false;
        // If this fails, it is tried again before the next change.
        let _ = self.files.cut();
    }
}

/// Puts column `index`, a blob, into `out`.
fn take(row: &Row<'_>, index: usize, out: &mut Vec<u8>) -> rusqlite::Result<()> {
    match row.get_ref(index)? {
        ValueRef::Blob(bytes) => out.extend_from_slice(bytes),
        other => {
            let name = row.as_ref().column_name(index).unwrap_or_default().to_owned();
            return Err(rusqlite::Error::InvalidColumnType(index, name, other.data_type()));
        }
    }
    Ok(())
}
