//! How long one client may keep the worker, and who waits meanwhile.
//!
//! Most tables answer in a microsecond, and nobody counts. Tables of rules can take long, and composite tables are made of
//! them: their lookups are measured. What they may use is bounded for a turn of one client and for a slice of all; what is
//! over it waits in a [`Line`], and is served once everybody else has been heard.
//!
//! May: compute with times that it is given. Never: read the clock, or know a client by more than its number.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What one client may use in one turn of tables that are measured. A lookup that has begun is ended.
const TURN: Duration = Duration::from_millis(5);
/// The same for all clients together, before others are heard again.
const SLICE: Duration = Duration::from_millis(25);
/// After a lookup that took so long its table rests, while others ask.
pub(crate) const LONG: Duration = Duration::from_millis(20);
/// The longest rest. With many tables that take long at once, all of them together may take more than half of the time.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// Somebody who has asked within this time is expected to ask again.
const QUIET: Duration = Duration::from_secs(1);
/// How much longer than what it has used a client stands behind others of the same table, for each that waits there.
const DEBT: u32 = 2;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) meter: Meter,
    pub(crate) line: Line,
    pub(crate) askers: Askers,
}

impl Pace {
    /// Whether a lookup in `table`, which is measured, has to wait.
    pub(crate) fn turns_away(&self, table: u32) -> bool {
        let Meter { turn, slice, serving, gone, .. } = &self.meter;
        let first = serving.get() == Some(table);
        let is_over = gone.get() || turn.get() >= TURN;
        is_over || (!first && (!self.line.is_empty() || slice.get() >= SLICE))
    }

    /// Whether any lookup may have to wait.
    pub(crate) fn is_tight(&self) -> bool {
        let Meter { turn, gone, .. } = &self.meter;
        !self.line.is_empty() || gone.get() || turn.get() >= TURN || self.meter.slice_is_over()
    }

    /// The client to be served now of those that wait, and the table for which it does.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(u32, u64)> {
        let Pace { line, askers, .. } = self;
        line.next(now, |client| askers.is_alone(client, now))
    }

    /// Whether there is such a client.
    pub(crate) fn has_next(&self, now: Instant) -> bool {
        self.line.ready(now, |client| self.askers.is_alone(client, now)).next().is_some()
    }

    /// What follows from a turn of a client: who has asked, and which table rests. Gives until when the client owes time.
    pub(crate) fn end_turn(
        &mut self,
        client: u64,
        answered: bool,
        owes: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        let long = self.meter.long.get();
        if answered && long.is_none() {
            self.askers.note(client, now);
        }
        let Some((used, ended)) = self.meter.used() else { return owes };
        let table = long.map(|(table, _)| table).or(self.meter.serving.get());
        if let Some((table, took)) = long {
            self.line.rest(table, took, ended);
        }
        debt(owes, used, ended, table.map_or(0, |table| self.line.length(table)))
    }
}

/// What lookups have used. It is written to while tables are only read, hence the cells.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    slice: Cell<Duration>,
    turn: Cell<Duration>,
    /// When the last measured lookup ended.
    ended: Cell<Option<Instant>>,
    /// The table and the time of a lookup of this turn that took long. No other follows it in the same turn.
    long: Cell<Option<(u32, Duration)>>,
    /// The table whose line is being served.
    serving: Cell<Option<u32>>,
    /// Nobody is there any more to hear what the client whose turn it is has asked.
    gone: Cell<bool>,
}

impl Meter {
    /// Others have been heard.
    pub(crate) fn begin_slice(&self) {
        self.slice.set(Duration::ZERO);
    }

    /// A client has its turn; `serving` is the table for which it stood in line. Of one that has `gone` nothing is asked that is
    /// measured.
    pub(crate) fn begin_turn(&self, serving: Option<u32>, gone: bool) {
        self.gone.set(gone);
        self.turn.set(Duration::ZERO);
        self.long.set(None);
        self.serving.set(serving);
    }

    /// A lookup has taken so long.
    pub(crate) fn note(&self, table: u32, took: Duration, ended: Instant) {
        self.slice.set(self.slice.get().saturating_add(took));
        self.turn.set(self.turn.get().saturating_add(took));
        self.ended.set(Some(ended));
        if took >= LONG {
            self.long.set(Some((table, took)));
        }
    }

    /// Whether lookups that are measured have had their time for now.
    pub(crate) fn slice_is_over(&self) -> bool {
        self.slice.get() >= SLICE
    }

