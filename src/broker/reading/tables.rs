//! The approved tables as the broker keeps them: which snapshot is current, and which file to check next.
//!
//! Every turn of the event loop has a bounded share of looking and copying; tables take turns, so that none of them,
//! and no client, waits for another's file. What is kept is bounded as well: see [`Tables::work`].
//!
//! May: open approved files through `trust`, copy them through `snapshot`. Never: look into their contents.
//!
//! | file | purpose |
//! |---|---|
//! | `entry.rs` | one table: from a look at its file to a copy |
//! | `snapshots.rs` | which of its snapshots workers get |
//! | `pace.rs` | how often it may be copied |
//! | `surroundings.rs` | what every look needs, and how often there is one |

mod entry;
mod pace;
mod snapshots;
mod surroundings;

#[cfg(test)]
mod tests;

pub(crate) use entry::Entry;
use mapkeep_broker_trust as trust;
use mapkeep_broker_trust::{Anchor, Holder, Owners, Refusal};
use mapkeep_name::Kind;
use mapkeep_proto::{Duty, Listed, TableId, Unavailable};
#[cfg(test)]
pub(crate) use snapshots::testing;
pub(crate) use snapshots::{LoadFailure, TableSnapshot};
use std::collections::BTreeSet;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use surroundings::Surroundings;

/// Bytes copied in one turn of the event loop: some milliseconds.
const TURN: usize = 8 << 20;
/// Tables looked at in one turn, at most.
const LOOKS: usize = 1024;
/// Limit of tables with two snapshots because no worker has tried the newer one. At this number, no other copy is
/// begun.
const UNTRIED: usize = 256;
/// Limit of tables with a suspect snapshot that is kept for a trial by another worker.
const SUSPECTS: usize = 256;
/// After this time, a copy that must wait for trials is attempted again even if no worker has answered.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a worker is sent about a table.
#[derive(Debug)]
pub(crate) enum Offer {
    /// This snapshot.
    Snapshot(Kind, Rc<TableSnapshot>),
    /// There is none, for this reason.
    Unavailable(Unavailable),
    /// Another worker must try it first.
    Later,
    /// Nothing: the table needs no snapshot.
    Nothing,
}

/// All approved tables, by id.
pub(crate) struct Tables {
    pub(crate) entries: Vec<Entry>,
    around: Surroundings,
    /// The number of snapshots that there are descriptors for.
    room: usize,
    /// Current snapshots, of all tables together.
    held: usize,
    /// Tables with two snapshots, and tables with a suspect one.
    untried: usize,
    suspects: usize,
    /// Tables with a file, by the time of their next check.
    schedule: BTreeSet<(Instant, u16)>,
    first_pass: bool,
}

#[cfg(test)]
impl Tables {
    /// Tables of these names, each with a snapshot that no worker has tried.
    pub(crate) fn filled(names: impl IntoIterator<Item = String>) -> Tables {
        let listed = |name: String| Listed { name: name.into_bytes(), approved: true, incomplete: false };
        let (list, anchor) = (names.into_iter().map(listed), Anchor::host().unwrap());
        let mut tables = Tables::new(list, anchor, Owners::root(), 1, usize::MAX, Instant::now());
        tables.first_pass = true;
        tables.ids().for_each(|id| tables.put(id));
        tables
    }

    /// Adds the next snapshot of a table.
    pub(crate) fn put(&mut self, id: TableId) {
        self.with(id, |entry, _| {
            let number = entry.snapshots.current().map_or(1, |snapshot| snapshot.generation + 1);
            entry.snapshots.accept(testing::snapshot(number.into()));
        });
    }
}

impl Tables {
    /// `limit` is the largest file in bytes, `room` the number of snapshots that there are descriptors for.
    pub(crate) fn new(
        list: impl IntoIterator<Item = Listed>,
        anchor: Anchor,
        owners: Owners,
        limit: u64,
        room: usize,
        now: Instant,
    ) -> Tables {
        let entries: Vec<Entry> = list.into_iter().map(|table| Entry::new(table, now)).collect();
        let schedule = (0u16..).zip(&entries).filter(|(_, entry)| entry.path.is_some());
        let schedule = schedule.map(|(index, entry)| (entry.due, index)).collect();
        let files = entries.iter().filter(|entry| entry.path.is_some()).count();
        let around = Surroundings::new(anchor, owners, limit, files);
        Tables { entries, around, room, held: 0, untried: 0, suspects: 0, schedule, first_pass: false }
    }

    /// The directories that hold a table's name and its file, each with the name in it, and the reason why the walk
    /// ended early, if it did; `None` for a table without a file. Must be called before lock-down: the Landlock rules
    /// allow what is found here.
    pub(crate) fn holders(&self, index: usize) -> Option<(Vec<Holder>, Option<Refusal>)> {
        let path = self.entries.get(index)?.path.as_ref()?;
        Some(trust::holders(&self.around.anchor, path, &self.around.owners))
    }

    /// The descriptors of the anchor directories.
    pub(crate) fn anchor_descriptors(&self) -> [RawFd; 2] {
        self.around.anchor.descriptors()
    }

