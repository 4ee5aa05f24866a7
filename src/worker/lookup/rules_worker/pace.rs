//! Whose question is answered next.
//!
//! Tables take turns. Within a table, questions are answered in the order of their arrival, except that whoever has used
//! much of the table's time comes after those who have not: first among the askers, then among the clients of one asker,
//! so that nothing that an asker says about its clients takes time from another asker's. A table in which a lookup took
//! long rests while others are asked.
//!
//! May: compute with times that it is given. Never: read the clock, or know an asker or a client by more than its number.

mod debts;

use debts::Debts;
use mapkeep_proto::TableId;
use mapkeep_sys::deadline;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// After a lookup that took so long its table rests, while others ask; and one that can be interrupted is.
pub(super) const LONG: Duration = Duration::from_millis(20);
/// Somebody who has asked within this time is expected to ask again.
const QUIET: Duration = Duration::from_secs(1);
/// No table rests for longer. A question is given up after a minute.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// How much longer than what it has used somebody stands behind others of the same table, for each that waits there.
const DEBT: u32 = 2;

/// Whose a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who {
    /// Our number of the asker.
    pub(super) asker: u64,
    /// The asker's number of its client.
    pub(super) client: u64,
}

/// The question that is to be answered now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn<Q> {
    pub(super) table: TableId,
    pub(super) who: Who,
    pub(super) question: Q,
}

/// Questions `Q` that wait, and what is known of those who ask.
#[derive(Debug)]
pub(super) struct Pace<Q> {
    tables: BTreeMap<TableId, Queue<Q>>,
    debts: Debts,
    lately: Lately,
    /// Questions that have come, and turns that tables have had.
    joined: u64,
    served: u64,
}

/// Those who wait for one table.
#[derive(Debug)]
struct Queue<Q> {
    askers: BTreeMap<u64, Standing<Q>>,
    rests_until: Option<Instant>,
    /// How long the last lookup took.
    took: Option<Duration>,
    /// When it was served last, as a number that grows.
    served: u64,
}

/// One asker's questions for one table.
#[derive(Debug)]
struct Standing<Q> {
    /// By the place where each stands, with the number of its client.
    questions: BTreeMap<Place, (u64, Q)>,
    /// Until when the asker has taken more than its share of this table.
    owes_until: Option<Instant>,
}

/// Since when it waits, its debt added, and in which order it came.
pub(super) type Place = (Instant, u64);

impl<Q> Default for Pace<Q> {
    fn default() -> Pace<Q> {
        let (tables, debts, lately) = (BTreeMap::new(), Debts::default(), Lately::default());
        Pace { tables, debts, lately, joined: 0, served: 0 }
    }
}

impl<Q> Queue<Q> {
    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }

    /// Whether it is one that takes long, and wants time.
    fn is_slow(&self, now: Instant) -> bool {
        let is_here = self.rests(now) || self.askers.values().any(|standing| !standing.questions.is_empty());
        is_here && self.took.is_some_and(|took| took >= LONG)
    }

    /// Where the first of those waits who `may` be answered, and who it is.
    fn first(&self, may: &impl Fn(u64) -> bool) -> Option<(Place, Who)> {
        let firsts = self.askers.iter().filter(|(asker, _)| may(**asker)).filter_map(|(asker, standing)| {
            let (place, (client, _)) = standing.questions.first_key_value()?;
            let since = standing.owes_until.map_or(place.0, |owes| owes.max(place.0));
            Some((since, *place, Who { asker: *asker, client: *client }))
        });
        firsts.min().map(|(_, place, who)| (place, who))
    }
}

impl<Q> Pace<Q> {
    /// A question waits, behind all who have waited for the table as long or longer. Says where it stands.
    pub(super) fn join(&mut self, table: TableId, who: Who, question: Q, now: Instant) -> Place {
        let since = self.debts.of(who).map_or(now, |owes| owes.max(now));
        self.joined = self.joined.saturating_add(1);
        let queue = self.tables.entry(table).or_insert_with(|| Queue {
            askers: BTreeMap::new(),
            rests_until: None,
            took: None,
            served: 0,
        });
        let standing = queue
            .askers
            .entry(who.asker)
            .or_insert_with(|| Standing { questions: BTreeMap::new(), owes_until: None });
        let place = (since, self.joined);
        standing.questions.insert(place, (who.client, question));
        place
    }

    /// Takes out a question that nobody asks any more, by the place where it stands.
    pub(super) fn withdraw(&mut self, table: TableId, asker: u64, place: Place) -> Option<Q> {
        let standing = self.tables.get_mut(&table)?.askers.get_mut(&asker)?;
        standing.questions.remove(&place).map(|(_, question)| question)
    }