    /// What this turn has used, and when that ended; nothing if nothing was measured.
    pub(crate) fn used(&self) -> Option<(Duration, Instant)> {
        let used = self.turn.get();
        self.ended.get().filter(|_| used > Duration::ZERO).map(|ended| (used, ended))
    }
}

/// Clients that wait for tables that are measured, and tables that rest.
#[derive(Debug, Default)]
pub(crate) struct Line {
    tables: BTreeMap<u32, Queue>,
    served: u64,
}

#[derive(Debug, Default)]
struct Queue {
    /// Since when each waits, its debt added, and its number.
    clients: BTreeSet<(Instant, u64)>,
    rests_until: Option<Instant>,
    /// When it was served last, as a number that grows.
    served: u64,
}

impl Queue {
    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }
}

impl Line {
    /// Whether no client waits and no table rests.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// How many clients wait for `table`.
    fn length(&self, table: u32) -> usize {
        self.tables.get(&table).map_or(0, |queue| queue.clients.len())
    }

    /// A client waits for `table`, behind all who wait since `since` or longer.
    pub(crate) fn join(&mut self, table: u32, client: u64, since: Instant) {
        self.tables.entry(table).or_default().clients.insert((since, client));
    }

    /// A lookup in `table` has taken long: it rests for as long, and for twice as long for each other table that is here.
    /// So all of them together take no more than half of the worker's time, as long as that is no more than [`LONGEST_REST`].
    fn rest(&mut self, table: u32, took: Duration, now: Instant) {
        let others = self.tables.keys().filter(|other| **other != table).count();
        let times = u32::try_from(others).unwrap_or(u32::MAX).saturating_mul(2).saturating_add(1);
        let rest = took.saturating_mul(times).min(LONGEST_REST);
        self.tables.entry(table).or_default().rests_until = now.checked_add(rest);
    }

    /// Forgets tables that nobody waits for and that rest no longer.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.tables.retain(|_, queue| !queue.clients.is_empty() || queue.rests(now));
    }

    /// Takes out the client that is to be served now, with its table. Tables take turns; one that rests comes last, and only if
    /// nobody but that client has asked for anything lately.
    fn next(&mut self, now: Instant, alone: impl Fn(u64) -> bool) -> Option<(u32, u64)> {
        let (table, _) = self.ready(now, alone).min_by_key(|(_, queue)| (queue.rests(now), queue.served))?;
        self.served = self.served.saturating_add(1);
        let queue = self.tables.get_mut(&table)?;
        queue.served = self.served;
        queue.clients.pop_first().map(|(_, client)| (table, client))
    }

    /// The tables of which a client can be served now.
    fn ready(&self, now: Instant, alone: impl Fn(u64) -> bool) -> impl Iterator<Item = (u32, &Queue)> {
        let tables = self.tables.iter().map(|(table, queue)| (*table, queue));
        tables.filter(move |(_, queue)| match queue.clients.first() {
            Some((_, client)) => !queue.rests(now) || alone(*client),
            None => false,
        })
    }

    /// When to look again whether somebody can be served, if anybody waits.
    pub(crate) fn next_moment(&self, now: Instant) -> Option<Instant> {
        let wanted = self.tables.values().filter(|queue| !queue.clients.is_empty());
        let first = wanted.map(|queue| queue.rests_until.unwrap_or(now)).min()?;
        now.checked_add(QUIET).map(|latest| latest.min(first))
    }
}

/// Who has asked lately without standing in line: the last two, which is enough to tell whether it was one alone.
#[derive(Debug, Default)]
pub(crate) struct Askers([Option<(u64, Instant)>; 2]);

impl Askers {
    /// A client has asked, or come.
    pub(crate) fn note(&mut self, client: u64, now: Instant) {
        let [last, before] = &mut self.0;
        if last.is_some_and(|(number, _)| number != client) {
            *before = *last;
        }
        *last = Some((client, now));
    }

    /// Whether nobody but `client` has asked lately.
    fn is_alone(&self, client: u64, now: Instant) -> bool {
        let late = |moment: Instant| now.saturating_duration_since(moment) >= QUIET;
        self.0.iter().flatten().all(|(number, moment)| *number == client || late(*moment))
    }
}

/// Until when a client stands behind others of the same table, `waiting` of which wait, after it has used so much.
fn debt(before: Option<Instant>, used: Duration, ended: Instant, waiting: usize) -> Option<Instant> {
    let factor = u32::try_from(waiting).unwrap_or(u32::MAX).saturating_mul(DEBT);
    before.map_or(ended, |before| before.max(ended)).checked_add(used.saturating_mul(factor))
}

#[cfg(test)]
mod tests;
