//! The lookup workers as the broker sees them: what each may say now, and what it is still owed.
//!
//! A worker may have been taken over by an attacker. It can only say the few things that
//! [`Workers::receive`] lists; anything else ends it.
//!
//! | file | purpose |
//! |---|---|
//! | `crew.rs` | how many workers there are to be, and who is replaced |
//! | `doubts.rs` | second opinions on contents that a worker has judged against |
//! | `pairs.rs` | the ways between lookup workers and rules workers |
//! | `supply.rs` | which contents a worker still gets, and when |
//! | `worker.rs` | one worker: what it is sent next, and what it may say when |

mod crew;
mod doubts;
mod pairs;
mod supply;
mod worker;

#[cfg(test)]
mod tests;

use crate::tables::{Content, Offer, Tables};
pub(crate) use crew::Change;
use doubts::Doubts;
use mapkeep_broker_serving::rhythm::Stage;
use mapkeep_process::outbox::{self, Outbox, Sent};
use mapkeep_process::role_of;
use mapkeep_proto::{BrokerToLookup, Decode, Duty, LookupToBroker, TableId, TrustClass, WorkerId};
use mapkeep_sys::channel::{Channel, Received};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
pub(crate) use supply::Load;
use supply::{Blame, Supply};
use worker::Bench;

/// How long a worker may take to answer a ping while it has nothing to load.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How fast a worker must at least be able to load a content, in bytes a second.
const LOAD_SPEED: u64 = 10 << 20;
/// Messages that may wait for room in a worker's channel. At this number, it gets no clients, who wait in the
/// queue of the socket instead, and no contents, which wait as numbers.
const WAITING: usize = 256;

/// A descriptor that travels with a message.
#[derive(Debug)]
enum Freight {
    None,
    Names(Rc<OwnedFd>),
    Content(Rc<Content>),
    Client(OwnedFd),
    Peer(OwnedFd),
}

impl outbox::Freight for Freight {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Freight::None => Vec::new(),
            Freight::Names(names) => vec![names.as_fd()],
            Freight::Content(content) => vec![content.snapshot.descriptor.as_fd()],
            Freight::Client(socket) | Freight::Peer(socket) => vec![socket.as_fd()],
        }
    }
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) channel: Channel,
    pub(crate) class: TrustClass,
    pub(crate) duty: Duty,
    pub(crate) stage: Stage,
    pub(crate) clients: u32,
    /// Clients that it has had in all.
    pub(crate) served: u32,
    outbox: Outbox<BrokerToLookup, Freight>,
    /// Whether the event loop waits for room in its channel.
    pub(crate) waits_for_room: bool,
    supply: Supply,
    /// Whether it has had all contents that it was to get before its first client.
    settled: bool,
    /// The rules workers that a lookup worker has a way to, and whether it has had a way to all of them once.
    peers: BTreeSet<WorkerId>,
    introduced: bool,
    ping: Option<(u32, Instant)>,
    pings: u32,
}

/// What follows from a worker's message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Nothing,
    /// It says that it is locked down.
    Ready,
    /// A content that it was sent is in use.
    Loaded(TableId, u32),
    /// A content that it was sent does not parse.
    Rejected(TableId, u32),
    /// So many of its clients have gone.
    Closed(u32),
    /// It said what it may not say.
    Violation(&'static str),
    /// It has gone.
    Gone,
}

/// All workers, and the names that each gets first.
#[derive(Debug)]
pub(crate) struct Workers {
    pub(crate) list: BTreeMap<WorkerId, Worker>,
    names: Rc<OwnedFd>,
    hello: BrokerToLookup,
    /// How many of each duty serve at a time, if all is well.
    wanted: BTreeMap<Duty, u32>,
    /// Who is judging a content of a table that no worker has in use yet: one worker at a time, so that a content which ends
    /// its worker ends one, and the others go on with the previous content.
    judges: BTreeMap<TableId, WorkerId>,
    /// Duties of which a worker has died of one of several contents. Such contents go to each one by one, until a worker has
    /// got over all of them.
    careful: BTreeSet<Duty>,
    doubts: Doubts,
    /// A worker has got all contents that it was to get first.
    news: bool,
}

