//! What one broker process has asked for, and how much it may: a hijacked broker is a client like any other.
//!
//! What no broker of ours ever says ends the broker. What ours may say, but not so often, is deferred: the workers that
//! it has serve on meanwhile.

use mapkeep_config_site::plan::ServicePlan;
use mapkeep_name::servers;
use mapkeep_proto::{Duty, MAX_GATEWAYS, WorkerId, max_draining};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Starts of workers at once, before they are spread: as many as serve, and this many more,
const BURST: u32 = 7;
/// and the distance between them then.
const DISTANCE: Duration = Duration::from_millis(250);
/// How soon to try again where processes take time to end.
const LATER: Duration = Duration::from_secs(1);
/// How long nothing is read from a broker that says more at a time than ours ever has to.
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
    /// Workers of each duty that it has not given up, at most.
    most: BTreeMap<Duty, u32>,
    burst: u32,
    workers: BTreeMap<WorkerId, (Duty, Stage)>,
    ready: bool,
    finishing: bool,
    /// The moment up to which starts have been granted, were they evenly spread.
    granted: Option<Instant>,
    deaf_until: Option<Instant>,
    wrong: bool,
    /// Whether it has a channel to the dialer, if there is one.
    talks: bool,
    /// Whether it has given up the dialer.
    dialer_wrong: bool,
}

impl Requests {
    /// Those that a broker with this plan may have. Ours has lookup workers that serve, one that is to replace one of
    /// them, and those that drain; rules workers are never more than serve; a gateway for each server. The writing service has
    /// one writer.
    pub(super) fn of(plan: &ServicePlan) -> Requests {
        match plan.writes() {
            true => Requests::within([(Duty::Clients, 1)], 1),
            false => {
                let (serve, rules) = (plan.workers, u32::from(plan.has_work_for(Duty::Rules)));
                let lookup = serve.saturating_add(1).saturating_add(max_draining(serve));
                let rules = serve.saturating_mul(rules);
                let names = plan.names.iter().map(|table| table.name.as_slice());
                let servers = u32::try_from(servers(names).len()).unwrap_or(u32::MAX);
                let gateways = servers.min(MAX_GATEWAYS);
                let most = [(Duty::Clients, lookup), (Duty::Rules, rules), (Duty::Gateway, gateways)];
                // A name that names no server brings a dialer, too.
                let talks = plan.has_work_for(Duty::Gateway);
                let burst = serve.saturating_add(rules).saturating_add(gateways);
                Requests { talks, ..Requests::within(most, burst) }
            }
        }
    }

    fn within(most: impl IntoIterator<Item = (Duty, u32)>, serve: u32) -> Requests {
        let burst = serve.saturating_add(BURST);
        Requests { most: most.into_iter().collect(), burst, ..Requests::default() }
    }

    /// Workers that are still there, with those that it has given up and that take time to end.
    fn processes(&self) -> usize {
        let most = self.most.values().fold(0u32, |sum, most| sum.saturating_add(*most));
        usize::try_from(most).unwrap_or(usize::MAX).saturating_mul(2)
    }

    /// It wants a worker. `pending`: those of this duty that it has asked for before and that are still to be started.
    pub(super) fn need(&mut self, duty: Duty, pending: usize, now: Instant) -> Reply {
        let kept = self.workers.values().filter(|(of, stage)| *of == duty && *stage != Stage::GivenUp);
        let most = self.most.get(&duty).copied().unwrap_or_default();
        if kept.count().saturating_add(pending) >= usize::try_from(most).unwrap_or(usize::MAX) {
            return Reply::Wrong("asked for more workers than it may have");
        }
        if let Some(later) = self.must_wait(now) {
            return Reply::At(later);
        }
        let due = self.granted.unwrap_or(now).max(now);
        self.granted = due.checked_add(DISTANCE);
        let early = DISTANCE.saturating_mul(self.burst.saturating_sub(1));
        match due.checked_sub(early).filter(|moment| *moment > now) {
            Some(moment) => Reply::At(moment),
            None => Reply::Now,
        }
    }

    /// Until when no worker can be started, because those that it has given up take time to end.
    pub(super) fn must_wait(&self, now: Instant) -> Option<Instant> {
        now.checked_add(LATER).filter(|_| self.workers.len() >= self.processes())
    }

    /// A worker has been started for it.
    pub(super) fn started(&mut self, id: WorkerId, duty: Duty) {
        self.workers.insert(id, (duty, Stage::Started));
    }

    /// A worker of it has ended.
    pub(super) fn ended(&mut self, id: WorkerId) {
        self.workers.remove(&id);
    }

