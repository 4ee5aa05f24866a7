//! Questions that wait for a connection: bounded, each with an end, and in fair order.
//!
//! Askers take turns, and within an asker its clients, so that nothing that an asker says of its clients takes a turn from
//! another's. May: compute with times that it is given. Never: read the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Instant;

/// Questions that may wait, of all askers together.
pub(crate) const WAITING: usize = 16_384;

/// Where a question waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Our number of the asker.
    asker: u64,
    /// The asker's number of its client.
    client: u64,
    /// In which order it came.
    number: u64,
}

/// Questions `Q` that wait.
#[derive(Debug)]
pub(crate) struct Queue<Q> {
    askers: BTreeMap<u64, Standing<Q>>,
    /// Until when each may wait.
    ends: BTreeSet<(Instant, Place)>,
    /// Who had the last turn.
    served: u64,
    joined: u64,
}

/// What waits of one asker.
#[derive(Debug)]
struct Standing<Q> {
    /// By client, then in the order in which they came; each with its end.
    clients: BTreeMap<u64, BTreeMap<u64, (Instant, Q)>>,
    count: usize,
    /// Whose client's turn was the last.
    served: u64,
}

/// What has become of a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined<Q> {
    /// It waits.
    Waits(Place),
    /// It waits, and for it the last question of the asker that has most of them goes.
    Instead(Place, Q),
    /// As many wait as may, most of them of this asker.
    Full(Q),
}

impl<Q> Default for Queue<Q> {
    fn default() -> Queue<Q> {
        Queue { askers: BTreeMap::new(), ends: BTreeSet::new(), served: 0, joined: 0 }
    }
}

impl<Q> Queue<Q> {
    /// A question waits until `end`.
    pub(crate) fn join(&mut self, asker: u64, client: u64, end: Instant, question: Q) -> Joined<Q> {
        let mut gone = None;
        if self.len() >= WAITING {
            let count = |standing: &Standing<Q>| standing.count;
            let most =
                self.askers.iter().max_by_key(|(_, standing)| count(standing)).map(|(asker, _)| *asker);
            let own = self.askers.get(&asker).map_or(0, count);
            let victim = most.filter(|most| self.askers.get(most).map_or(0, count) > own.saturating_add(1));
            gone = victim.and_then(|victim| self.last_of(victim)).and_then(|place| self.remove(place));
            if gone.is_none() {
                return Joined::Full(question);
            }
        }
        self.joined = self.joined.saturating_add(1);
        let place = Place { asker, client, number: self.joined };
        let new = || Standing { clients: BTreeMap::new(), count: 0, served: 0 };
        let standing = self.askers.entry(asker).or_insert_with(new);
        standing.clients.entry(client).or_default().insert(place.number, (end, question));
        standing.count = standing.count.saturating_add(1);
        self.ends.insert((end, place));
        match gone {
            None => Joined::Waits(place),
            Some(gone) => Joined::Instead(place, gone),
        }
    }

    /// The place of the last question of the last client of an asker.
    fn last_of(&self, asker: u64) -> Option<Place> {
        let (client, questions) = self.askers.get(&asker)?.clients.last_key_value()?;
        let (number, _) = questions.last_key_value()?;
        Some(Place { asker, client: *client, number: *number })
    }

    /// Takes out the question whose turn it is, of askers that `may` be answered.
    pub(crate) fn next(&mut self, may: impl Fn(u64) -> bool) -> Option<Q> {
        let after = (Excluded(self.served), Unbounded);
        let mut in_turn = self.askers.range(after).chain(self.askers.range(..=self.served));
        let (asker, standing) = in_turn.find(|(asker, _)| may(**asker))?;
        let after = (Excluded(standing.served), Unbounded);
        let mut in_turn = standing.clients.range(after).chain(standing.clients.range(..=standing.served));
        let (client, questions) = in_turn.next()?;
        let (number, _) = questions.first_key_value()?;
        let place = Place { asker: *asker, client: *client, number: *number };
        self.served = place.asker;
        if let Some(standing) = self.askers.get_mut(&place.asker) {
            standing.served = place.client;
        }
        self.remove(place)
    }

