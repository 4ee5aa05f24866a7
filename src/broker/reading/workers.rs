//! The lookup workers as the broker sees them: what each may say now, and what it is still owed.
//!
//! A worker may have been taken over by an attacker. It can only say the few things that
//! [`Workers::receive`] lists; anything else ends it.
//!
//! | file | purpose |
//! |---|---|
//! | `replacement.rs` | how many workers there are to be, and who is replaced |
//! | `suspects.rs` | second trials of snapshots that a worker has failed to load |
//! | `pairs.rs` | the ways between lookup workers and rules workers |
//! | `supply.rs` | which snapshots a worker has yet to get, and when |
//! | `worker.rs` | one worker: what it is sent next, and what it may say when |

mod pairs;
mod replacement;
mod supply;
mod suspects;
mod worker;

#[cfg(test)]
mod tests;

use crate::tables::{Offer, TableSnapshot, Tables};
use mapkeep_broker_serving::rhythm::Stage;
use mapkeep_process::outbox::{self, Outbox, Sent};
use mapkeep_process::role_of;
use mapkeep_proto::{BrokerToLookup, Decode, Duty, LookupToBroker, TableId, TrustClass, WorkerId};
use mapkeep_sys::channel::{Channel, Received};
pub(crate) use replacement::Change;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
pub(crate) use supply::Load;
use supply::{Blame, Supply};
use suspects::Suspects;
use worker::Trials;

/// How long a worker may take to answer a ping while it has nothing to load.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How fast a worker must be able to load a snapshot, in bytes a second.
const LOAD_SPEED: u64 = 10 << 20;
/// Messages that may wait for room in a worker's channel. At this number, it gets no clients, which wait in the
/// socket's queue instead, and no snapshots, which wait as numbers.
const WAITING: usize = 256;

/// A descriptor that travels with a message.
#[derive(Debug)]
enum Freight {
    None,
    Names(Rc<OwnedFd>),
    Snapshot(Rc<TableSnapshot>),
    Client(OwnedFd),
    Peer(OwnedFd),
}

impl outbox::Freight for Freight {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Freight::None => Vec::new(),
            Freight::Names(names) => vec![names.as_fd()],
            Freight::Snapshot(snapshot) => vec![snapshot.copy.descriptor.as_fd()],
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
    /// The number of clients that it has had.
    pub(crate) served: u32,
    outbox: Outbox<BrokerToLookup, Freight>,
    /// Whether the event loop waits for room in its channel.
    pub(crate) waits_for_room: bool,
    supply: Supply,
    /// Whether it has got all snapshots that it needs before its first client.
    settled: bool,
    /// The rules workers to which a lookup worker has a stream, and whether it has once had a stream to all of them.
    peers: BTreeSet<WorkerId>,
    introduced: bool,
    ping: Option<(u32, Instant)>,
    pings: u32,
}

/// What a worker's message means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Nothing,
    /// It reports its lock-down.
    Ready,
    /// It has switched to a snapshot.
    Loaded(TableId, u32),
    /// It reports that a snapshot does not parse.
    Rejected(TableId, u32),
    /// This number of its clients have disconnected.
    Closed(u32),
    /// It sent a message that it may not send.
    Violation(&'static str),
    /// Its channel is closed.
    Gone,
}

/// All workers, and the names that each gets first.
#[derive(Debug)]
pub(crate) struct Workers {
    pub(crate) list: BTreeMap<WorkerId, Worker>,
    names: Rc<OwnedFd>,
    hello: BrokerToLookup,
    /// Whom to ask for tables that servers answer for: what each lookup worker is told after that.
    routes: Vec<BrokerToLookup>,
    /// The intended number of serving workers of each duty.
    wanted: BTreeMap<Duty, u32>,
    /// Which worker is trying a snapshot that no worker has in use yet: one at a time, so that a snapshot that crashes
    /// workers crashes only one, and the others continue with the previous one.
    trying: BTreeMap<TableId, WorkerId>,
    /// Duties of which a worker has crashed on one of several snapshots. Their workers get untried snapshots one by
    /// one, until a worker has survived all of them.
    careful: BTreeSet<Duty>,
    suspects: Suspects,
    /// A worker has got all snapshots that it needs first.
    news: bool,
}

impl Workers {
    /// `names` is the sealed list of names, `hello` the message that goes with it, `routes` what lookup workers are told
    /// next. `wanted`: the intended number of serving workers of each duty.
    pub(crate) fn new(
        names: OwnedFd,
        hello: BrokerToLookup,
        routes: Vec<BrokerToLookup>,
        wanted: BTreeMap<Duty, u32>,
    ) -> Workers {
        let (list, trying, careful) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let suspects = Suspects::default();
        Workers { list, names: Rc::new(names), hello, routes, wanted, trying, careful, suspects, news: false }
    }

