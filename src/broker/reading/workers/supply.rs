//! The snapshots that a worker has yet to get, and those that it has been sent and not yet answered.
//!
//! A table that waits is a number in a list: what is sent is the newest snapshot when its turn comes. Few are in flight
//! at a time, one of them large, and no two of one table; so neither the channel nor memory fills up, however many
//! tables there are and however often they change. The worker loads them in the order in which they come.

use crate::tables::{Offer, TableSnapshot};
use mapkeep_proto::TableId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Limit of snapshots in flight to a worker,
const WINDOW: usize = 64;
/// and of the bytes of the small ones among them. A snapshot that has more is large; one of those is in flight at a
/// time.
const WINDOW_BYTES: u64 = 1 << 20;
/// Limit of tables that are passed over at a time, each until a worker has sent an answer.
const SKIPS: usize = 1024;
/// How long a worker may take to load the snapshot that it has had longest,
const LOAD_TIME: Duration = Duration::from_secs(60);
/// plus one second for each block of this many bytes.
const SLOWEST_LOAD: u64 = 1 << 20;

/// A snapshot that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) table: TableId,
    pub(crate) generation: u32,
    pub(crate) size: u64,
    /// Whether a worker had switched to it before it was sent.
    pub(crate) proven: bool,
}

impl Load {
    fn of(table: TableId, snapshot: &TableSnapshot) -> Load {
        let (generation, size) = (snapshot.generation, snapshot.copy.size);
        Load { table, generation, size, proven: snapshot.is_proven() }
    }
}

/// What a worker crashed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// It was loading nothing, or only snapshots that others have in use.
    Nobody,
    /// It was loading this, and otherwise only snapshots that others have in use.
    One(Load),
    /// It was loading several that no worker has in use: from now on each worker gets such snapshots one by one.
    OneOfSome,
}

/// Whether a snapshot may be sent now.
enum Room {
    Now,
    /// Not this one, but smaller ones may.
    ForOthers,
    None,
}

/// The snapshots of one worker.
#[derive(Debug, Default)]
pub(crate) struct Supply {
    /// Tables of which it may lack the newest snapshot, each once, in the order in which they are sent.
    owed: VecDeque<TableId>,
    is_owed: BTreeSet<TableId>,
    /// Tables whose suspect snapshot it will try once it has all others, one at a time and nothing else meanwhile.
    trials: VecDeque<TableId>,
    /// The table whose suspect snapshot it is trying.
    trying: Option<TableId>,
    /// Sent and not yet answered, in the order of sending.
    loading: VecDeque<Load>,
    /// When the first of them became the first.
    first_since: Option<Instant>,
    /// Which snapshot of each table it has in use.
    holds: BTreeMap<TableId, u32>,
    /// Tables of which it has no snapshot yet, and has not answered.
    unsettled: BTreeSet<TableId>,
}

impl Supply {
    /// For a worker that has nothing yet: `tables` in this order, then the suspect snapshots of `trials`.
    pub(crate) fn new(
        tables: impl IntoIterator<Item = TableId>,
        trials: impl IntoIterator<Item = TableId>,
    ) -> Supply {
        let mut supply = Supply { trials: trials.into_iter().collect(), ..Supply::default() };
        tables.into_iter().for_each(|table| supply.owe(table));
        supply
    }

    /// It must also try the suspect snapshot of this table.
    pub(crate) fn owe_trial(&mut self, table: TableId) {
        if !self.is_to_try(table) {
            self.trials.push_back(table);
        }
    }

    /// Whether it will try, or is trying, the suspect snapshot of this table.
    pub(crate) fn is_to_try(&self, table: TableId) -> bool {
        self.trying == Some(table) || self.trials.contains(&table)
    }

    /// There may be something new about this table.
    pub(crate) fn owe(&mut self, table: TableId) {
        if !self.holds.contains_key(&table) {
            self.unsettled.insert(table);
        }
        if self.is_owed.insert(table) {
            self.owed.push_back(table);
        }
    }

