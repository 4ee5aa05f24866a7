//! What the tests of this room share: scratch files, seeded numbers, and a model of a table.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[path = "../../../../tests/common/random.rs"]
mod random;

use super::{SqliteStore, Unopened};
use crate::{Store, StoreError};
pub(crate) use random::Random as Numbers;

/// A directory that goes with the value; in memory where that is possible, since nothing here cuts the power.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mapkeep-store-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let memory = PathBuf::from("/dev/shm").join(&name);
        if fs::create_dir(&memory).is_ok() {
            return Scratch(memory);
        }
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The store `name`, in empty files if there are none.
    pub fn open(&self, name: &str) -> SqliteStore {
        self.try_open(name).unwrap()
    }

    pub fn try_open(&self, name: &str) -> Result<SqliteStore, Unopened> {
        reopen(self.descriptors(name))
    }

    /// The same, for a store that may well be locked.
    pub fn try_open_once(&self, name: &str) -> Result<SqliteStore, Unopened> {
        let (main, log) = self.descriptors(name);
        SqliteStore::open(main, log)
    }

    pub fn descriptors(&self, name: &str) -> (OwnedFd, OwnedFd) {
        open_files(&self.path(name))
    }

    /// The two files of a store.
    pub fn files(&self, name: &str) -> [PathBuf; 2] {
        [self.path(name), log_of(&self.path(name))]
    }

    /// Copies both files, as a kill at this moment would leave them.
    pub fn copy(&self, from: &str, to: &str) {
        for (from, to) in self.files(from).iter().zip(self.files(to)) {
            fs::copy(from, to).unwrap();
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn log_of(main: &Path) -> PathBuf {
    main.with_added_extension("log")
}

/// Opens a store. Where another test has just started a program, that has all our descriptors, locks included, until it
/// has become another program: then this waits for it.
pub(crate) fn reopen((mut main, mut log): (OwnedFd, OwnedFd)) -> Result<SqliteStore, Unopened> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match SqliteStore::open(main, log) {
            Err(Unopened { error: StoreError::Busy, files: Some(files) }) if Instant::now() < deadline => {
                (main, log) = files;
                std::thread::yield_now();
            }
            other => return other,
        }
    }
}

/// Opens the two files of a store, and makes those that are missing.
pub(crate) fn open_files(main: &Path) -> (OwnedFd, OwnedFd) {
    let open = |path: &Path| {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    };
    (open(main).into(), open(&log_of(main)).into())
}

/// An empty file for reading and writing.
pub(crate) fn new_file(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap()
}

impl Numbers {
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// One of 400 keys of whatever bytes, of any length from 0; some begin others, some are longer than a page.
    pub fn key(&mut self) -> Vec<u8> {
        let number = self.below(400);
        let length = match number {
            0 => 0,
            1..=4 => 5_000 + number,
            _ => number % 40,
        };
        let mut key = Numbers(u64::try_from(number / 3).unwrap()).bytes(length);
        key.extend(u16::try_from(number).unwrap().to_le_bytes().iter().take(number.min(2)));
        key
    }

    pub fn value(&mut self) -> Vec<u8> {
        let length = match self.below(20) {
            0 => 0,
            1 => self.below(20_000),
            _ => self.below(80),
        };
        self.bytes(length)
    }
}

pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a store must say.
#[derive(Default)]
pub(crate) struct Model {
    pub committed: Entries,
    pub now: Entries,
}

impl Model {
    /// Does the same random operation here and in the store, and compares.
    pub fn operation(&mut self, store: &mut dyn Store, numbers: &mut Numbers) {
        match numbers.below(100) {
            0..45 => self.put(store, &numbers.key(), &numbers.value()),
            45..65 => self.delete(store, &numbers.key()),
            65..80 => {
                let (key, mut value) = (numbers.key(), Vec::new());
                assert_eq!(store.get(&key, &mut value), Ok(self.now.contains_key(&key)));
                assert_eq!(value, self.now.get(&key).cloned().unwrap_or_default());
            }
            80..90 => {
                let last = numbers.key();
                let found = after(store, Some(&last));
                let mut later = self
                    .now
                    .range::<[u8], _>((std::ops::Bound::Excluded(&last[..]), std::ops::Bound::Unbounded));
                assert_eq!(found, later.next().map(|(key, value)| (key.clone(), value.clone())));
            }
            90..97 => {
                store.commit().unwrap();
                self.committed = self.now.clone();
                assert!(!store.is_open());
            }
            _ => {
                store.undo();
                self.now = self.committed.clone();
                assert!(!store.is_open());
            }
        }
    }

    pub fn put(&mut self, store: &mut dyn Store, key: &[u8], value: &[u8]) {
        store.put(key, value).unwrap();
        self.now.insert(key.to_vec(), value.to_vec());
        assert!(store.is_open());
    }

    pub fn delete(&mut self, store: &mut dyn Store, key: &[u8]) {
        let was_there = self.now.remove(key).is_some();
        let was_open = store.is_open();
        assert_eq!(store.delete(key), Ok(was_there));
        assert_eq!(store.is_open(), was_open || was_there);
    }

    pub fn assert_same(&self, store: &mut dyn Store) {
        assert!(list(store) == self.now);
    }
}

fn after(store: &mut dyn Store, last: Option<&[u8]>) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    store.after(last, &mut key, &mut value).unwrap().then_some((key, value))
}

/// All entries, in the order in which the store returns them, which must be that of the keys.
pub(crate) fn list(store: &mut dyn Store) -> Entries {
    let mut entries = Entries::new();
    let mut last: Option<Vec<u8>> = None;
    while let Some((key, value)) = after(store, last.as_deref()) {
        assert!(last.is_none_or(|last| last < key));
        entries.insert(key.clone(), value);
        last = Some(key);
    }
    entries
}
