//! What the writer needs from a store besides its entries.

use mapkeep_proto::Part;
use mapkeep_table_store::{MemoryStore, Stamp, Store, StoreError};
use std::os::fd::OwnedFd;

/// An open table's store.
pub(crate) trait Engine {
    /// What it stores.
    fn entries(&self) -> &dyn Store;

    /// The same, to ask or to change it.
    fn entries_mut(&mut self) -> &mut dyn Store;

    /// The half of it that writes checkpoints; none where the table's file is changed in place, or there is none.
    fn saver(&mut self) -> Option<&mut dyn Saver> {
        None
    }

    /// Whether its file has been removed: later changes would not be visible to any other program.
    fn is_removed(&self) -> bool {
        false
    }

    /// Closes a damaged store; returns which of the table's files must be set aside, and what can still be read of it.
    /// Nothing for a store without files.
    fn rescue(self: Box<Self>) -> Option<(Part, Option<Rescue>)> {
        None
    }
}

impl Engine for MemoryStore {
    fn entries(&self) -> &dyn Store {
        self
    }

    fn entries_mut(&mut self) -> &mut dyn Store {
        self
    }
}

/// How far the writing of a checkpoint has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is more to do.
    More,
    /// The file is whole and on disk, and the store has noted that it may soon be in place.
    Whole,
}

/// A store that is written into a Berkeley DB file from time to time. Nothing of this may be called while a group is
/// open.
pub(crate) trait Saver {
    /// Whether entries have changed since the last checkpoint.
    fn unsaved(&self) -> bool;

    /// Begins a checkpoint into a new and empty file.
    fn begin(&mut self, file: OwnedFd) -> Result<(), StoreError>;

    /// Goes on with it, for some milliseconds.
    fn step(&mut self) -> Result<Stage, StoreError>;

    /// The file is in place.
    fn placed(&mut self) -> Result<(), StoreError>;

    /// The checkpoint in progress is abandoned.
    fn give_up(&mut self);

    /// Another program has written the file: imports its entries, except where the store has newer ones. `pause` is
    /// called now and then.
    fn take_over(&mut self, file: &[u8], stamp: Stamp, pause: &mut dyn FnMut())
    -> Result<Import, StoreError>;
}

/// What has been imported from a file that another program has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Import {
    /// Entries that have been changed to match the file.
    pub(crate) taken: u64,
    /// Entries of the file that were left out, since the store has newer ones.
    pub(crate) kept: u64,
    /// Entries that no Postfix program could have made or read.
    pub(crate) left_out: u64,
    /// The damage, if not all of the file could be read.
    pub(crate) damage: Option<String>,
}

/// What is left of a damaged store, until a new store can import it.
#[derive(Debug)]
pub(crate) enum Rescue {
    /// The lmdb file.
    Lmdb(OwnedFd),
    /// The store and its log.
    Store(OwnedFd, OwnedFd),
}
