//! The snapshots of one table that the broker holds, and which of them workers get.
//!
//! A worker that gets a new snapshot tries it: it switches to it, refuses it, or crashes. A hijacked worker may lie,
//! and a worker may crash for another reason; so one failure is not final. One success is: a snapshot goes to workers
//! only, and each of them checks it for itself.

use mapkeep_broker_snapshot::{Identity, Snapshot};
use std::cell::Cell;
use std::rc::Rc;

/// One snapshot of a table, sent to every worker that needs it.
#[derive(Debug)]
pub(crate) struct TableSnapshot {
    pub(crate) copy: Snapshot,
    /// Increases with each snapshot of its table.
    pub(crate) generation: u32,
    /// Whether a worker has switched to it.
    proven: Cell<bool>,
    /// Whether the log has been told that workers disagree about it.
    disputed: Cell<bool>,
}

impl TableSnapshot {
    /// Whether a worker has switched to it.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven.get()
    }
}

/// How a worker failed to load a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadFailure {
    /// It reports that the snapshot does not parse.
    Refused,
    /// It exited, or had to be killed, while loading.
    Died,
}

/// What follows from a worker's trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing changes.
    Stays,
    /// Another worker has switched to it before, so one worker's failure does not count. Logged once for each snapshot.
    Disputed,
    /// New workers get the previous snapshot; one more worker will try this one.
    Suspect,
    /// Two workers have failed to load it, or one has crashed on it while there was no room to hold it: this version of
    /// the file is not offered again.
    Rejected,
    /// A worker has refused it while there was no room to hold it: it is copied again later, for another trial.
    Deferred,
    /// It was suspect, and now a worker has switched to it: all workers get it.
    Restored,
}

#[derive(Debug)]
struct Suspect {
    snapshot: Rc<TableSnapshot>,
    failure: LoadFailure,
}

/// The snapshots of one table that the broker holds.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    current: Option<Rc<TableSnapshot>>,
    /// The previous snapshot, until a worker has switched to the current one.
    previous: Option<Rc<TableSnapshot>>,
    /// One that a worker has failed to load, until a second worker has tried it.
    suspect: Option<Suspect>,
    /// A version of the file that is not copied again.
    rejected: Option<Identity>,
    /// One that a single worker refused while there was no room to hold it: copied again once there is.
    deferred: Option<Identity>,
    generation: u32,
}

impl Snapshots {
    /// What workers get.
    pub(crate) fn current(&self) -> Option<&Rc<TableSnapshot>> {
        self.current.as_ref()
    }

    /// The snapshot that one more worker will try, and how the first trial failed.
    pub(crate) fn suspect(&self) -> Option<(&Rc<TableSnapshot>, LoadFailure)> {
        self.suspect.as_ref().map(|suspect| (&suspect.snapshot, suspect.failure))
    }

    /// Whether more than one snapshot is held because no worker has tried the newest yet.
    pub(crate) fn awaits_trial(&self) -> bool {
        self.previous.is_some()
    }

    /// Whether there has been a snapshot.
    pub(crate) fn any_before(&self) -> bool {
        self.generation > 0
    }

    /// Whether this is the newest snapshot.
    pub(crate) fn is_newest(&self, generation: u32) -> bool {
        self.generation == generation
    }

    /// Whether this version of the file is the one that is served, or one that is not worth another copy. `room`:
    /// whether there is room for one more suspect snapshot.
    pub(crate) fn knows(&self, identity: &Identity, room: bool) -> bool {
        let of = |snapshot: &Rc<TableSnapshot>| snapshot.copy.identity == *identity;
        self.current.as_ref().is_some_and(of)
            || self.suspect.as_ref().is_some_and(|suspect| of(&suspect.snapshot))
            || self.rejected == Some(*identity)
            || self.deferred == Some(*identity) && !room
    }

    /// Adds a new snapshot.
    pub(crate) fn accept(&mut self, snapshot: Snapshot) {
        self.generation = self.generation.wrapping_add(1);
        self.suspect = None;
        self.rejected = None;
        self.deferred = None;
        // A snapshot that no worker has tried does not replace one that is known to be good.
        self.previous = self.previous.take().or(self.current.take());
        self.current = Some(Rc::new(TableSnapshot {
            copy: snapshot,
            generation: self.generation,
            proven: Cell::new(false),
            disputed: Cell::new(false),
        }));
    }

