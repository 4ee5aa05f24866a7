//! The tables of a store, and what it knows of the Berkeley DB file beside it.
//!
//! Purpose: make and check the schema; keep the stamps of checkpoints and the version up to which they are saved.

use rusqlite::{Connection, OptionalExtension, Row};

use super::descriptors::Descriptors;
use super::{LOG_PAGES, SqliteStore, meaning};
use crate::{Stamp, StoreError};

const ENTRIES: &str = "CREATE TABLE entries (key BLOB NOT NULL PRIMARY KEY, value BLOB, version INTEGER NOT NULL) \
                       STRICT, WITHOUT ROWID";
const META: &str = "CREATE TABLE meta (format INTEGER NOT NULL, saved INTEGER NOT NULL, recorded BLOB, \
                    pending BLOB, pending_version INTEGER) STRICT";
/// Of the schema, of what the versions mean, and of the checksums on pages.
const FORMAT: i64 = 1;

/// What the store knows of the Berkeley DB file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// Everything up to this version is in the file that `recorded` is the stamp of.
    pub saved: i64,
    /// The file that was imported, or put in place, last.
    pub recorded: Option<Stamp>,
    /// A file that is written, but not known to be in place; and up to which version it has everything.
    pub pending: Option<(Stamp, i64)>,
}

pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {ENTRIES}; {META}; INSERT INTO meta VALUES ({FORMAT}, 0, NULL, NULL, NULL); COMMIT"
    ))
}

/// Checks that the tables are those of [`create`], and that there is nothing else: no view, trigger or index that would
/// act with our statements.
pub(super) fn check_schema(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT sql FROM sqlite_schema ORDER BY name")?;
    let found =
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<Option<String>>>>()?;
    let expected = [ENTRIES, META].map(|text| Some(text.to_owned()));
    if found != expected {
        return Err(damaged("its tables are not those of a store"));
    }
    Ok(())
}

fn damaged(what: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(what.to_owned()))
}

fn stamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Stamp>> {
    let Some(bytes) = row.get_ref(column)?.as_blob_or_null()? else { return Ok(None) };
    Stamp::from_bytes(bytes).map(Some).ok_or_else(|| damaged("a stamp has another length"))
}

impl Meta {
    pub fn load(connection: &Connection, files: &Descriptors) -> Result<Meta, StoreError> {
        let take = |row: &Row<'_>| {
            let pending = stamp(row, 3)?.zip(row.get::<_, Option<i64>>(4)?);
            Ok((row.get::<_, i64>(0)?, Meta { saved: row.get(1)?, recorded: stamp(row, 2)?, pending }))
        };
        let found = connection
            .query_row("SELECT format, saved, recorded, pending, pending_version FROM meta", [], take)
            .optional()
            .map_err(|error| meaning::meaning(&error, files))?;
        match found {
            Some((FORMAT, meta)) => Ok(meta),
            Some((other, _)) => {
                Err(StoreError::Corrupt(format!("its format is {other}; this program knows {FORMAT}")))
            }
            None => Err(StoreError::Corrupt("it has no record of its last checkpoint".to_owned())),
        }
    }
}

impl SqliteStore {
    /// Whether the Berkeley DB file with this stamp is the one that was imported, or put in place, last: then there is
    /// nothing to import. A checkpoint that was put in place without our hearing of it is noted now.
    ///
    /// # Errors
    /// That cannot be noted; or changes wait for a commit.
    pub fn knows(&mut self, stamp: &Stamp) -> Result<bool, StoreError> {
        if self.meta.pending.is_some_and(|(pending, _)| pending == *stamp) {
            self.saved()?;
        }
        Ok(self.meta.recorded == Some(*stamp))
    }

    /// Notes, durably, that a file with this stamp has everything up to `version`, and may soon be in place.
    pub(crate) fn note_pending(&mut self, stamp: Stamp, version: i64) -> Result<(), StoreError> {
        let meta = Meta { pending: Some((stamp, version)), ..self.meta };
        self.alone(|store| store.write_meta(&meta))?;
        self.meta = meta;
        Ok(())
    }

    /// The checkpoint that was written last is in place: what it has need not be written again, and its tombstones have
    /// served.
    ///
    /// # Errors
    /// It cannot be noted (then it can be tried again, and the table will be taken for unsaved until then); or changes
    /// wait for a commit.
    pub fn saved(&mut self) -> Result<(), StoreError> {
        let Some((stamp, version)) = self.meta.pending else { return Ok(()) };
        let meta = Meta { saved: version, recorded: Some(stamp), pending: None };
        self.alone(|store| {
            if store.has_tombstones {
                store.run("DELETE FROM entries WHERE value IS NULL AND version <= ?1", [version])?;
            }
            store.write_meta(&meta)
        })?;
        self.meta = meta;
        self.has_tombstones = self.changed > version;
        // There was room for a whole file.
        self.log_pages = LOG_PAGES;
        Ok(())
    }

    pub(super) fn write_meta(&mut self, meta: &Meta) -> Result<(), StoreError> {
        let bytes = |stamp: Stamp| stamp.to_bytes();
        let (pending, version) = meta.pending.map(|(stamp, version)| (bytes(stamp), version)).unzip();
        let values = (meta.saved, meta.recorded.map(bytes), pending, version);
        self.run("UPDATE meta SET saved = ?1, recorded = ?2, pending = ?3, pending_version = ?4", values)?;
        Ok(())
    }

    /// The newest version given.
    pub(crate) fn version(&self) -> i64 {
        self.version
    }
}
