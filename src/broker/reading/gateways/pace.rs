//! How soon the next connection to a server is asked for.
//!
//! A server that is down costs one attempt a second. One that is up may close each connection after one answer, so each
//! success allows the next at once; but a gateway that was taken over could ask for connections for ever, and each is a
//! process: hence a rate. Pure.

use mapkeep_proto::MAX_CONNECTORS;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The least time between an attempt that has failed and the next. The gateway waits for a second, more or less a tenth.
const AFTER_FAILURE: Duration = Duration::from_millis(900);
/// The distance between attempts, in the long run.
const DISTANCE: Duration = Duration::from_millis(5);
/// Attempts of one gateway that have not been answered, at most, however few gateways there are. All of them share the
/// connectors, and a server that does not answer holds each of its own for a while.
const OUT: usize = 4;

/// The same where there are so many servers: if none of the others answers, there is still a connector for each.
pub(super) fn share(servers: usize) -> usize {
    MAX_CONNECTORS.checked_div(servers).unwrap_or(OUT).clamp(1, OUT)
}

/// The wishes of one gateway that have not been passed on, and when the next may be.
#[derive(Debug)]
pub(super) struct Pace {
    wishes: VecDeque<(u32, u16)>,
    /// Attempts that have not been answered, and the most.
    out: usize,
    share: usize,
    /// The last attempt has failed: the next is made alone, and not before then.
    failed_until: Option<Instant>,
    /// The moment up to which attempts have been granted, were they evenly spread.
    granted: Instant,
    /// How far that may be ahead.
    burst: Duration,
}

impl Pace {
    /// For a server with so many connections at a time: so many attempts may come together. `share`: attempts that are not
    /// answered, at most.
    pub(super) fn new(connections: u16, share: usize, now: Instant) -> Pace {
        let burst = DISTANCE.saturating_mul(connections.into());
        Pace { wishes: VecDeque::new(), out: 0, share, failed_until: None, granted: now, burst }
    }

    /// There is a wish, of this number, for this host. How many there can be is not decided here.
    pub(super) fn wish(&mut self, number: u32, host: u16) {
        self.wishes.push_back((number, host));
    }

    /// The wish to be passed on now; it counts as an attempt.
    pub(super) fn next(&mut self, now: Instant) -> Option<(u32, u16)> {
        if self.next_moment()? > now {
            return None;
        }
        let wish = self.wishes.pop_front()?;
        self.out = self.out.saturating_add(1);
        let granted = self.granted.max(now);
        self.granted = granted.checked_add(DISTANCE).unwrap_or(granted);
        Some(wish)
    }

    /// An attempt has been answered.
    pub(super) fn answered(&mut self, well: bool, now: Instant) {
        self.out = self.out.saturating_sub(1);
        self.failed_until = if well { None } else { now.checked_add(AFTER_FAILURE) };
    }

    /// When the next wish may be passed on; none if there is none, or if an answer has to come first.
    pub(super) fn next_moment(&self) -> Option<Instant> {
        self.wishes.front().filter(|_| self.out < self.share)?;
        let spread = self.granted.checked_sub(self.burst).unwrap_or(self.granted);
        match self.failed_until {
            None => Some(spread),
            Some(until) => Some(until.max(spread)).filter(|_| self.out == 0),
        }
    }

    /// Whose wishes they were has gone; its successor has none.
    pub(super) fn forget(&mut self) {
        (self.wishes, self.out) = (VecDeque::new(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn as_many_as_connections_come_together_and_then_they_are_spread() {
        let start = Instant::now();
        let mut pace = Pace::new(8, OUT, start);
        let (mut now, mut passed) = (start, 0);
        while now < start + 1000 * MS {
            pace.wish(passed, 0);
            match pace.next(now) {
                Some(_) => {
                    passed += 1;
                    pace.answered(true, now);
                }
                None => now = pace.next_moment().unwrap(),
            }
            if now == start {
                assert!(passed <= 9, "{passed} at once");
            }
        }
        assert!((200..=210).contains(&passed), "{passed} in a second");
    }

    #[test]
    fn after_a_failure_attempts_are_made_alone_one_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(8, OUT, start);
        for number in 0..4 {
            pace.wish(number, 0);
        }
        assert_eq!(pace.next(start), Some((0, 0)));
        pace.answered(false, start);
        assert_eq!(pace.next(start + 899 * MS), None);
        assert_eq!(pace.next_moment(), Some(start + 900 * MS));
        assert_eq!(pace.next(start + 900 * MS), Some((1, 0)));
        assert_eq!((pace.next(start + 5000 * MS), pace.next_moment()), (None, None), "one is out");
        pace.answered(true, start + 5000 * MS);
        assert_eq!(pace.next(start + 5000 * MS), Some((2, 0)));
        assert_eq!(pace.next(start + 5000 * MS), Some((3, 0)), "all is well");
        assert_eq!(pace.next_moment(), None);
    }

    #[test]
    fn server_that_does_not_answer_holds_a_few_connectors_and_no_more() {
        let start = Instant::now();
        let mut pace = Pace::new(64, OUT, start);
        (0..64).for_each(|number| pace.wish(number, 0));
        let passed = std::iter::from_fn(|| pace.next(start + 1000 * MS)).count();
        assert_eq!((passed, pace.next_moment()), (OUT, None));
        pace.answered(true, start + 1000 * MS);
        assert!(pace.next(start + 1000 * MS).is_some());
    }

    #[test]
    fn servers_that_do_not_answer_leave_a_connector_for_each_of_the_others() {
        let most = mapkeep_proto::MAX_GATEWAYS as usize;
        for servers in 1..=most {
            let held = servers * share(servers);
            assert!((servers..=MAX_CONNECTORS).contains(&held), "{servers} servers hold {held} connectors");
        }
        assert_eq!((share(1), share(16), share(17), share(most)), (OUT, OUT, 3, 1));
        let start = Instant::now();
        let mut pace = Pace::new(8, share(most), start);
        (0..2).for_each(|number| pace.wish(number, 0));
        assert_eq!((pace.next(start), pace.next(start)), (Some((0, 0)), None));
    }

    #[test]
    fn successor_has_none_of_the_wishes_and_waits_as_long() {
        let start = Instant::now();
        let mut pace = Pace::new(8, OUT, start);
        (0..3).for_each(|number| pace.wish(number, 0));
        pace.next(start);
        pace.answered(false, start);
        pace.forget();
        assert_eq!(pace.next(start + 10_000 * MS), None);
        pace.wish(9, 1);
        assert_eq!(pace.next(start + 100 * MS), None);
        assert_eq!(pace.next(start + 900 * MS), Some((9, 1)));
    }
}