    /// A worker has switched to this snapshot.
    pub(crate) fn loaded(&mut self, generation: u32) -> Outcome {
        if let Some(snapshot) = self.current.as_ref().filter(|snapshot| snapshot.generation == generation) {
            snapshot.proven.set(true);
            self.previous = None;
            return Outcome::Stays;
        }
        match self.suspect.take_if(|suspect| suspect.snapshot.generation == generation) {
            Some(Suspect { snapshot, .. }) => {
                snapshot.proven.set(true);
                self.current = Some(snapshot);
                self.previous = None;
                Outcome::Restored
            }
            None => Outcome::Stays,
        }
    }

    /// A worker has failed to load this snapshot. `room`: whether there is room for one more suspect snapshot.
    pub(crate) fn load_failed(&mut self, generation: u32, failure: LoadFailure, room: bool) -> Outcome {
        if let Some(suspect) = self.suspect.take_if(|suspect| suspect.snapshot.generation == generation) {
            self.rejected = Some(suspect.snapshot.copy.identity);
            return Outcome::Rejected;
        }
        let Some(snapshot) = self.current.take_if(|snapshot| snapshot.generation == generation) else {
            return Outcome::Stays;
        };
        if snapshot.proven.get() {
            let told = snapshot.disputed.replace(true);
            self.current = Some(snapshot);
            return if told { Outcome::Stays } else { Outcome::Disputed };
        }
        self.current = self.previous.take();
        match failure {
            _ if room => {
                self.suspect = Some(Suspect { snapshot, failure });
                Outcome::Suspect
            }
            LoadFailure::Refused => {
                self.deferred = Some(snapshot.copy.identity);
                Outcome::Deferred
            }
            // Another copy could crash another worker.
            LoadFailure::Died => {
                self.rejected = Some(snapshot.copy.identity);
                Outcome::Rejected
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A snapshot of the version `number` of a file.
    pub(crate) fn snapshot(number: u64) -> Snapshot {
        let identity = Identity { dev: 1, ino: 2, mtime_ns: number.into(), ctime_ns: number.into(), size: 9 };
        Snapshot { descriptor: std::fs::File::open("/dev/null").unwrap().into(), size: 9, identity }
    }

    /// A snapshot of this size that no worker has tried.
    pub(crate) fn table_snapshot(generation: u32, size: u64) -> Rc<TableSnapshot> {
        let snapshot = Snapshot { size, ..snapshot(generation.into()) };
        let (proven, disputed) = (Cell::new(false), Cell::new(false));
        Rc::new(TableSnapshot { copy: snapshot, generation, proven, disputed })
    }

    /// Marks it as used by a worker.
    pub(crate) fn prove(snapshot: &TableSnapshot) {
        snapshot.proven.set(true);
    }
}

#[cfg(test)]
mod tests {
    use super::testing::snapshot;
    use super::*;

    fn serves(snapshots: &Snapshots) -> Option<u32> {
        snapshots.current().map(|snapshot| snapshot.generation)
    }

    /// Snapshots of which the first `good` have been in use, and one more that no worker has tried.
    fn after(good: u32) -> Snapshots {
        let mut snapshots = Snapshots::default();
        for generation in 1..=good {
            snapshots.accept(snapshot(generation.into()));
            assert_eq!(snapshots.loaded(generation), Outcome::Stays);
        }
        snapshots.accept(snapshot(u64::from(good) + 1));
        snapshots
    }

    #[test]
    fn first_failure_of_a_snapshot_brings_back_the_previous_one() {
        for failure in [LoadFailure::Refused, LoadFailure::Died] {
            let mut snapshots = after(1);
            assert_eq!(snapshots.load_failed(2, failure, true), Outcome::Suspect);
            assert_eq!(serves(&snapshots), Some(1));
            assert_eq!(
                snapshots.suspect().map(|(snapshot, why)| (snapshot.generation, why)),
                Some((2, failure))
            );
            assert!(snapshots.knows(&snapshot(2).identity, true), "this version is not copied again");
            assert!(!snapshots.knows(&snapshot(3).identity, true));
        }
    }

    #[test]
    fn second_failure_of_a_snapshot_is_final_until_the_file_changes() {
        let mut snapshots = after(1);
        snapshots.load_failed(2, LoadFailure::Died, true);
        assert_eq!(snapshots.load_failed(2, LoadFailure::Died, true), Outcome::Rejected);
        assert!(snapshots.suspect().is_none(), "no third worker gets it");
        assert_eq!(serves(&snapshots), Some(1));
        assert!(snapshots.knows(&snapshot(2).identity, true));
        snapshots.accept(snapshot(3));
        assert_eq!(serves(&snapshots), Some(3));
        assert!(!snapshots.knows(&snapshot(2).identity, true));
    }

    #[test]
    fn failed_first_snapshot_leaves_nothing() {
        let mut snapshots = after(0);
        assert_eq!(snapshots.load_failed(1, LoadFailure::Died, true), Outcome::Suspect);
        assert_eq!(serves(&snapshots), None);
        assert_eq!(snapshots.loaded(1), Outcome::Restored);
        assert_eq!(serves(&snapshots), Some(1));
    }

    #[test]
    fn once_loaded_by_any_worker_no_other_can_take_it_back() {
        let mut snapshots = after(1);
        assert_eq!(snapshots.loaded(2), Outcome::Stays);
        assert_eq!(snapshots.load_failed(2, LoadFailure::Refused, true), Outcome::Disputed, "worth a line");
        for failure in [LoadFailure::Refused, LoadFailure::Died, LoadFailure::Refused] {
            assert_eq!(snapshots.load_failed(2, failure, true), Outcome::Stays, "one line");
        }
        assert_eq!(serves(&snapshots), Some(2));
        assert!(snapshots.suspect().is_none());
    }

    #[test]
    fn snapshot_that_one_refuses_and_another_loads_is_served() {
        let mut snapshots = after(1);
        snapshots.load_failed(2, LoadFailure::Refused, true);
        assert_eq!(snapshots.loaded(2), Outcome::Restored);
        assert_eq!(serves(&snapshots), Some(2));
        assert_eq!(snapshots.load_failed(2, LoadFailure::Refused, true), Outcome::Disputed);
        assert_eq!(serves(&snapshots), Some(2));
    }

    #[test]
    fn what_was_not_sent_changes_nothing() {
        let mut snapshots = after(2);
        assert_eq!(snapshots.load_failed(1, LoadFailure::Refused, true), Outcome::Stays);
        assert_eq!(snapshots.loaded(1), Outcome::Stays);
        assert_eq!(serves(&snapshots), Some(3));
        assert!(snapshots.awaits_trial());
        snapshots.loaded(3);
        assert!(!snapshots.awaits_trial());
    }

    #[test]
    fn good_snapshot_outlives_many_that_no_worker_has_tried() {
        let mut snapshots = after(1);
        snapshots.accept(snapshot(3));
        snapshots.accept(snapshot(4));
        assert_eq!(serves(&snapshots), Some(4));
        snapshots.load_failed(4, LoadFailure::Refused, true);
        assert_eq!(serves(&snapshots), Some(1));
    }

    #[test]
    fn snapshot_that_is_refused_without_room_for_it_is_copied_again_once_there_is() {
        let mut snapshots = after(1);
        assert_eq!(snapshots.load_failed(2, LoadFailure::Refused, false), Outcome::Deferred);
        assert!(snapshots.suspect().is_none());
        assert_eq!(serves(&snapshots), Some(1));
        assert!(snapshots.knows(&snapshot(2).identity, false), "not before");
        assert!(!snapshots.knows(&snapshot(2).identity, true));
        snapshots.accept(snapshot(2));
        assert_eq!(serves(&snapshots), Some(3), "the same file");
        assert_eq!(snapshots.load_failed(3, LoadFailure::Refused, true), Outcome::Suspect);
        assert_eq!(snapshots.load_failed(3, LoadFailure::Refused, true), Outcome::Rejected);
        assert!(snapshots.knows(&snapshot(2).identity, true));
    }

    #[test]
    fn without_room_one_crash_is_final() {
        let mut snapshots = after(1);
        assert_eq!(snapshots.load_failed(2, LoadFailure::Died, false), Outcome::Rejected);
        assert!(snapshots.suspect().is_none() && snapshots.knows(&snapshot(2).identity, true));
        assert_eq!(serves(&snapshots), Some(1));
    }
}