    /// It says that a worker is locked down. One that has ended meanwhile is no mistake.
    pub(super) fn worker_ready(&mut self, id: WorkerId) -> Reply {
        match self.workers.get_mut(&id) {
            Some((_, stage @ Stage::Started)) => {
                *stage = Stage::Announced;
                Reply::Now
            }
            Some(_) => Reply::Wrong("reported a worker as ready twice, or after giving it up"),
            None => Reply::Ignore,
        }
    }

    /// It gives a worker up.
    pub(super) fn kill(&mut self, id: WorkerId) -> Reply {
        match self.workers.get_mut(&id) {
            Some((_, Stage::GivenUp)) => Reply::Wrong("gave up a worker twice"),
            Some((_, stage)) => {
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
            true => Reply::Wrong("reported twice that it is ready"),
        }
    }

    /// It says that it accepts nobody any more. `told`: that is what it was told.
    pub(super) fn finishing(&mut self, told: bool) -> Reply {
        match std::mem::replace(&mut self.finishing, true) {
            false if told => Reply::Now,
            false => Reply::Wrong("reported that it is finishing without having been told to"),
            true => Reply::Wrong("reported twice that it is finishing"),
        }
    }

    /// It says that the dialer breaks the protocol.
    pub(super) fn dialer_wrong(&mut self) -> Reply {
        match std::mem::replace(&mut self.dialer_wrong, true) {
            false if self.talks => Reply::Now,
            false => Reply::Wrong("reported a dialer that it has nothing to do with"),
            true => Reply::Wrong("reported the dialer twice"),
        }
    }

    /// It has sent as much as is read at a time.
    pub(super) fn said_much(&mut self, now: Instant) {
        self.deaf_until = now.checked_add(SILENCE);
    }

    /// It has sent what it may not send; nothing more is read from it.
    pub(super) fn went_wrong(&mut self) {
        self.wrong = true;
    }

    /// Whether it is read from now.
    pub(super) fn is_read(&self, now: Instant) -> bool {
        !self.wrong && self.deaf_until.is_none_or(|moment| moment <= now)
    }

    /// When it is read from again.
    pub(super) fn read_again_at(&self) -> Option<Instant> {
        self.deaf_until.filter(|_| !self.wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    /// Those of a broker whose service has one lookup worker, and with `rules` one rules worker.
    fn one(rules: bool) -> Requests {
        let plan = ServicePlan { workers: 1, ..plan(if rules { &["pcre:/x"] } else { &[] }) };
        Requests::of(&plan)
    }

    /// Asks for a worker, and has it started if that is granted at once.
    fn ask_for(requests: &mut Requests, duty: Duty, number: u32, now: Instant) -> Reply {
        let reply = requests.need(duty, 0, now);
        if reply == Reply::Now {
            requests.started(WorkerId(number), duty);
        }
        reply
    }

    fn ask(requests: &mut Requests, number: u32, now: Instant) -> Reply {
        ask_for(requests, Duty::Clients, number, now)
    }

    #[test]
    fn what_an_honest_broker_has_at_a_time_is_granted_and_more_is_wrong() {
        for workers in [1, 3, 64] {
            let plan = ServicePlan { workers, ..plan(&["hash:/x", "pcre:{{/a/ b}}"]) };
            let (mut requests, mut now) = (Requests::of(&plan), Instant::now());
            // Those that serve, one more that is to replace one of them, and those that drain; and rules workers.
            let lookup = workers + 1 + max_draining(workers);
            for (duty, most) in [(Duty::Clients, lookup), (Duty::Rules, workers)] {
                for number in 0..most {
                    now += DISTANCE;
                    assert_eq!(ask_for(&mut requests, duty, 1000 * duty as u32 + number, now), Reply::Now);
                }
                now += LATER;
                assert!(matches!(ask_for(&mut requests, duty, 9999, now), Reply::Wrong(_)), "{duty:?}");
            }
            requests.ended(WorkerId(1000));
            assert!(matches!(ask(&mut requests, 9999, now), Reply::Wrong(_)), "it was a rules worker");
            assert_eq!(ask_for(&mut requests, Duty::Rules, 9999, now), Reply::Now);
        }
    }

    #[test]
    fn rules_worker_without_rules_is_wrong() {
        assert!(matches!(one(false).need(Duty::Rules, 0, Instant::now()), Reply::Wrong(_)));
        assert_eq!(one(true).need(Duty::Rules, 0, Instant::now()), Reply::Now);
    }

    #[test]
    fn gateways_are_as_many_as_servers() {
        let of = |names: &[&str]| Requests::of(&ServicePlan { workers: 1, ..plan(names) });
        let now = Instant::now();
        assert!(matches!(of(&["hash:/x"]).need(Duty::Gateway, 0, now), Reply::Wrong(_)));
        let mut two = of(&["tcp:a:1", "socketmap:inet:a:1:m", "socketmap:inet:a:1:n", "tcp:a:"]);
        for number in 0..2 {
            assert_eq!(ask_for(&mut two, Duty::Gateway, number, now), Reply::Now);
        }
        assert!(matches!(two.need(Duty::Gateway, 0, now), Reply::Wrong(_)));
        two.ended(WorkerId(0));
        assert_eq!(ask_for(&mut two, Duty::Gateway, 9, now), Reply::Now);
        let names: Vec<String> = (1..=MAX_GATEWAYS + 9).map(|port| format!("tcp:a:{port}")).collect();
        let mut many = of(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for number in 0..MAX_GATEWAYS {
            assert_eq!(ask_for(&mut many, Duty::Gateway, number, now), Reply::Now, "{number}");
        }
        assert!(matches!(many.need(Duty::Gateway, 0, now), Reply::Wrong(_)));
    }

    #[test]
    fn dialer_is_given_up_once_and_by_a_broker_that_has_it() {
        assert!(matches!(one(true).dialer_wrong(), Reply::Wrong(_)));
        let mut requests = Requests::of(&plan(&["tcp:a:1"]));
        assert_eq!(requests.dialer_wrong(), Reply::Now);
        assert!(matches!(requests.dialer_wrong(), Reply::Wrong(_)));
        let mut misnamed = Requests::of(&plan(&["tcp:a:"]));
        assert_eq!(misnamed.dialer_wrong(), Reply::Now, "it has a dialer, and sees it die");
    }

    #[test]
    fn second_writer_is_wrong() {
        let plan = ServicePlan { service: mapkeep_config_text::Service::Write, ..plan(&["pcre:/x"]) };
        let (mut requests, now) = (Requests::of(&plan), Instant::now());
        assert!(matches!(requests.need(Duty::Rules, 0, now), Reply::Wrong(_)));
        assert!(
            matches!(requests.need(Duty::Clients, 1, now), Reply::Wrong(_)),
            "one is about to be started"
        );
        assert_eq!(ask(&mut requests, 1, now), Reply::Now);
        assert!(matches!(ask(&mut requests, 2, now), Reply::Wrong(_)));
        requests.kill(WorkerId(1));
        assert_eq!(ask(&mut requests, 2, now), Reply::Now);
    }

    #[test]
    fn wishes_that_are_pending_count() {
        let (mut requests, now) = (one(true), Instant::now());
        requests.started(WorkerId(1), Duty::Clients);
        let left = usize::try_from(1 + max_draining(1)).unwrap();
        assert_eq!(requests.need(Duty::Clients, left - 1, now), Reply::Now);
        assert!(matches!(requests.need(Duty::Clients, left, now), Reply::Wrong(_)));
        assert_eq!(requests.need(Duty::Rules, 0, now), Reply::Now, "those of the other kind");
    }

    #[test]
    fn as_many_as_serve_start_at_once() {
        let plan = ServicePlan { workers: 16, ..plan(&["pcre:/x"]) };
        let (mut requests, now) = (Requests::of(&plan), Instant::now());
        for number in 0..32 {
            let duty = if number % 2 == 0 { Duty::Clients } else { Duty::Rules };
            assert_eq!(ask_for(&mut requests, duty, number, now), Reply::Now);
        }
    }

    #[test]
    fn starts_of_a_broker_that_gives_up_each_worker_are_spread() {
        let (mut requests, start) = (one(false), Instant::now());
        let (mut now, mut starts) = (start, 0);
        while now < start + Duration::from_secs(100) && starts < 1000 {
            match ask(&mut requests, starts, now) {
                Reply::Now => {}
                Reply::At(moment) => {
                    now = moment;
                    requests.started(WorkerId(starts), Duty::Clients);
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
        let (mut requests, now) = (one(false), Instant::now());
        for number in 0..requests.processes() {
            let number = number as u32;
            assert_eq!(ask(&mut requests, number, now + LATER * number), Reply::Now);
            requests.kill(WorkerId(number));
        }
        let later = now + LATER * 99;
        assert_eq!(ask(&mut requests, 99, later), Reply::At(later + LATER));
    }

    #[test]
    fn each_thing_is_said_once() {
        let (mut requests, id) = (one(false), WorkerId(7));
        assert_eq!(
            (requests.worker_ready(id), requests.kill(id)),
            (Reply::Ignore, Reply::Ignore),
            "it has ended"
        );
        requests.started(id, Duty::Clients);
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
        assert!(requests.is_read(now));
        requests.said_much(now);
        assert!(!requests.is_read(now));
        assert_eq!(requests.read_again_at(), Some(now + SILENCE));
        assert!(requests.is_read(now + SILENCE));
        requests.went_wrong();
        assert!(!requests.is_read(now + LATER));
        assert_eq!(requests.read_again_at(), None);
    }
}
