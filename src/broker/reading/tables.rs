//! The approved tables as the broker keeps them: which content is current, and what to look at next.
//!
//! Every turn of the event loop has a bounded share of looking and copying; tables take turns, so that none of them,
//! and no client, waits for another's file. What is kept is bounded as well: see [`Tables::work`].
//!
//! May: open approved files through `trust`, copy them through `snapshot`. Never: look into the content.
//!
//! | file | purpose |
//! |---|---|
//! | `entry.rs` | one table: from a look at its file to a copy |
//! | `contents.rs` | which of its contents workers get |
//! | `pace.rs` | how often it may be copied |
//! | `surroundings.rs` | what every look needs, and how often there is one |

mod contents;
mod entry;
mod pace;
mod surroundings;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use contents::testing;
pub(crate) use contents::{Against, Content};
pub(crate) use entry::Entry;
use mapkeep_broker_trust as trust;
use mapkeep_broker_trust::{Anchor, Holder, Owners, Refusal};
use mapkeep_name::Kind;
use mapkeep_proto::{Duty, Listed, TableId, Unavailable};
use std::collections::BTreeSet;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use surroundings::Surroundings;

/// Bytes copied in one turn of the event loop: some milliseconds.
const TURN: usize = 8 << 20;
/// Tables looked at in one turn, at most.
const LOOKS: usize = 1024;
/// Tables of which two contents are kept because no worker has judged the newer. At this number, no other copy is begun.
const UNJUDGED: usize = 256;
/// Tables of which a doubtful content is kept for another worker.
const DOUBTS: usize = 256;
/// When a copy that must wait for judgements is tried again, if no message comes first.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a worker gets of a table.
#[derive(Debug)]
pub(crate) enum Offer {
    /// This content.
    Content(Kind, Rc<Content>),
    /// None; this is why.
    Unavailable(Unavailable),
    /// Another worker has to judge it first.
    Later,
    /// Nothing: it is its own content.
    Nothing,
}

/// All approved tables, by id.
pub(crate) struct Tables {
    pub(crate) entries: Vec<Entry>,
    around: Surroundings,
    /// Contents that there are descriptors for.
    room: usize,
    /// Contents that are current, all tables together.
    held: usize,
    /// Tables with two contents, and tables with a doubtful one.
    unjudged: usize,
    doubts: usize,
    /// Tables with a file, by the moment at which they are looked at next.
    schedule: BTreeSet<(Instant, u16)>,
    first_pass: bool,
}

#[cfg(test)]
impl Tables {
    /// Tables of these names, each with a content that no worker has judged.
    pub(crate) fn filled(names: impl IntoIterator<Item = String>) -> Tables {
        let listed = |name: String| Listed { name: name.into_bytes(), approved: true, incomplete: false };
        let (list, anchor) = (names.into_iter().map(listed), Anchor::host().unwrap());
        let mut tables = Tables::new(list, anchor, Owners::root(), 1, usize::MAX, Instant::now());
        tables.first_pass = true;
        tables.ids().for_each(|id| tables.put(id));
        tables
    }

    /// The next content of a table.
    pub(crate) fn put(&mut self, id: TableId) {
        self.with(id, |entry, _| {
            let number = entry.contents.current().map_or(1, |content| content.generation + 1);
            entry.contents.accept(testing::snapshot(number.into()));
        });
    }
}

