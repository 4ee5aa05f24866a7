//! What one broker process has asked for, and how much it may: a hijacked broker is a client like any other.
//!
//! What no broker of ours ever says ends the broker. What ours may say, but not so often, is put off: the workers that
//! it has serve on meanwhile.

use mapkeep_proto::{MAX_DRAINING, WorkerId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Workers of one broker that it has not given up. Ours has those that drain, one that serves, and one that starts.
const WORKERS: usize = MAX_DRAINING + 4;
/// The writing service has one.
const WRITERS: usize = 1;
/// Workers of one broker that are still there, with those that it has given up and that take time to end.
const PROCESSES: usize = 2 * WORKERS;
/// Starts of workers at once, before they are spread,
const BURST: u32 = 8;
/// and the distance between them then.
const DISTANCE: Duration = Duration::from_millis(250);
/// How soon to try again where processes take time to end.
const LATER: Duration = Duration::from_secs(1);
/// How long nothing is heard from a broker that says more at a time than ours ever has to.
const SILENCE: Duration = Duration::from_millis(20);

/// What to do about a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Do it now.
    Now,
    /// Do it then.
    At(Instant),
    /// There is nothing to do.
    Ignore,
    /// No broker of ours says this. It is replaced.
    Wrong(&'static str),
}

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Started,
    Announced,
    GivenUp,
}

/// The wishes of one broker process, from its start on.
#[derive(Debug, Default)]
pub(super) struct Requests {
    workers: BTreeMap<WorkerId, Stage>,
    ready: bool,
    finishing: bool,
    /// The moment up to which starts have been granted, were they evenly spread.
    granted: Option<Instant>,
    deaf_until: Option<Instant>,
    wrong: bool,
}

impl Requests {
    /// It wants a worker. `pending`: one that it has asked for before is about to be started.
    pub(super) fn need(&mut self, writes: bool, pending: bool, now: Instant) -> Reply {
        let kept = self.workers.values().filter(|stage| **stage != Stage::GivenUp).count();
        if kept >= if writes { WRITERS } else { WORKERS } {
            return Reply::Wrong("asks for more workers than it may have");
        }
        if pending {
            return Reply::Ignore;
        }
        if let Some(later) = self.must_wait(now) {
            return Reply::At(later);
        }
        let due = self.granted.unwrap_or(now).max(now);
        self.granted = due.checked_add(DISTANCE);
        let early = DISTANCE.saturating_mul(BURST.saturating_sub(1));
        match due.checked_sub(early).filter(|moment| *moment > now) {
            Some(moment) => Reply::At(moment),
            None => Reply::Now,
        }
    }

    /// Until when no worker can be started, because those that it has given up take time to end.
    pub(super) fn must_wait(&self, now: Instant) -> Option<Instant> {
        now.checked_add(LATER).filter(|_| self.workers.len() >= PROCESSES)
    }

    /// A worker has been started for it.
    pub(super) fn started(&mut self, id: WorkerId) {
        self.workers.insert(id, Stage::Started);
    }

    /// A worker of it has ended.
    pub(super) fn ended(&mut self, id: WorkerId) {
        self.workers.remove(&id);
    }

    /// It says that a worker is locked down. One that has ended meanwhile is no mistake.
    pub(super) fn worker_ready(&mut self, id: WorkerId) -> Reply {
        match self.workers.get_mut(&id) {
            Some(stage @ Stage::Started) => {
                *stage = Stage::Announced;
                Reply::Now
            }
            Some(_) => Reply::Wrong("announces a worker twice, or one that it has given up"),
            None => Reply::Ignore,
        }
    }

    /// It gives a worker up.
    pub(super) fn kill(&mut self, id: WorkerId) -> Reply {
        match self.workers.get_mut(&id) {
            Some(Stage::GivenUp) => Reply::Wrong("gives up a worker twice"),
            Some(stage) => {
                *stage = Stage::GivenUp;
                Reply::Now
            }
            None => Reply::Ignore,
        }
    }

    /// It says that it is ready for clients.
    pub(super) fn ready(&mut self) -> Reply {
        match std::mem::replace(&mut self.ready, true) {
            false => Reply::Now,
            true => Reply::Wrong("is ready twice"),
        }
    }

    /// It says that it accepts nobody any more. `told`: that is what it was told.
    pub(super) fn finishing(&mut self, told: bool) -> Reply {
        match std::mem::replace(&mut self.finishing, true) {
            false if told => Reply::Now,
            false => Reply::Wrong("finishes without having been told to"),
            true => Reply::Wrong("finishes twice"),
        }
    }

    /// It has said as much as is heard at a time.
    pub(super) fn said_much(&mut self, now: Instant) {
        self.deaf_until = now.checked_add(SILENCE);
    }

    /// It has said what it may not say; nothing more is heard from it.
    pub(super) fn went_wrong(&mut self) {
        self.wrong = true;
    }

