//! Taking over what a Berkeley DB file says.
//!
//! Purpose: make the entries of a file those of the store, without losing what has changed since the last checkpoint.
//! Called by: the writer, when it opens a table, and when somebody else has written the file.

use super::SqliteStore;
use super::meta::Meta;
use crate::{Stamp, StoreError};

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Entries that have been changed to match the file.
    pub taken: u64,
    /// Entries of the file that were left out, since they have changed in the store since the last checkpoint.
    pub kept: u64,
}

const FORGET: &str = "DELETE FROM entries WHERE version <= ?1";
const FORGET_ALL: &str = "DELETE FROM entries";
const TAKE: &str = "INSERT INTO entries VALUES (?1, ?2, ?3) ON CONFLICT (key) DO NOTHING";
const TAKE_OVER: &str = "INSERT INTO entries VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE \
                         SET value = excluded.value WHERE version <= (SELECT saved FROM meta)";
const OLDEST: &str = "SELECT min(version) FROM entries";
const NEWEST: &str = "SELECT max(version) FROM entries";

impl SqliteStore {
    /// Makes the entries of a file those of the store, all at once and durably, and notes the file's stamp. Entries
    /// that have changed since the last checkpoint, deleted ones included, stay as they are.
    ///
    /// Keys should come in ascending order: then each page is written once.
    ///
    /// # Errors
    /// Nothing has changed; or changes wait for a commit.
    pub fn import<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        stamp: Stamp,
    ) -> Result<Imported, StoreError> {
        let saved = match self.meta.pending {
            Some((pending, version)) if pending == stamp => version,
            _ => self.meta.saved,
        };
        let meta = Meta { saved, recorded: Some(stamp), pending: None };
        let (imported, newest) = self.alone(|store| {
            if store.changed > saved {
                store.run(FORGET, [saved])?;
            } else {
                store.run(FORGET_ALL, [])?;
            }
            store.write_meta(&meta)?;
            let imported = store.take_all(TAKE, saved, entries)?;
            Ok((imported, store.number(NEWEST)?))
        })?;
        self.meta = meta;
        self.changed = newest.unwrap_or(saved);
        self.empty_log();
        Ok(imported)
    }

    /// Takes over what could be read of a damaged file, and keeps everything that the file does not have. The file is
    /// no longer there afterwards: see [`SqliteStore::forget_file`].
    ///
    /// # Errors
    /// As for [`SqliteStore::import`].
    pub fn merge<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Imported, StoreError> {
        let (imported, meta) = self.alone(|store| {
            let imported = store.take_all(TAKE_OVER, store.meta.saved, entries)?;
            let meta = store.without_file()?;
            store.write_meta(&meta)?;
            Ok((imported, meta))
        })?;
        self.meta = meta;
        self.empty_log();
        Ok(imported)
    }

    /// Notes that there is no Berkeley DB file that has anything of this store: from now on everything in it is unsaved,
    /// and nothing of it will be replaced by an import.
    ///
    /// # Errors
    /// That cannot be noted; or changes wait for a commit.
    pub fn forget_file(&mut self) -> Result<(), StoreError> {
        let meta = self.without_file()?;
        if self.meta != meta {
            self.alone(|store| store.write_meta(&meta))?;
            self.meta = meta;
        }
        Ok(())
    }

    /// The record about the file if there is none.
    fn without_file(&self) -> Result<Meta, StoreError> {
        let oldest = self.number(OLDEST)?.unwrap_or(0);
        Ok(Meta { saved: oldest.saturating_sub(1), recorded: None, pending: None })
    }

    /// The single number that `statement` gives.
    fn number(&self, statement: &str) -> Result<Option<i64>, StoreError> {
        Ok(self.ask(statement, [], |row| row.get(0))?.flatten())
    }

    /// Stores the entries with the version `version`, by `statement`.
    fn take_all<'a>(
        &mut self,
        statement: &str,
        version: i64,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Imported, StoreError> {
        let mut imported = Imported::default();
        for (key, value) in entries {
            let count = match self.run(statement, (key, value, version))? {
                0 => &mut imported.kept,
                _ => &mut imported.taken,
            };
            *count = count.saturating_add(1);
        }
        Ok(imported)
    }
}