impl Workers {
    /// `names` is the sealed list of names, `hello` the message that goes with it. `wanted`: how many of each duty serve at
    /// a time.
    pub(crate) fn new(names: OwnedFd, hello: BrokerToLookup, wanted: BTreeMap<Duty, u32>) -> Workers {
        let (list, judges, careful) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let doubts = Doubts::default();
        Workers { list, names: Rc::new(names), hello, wanted, judges, careful, doubts, news: false }
    }

    /// The sealed list of names.
    pub(crate) fn names(&self) -> BorrowedFd<'_> {
        self.names.as_fd()
    }

    /// A worker has been started: it gets the names and all tables of its duty. Those contents that another worker has
    /// judged against come last, for it to judge as well; one that may cost it its life only if others serve meanwhile.
    pub(crate) fn add(
        &mut self,
        id: WorkerId,
        class: TrustClass,
        duty: Duty,
        channel: Channel,
        tables: &Tables,
    ) {
        let safe = self.of_duty(duty).any(|(_, worker)| worker.is_ready());
        let trials = tables.of_duty(duty).filter(|table| tables.doubtful(*table, safe).is_some());
        let mut worker = Worker {
            channel,
            class,
            duty,
            stage: Stage::Starting,
            clients: 0,
            served: 0,
            outbox: Outbox::default(),
            waits_for_room: false,
            supply: Supply::new(tables.of_duty(duty), trials),
            settled: false,
            peers: BTreeSet::new(),
            introduced: false,
            ping: None,
            pings: 0,
        };
        worker.outbox.push(self.hello, Freight::Names(Rc::clone(&self.names)));
        self.list.insert(id, worker);
    }

    /// What the log calls a worker.
    pub(crate) fn title(&self, id: WorkerId) -> &'static str {
        role_of(self.list.get(&id).map_or(Duty::Clients, |worker| worker.duty)).title()
    }

    /// Whether there is one of each duty that serves.
    pub(crate) fn are_complete(&self) -> bool {
        self.wanted.keys().all(|duty| self.of_duty(*duty).any(|(_, worker)| worker.is_ready()))
    }

    /// The workers of a duty.
    fn of_duty(&self, duty: Duty) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.list.iter().filter(move |(_, worker)| worker.duty == duty)
    }

    /// A worker has gone, or is given up.
    pub(crate) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        self.judges.retain(|_, judge| *judge != id);
        self.part(id);
        self.list.remove(&id)
    }

    /// There is something new of a table, for the workers of this duty.
    pub(crate) fn owe(&mut self, table: TableId, duty: Duty) {
        for worker in self.list.values_mut().filter(|worker| worker.duty == duty) {
            worker.supply.owe(table);
        }
    }

    /// Whether a worker that has or will have clients has not yet answered for the last content of this table. One that
    /// drains holds up nobody.
    pub(crate) fn awaits(&self, table: TableId) -> bool {
        let counts = |worker: &&Worker| worker.stage != Stage::Draining;
        self.list.values().filter(counts).any(|worker| worker.supply.awaits(table))
    }

    /// Sends what is waiting for this worker, and what it still gets, as far as that may be on its way.
    pub(crate) fn flush(&mut self, id: WorkerId, tables: &Tables, now: Instant) -> io::Result<Sent> {
        let may_judge = self.may_judge(id);
        let Some(worker) = self.list.get_mut(&id) else { return Ok(Sent::All) };
        let mut bench = Bench { judges: &mut self.judges, id, may_judge };
        let careful = self.careful.contains(&worker.duty);
        let sent = loop {
            let more = worker.fill(tables, &mut bench, careful, now);
            match worker.outbox.flush(&worker.channel)? {
                Sent::All if more => {}
                sent => break sent,
            }
        };
        if !worker.settled && tables.first_pass_is_done() && worker.is_settled() {
            worker.settled = true;
            self.careful.remove(&worker.duty);
            self.news = true;
        }
        Ok(sent)
    }

    /// Whether there is something to do about workers at once, although nobody has said anything: one has all that it was to
    /// get first.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether a worker may be given what no worker has in use yet. One that drains only if there is nobody else.
    fn may_judge(&self, id: WorkerId) -> bool {
        let Some(worker) = self.list.get(&id) else { return false };
        let stays = |stage| matches!(stage, Stage::Checking | Stage::Admitted);
        stays(worker.stage) || !self.of_duty(worker.duty).any(|(_, other)| stays(other.stage))
    }

    /// What a worker died of, if it died while it was loading a content that no worker has in use. If it was loading
    /// several, nobody is blamed, and from now on each worker gets such contents one by one.
    pub(crate) fn blame(&mut self, id: WorkerId) -> Option<Load> {
        let worker = self.list.get(&id)?;
        // One that drains leaves with its last client, and what it was sent last may be unread.
        if worker.stage == Stage::Draining && worker.clients == 0 {
            return None;
        }
        let (duty, blame) = (worker.duty, worker.blame());
        if blame != Blame::Nobody {
            self.careful.insert(duty);
        }
        match blame {
            Blame::One(load) => Some(load),
            Blame::Nobody | Blame::OneOfSome => None,
        }
    }

    /// Takes one message of a worker.
    pub(crate) fn receive(&mut self, id: WorkerId, now: Instant) -> Option<Incoming> {
        let worker = self.list.get_mut(&id)?;
        // One byte more than any message: what fills it is too long.
        let mut buffer = [0; 64];
        let length = match worker.channel.receive_plain(&mut buffer) {
            Ok(Received::Message(length, _)) => length,
            Ok(Received::Empty) => return None,
            Ok(Received::Closed) | Err(_) => return Some(Incoming::Gone),
            Ok(Received::Oversized) => return Some(Incoming::Violation("an oversized message")),
        };
        let Ok(message) = LookupToBroker::decode(buffer.get(..length).unwrap_or_default()) else {
            return Some(Incoming::Violation("a malformed message"));
        };
        let incoming = worker.judge(message, now);
        if let Incoming::Loaded(table, _) | Incoming::Rejected(table, _) = incoming {
            self.judges.retain(|of, judge| (*of, *judge) != (table, id));
        }
        Some(incoming)
    }

    /// The worker of `class` that gets the next client.
    pub(crate) fn next(&self, class: TrustClass, room: u32) -> Option<WorkerId> {
        let fit = |worker: &&Worker| worker.takes_clients(class) && worker.clients < room;
        let with_id = self.list.iter().filter(|(_, worker)| fit(worker));
        with_id.min_by_key(|(_, worker)| worker.clients).map(|(id, _)| *id)
    }

    /// Hands a connection to a worker.
    pub(crate) fn hand_over(&mut self, id: WorkerId, client: OwnedFd) {
        if let Some(worker) = self.list.get_mut(&id) {
            worker.outbox.push(BrokerToLookup::Client, Freight::Client(client));
            worker.clients = worker.clients.saturating_add(1);
            worker.served = worker.served.saturating_add(1);
        }
    }

    /// Stops giving clients to a worker.
    pub(crate) fn retire(&mut self, id: WorkerId) {
        if let Some(worker) = self.list.get_mut(&id) {
            worker.stage = Stage::Draining;
            worker.outbox.push(BrokerToLookup::Finish, Freight::None);
        }
    }

    /// Asks the workers that have clients, or are starting, for a sign of life; returns those that owe one, or the answer
    /// to a content, for too long.
    pub(crate) fn heartbeat(&mut self, now: Instant, limit: Duration) -> Vec<WorkerId> {
        let mut silent = Vec::new();
        // Clients of a lookup worker wait for rules workers as well.
        let connected = self.clients() > 0;
        for (id, worker) in &mut self.list {
            let extra = Duration::from_secs(worker.supply.bytes() / LOAD_SPEED);
            let allowed = limit.min(ANSWER_TIME).saturating_add(extra);
            match worker.ping {
                Some((_, sent)) if now.saturating_duration_since(sent) > allowed => silent.push(*id),
                _ if worker.supply.is_late(now) => silent.push(*id),
                Some(_) => {}
                None if worker.is_resting(connected) => {}
                None => {
                    worker.pings = worker.pings.wrapping_add(1);
                    worker.ping = Some((worker.pings, now));
                    worker.outbox.push(BrokerToLookup::Ping(worker.pings), Freight::None);
                }
            }
        }
        silent
    }

    /// Connected clients in all.
    pub(crate) fn clients(&self) -> u32 {
        self.list.values().fold(0, |sum, worker| sum.saturating_add(worker.clients))
    }
}
