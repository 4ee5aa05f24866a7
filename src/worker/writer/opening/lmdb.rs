//! lmdb tables: changed in place.

use super::{Fresh, Refused};
use crate::engine::{Engine, Rescue};
use mapkeep_proto::Part;
use mapkeep_sys::{inherit, status};
use mapkeep_table_store::lmdb::salvage_file;
use mapkeep_table_store::{LmdbStore, Store, StoreError};
use std::os::fd::{AsFd, OwnedFd};

/// Entries of a damaged file are stored in groups of at most this number,
const ENTRIES: usize = 1000;
/// or of about this number of bytes.
const BYTES: usize = 1 << 20;

/// A table's store.
struct InPlace {
    store: LmdbStore,
    /// The file once more: the store keeps its descriptors to itself.
    spare: OwnedFd,
}

/// Opens a file, and imports what is left of a damaged one into it.
pub(super) fn open(
    data: OwnedFd,
    meta: OwnedFd,
    rescue: Option<Rescue>,
    pause: &mut dyn FnMut(),
) -> Result<Fresh, Refused> {
    pause();
    let spare = match inherit::copy(data.as_fd()) {
        Ok(spare) => spare,
        Err(error) => return Err(Refused::Later(StoreError::Io(error.to_string()), rescue)),
    };
    let mut store = match LmdbStore::open(data, meta) {
        Ok(store) => store,
        Err(StoreError::Corrupt(what)) => {
            // What an earlier file had is worth more than what this one has, which was to take it over.
            let rescue = rescue.or(Some(Rescue::Lmdb(spare)));
            return Err(Refused::Damaged { part: Part::Lmdb, what, rescue });
        }
        Err(error) => return Err(Refused::Later(error, rescue)),
    };
    let rescued = match rescue {
        Some(Rescue::Lmdb(old)) => match take_over(&mut store, &old, pause) {
            Ok(count) => Some(format!("{count} entries were read from its damaged file")),
            Err(error) => {
                store.undo();
                return Err(Refused::Later(error, Some(Rescue::Lmdb(old))));
            }
        },
        _ => None,
    };
    let engine = Box::new(InPlace { store, spare });
    Ok(Fresh { engine, unread: None, rescued, unsaved: false })
}

/// Stores what can be read of a damaged file.
fn take_over(store: &mut LmdbStore, old: &OwnedFd, pause: &mut dyn FnMut()) -> Result<usize, StoreError> {
    let old = inherit::copy(old.as_fd()).map_err(|error| StoreError::Io(error.to_string()))?;
    let entries = salvage_file(old)?;
    let (mut count, mut bytes) = (0_usize, 0_usize);
    for (key, value) in &entries {
        store.put(key, value)?;
        count = count.saturating_add(1);
        bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
        if count >= ENTRIES || bytes >= BYTES {
            store.commit()?;
            store.rest();
            pause();
            (count, bytes) = (0, 0);
        }
    }
    store.commit()?;
    store.rest();
    Ok(entries.len())
}

impl Engine for InPlace {
    fn entries(&self) -> &dyn Store {
        &self.store
    }

    fn entries_mut(&mut self) -> &mut dyn Store {
        &mut self.store
    }

    fn is_removed(&self) -> bool {
        status::of(self.spare.as_fd()).is_ok_and(|status| status.nlink == 0)
    }

    fn rescue(self: Box<Self>) -> Option<(Part, Option<Rescue>)> {
        let InPlace { store, spare } = *self;
        // Its lock is that of the descriptor that is kept.
        drop(store);
        Some((Part::Lmdb, Some(Rescue::Lmdb(spare))))
    }
}