    /// Takes out the question at a place.
    pub(crate) fn remove(&mut self, place: Place) -> Option<Q> {
        let standing = self.askers.get_mut(&place.asker)?;
        let questions = standing.clients.get_mut(&place.client)?;
        let (end, question) = questions.remove(&place.number)?;
        standing.count = standing.count.saturating_sub(1);
        if questions.is_empty() {
            standing.clients.remove(&place.client);
        }
        if standing.clients.is_empty() {
            self.askers.remove(&place.asker);
        }
        self.ends.remove(&(end, place));
        Some(question)
    }

    /// Takes out a question whose end has come.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Q> {
        let (_, place) = self.ends.first().copied().filter(|(end, _)| *end <= now)?;
        self.remove(place)
    }

    /// An asker has gone, with all that it has asked.
    pub(crate) fn forget(&mut self, asker: u64) {
        while let Some(place) = self.last_of(asker) {
            drop(self.remove(place));
        }
    }

    /// When the next end comes.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn join<Q: std::fmt::Debug>(queue: &mut Queue<Q>, asker: u64, client: u64, question: Q) -> Place {
        match queue.join(asker, client, Instant::now(), question) {
            Joined::Waits(place) => place,
            other => panic!("{other:?}"),
        }
    }

    fn order(queue: &mut Queue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.next(|_| true)).collect()
    }

    #[test]
    fn askers_take_turns_and_within_each_its_clients() {
        let mut queue = Queue::default();
        for question in ["1a", "1b", "1c"] {
            join(&mut queue, 1, 1, question);
        }
        join(&mut queue, 1, 2, "2a");
        for (client, question) in [(1, "other 1"), (2, "other 2"), (3, "other 3"), (4, "other 4")] {
            join(&mut queue, 2, client, question);
        }
        let expected = ["1a", "other 1", "2a", "other 2", "1b", "other 3", "1c", "other 4"];
        assert_eq!(order(&mut queue), expected);
        assert!(queue.len() == 0 && queue.askers.is_empty());
    }

    #[test]
    fn whoever_may_not_be_answered_is_passed_over() {
        let mut queue = Queue::default();
        join(&mut queue, 1, 1, "mute");
        join(&mut queue, 2, 1, "first");
        join(&mut queue, 2, 1, "second");
        let reads = |asker| asker == 2;
        assert_eq!(
            (queue.next(reads), queue.next(reads), queue.next(reads)),
            (Some("first"), Some("second"), None)
        );
        assert_eq!(queue.next(|_| true), Some("mute"));
    }

    #[test]
    fn questions_end_in_the_order_of_their_ends_and_are_withdrawn_once() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        for (asker, seconds, question) in [(1, 3, "late"), (1, 1, "early"), (2, 2, "middle")] {
            assert!(matches!(queue.join(asker, 1, after(seconds), question), Joined::Waits(_)));
        }
        let place = join(&mut queue, 1, 9, "withdrawn");
        assert_eq!((queue.remove(place), queue.remove(place)), (Some("withdrawn"), None));
        assert_eq!((queue.next_end(), queue.expired(start)), (Some(after(1)), None));
        assert_eq!((queue.expired(after(2)), queue.expired(after(2))), (Some("early"), Some("middle")));
        assert_eq!((queue.expired(after(2)), queue.len()), (None, 1));
        queue.forget(1);
        assert_eq!((queue.next_end(), queue.len()), (None, 0));
    }

    #[test]
    fn asker_that_fills_the_queue_makes_room_for_others_and_never_for_itself() {
        let (mut queue, end) = (Queue::default(), Instant::now());
        for number in 0..WAITING as u64 {
            assert!(matches!(queue.join(1, number % 1000, end, number), Joined::Waits(_)));
        }
        assert!(matches!(queue.join(1, 5000, end, 1), Joined::Full(1)));
        let mut taken = 0;
        loop {
            match queue.join(2, taken, end, taken) {
                Joined::Instead(..) => taken += 1,
                Joined::Full(_) => break,
                Joined::Waits(place) => panic!("{place:?}"),
            }
        }
        assert_eq!(queue.len(), WAITING);
        assert!(taken.abs_diff(WAITING as u64 / 2) <= 1, "{taken}");
        // A third gets its share of both.
        assert!(matches!(queue.join(3, 1, end, 0), Joined::Instead(..)));
    }
}
