//! Writing a store out as a Berkeley DB file.
//!
//! Purpose: bring all entries of a store into an empty file, in steps between which the store may change. May: read the
//! store; write, cut and sync the file; note the file's stamp in the store. Never: name, rename or remove the file.
//! Called by: the writer, when it has time.
//!
//! The entries come in the order of their keys, each as it is when its turn comes. Whatever changes after the beginning
//! counts as not saved, whether or not the file has it.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};

use mapkeep_table_format::build::{
    BtreeBuilder, BuildError, HashBuilder, HashWriter, PAGE_SIZE, Progress as Written, Sink,
};

use crate::sqlite::{Form, SqliteStore, calls, io_meaning};
use crate::{Stamp, Store, StoreError};

/// The most entries that a step takes,
const ENTRIES_A_STEP: usize = 500;
/// the bytes of keys and values after which it takes no more,
const BYTES_A_STEP: usize = 256 * 1024;
/// and the bytes after which it syncs what it has written, so that the last sync does not take long.
const BYTES_A_SYNC: u64 = 1 << 20;

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another step is needed.
    More,
    /// The file is whole and durable, and the store has noted its stamp.
    Done(Stamp),
}

/// A file that is being written.
pub struct Checkpoint {
    target: Target,
    stage: Stage,
    /// The newest version when the file was begun: it has everything up to this one.
    version: i64,
    /// The last key that was taken.
    last: Option<Vec<u8>>,
    /// How many entries no Berkeley DB file could have.
    left_out: u64,
}

enum Stage {
    Btree(BtreeBuilder),
    Hash(HashBuilder),
    HashWriter(Box<HashWriter>),
    Syncing { length: u64 },
    Over,
}

/// The file, and how much of it is not synced.
struct Target {
    file: File,
    unsynced: u64,
}

impl Sink for Target {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.unsynced = self.unsynced.saturating_add(bytes.len() as u64);
        calls::write(&self.file, offset, bytes)
    }
}

impl Checkpoint {
    /// Begins a file of the form `form` in `target`, which is empty.
    ///
    /// # Errors
    /// The file cannot be looked at; or changes wait for a commit.
    pub fn begin(form: Form, target: OwnedFd, store: &mut SqliteStore) -> Result<Checkpoint, StoreError> {
        if store.is_open() {
            return Err(StoreError::Io("changes of entries wait for a commit".to_owned()));
        }
        let stamp = Stamp::of(target.as_fd()).map_err(|error| io_meaning(&error))?;
        let file_id = file_id(&stamp);
        let stage = match form {
            Form::Btree => BtreeBuilder::new(PAGE_SIZE, file_id).map(Stage::Btree),
            Form::Hash => HashBuilder::new(PAGE_SIZE, file_id).map(Stage::Hash),
        };
        Ok(Checkpoint {
            target: Target { file: target.into(), unsynced: 0 },
            stage: stage.map_err(meaning)?,
            version: store.version(),
            last: None,
            left_out: 0,
        })
    }

    /// Does a part of the work, of a few milliseconds. While changes wait for a commit it does nothing: the file must
    /// not contain changes that may yet be undone.
    ///
    /// # Errors
    /// The store cannot be read, or the file cannot be written: the checkpoint must be abandoned. After
    /// [`Progress::Done`] and after an error every step is an error.
    pub fn step(&mut self, store: &mut SqliteStore) -> Result<Progress, StoreError> {
        if store.is_open() {
            return Ok(Progress::More);
        }
        self.stage = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Btree(mut builder) => {
                let target = &mut self.target;
                let push = |key: &[u8], value: &[u8]| builder.push(key, value, target);
                match scan(store, &mut self.last, &mut self.left_out, push)? {
                    true => Stage::Btree(builder),
                    false => Stage::Syncing { length: builder.finish(&mut self.target).map_err(meaning)? },
                }
            }
            Stage::Hash(mut builder) => {
                let push = |key: &[u8], value: &[u8]| builder.push(key, value);
                match scan(store, &mut self.last, &mut self.left_out, push)? {
                    true => Stage::Hash(builder),
                    false => Stage::HashWriter(Box::new(builder.finish().map_err(meaning)?)),
                }
            }
            Stage::HashWriter(mut writer) => match writer.step(&mut self.target).map_err(meaning)? {
                Written::More => Stage::HashWriter(writer),
                Written::Done { length } => Stage::Syncing { length },
            },
            Stage::Syncing { length } => return self.finish(length, store),
            Stage::Over => return Err(StoreError::Io("the checkpoint is over".to_owned())),
        };
        if self.target.unsynced >= BYTES_A_SYNC {
            self.sync()?;
        }
        Ok(Progress::More)
    }

    /// How many entries were left out, since their keys or values are longer than a file can have (1 MiB).
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.target.unsynced = 0;
        calls::sync(&self.target.file).map_err(|error| io_meaning(&error))
    }

    fn finish(&mut self, length: u64, store: &mut SqliteStore) -> Result<Progress, StoreError> {
        calls::truncate(&self.target.file, length).map_err(|error| io_meaning(&error))?;
        self.sync()?;
        let stamp = Stamp::of(self.target.file.as_fd()).map_err(|error| io_meaning(&error))?;
        store.note_pending(stamp, self.version)?;
        Ok(Progress::Done(stamp))
    }
}

/// Takes the next entries. False if there are no more.
fn scan(
    store: &mut SqliteStore,
    last: &mut Option<Vec<u8>>,
    left_out: &mut u64,
    mut push: impl FnMut(&[u8], &[u8]) -> Result<(), BuildError>,
) -> Result<bool, StoreError> {
    let mut bytes = 0_usize;
    let mut failed = None;
    let more = store.each_after(last, ENTRIES_A_STEP, |key, value| {
        match push(key, value) {
            Ok(()) => {}
            Err(BuildError::ItemTooLong) => *left_out = left_out.saturating_add(1),
            Err(error) => failed = Some(error),
        }
        bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
        failed.is_none() && bytes < BYTES_A_STEP
    })?;
    failed.map_or(Ok(more), |error| Err(meaning(error)))
}

/// Tells the file from others that a program has open, as libdb wants it: from its inode, its device and its time.
fn file_id(stamp: &Stamp) -> [u8; 20] {
    let mut id = [0_u8; 20];
    let parts = [&stamp.ino.to_le_bytes()[..], &stamp.dev.to_le_bytes(), &stamp.mtime_ns.to_le_bytes()];
    id.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
    id
}

fn meaning(error: BuildError) -> StoreError {
    match error {
        BuildError::Sink(error) => io_meaning(&error),
        other => StoreError::Io(other.to_string()),
    }
}