    /// Whether it is heard now.
    pub(super) fn is_heard(&self, now: Instant) -> bool {
        !self.wrong && self.deaf_until.is_none_or(|moment| moment <= now)
    }

    /// When it is heard again.
    pub(super) fn heard_from(&self) -> Option<Instant> {
        self.deaf_until.filter(|_| !self.wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for a worker, and has it started if that is granted at once.
    fn ask(requests: &mut Requests, number: u32, now: Instant) -> Reply {
        let reply = requests.need(false, false, now);
        if reply == Reply::Now {
            requests.started(WorkerId(number));
        }
        reply
    }

    #[test]
    fn what_an_honest_broker_has_at_a_time_is_granted_and_more_is_wrong() {
        let (mut requests, now) = (Requests::default(), Instant::now());
        for number in 0..WORKERS {
            assert_eq!(ask(&mut requests, number as u32, now + DISTANCE * number as u32), Reply::Now);
        }
        const { assert!(WORKERS > MAX_DRAINING + 2) };
        assert!(matches!(ask(&mut requests, 99, now + LATER * 9), Reply::Wrong(_)));
        requests.ended(WorkerId(3));
        assert_eq!(ask(&mut requests, 99, now + LATER * 9), Reply::Now);
    }

    #[test]
    fn second_writer_is_wrong() {
        let (mut requests, now) = (Requests::default(), Instant::now());
        assert_eq!(requests.need(true, false, now), Reply::Now);
        requests.started(WorkerId(1));
        assert!(matches!(requests.need(true, false, now), Reply::Wrong(_)));
        requests.kill(WorkerId(1));
        assert_eq!(requests.need(true, false, now), Reply::Now);
    }

    #[test]
    fn wishes_while_one_is_pending_are_ignored() {
        let (mut requests, now) = (Requests::default(), Instant::now());
        for _ in 0..1000 {
            assert_eq!(requests.need(false, true, now), Reply::Ignore);
        }
        assert_eq!(requests.need(false, false, now), Reply::Now, "they cost nothing");
    }

    #[test]
    fn starts_of_a_broker_that_gives_up_each_worker_are_spread() {
        let (mut requests, start) = (Requests::default(), Instant::now());
        let (mut now, mut starts) = (start, 0);
        while now < start + Duration::from_secs(100) && starts < 1000 {
            match ask(&mut requests, starts, now) {
                Reply::Now => {}
                Reply::At(moment) => {
                    now = moment;
                    requests.started(WorkerId(starts));
                }
                reply => panic!("{reply:?}"),
            }
            assert_eq!(requests.kill(WorkerId(starts)), Reply::Now);
            requests.ended(WorkerId(starts));
            starts += 1;
        }
        assert!((400..=410).contains(&starts), "{starts} starts in 100 s");
    }

    #[test]
    fn processes_that_take_time_to_end_count() {
        let (mut requests, now) = (Requests::default(), Instant::now());
        for number in 0..PROCESSES {
            let number = number as u32;
            assert_eq!(ask(&mut requests, number, now + LATER * number), Reply::Now);
            requests.kill(WorkerId(number));
        }
        let later = now + LATER * 99;
        assert_eq!(ask(&mut requests, 99, later), Reply::At(later + LATER));
    }

    #[test]
    fn each_thing_is_said_once() {
        let (mut requests, id) = (Requests::default(), WorkerId(7));
        assert_eq!(
            (requests.worker_ready(id), requests.kill(id)),
            (Reply::Ignore, Reply::Ignore),
            "it has ended"
        );
        requests.started(id);
        assert_eq!(requests.worker_ready(id), Reply::Now);
        assert!(matches!(requests.worker_ready(id), Reply::Wrong(_)));
        assert_eq!(requests.kill(id), Reply::Now);
        assert!(matches!(requests.kill(id), Reply::Wrong(_)));
        assert!(matches!(requests.worker_ready(id), Reply::Wrong(_)));
        assert_eq!(requests.ready(), Reply::Now);
        assert!(matches!(requests.ready(), Reply::Wrong(_)));
        assert_eq!(requests.finishing(true), Reply::Now);
        assert!(matches!(requests.finishing(true), Reply::Wrong(_)));
        assert!(matches!(Requests::default().finishing(false), Reply::Wrong(_)));
    }

    #[test]
    fn broker_that_says_much_is_heard_later_and_one_that_went_wrong_never() {
        let (mut requests, now) = (Requests::default(), Instant::now());
        assert!(requests.is_heard(now));
        requests.said_much(now);
        assert!(!requests.is_heard(now));
        assert_eq!(requests.heard_from(), Some(now + SILENCE));
        assert!(requests.is_heard(now + SILENCE));
        requests.went_wrong();
        assert!(!requests.is_heard(now + LATER));
        assert_eq!(requests.heard_from(), None);
    }
}