    /// The sealed list of names.
    pub(crate) fn names(&self) -> BorrowedFd<'_> {
        self.names.as_fd()
    }

    /// A worker has been started: it gets the names and all tables of its duty. Snapshots that another worker has
    /// failed to load come last, as trials; one that has crashed a worker only if others serve meanwhile.
    pub(crate) fn add(
        &mut self,
        id: WorkerId,
        class: TrustClass,
        duty: Duty,
        channel: Channel,
        tables: &Tables,
    ) {
        let safe = self.of_duty(duty).any(|(_, worker)| worker.is_ready());
        let trials = tables.of_duty(duty).filter(|table| tables.suspect(*table, safe).is_some());
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
        if duty == Duty::Clients {
            self.routes.iter().for_each(|route| worker.outbox.push(*route, Freight::None));
        }
        self.list.insert(id, worker);
    }

    /// What the log calls a worker.
    pub(crate) fn title(&self, id: WorkerId) -> &'static str {
        role_of(self.list.get(&id).map_or(Duty::Clients, |worker| worker.duty)).title()
    }

    /// Whether a worker of each duty serves.
    pub(crate) fn are_complete(&self) -> bool {
        self.wanted.keys().all(|duty| self.of_duty(*duty).any(|(_, worker)| worker.is_ready()))
    }

    /// The workers of a duty.
    fn of_duty(&self, duty: Duty) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.list.iter().filter(move |(_, worker)| worker.duty == duty)
    }

    /// A worker has exited, or is given up.
    pub(crate) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        self.trying.retain(|_, worker| *worker != id);
        self.part(id);
        self.list.remove(&id)
    }

    /// Something about a table has changed: the workers of this duty must be told.
    pub(crate) fn owe(&mut self, table: TableId, duty: Duty) {
        for worker in self.list.values_mut().filter(|worker| worker.duty == duty) {
            worker.supply.owe(table);
        }
    }

    /// Whether a worker that has or will have clients has yet to answer for the last snapshot of this table. A draining
    /// worker delays nobody.
    pub(crate) fn awaits(&self, table: TableId) -> bool {
        let counts = |worker: &&Worker| worker.stage != Stage::Draining;
        self.list.values().filter(counts).any(|worker| worker.supply.awaits(table))
    }

    /// Sends the messages that wait for this worker, and as many of the snapshots owed to it as may be in flight.
    pub(crate) fn flush(&mut self, id: WorkerId, tables: &Tables, now: Instant) -> io::Result<Sent> {
        let may_try = self.may_try(id);
        let Some(worker) = self.list.get_mut(&id) else { return Ok(Sent::All) };
        let mut trials = Trials { trying: &mut self.trying, id, may_try };
        let careful = self.careful.contains(&worker.duty);
        let sent = loop {
            let more = worker.fill(tables, &mut trials, careful, now);
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

    /// Whether workers need attention although no message has come: one has got all snapshots that it needs first.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether a worker may get a snapshot that no worker has in use yet. A draining one may only if there is no other.
    fn may_try(&self, id: WorkerId) -> bool {
        let Some(worker) = self.list.get(&id) else { return false };
        let stays = |stage| matches!(stage, Stage::Checking | Stage::Admitted);
        stays(worker.stage) || !self.of_duty(worker.duty).any(|(_, other)| stays(other.stage))
    }

    /// The snapshot that a worker crashed on, if it was loading one that no worker has in use. If it was loading
    /// several such, none is blamed, and from now on each worker gets them one by one.
    pub(crate) fn blame(&mut self, id: WorkerId) -> Option<Load> {
        let worker = self.list.get(&id)?;
        // A draining worker exits with its last client, and may not have read the last messages.
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

    /// Receives one message from a worker.
    pub(crate) fn receive(&mut self, id: WorkerId, now: Instant) -> Option<Incoming> {
        let worker = self.list.get_mut(&id)?;
        // Longer than any message: one that fills it is too long.
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
        let incoming = worker.interpret(message, now);
        if let Incoming::Loaded(table, _) | Incoming::Rejected(table, _) = incoming {
            self.trying.retain(|of, worker| (*of, *worker) != (table, id));
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

    /// Pings the workers that have clients, or are starting; returns those that have owed the answer to a ping, or to a
    /// snapshot, for too long.
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

    /// The number of connected clients.
    pub(crate) fn clients(&self) -> u32 {
        self.list.values().fold(0, |sum, worker| sum.saturating_add(worker.clients))
    }
}
