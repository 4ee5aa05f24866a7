//! The files of one table, opened for the writer, and made where they are missing.
//!
//! May: what `trust` does for files that are written.

use super::change;
use mapkeep_broker_trust::{Access, Place, Refusal, WriteFile, WriteFiles, WriteOpened};

/// The files of a hash or btree table.
pub(super) struct Opened {
    pub(super) store: WriteOpened,
    pub(super) log: WriteOpened,
    pub(super) database: Option<WriteOpened>,
}

pub(super) fn open_store(place: &Place<'_>, files: &WriteFiles) -> Result<Opened, Refusal> {
    // Nothing is created for a table that is refused.
    for file in files.lasting() {
        place.look(&files.name(*file), file.access())?;
    }
    let store = open_or_create(place, &files.name(WriteFile::Store))?;
    warn_if_emptied(place, &files.name(WriteFile::Store), &store);
    let log = open_or_create(place, &files.name(WriteFile::Log))?;
    let database = place.open(&files.name(WriteFile::Database), Access::Read)?;
    if store.1 || log.1 {
        make_durable(place)?;
    }
    Ok(Opened { store: store.0, log: log.0, database })
}

/// Opens the file twice: for reading and writing, and for synchronous writes.
pub(super) fn open_lmdb(
    place: &Place<'_>,
    files: &WriteFiles,
) -> Result<(WriteOpened, WriteOpened), Refusal> {
    let name = files.name(WriteFile::Lmdb);
    let opened = open_or_create(place, &name)?;
    warn_if_emptied(place, &name, &opened);
    let (lmdb, is_new) = opened;
    if is_new {
        make_durable(place)?;
    }
    let changed = || Refusal::Retry { component: place.path_of(&name) };
    let synced = place.open(&name, Access::Synced)?.ok_or_else(changed)?;
    if (synced.status.dev, synced.status.ino) != (lmdb.status.dev, lmdb.status.ino) {
        return Err(changed());
    }
    Ok((lmdb, synced))
}

/// Opens the file, or creates it; true if it was created.
fn open_or_create(place: &Place<'_>, name: &[u8]) -> Result<(WriteOpened, bool), Refusal> {
    match place.open(name, Access::Write)? {
        Some(opened) => Ok((opened, false)),
        None => place.create(name).map(|created| (created, true)),
    }
}

/// An empty file becomes a table, as in stock. But it may have been truncated.
fn warn_if_emptied(place: &Place<'_>, name: &[u8], (opened, is_new): &(WriteOpened, bool)) {
    if !is_new && opened.status.size == 0 {
        tracing::warn!(
            "{} is empty: starting a new table in it; if it held a table before, restore that from a backup",
            change::shown(place, name)
        );
    }
}

/// An update is not durable in a file whose name may be lost.
fn make_durable(place: &Place<'_>) -> Result<(), Refusal> {
    change::sync(place).map_err(|errno| Refusal::Io { component: place.path_of(b"."), errno })
}
