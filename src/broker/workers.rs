//! The lookup workers as the broker sees them: what each may say now, and what it is still owed.
//!
//! A worker may have been taken over by an attacker. It can only say the few things that
//! [`Workers::hear`] lists; anything else ends it.

use crate::outbox::{self, Outbox, Sent};
use crate::tables::{Content, Tables};
use mapkeep_proto::{BrokerToLookup, Decode, LookupToBroker, TableId, TrustClass, Unavailable, WorkerId};
use mapkeep_sys::channel::{Channel, Received};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a worker may take to answer a ping while it has nothing to load.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How fast a worker must at least be able to load a content, in bytes a second.
const LOAD_SPEED: u64 = 10 << 20;

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Started; has not said that it is locked down.
    Starting,
    /// Says that it is locked down; the supervisor is checking.
    Checking,
    /// May have clients.
    Admitted,
    /// Keeps its clients and gets no more.
    Draining,
}

/// A descriptor that travels with a message.
#[derive(Debug)]
enum Freight {
    None,
    Names(Rc<OwnedFd>),
    Content(Rc<Content>),
    Client(OwnedFd),
}

impl outbox::Freight for Freight {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Freight::None => Vec::new(),
            Freight::Names(names) => vec![names.as_fd()],
            Freight::Content(content) => vec![content.snapshot.descriptor.as_fd()],
            Freight::Client(client) => vec![client.as_fd()],
        }
    }
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) channel: Channel,
    pub(crate) class: TrustClass,
    pub(crate) stage: Stage,
    pub(crate) clients: u32,
    /// Clients that it has had in all.
    pub(crate) served: u32,
    outbox: Outbox<BrokerToLookup, Freight>,
    /// Whether the event loop waits for room in its channel.
    pub(crate) waits_for_room: bool,
    /// Contents sent and not yet answered, with their sizes.
    loading: Vec<(TableId, u32, u64)>,
    ping: Option<(u32, Instant)>,
    pings: u32,
}

/// What follows from a worker's message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
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
}

impl Workers {
    /// `names` is the sealed list of names, `hello` the message that goes with it.
    pub(crate) fn new(names: OwnedFd, hello: BrokerToLookup) -> Workers {
        Workers { list: BTreeMap::new(), names: Rc::new(names), hello }
    }