impl Tables {
    /// `limit` is the largest file in bytes, `room` the number of contents that there are descriptors for.
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
        Tables { entries, around, room, held: 0, unjudged: 0, doubts: 0, schedule, first_pass: false }
    }

    /// The directories that hold a table's name and its file, each with the name there, and why there are no more; `None`
    /// for a table without a file. To be called before lock-down: Landlock lets through what is found here.
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

    /// Those that workers of this duty hold.
    pub(crate) fn of_duty(&self, duty: Duty) -> impl Iterator<Item = TableId> {
        self.ids().filter(move |id| self.duty(*id) == Some(duty))
    }

    /// Whose table this is.
    pub(crate) fn duty(&self, id: TableId) -> Option<Duty> {
        self.entries.get(usize::from(id.0)).map(|entry| entry.duty)
    }

    /// What workers get of a table.
    pub(crate) fn offer(&self, id: TableId) -> Offer {
        let Some(entry) = self.entries.get(usize::from(id.0)) else { return Offer::Nothing };
        match (entry.contents.current(), entry.trouble) {
            (Some(content), _) => Offer::Content(entry.kind, Rc::clone(content)),
            // It is about to come, and that is what workers take for granted.
            (None, None) => Offer::Nothing,
            (None, Some(Unavailable::Loading)) if entry.told.is_empty() => Offer::Nothing,
            (None, Some(reason)) => Offer::Unavailable(reason),
        }
    }

    /// The doubtful content of a table, for one more worker. One that a worker has died of only if that is `safe`: if
    /// nobody has to wait for this worker.
    pub(crate) fn doubtful(&self, id: TableId, safe: bool) -> Option<(Kind, Rc<Content>)> {
        let entry = self.entries.get(usize::from(id.0))?;
        let (content, against) = entry.contents.doubted()?;
        (safe || against != Against::Died).then(|| (entry.kind, Rc::clone(content)))
    }

    /// What is said against the doubtful content of a table.
    pub(crate) fn against(&self, id: TableId) -> Option<Against> {
        self.entries.get(usize::from(id.0))?.contents.doubted().map(|(_, against)| against)
    }

    /// Does something with an entry, and keeps the schedule and the counts.
    fn with<R>(&mut self, id: TableId, work: impl FnOnce(&mut Entry, &Surroundings) -> R) -> Option<R> {
        let entry = self.entries.get_mut(usize::from(id.0)).filter(|entry| entry.path.is_some())?;
        let counts = |entry: &Entry| {
            let contents = &entry.contents;
            [contents.current().is_some(), contents.awaits_judgement(), contents.doubted().is_some()]
        };
        let (due, before) = (entry.due, counts(entry));
        let result = work(entry, &self.around);
        let after = counts(entry);
        let sums = [&mut self.held, &mut self.unjudged, &mut self.doubts];
        for ((sum, before), after) in sums.into_iter().zip(before).zip(after) {
            *sum = sum.saturating_add(after.into()).saturating_sub(before.into());
        }
        if entry.due != due {
            self.schedule.remove(&(due, id.0));
            self.schedule.insert((entry.due, id.0));
        }
        Some(result)
    }

    /// Something happened to the file of this table: look at it once it is quiet.
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

    /// A worker has switched to this content. True if others must be told.
    pub(crate) fn loaded(&mut self, id: TableId, generation: u32, now: Instant) -> bool {
        self.with(id, |entry, _| entry.loaded(generation, now)).unwrap_or_default()
    }

    /// A worker has refused this content, or died of it. True if others must be told.
    pub(crate) fn judged_against(
        &mut self,
        id: TableId,
        generation: u32,
        against: Against,
        now: Instant,
    ) -> bool {
        let room = self.doubts < DOUBTS;
        self.with(id, |entry, _| entry.judged_against(generation, against, room, now)).unwrap_or_default()
    }

    /// When the next look is due.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        let (due, _) = *self.schedule.first()?;
        // Those that wait for judgements are past due; their turn comes when a worker has answered.
        let earliest = if self.unjudged < UNJUDGED { now } else { now.checked_add(PATIENCE)? };
        Some(due.max(earliest))
    }

    /// Whether every table has been looked at once, except those that a writer holds locked.
    pub(crate) fn first_pass_is_done(&self) -> bool {
        self.first_pass
    }

    fn look_for_first_pass(&mut self) {
        let waits = |entry: &Entry| entry.trouble == Some(Unavailable::Loading) && entry.told.is_empty();
        self.first_pass = self.first_pass || !self.entries.iter().any(waits);
    }

    /// Does what is due, for a bounded time, and says of which tables workers have to be told. `on_the_way` says
    /// whether a worker has not yet answered for the last content of a table.
    ///
    /// Each table has one content that is served; one more, at most, while no worker has judged the newer, and no
    /// third is copied before that; and one more if it is doubtful. Few tables at a time have more than one.
    pub(crate) fn work(&mut self, now: Instant, on_the_way: impl Fn(TableId) -> bool) -> Vec<TableId> {
        let mut changes = Vec::new();
        let mut left = TURN;
        let due: Vec<u16> = {
            let due = self.schedule.range(..=(now, u16::MAX)).map(|(_, index)| *index);
            let crowded = self.unjudged >= UNJUDGED;
            let may = |index: &u16| {
                !crowded || self.entries.get(usize::from(*index)).is_some_and(Entry::is_copying)
            };
            due.filter(may).take(LOOKS).collect()
        };
        for id in due.into_iter().map(TableId) {
            let way = on_the_way(id);
            let full = self.held >= self.room;
            let room = self.doubts < DOUBTS;
            let looked = self.with(id, |entry, around| match full && entry.contents.current().is_none() {
                true => entry.leave_out(around, now),
                false => entry.look(around, way, room, now),
            });
            let Some(looked) = looked else { continue };
            if looked.changed {
                changes.push(id);
            }
            left = left.saturating_sub(looked.cost);
            if left == 0 || self.unjudged >= UNJUDGED {
                break;
            }
        }
        self.look_for_first_pass();
        changes
    }
}
