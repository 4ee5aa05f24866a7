//! A store in memory that does as it is told, and remembers what was done with it.

use crate::engine::{Engine, Import, Rescue, Saver, Stage};
use crate::opening::Fresh;
use mapkeep_proto::Part;
use mapkeep_table_store::{Stamp, Store, StoreError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Something that a test does in the middle of a call.
pub(crate) type Hook = Arc<Mutex<dyn FnMut() + Send>>;

/// What a fake store has, does and has done.
#[derive(Default)]
pub(crate) struct Script {
    /// The committed entries.
    pub(crate) entries: Entries,
    /// What the open group makes of it, and the number of its changes.
    group: Option<(Entries, usize)>,
    /// The number of changes in each commit.
    pub(crate) commits: Vec<usize>,
    pub(crate) undone: u32,
    pub(crate) rests: u32,
    /// What the next call of each kind fails with.
    pub(crate) commit_fails: Option<StoreError>,
    pub(crate) put_fails: Option<StoreError>,
    /// The change of this key fails, and ends the group, as an engine may.
    pub(crate) put_fails_for: Option<Vec<u8>>,
    pub(crate) get_fails: Option<StoreError>,
    pub(crate) step_fails: Option<StoreError>,
    pub(crate) take_over_fails: Option<StoreError>,
    pub(crate) placed_fails: Option<StoreError>,
    /// Called in the middle of each commit.
    pub(crate) on_commit: Option<Hook>,
    /// Whether it writes checkpoints, and what has become of them.
    pub(crate) saves: bool,
    pub(crate) unsaved: bool,
    pub(crate) steps: u32,
    pub(crate) begun: u32,
    pub(crate) placed: u32,
    pub(crate) given_up: u32,
    pub(crate) taken_over: Vec<Vec<u8>>,
    pub(crate) damage: Option<String>,
    pub(crate) removed: bool,
}

/// A handle to a script; the store itself, and what the test has of it.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<Script>>);

/// Steps of each checkpoint.
pub(crate) const STEPS: u32 = 3;

impl Fake {
    /// A store that also writes checkpoints.
    pub(crate) fn with_checkpoints() -> Fake {
        let fake = Fake::default();
        fake.script().saves = true;
        fake
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    /// Something of the script. (Two guards in one expression would wait for each other.)
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Script) -> T) -> T {
        look(&self.script())
    }

    pub(crate) fn fresh(&self) -> Fresh {
        Fresh { engine: Box::new(self.clone()), unread: None, rescued: None, unsaved: false }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> Result<T, StoreError> {
        let mut script = self.script();
        if let Some(error) = script.put_fails.take() {
            return Err(error);
        }
        let (mut entries, count) = script.group.take().unwrap_or_else(|| (script.entries.clone(), 0));
        let result = change(&mut entries);
        script.group = Some((entries, count + 1));
        Ok(result)
    }
}

impl Script {
    fn seen(&self) -> &Entries {
        self.group.as_ref().map_or(&self.entries, |(entries, _)| entries)
    }
}

impl Store for Fake {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StoreError> {
        let mut script = self.script();
        if let Some(error) = script.get_fails.take() {
            return Err(error);
        }
        let found = script.seen().get(key);
        value.extend_from_slice(found.map(Vec::as_slice).unwrap_or_default());
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let mut script = self.script();
        if script.put_fails_for.as_deref() == Some(key) {
            script.group = None;
            return Err(StoreError::Io("broken disk".to_owned()));
        }
        drop(script);
        match key.len() {
            0 => Err(StoreError::KeyEmpty),
            length if length > 511 => Err(StoreError::KeyTooLong { length, limit: 511 }),
            _ => self.change(|entries| drop(entries.insert(key.to_vec(), value.to_vec()))),
        }
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, StoreError> {
        if !self.script().seen().contains_key(key) {
            return Ok(false);
        }
        self.change(|entries| entries.remove(key).is_some())
    }

    fn after(
        &mut self,
        last: Option<&[u8]>,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        let script = self.script();
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let Some(found) = script.seen().range::<[u8], _>((from, Bound::Unbounded)).next() else {
            return Ok(false);
        };
        key.extend_from_slice(found.0);
        value.extend_from_slice(found.1);
        Ok(true)
    }

    fn is_open(&self) -> bool {
        self.script().group.is_some()
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        // The test may look at the script meanwhile.
        let hook = self.script().on_commit.clone();
        if let Some(hook) = hook {
            (hook.lock().unwrap())();
        }
        let mut script = self.script();
        let (entries, count) = script.group.take().expect("nobody commits nothing");
        if let Some(error) = script.commit_fails.take() {
            return Err(error);
        }
        script.entries = entries;
        script.unsaved = true;
        script.commits.push(count);
        Ok(())
    }

    fn undo(&mut self) {
        let mut script = self.script();
        script.group = None;
        script.undone += 1;
    }

    fn rest(&mut self) {
        self.script().rests += 1;
    }
}

impl Engine for Fake {
    fn entries(&self) -> &dyn Store {
        self
    }

    fn entries_mut(&mut self) -> &mut dyn Store {
        self
    }

    fn saver(&mut self) -> Option<&mut dyn Saver> {
        let saves = self.script().saves;
        if saves { Some(self) } else { None }
    }

    fn is_removed(&self) -> bool {
        self.script().removed
    }

    fn rescue(self: Box<Self>) -> Option<(Part, Option<Rescue>)> {
        let file = File::open("/dev/null").unwrap();
        Some((Part::Lmdb, Some(Rescue::Lmdb(file.into()))))
    }
}

impl Saver for Fake {
    fn unsaved(&self) -> bool {
        self.script().unsaved
    }

    fn begin(&mut self, file: OwnedFd) -> Result<(), StoreError> {
        let mut script = self.script();
        assert!(script.group.is_none(), "no checkpoint while a group is open");
        File::from(file).write_all(b"checkpoint").unwrap();
        (script.begun, script.steps) = (script.begun + 1, 0);
        Ok(())
    }

    fn step(&mut self) -> Result<Stage, StoreError> {
        let mut script = self.script();
        assert!(script.group.is_none(), "no checkpoint while a group is open");
        if let Some(error) = script.step_fails.take() {
            return Err(error);
        }
        script.steps += 1;
        Ok(if script.steps < STEPS { Stage::More } else { Stage::Whole })
    }

    fn placed(&mut self) -> Result<(), StoreError> {
        let mut script = self.script();
        if let Some(error) = script.placed_fails.take() {
            return Err(error);
        }
        (script.placed, script.unsaved) = (script.placed + 1, false);
        Ok(())
    }

    fn give_up(&mut self) {
        self.script().given_up += 1;
    }

    fn take_over(&mut self, file: &[u8], _: Stamp, pause: &mut dyn FnMut()) -> Result<Import, StoreError> {
        pause();
        let mut script = self.script();
        if let Some(error) = script.take_over_fails.take() {
            return Err(error);
        }
        script.taken_over.push(file.to_vec());
        Ok(Import { taken: 1, damage: script.damage.take(), ..Import::default() })
    }
}