    /// The sealed list of names.
    pub(crate) fn names(&self) -> BorrowedFd<'_> {
        self.names.as_fd()
    }

    /// A worker has been started: send it the names and all tables.
    pub(crate) fn add(&mut self, id: WorkerId, class: TrustClass, channel: Channel, tables: &Tables) {
        let mut worker = Worker {
            channel,
            class,
            stage: Stage::Starting,
            clients: 0,
            served: 0,
            outbox: Outbox::default(),
            waits_for_room: false,
            loading: Vec::new(),
            ping: None,
            pings: 0,
        };
        worker.outbox.push(self.hello, Freight::Names(Rc::clone(&self.names)));
        for (table, entry) in tables.with_ids() {
            match (&entry.content, entry.trouble) {
                (Some(content), _) => worker.load(table, entry.kind, content),
                (None, Some(reason)) => worker.unavailable(table, reason),
                (None, None) => {}
            }
        }
        self.list.insert(id, worker);
    }

    /// Tells every worker of a table's new content.
    pub(crate) fn content(&mut self, table: TableId, tables: &Tables) {
        let Some(entry) = tables.get(table) else { return };
        let Some(content) = &entry.content else { return };
        for worker in self.list.values_mut() {
            worker.load(table, entry.kind, content);
        }
    }

    /// Tells every worker that a table cannot be asked.
    pub(crate) fn unavailable(&mut self, table: TableId, reason: Unavailable) {
        for worker in self.list.values_mut() {
            worker.unavailable(table, reason);
        }
    }

    /// Sends what is waiting for this worker.
    pub(crate) fn flush(&mut self, id: WorkerId) -> io::Result<Sent> {
        let Some(worker) = self.list.get_mut(&id) else { return Ok(Sent::All) };
        worker.outbox.flush(&worker.channel)
    }

    /// Takes one message of a worker.
    pub(crate) fn hear(&mut self, id: WorkerId) -> Option<Heard> {
        let worker = self.list.get_mut(&id)?;
        // One byte more than any message: what fills it is too long.
        let mut buffer = [0; 64];
        let length = match worker.channel.receive_plain(&mut buffer) {
            Ok(Received::Message(length, _)) => length,
            Ok(Received::Empty) => return None,
            Ok(Received::Closed) | Err(_) => return Some(Heard::Gone),
            Ok(Received::Oversized) => return Some(Heard::Violation("an oversized message")),
        };
        let Ok(message) = LookupToBroker::decode(buffer.get(..length).unwrap_or_default()) else {
            return Some(Heard::Violation("a malformed message"));
        };
        Some(worker.judge(message))
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

    /// Asks the workers that have clients, or are starting, for a sign of life; returns those that owe one for too
    /// long.
    pub(crate) fn heartbeat(&mut self, now: Instant, limit: Duration) -> Vec<WorkerId> {
        let mut silent = Vec::new();
        for (id, worker) in &mut self.list {
            let bytes = worker.loading.iter().fold(0u64, |sum, (_, _, size)| sum.saturating_add(*size));
            let extra = Duration::from_secs(bytes / LOAD_SPEED);
            let allowed = limit.min(ANSWER_TIME).saturating_add(extra);
            match worker.ping {
                Some((_, sent)) if now.saturating_duration_since(sent) > allowed => silent.push(*id),
                Some(_) => {}
                None if worker.is_resting() => {}
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

impl Worker {
    /// Whether it serves new clients of `class` now.
    pub(crate) fn takes_clients(&self, class: TrustClass) -> bool {
        self.class == class && self.stage == Stage::Admitted && self.is_loaded()
    }

    /// Whether nobody waits for anything from it.
    fn is_resting(&self) -> bool {
        let started = matches!(self.stage, Stage::Admitted | Stage::Draining);
        started && self.clients == 0 && self.loading.is_empty()
    }

    /// Whether it has every content that it was sent first.
    fn is_loaded(&self) -> bool {
        // A refresh must not keep clients waiting: the old content answers meanwhile.
        self.served > 0 || self.loading.is_empty()
    }

    fn load(&mut self, table: TableId, kind: mapkeep_proto::Kind, content: &Rc<Content>) {
        let (generation, size) = (content.generation, content.snapshot.size);
        self.loading.push((table, generation, size));
        let message = BrokerToLookup::Snapshot { id: table, generation, kind, size };
        self.outbox.push(message, Freight::Content(Rc::clone(content)));
    }

    fn unavailable(&mut self, table: TableId, reason: Unavailable) {
        self.outbox.push(BrokerToLookup::Unavailable { id: table, reason }, Freight::None);
    }

    /// All that a worker may say, and when.
    fn judge(&mut self, message: LookupToBroker) -> Heard {
        match (self.stage, message) {
            (Stage::Starting, LookupToBroker::Ready) => {
                self.stage = Stage::Checking;
                Heard::Ready
            }
            (
                Stage::Checking | Stage::Admitted | Stage::Draining,
                LookupToBroker::Loaded { id, generation } | LookupToBroker::Rejected { id, generation },
            ) => {
                let sent = |(table, number, _): &(TableId, u32, u64)| *table == id && *number == generation;
                let Some(position) = self.loading.iter().position(sent) else {
                    return Heard::Violation("an answer to a content that it was not sent");
                };
                self.loading.swap_remove(position);
                match message {
                    LookupToBroker::Loaded { .. } => Heard::Loaded(id, generation),
                    _ => Heard::Rejected(id, generation),
                }
            }
            (Stage::Admitted | Stage::Draining, LookupToBroker::Closed(count)) => {
                match self.clients.checked_sub(count) {
                    _ if count == 0 => Heard::Violation("a message that says nothing"),
                    Some(left) => {
                        self.clients = left;
                        Heard::Closed(count)
                    }
                    None => Heard::Violation("more clients gone than it had"),
                }
            }
            (_, LookupToBroker::Pong(number)) => match self.ping.take() {
                Some((asked, _)) if asked == number => Heard::Nothing,
                _ => Heard::Violation("an answer to no ping"),
            },
            (_, LookupToBroker::Ready) => Heard::Violation("ready twice"),
            (_, LookupToBroker::Closed(_)) => Heard::Violation("clients gone before it had any"),
            (_, LookupToBroker::Loaded { .. } | LookupToBroker::Rejected { .. }) => {
                Heard::Violation("content before it was ready")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(stage: Stage) -> Worker {
        let (channel, _) = Channel::pair().unwrap();
        Worker {
            channel,
            class: TrustClass::EVERYONE,
            stage,
            clients: 2,
            served: 0,
            outbox: Outbox::default(),
            waits_for_room: false,
            loading: vec![(TableId(1), 5, 100)],
            ping: Some((3, Instant::now())),
            pings: 3,
        }
    }

    #[test]
    fn ready_counts_once_and_only_at_the_start() {
        assert_eq!(worker(Stage::Starting).judge(LookupToBroker::Ready), Heard::Ready);
        for stage in [Stage::Checking, Stage::Admitted, Stage::Draining] {
            assert!(matches!(worker(stage).judge(LookupToBroker::Ready), Heard::Violation(_)));
        }
    }

    #[test]
    fn content_answers_must_match_what_was_sent() {
        let loaded = |id, generation| LookupToBroker::Loaded { id: TableId(id), generation };
        let mut one = worker(Stage::Admitted);
        assert!(matches!(one.judge(loaded(1, 4)), Heard::Violation(_)));
        assert!(matches!(one.judge(loaded(2, 5)), Heard::Violation(_)));
        assert_eq!(one.judge(loaded(1, 5)), Heard::Loaded(TableId(1), 5));
        assert!(matches!(one.judge(loaded(1, 5)), Heard::Violation(_)), "a replay");
        assert!(matches!(worker(Stage::Starting).judge(loaded(1, 5)), Heard::Violation(_)));
    }

    #[test]
    fn closed_and_pong_cannot_be_invented() {
        let mut one = worker(Stage::Admitted);
        assert!(matches!(one.judge(LookupToBroker::Closed(3)), Heard::Violation(_)));
        assert!(matches!(one.judge(LookupToBroker::Closed(0)), Heard::Violation(_)));
        assert_eq!(one.judge(LookupToBroker::Closed(2)), Heard::Closed(2));
        assert!(matches!(worker(Stage::Checking).judge(LookupToBroker::Closed(1)), Heard::Violation(_)));
        assert!(matches!(one.judge(LookupToBroker::Pong(2)), Heard::Violation(_)));
        assert!(matches!(one.judge(LookupToBroker::Pong(3)), Heard::Violation(_)), "answered once already");
        assert_eq!(worker(Stage::Starting).judge(LookupToBroker::Pong(3)), Heard::Nothing);
    }

    #[test]
    fn only_a_started_worker_without_clients_rests() {
        let mut one = worker(Stage::Admitted);
        one.loading.clear();
        assert!(!one.is_resting(), "it has clients");
        one.clients = 0;
        assert!(one.is_resting());
        one.stage = Stage::Starting;
        assert!(!one.is_resting(), "one that never gets ready would be waited for in vain");
    }

    #[test]
    fn worker_that_is_loading_gets_no_clients_until_it_has_loaded() {
        let mut one = worker(Stage::Admitted);
        assert!(!one.takes_clients(TrustClass::EVERYONE));
        one.loading.clear();
        assert!(one.takes_clients(TrustClass::EVERYONE));
        assert!(!one.takes_clients(TrustClass(9)));
        one.stage = Stage::Draining;
        assert!(!one.takes_clients(TrustClass::EVERYONE));
    }
}
