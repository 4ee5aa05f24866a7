//! Hash and btree tables: an SQLite store, and Berkeley DB files that are made from it.

use super::{Fresh, Refused};
use crate::engine::{Engine, Import, Rescue, Saver, Stage};
use mapkeep_name::Kind;
use mapkeep_proto::Part;
use mapkeep_sys::inherit;
use mapkeep_table_store::sqlite::{Form, SqliteStore, Unopened, read_file};
use mapkeep_table_store::{Checkpoint, Progress, Stamp, Store, StoreError};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// The number of entries that are imported between two pauses.
const ENTRIES: usize = 1000;

/// A table's store, and the file that is being made of it.
struct Berkeley {
    store: SqliteStore,
    form: Form,
    checkpoint: Option<Checkpoint>,
}

/// Opens a store, and imports what is left of a damaged one into it.
pub(super) fn open(
    kind: Kind,
    (store, log): (OwnedFd, OwnedFd),
    beside: Option<OwnedFd>,
    rescue: Option<Rescue>,
    pause: &mut dyn FnMut(),
) -> Result<Fresh, Refused> {
    pause();
    let mut store = match SqliteStore::open(store, log) {
        Ok(store) => store,
        Err(Unopened { error: StoreError::Corrupt(what), files }) => {
            // What an earlier store had is worth more than what this one has, which was to take it over.
            let rescue = rescue.or(files.map(|(store, log)| Rescue::Store(store, log)));
            return Err(Refused::Damaged { part: Part::Store, what, rescue });
        }
        Err(Unopened { error, .. }) => return Err(Refused::Later(error, rescue)),
    };
    pause();
    let rescued = match rescue {
        Some(Rescue::Store(old, old_log)) => {
            let copies =
                inherit::copy(old.as_fd()).and_then(|old| Ok((old, inherit::copy(old_log.as_fd())?)));
            let taken = copies
                .map_err(|error| StoreError::Io(error.to_string()))
                .and_then(|(old, old_log)| store.rescue(old, old_log));
            match taken {
                Ok(found) => Some(format!(
                    "{} entries were read from its damaged store; {} places in it cannot be read",
                    found.entries, found.lost
                )),
                Err(error) => return Err(Refused::Later(error, Some(Rescue::Store(old, old_log)))),
            }
        }
        _ => None,
    };
    let later = |error| Refused::Later(error, None);
    let unread = match beside {
        None => {
            store.forget_file().map_err(later)?;
            None
        }
        Some(file) => {
            let stamp = Stamp::of(file.as_fd()).map_err(|error| later(StoreError::Io(error.to_string())))?;
            // Of what could not be read of a damaged store, the file has what it was when it was written.
            let is_known = rescued.is_none() && store.knows(&stamp).map_err(later)?;
            (!is_known).then(|| File::from(file))
        }
    };
    let form = if kind == Kind::Hash { Form::Hash } else { Form::Btree };
    let unsaved = unread.is_none() && store.unsaved();
    let engine = Box::new(Berkeley { store, form, checkpoint: None });
    Ok(Fresh { engine, unread, rescued, unsaved })
}

impl Engine for Berkeley {
    fn entries(&self) -> &dyn Store {
        &self.store
    }

    fn entries_mut(&mut self) -> &mut dyn Store {
        &mut self.store
    }

    fn saver(&mut self) -> Option<&mut dyn Saver> {
        Some(self)
    }

    fn rescue(self: Box<Self>) -> Option<(Part, Option<Rescue>)> {
        let files = self.store.close();
        Some((Part::Store, files.map(|(store, log)| Rescue::Store(store, log))))
    }
}

impl Saver for Berkeley {
    fn unsaved(&self) -> bool {
        self.store.unsaved()
    }

    fn begin(&mut self, file: OwnedFd) -> Result<(), StoreError> {
        self.checkpoint = Some(Checkpoint::begin(self.form, file, &mut self.store)?);
        Ok(())
    }

    fn step(&mut self) -> Result<Stage, StoreError> {
        let none = || StoreError::Io("no checkpoint has begun".to_owned());
        let checkpoint = self.checkpoint.as_mut().ok_or_else(none)?;
        match checkpoint.step(&mut self.store)? {
            Progress::More => Ok(Stage::More),
            Progress::Done(_) => {
                if checkpoint.left_out() > 0 {
                    tracing::warn!(
                        "{} entries are too long for a Berkeley DB file, and are only in the store",
                        checkpoint.left_out()
                    );
                }
                self.checkpoint = None;
                Ok(Stage::Whole)
            }
        }
    }

    fn placed(&mut self) -> Result<(), StoreError> {
        self.store.saved()
    }

    fn give_up(&mut self) {
        self.checkpoint = None;
    }

    fn take_over(
        &mut self,
        file: &[u8],
        stamp: Stamp,
        pause: &mut dyn FnMut(),
    ) -> Result<Import, StoreError> {
        pause();
        let contents = read_file(self.form, file);
        pause();
        let entries = contents.iter().enumerate().map(|(index, entry)| {
            if index.is_multiple_of(ENTRIES) {
                pause();
            }
            entry
        });
        let imported = match contents.damage {
            None => self.store.import(entries, stamp)?,
            Some(_) => self.store.merge(entries)?,
        };
        Ok(Import {
            taken: imported.taken,
            kept: imported.kept,
            left_out: contents.left_out,
            damage: contents.damage.clone(),
        })
    }
}