    /// Takes out the question that is to be answered now, of askers that `may` be answered. A table that rests comes last,
    /// and only if nobody but that client has asked for anything lately.
    pub(super) fn next(&mut self, now: Instant, may: impl Fn(u64) -> bool) -> Option<Turn<Q>> {
        let ready = self.tables.iter().filter_map(|(table, queue)| {
            let (place, who) = queue.first(&may)?;
            let rests = queue.rests(now);
            (!rests || self.lately.is_alone(who, now)).then_some(((rests, queue.served), *table, place, who))
        });
        let (_, table, place, who) = ready.min_by_key(|(turn, ..)| *turn)?;
        self.served = self.served.saturating_add(1);
        let queue = self.tables.get_mut(&table)?;
        queue.served = self.served;
        let (_, question) = queue.askers.get_mut(&who.asker)?.questions.remove(&place)?;
        Some(Turn { table, who, question })
    }

    /// When to look again for a question that can be answered, if any waits of an asker that `may` be answered.
    pub(super) fn next_moment(&self, now: Instant, may: impl Fn(u64) -> bool) -> Option<Instant> {
        let moments = self.tables.values().filter_map(|queue| {
            let (_, who) = queue.first(&may)?;
            let rests_until =
                queue.rests_until.filter(|until| *until > now && !self.lately.is_alone(who, now));
            Some(
                rests_until.map_or(now, |until| now.checked_add(QUIET).map_or(until, |last| last.min(until))),
            )
        });
        moments.min()
    }

    /// Whether a lookup in `table` is expected to be over soon.
    pub(super) fn is_quick(&self, table: TableId) -> bool {
        self.tables.get(&table).and_then(|queue| queue.took).is_some_and(|took| took < LONG)
    }

    /// What follows from a lookup: who has asked lately, who owes time, and which table rests.
    pub(super) fn ended(&mut self, table: TableId, who: Who, took: Duration, now: Instant) {
        let slow = self.tables.iter().filter(|(other, queue)| **other != table && queue.is_slow(now)).count();
        let Some(queue) = self.tables.get_mut(&table) else { return };
        queue.took = Some(took);
        if took < LONG {
            self.lately.note(who, now);
        } else {
            // As long as it took, and twice as long for each other such table: so all of them together take no more than
            // half of the time.
            let rest = took.saturating_mul(times(2, slow).saturating_add(1));
            queue.rests_until = Some(deadline::after(now, rest.min(LONGEST_REST)));
        }
        let others = queue.askers.iter().filter(|(asker, _)| **asker != who.asker);
        let waiting = others.filter(|(_, standing)| !standing.questions.is_empty()).count();
        let Some(standing) = queue.askers.get_mut(&who.asker) else { return };
        standing.owes_until = debt(standing.owes_until, took, now, waiting);
        let owes = debt(self.debts.of(who), took, now, standing.questions.len());
        self.debts.set(who, owes, now);
    }

    /// An asker has gone, with all that it has asked.
    pub(super) fn forget(&mut self, asker: u64) {
        self.tables.values_mut().for_each(|queue| drop(queue.askers.remove(&asker)));
        self.debts.forget(asker);
    }

    /// Forgets what means nothing any more.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.tables.retain(|_, queue| {
            queue.askers.retain(|_, standing| {
                !standing.questions.is_empty() || standing.owes_until.is_some_and(|owes| owes > now)
            });
            !queue.askers.is_empty() || queue.rests(now)
        });
        self.debts.tidy(now);
    }
}

/// Who has asked lately, but for lookups that took long: the last two, which is enough to tell whether it was one alone.
#[derive(Debug, Default)]
struct Lately([Option<(Who, Instant)>; 2]);

impl Lately {
    fn note(&mut self, who: Who, now: Instant) {
        let [last, before] = &mut self.0;
        if last.is_some_and(|(other, _)| other != who) {
            *before = *last;
        }
        *last = Some((who, now));
    }

    /// Whether nobody else has asked lately.
    fn is_alone(&self, who: Who, now: Instant) -> bool {
        let late = |moment: Instant| deadline::has_passed(moment, QUIET, now);
        self.0.iter().flatten().all(|(other, moment)| *other == who || late(*moment))
    }
}

/// Until when somebody who has used so much stands behind others of the same table, `waiting` of which wait.
fn debt(before: Option<Instant>, used: Duration, now: Instant, waiting: usize) -> Option<Instant> {
    before.map_or(now, |before| before.max(now)).checked_add(used.saturating_mul(times(DEBT, waiting)))
}

fn times(factor: u32, count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).saturating_mul(factor)
}

#[cfg(test)]
mod tests;