    /// All ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = TableId> + use<> {
        (0..u16::try_from(self.entries.len()).unwrap_or(u16::MAX)).map(TableId)
    }

    /// The tables that workers of this duty have.
    pub(crate) fn of_duty(&self, duty: Duty) -> impl Iterator<Item = TableId> {
        self.ids().filter(move |id| self.duty(*id) == Some(duty))
    }

    /// The duty of the workers that have this table.
    pub(crate) fn duty(&self, id: TableId) -> Option<Duty> {
        self.entries.get(usize::from(id.0)).map(|entry| entry.duty)
    }

    /// What workers are sent about a table.
    pub(crate) fn offer(&self, id: TableId) -> Offer {
        let Some(entry) = self.entries.get(usize::from(id.0)) else { return Offer::Nothing };
        match (entry.snapshots.current(), entry.trouble) {
            (Some(snapshot), _) => Offer::Snapshot(entry.kind, Rc::clone(snapshot)),
            // The snapshot is about to be made; until they are told otherwise, workers assume just that.
            (None, None) => Offer::Nothing,
            (None, Some(Unavailable::Loading)) if entry.told.is_empty() => Offer::Nothing,
            (None, Some(reason)) => Offer::Unavailable(reason),
        }
    }

    /// The suspect snapshot of a table, for a trial by one more worker. One that has crashed a worker is returned only
    /// if `safe` is true: no client waits for this worker.
    pub(crate) fn suspect(&self, id: TableId, safe: bool) -> Option<(Kind, Rc<TableSnapshot>)> {
        let entry = self.entries.get(usize::from(id.0))?;
        let (snapshot, failure) = entry.snapshots.suspect()?;
        (safe || failure != LoadFailure::Died).then(|| (entry.kind, Rc::clone(snapshot)))
    }

    /// How the suspect snapshot of a table failed.
    pub(crate) fn failure(&self, id: TableId) -> Option<LoadFailure> {
        self.entries.get(usize::from(id.0))?.snapshots.suspect().map(|(_, failure)| failure)
    }

    /// Runs `work` on an entry, and updates the schedule and the counts.
    fn with<R>(&mut self, id: TableId, work: impl FnOnce(&mut Entry, &Surroundings) -> R) -> Option<R> {
        let entry = self.entries.get_mut(usize::from(id.0)).filter(|entry| entry.path.is_some())?;
        let counts = |entry: &Entry| {
            let snapshots = &entry.snapshots;
            [snapshots.current().is_some(), snapshots.awaits_trial(), snapshots.suspect().is_some()]
        };
        let (due, before) = (entry.due, counts(entry));
        let result = work(entry, &self.around);
        let after = counts(entry);
        let sums = [&mut self.held, &mut self.untried, &mut self.suspects];
        for ((sum, before), after) in sums.into_iter().zip(before).zip(after) {
            *sum = sum.saturating_add(after.into()).saturating_sub(before.into());
        }
        if entry.due != due {
            self.schedule.remove(&(due, id.0));
            self.schedule.insert((entry.due, id.0));
        }
        Some(result)
    }

    /// Something happened to the file of this table: check it once it is quiet.
    pub(crate) fn touched(&mut self, id: TableId, now: Instant) {
        self.with(id, |entry, _| entry.touched(now));
    }

    /// inotify has lost this table's directory.
    pub(crate) fn unwatch(&mut self, id: TableId, now: Instant) {
        self.with(id, |entry, _| {
            entry.watched = false;
            entry.touched(now);
        });
    }

    /// A worker has switched to this snapshot. True if others must be told.
    pub(crate) fn loaded(&mut self, id: TableId, generation: u32, now: Instant) -> bool {
        self.with(id, |entry, _| entry.loaded(generation, now)).unwrap_or_default()
    }

    /// A worker has refused this snapshot, or crashed on it. True if others must be told.
    pub(crate) fn load_failed(
        &mut self,
        id: TableId,
        generation: u32,
        failure: LoadFailure,
        now: Instant,
    ) -> bool {
        let room = self.suspects < SUSPECTS;
        self.with(id, |entry, _| entry.load_failed(generation, failure, room, now)).unwrap_or_default()
    }

    /// When the next check is due.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        let (due, _) = *self.schedule.first()?;
        // Tables that wait for trials are overdue; their turn comes when a worker has answered.
        let earliest = if self.untried < UNTRIED { now } else { now.checked_add(PATIENCE)? };
        Some(due.max(earliest))
    }

    /// Whether every table has been checked once, except those that a writer has locked.
    pub(crate) fn first_pass_is_done(&self) -> bool {
        self.first_pass
    }

    fn look_for_first_pass(&mut self) {
        let waits = |entry: &Entry| entry.trouble == Some(Unavailable::Loading) && entry.told.is_empty();
        self.first_pass = self.first_pass || !self.entries.iter().any(waits);
    }

    /// Does what is due, for a bounded time, and returns the tables that workers must be told about. `on_the_way` tells
    /// whether a worker has yet to answer for the last snapshot of a table.
    ///
    /// Each table has one snapshot that is served; a second one while no worker has tried the newer of the two, before
    /// which no third is copied; and one more if that is suspect. Few tables at a time have more than one.
    pub(crate) fn work(&mut self, now: Instant, on_the_way: impl Fn(TableId) -> bool) -> Vec<TableId> {
        let mut changes = Vec::new();
        let mut left = TURN;
        let due: Vec<u16> = {
            let due = self.schedule.range(..=(now, u16::MAX)).map(|(_, index)| *index);
            let crowded = self.untried >= UNTRIED;
            let may = |index: &u16| {
                !crowded || self.entries.get(usize::from(*index)).is_some_and(Entry::is_copying)
            };
            due.filter(may).take(LOOKS).collect()
        };
        for id in due.into_iter().map(TableId) {
            let way = on_the_way(id);
            let full = self.held >= self.room;
            let room = self.suspects < SUSPECTS;
            let looked = self.with(id, |entry, around| match full && entry.snapshots.current().is_none() {
                true => entry.leave_out(around, now),
                false => entry.look(around, way, room, now),
            });
            let Some(looked) = looked else { continue };
            if looked.changed {
                changes.push(id);
            }
            left = left.saturating_sub(looked.cost);
            if left == 0 || self.untried >= UNTRIED {
                break;
            }
        }
        self.look_for_first_pass();
        changes
    }
}
