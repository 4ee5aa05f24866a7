//! Opening a store.
//!
//! Purpose: from two descriptors to a database that is checked and set up, or the reason why not. May: make the tables
//! in an empty file. Never: change a file that fails a check.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::descriptors::{Descriptors, PAGE, Part};
use super::meaning::{io_meaning, meaning};
use super::meta::{self, Meta};
use super::{LOG_PAGES, SqliteStore, files, handle, log};
use crate::StoreError;

/// What could not be opened, and why.
#[derive(Debug)]
pub struct Unopened {
    /// Why.
    pub error: StoreError,
    /// The main file and its log, as they were given.
    pub files: Option<(OwnedFd, OwnedFd)>,
}

/// The log is cut to this size, in bytes, when an import has made it longer.
const LOG_LIMIT: u32 = 16 << 20;
/// Kibibytes of pages that SQLite keeps in memory, for each table.
const CACHE_KIB: u32 = 4096;

/// The number of a store under which SQLite finds its files.
pub(super) struct Registration(u64);

impl Drop for Registration {
    fn drop(&mut self) {
        handle::forget(self.0);
    }
}

/// Does what needs system calls that a locked-down process may not make (random numbers for SQLite and for hash maps,
/// first use of the library). Must be called once, before lock-down; otherwise the first store does it.
///
/// # Errors
/// SQLite does not start.
pub fn prepare() -> Result<(), StoreError> {
    let broken = |what: &str| StoreError::Io(format!("SQLite does not start: {what}"));
    if !files::install() {
        return Err(broken("it takes no files"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_in_memory_with_flags(flags)
        .and_then(|connection| connection.prepare_cached("SELECT 1")?.query_row([], |_| Ok(())))
        .map_err(|error| broken(&error.to_string()))
}

pub(super) fn open(main: OwnedFd, log: OwnedFd) -> Result<SqliteStore, Unopened> {
    let files = Arc::new(Descriptors::new(main, log));
    open_checked(&files)
        .map_err(|error| Unopened { error, files: Arc::into_inner(files).map(Descriptors::into_descriptors) })
}

fn open_checked(files: &Arc<Descriptors>) -> Result<SqliteStore, StoreError> {
    if !files::install() {
        return Err(StoreError::Io("SQLite does not accept the file layer".to_owned()));
    }
    files.lock()?;
    let is_new = check_files(files)?;

    let registration = Registration(handle::register(files));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let meaning = |error: rusqlite::Error| meaning(&error, files);
    let connection = Connection::open_with_flags_and_vfs(format!("/{}", registration.0), flags, c"mapkeep")
        .map_err(meaning)?;
    if let Err(error) = set_up(&connection, is_new) {
        let error = meaning(error);
        if is_new {
            // A part of the first page would be taken for damage.
            let _ = files.truncate(Part::Main, 0);
        }
        return Err(error);
    }
    // A new file, or one whose creator was killed before it had created the tables.
    if is_empty(&connection).map_err(meaning)? {
        meta::create(&connection).map_err(meaning)?;
        files.committed();
    }
    check(&connection, files)?;
    let meta = Meta::load(&connection, files)?;
    let counts = "SELECT coalesce(max(version), 0), count(*) > count(value) FROM entries";
    let (newest, has_tombstones) =
        connection.query_row(counts, [], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).map_err(meaning)?;
    let changed = newest.max(meta.saved);
    leave_log(&connection, false).map_err(meaning)?;
    Ok(SqliteStore {
        connection,
        registration,
        files: Arc::clone(files),
        meta,
        version: meta.pending.map_or(changed, |(_, version)| changed.max(version)),
        changed,
        grouped: changed,
        has_tombstones,
        log_pages: LOG_PAGES,
        is_open: false,
    })
}

/// Looks at both files before SQLite does. True: they are empty.
fn check_files(files: &Descriptors) -> Result<bool, StoreError> {
    let io = |error: io::Error| io_meaning(&error);
    let (main, logged) = (files.size(Part::Main).map_err(io)?, files.size(Part::Log).map_err(io)?);
    if logged == 0 && main <= PAGE as u64 {
        let mut first = vec![0_u8; usize::try_from(main).unwrap_or(PAGE)];
        files.read(Part::Main, 0, &mut first).map_err(io)?;
        if first.iter().all(|byte| *byte == 0) {
            // A power failure may leave a new file with its length but without its contents.
            files.truncate(Part::Main, 0).map_err(io)?;
            return Ok(true);
        }
    }
    if main == 0 {
        return Err(StoreError::Corrupt("the main file is empty, but its log is not".to_owned()));
    }
    log::check(files)?;
    Ok(false)
}

/// The settings for each connection of SQLite.
fn set_up(connection: &Connection, is_new: bool) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_prepared_statement_cache_capacity(32);
    leave_log(connection, true)?;
    if is_new {
        files::reserve_checksum(connection);
        connection.pragma_update(None, "page_size", PAGE as i64)?;
    }
    // In this mode SQLite keeps the index of the log in memory instead of a third file.
    pragma(connection, "locking_mode = EXCLUSIVE")?;
    pragma(connection, "temp_store = MEMORY")?;
    pragma(connection, "cell_size_check = ON")?;
    pragma(connection, &format!("cache_size = -{CACHE_KIB}"))?;
    pragma(connection, "synchronous = FULL")?;
    if is_new {
        // The one page that says "this file has a log" is written without a journal: there is no earlier state to
        // restore.
        pragma(connection, "journal_mode = MEMORY")?;
        pragma(connection, "journal_mode = WAL")?;
    }
    // See `SqliteStore::tidy`.
    pragma(connection, "wal_autocheckpoint = 0")?;
    pragma(connection, &format!("journal_size_limit = {LOG_LIMIT}"))
}

/// Whether the log is left as it is when the connection closes: that of a store that fails a check, or is damaged, is.
/// Otherwise it is brought into the main file, and emptied.
fn leave_log(connection: &Connection, leave: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave).map(|_| ())
}

fn pragma(connection: &Connection, text: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA {text}"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

/// Checks that this is one of our databases, and whole.
fn check(connection: &Connection, files: &Descriptors) -> Result<(), StoreError> {
    let meaning = |error: rusqlite::Error| meaning(&error, files);
    let text =
        |statement: &str| connection.query_row(statement, [], |row| row.get::<_, String>(0)).map_err(meaning);
    if text("PRAGMA journal_mode")? != "wal" {
        return Err(StoreError::Corrupt("the main file is not marked as having a log".to_owned()));
    }
    meta::check_schema(connection).map_err(meaning)?;
    // The quick check would not notice entries that are out of order, which a lookup may then miss, or return after
    // they have been deleted.
    match text("PRAGMA integrity_check(1)")? {
        good if good == "ok" => Ok(()),
        found => Err(StoreError::Corrupt(found)),
    }
}

/// Closes the connection, with the files as they are, and takes the descriptors back.
pub(super) fn shut(
    connection: Connection,
    registration: Registration,
    files: Arc<Descriptors>,
) -> Option<(OwnedFd, OwnedFd)> {
    let _ = leave_log(&connection, true);
    drop(connection);
    drop(registration);
    Arc::into_inner(files).map(Descriptors::into_descriptors)
}