    /// The next thing to send, if it may be sent now. `offer` returns what there is of a table, or with `true` its
    /// suspect snapshot. `careful`: a worker has crashed on one of several snapshots, so those that no worker has in
    /// use are sent one by one.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        careful: bool,
        offer: impl Fn(TableId, bool) -> Offer,
    ) -> Option<(TableId, Offer)> {
        if self.trying.is_some() {
            return None;
        }
        // Refreshes wait now; otherwise tables that change all the time would keep it from its trials, and so from
        // serving.
        if !self.trials.is_empty() && self.unsettled.is_empty() {
            let trial = self.next_trial(now, &offer);
            if trial.is_some() || !self.trials.is_empty() {
                return trial;
            }
        }
        let mut skipped = 0;
        for _ in 0..self.owed.len() {
            if self.loading.len() >= WINDOW || skipped >= SKIPS {
                return None;
            }
            let table = self.owed.pop_front()?;
            let mut deferred = |owed: &mut VecDeque<TableId>| {
                owed.push_back(table);
                skipped += 1;
            };
            // It waits for the answer to that one.
            if self.is_on_its_way(table) {
                deferred(&mut self.owed);
                continue;
            }
            let what = offer(table, false);
            match &what {
                Offer::Snapshot(_, snapshot) => {
                    let load = Load::of(table, snapshot);
                    if self.holds.get(&table) == Some(&load.generation) {
                        self.drop_debt(table);
                        continue;
                    }
                    if careful && !load.proven && self.loading.iter().any(|load| !load.proven) {
                        deferred(&mut self.owed);
                        continue;
                    }
                    match self.has_room_for(&load) {
                        Room::Now => {}
                        Room::ForOthers => {
                            deferred(&mut self.owed);
                            continue;
                        }
                        Room::None => {
                            self.owed.push_front(table);
                            return None;
                        }
                    }
                    self.is_owed.remove(&table);
                    self.sent(load, now);
                }
                Offer::Unavailable(_) => self.drop_debt(table),
                Offer::Later => {
                    deferred(&mut self.owed);
                    continue;
                }
                Offer::Nothing => {
                    self.drop_debt(table);
                    continue;
                }
            }
            return Some((table, what));
        }
        self.next_trial(now, offer)
    }

    fn has_room_for(&self, load: &Load) -> Room {
        let (large, small): (Vec<u64>, Vec<u64>) =
            self.loading.iter().map(|load| load.size).partition(|size| *size > WINDOW_BYTES);
        let bytes = small.iter().fold(load.size, |sum, size| sum.saturating_add(*size));
        match load.size > WINDOW_BYTES {
            true if large.is_empty() => Room::Now,
            true => Room::ForOthers,
            false if bytes <= WINDOW_BYTES => Room::Now,
            false => Room::None,
        }
    }

    fn next_trial(
        &mut self,
        now: Instant,
        offer: impl Fn(TableId, bool) -> Offer,
    ) -> Option<(TableId, Offer)> {
        if !self.loading.is_empty() {
            return None;
        }
        while let Some(table) = self.trials.pop_front() {
            if let Offer::Snapshot(kind, snapshot) = offer(table, true) {
                self.sent(Load::of(table, &snapshot), now);
                self.trying = Some(table);
                return Some((table, Offer::Snapshot(kind, snapshot)));
            }
            // It has been tried by now, or the file has changed.
        }
        None
    }

    fn drop_debt(&mut self, table: TableId) {
        self.is_owed.remove(&table);
        self.unsettled.remove(&table);
    }

    fn sent(&mut self, load: Load, now: Instant) {
        if self.loading.is_empty() {
            self.first_since = Some(now);
        }
        self.loading.push_back(load);
    }

    /// The worker has answered for a snapshot: `in_use`, or not. False if it was not sent.
    pub(crate) fn answered(&mut self, table: TableId, generation: u32, in_use: bool, now: Instant) -> bool {
        let sent = |load: &Load| load.table == table && load.generation == generation;
        let Some(position) = self.loading.iter().position(sent) else { return false };
        self.loading.remove(position);
        if position == 0 {
            self.first_since = Some(now);
        }
        if in_use {
            self.holds.insert(table, generation);
        }
        self.trying.take_if(|trying| *trying == table);
        self.unsettled.remove(&table);
        true
    }

    /// What it crashed on, if it crashed while loading; the last `unsent` snapshots have not reached it.
    pub(crate) fn blame(&self, unsent: usize) -> Blame {
        let reached = self.loading.iter().take(self.loading.len().saturating_sub(unsent));
        let mut suspects = reached.filter(|load| !load.proven);
        match (suspects.next(), suspects.next()) {
            (None, _) => Blame::Nobody,
            (Some(load), None) => Blame::One(*load),
            (Some(_), Some(_)) => Blame::OneOfSome,
        }
    }

    /// Whether it takes too long to load the snapshot that it has had longest.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        let (Some(first), Some(since)) = (self.loading.front(), self.first_since) else { return false };
        let allowed = LOAD_TIME.saturating_add(Duration::from_secs(first.size / SLOWEST_LOAD));
        now.saturating_duration_since(since) > allowed
    }

    /// Whether it has every table that has a snapshot it can load, and has finished its trials.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled.is_empty() && self.trials.is_empty() && self.trying.is_none()
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.loading.is_empty()
    }

    /// The bytes in flight.
    pub(crate) fn bytes(&self) -> u64 {
        self.loading.iter().fold(0, |sum, load| load.size.saturating_add(sum))
    }

    /// Whether a snapshot of this table has yet to be sent or answered.
    pub(crate) fn awaits(&self, table: TableId) -> bool {
        self.is_owed.contains(&table) || self.is_on_its_way(table)
    }

    fn is_on_its_way(&self, table: TableId) -> bool {
        self.loading.iter().any(|load| load.table == table)
    }
}

#[cfg(test)]
mod tests;
