//! One gateway: what it is sent, and what it may say when.

use super::*;
use backends::Memory;
use mapkeep_process::outbox::{self, Outbox, Sent};
use mapkeep_proto::{Decode, GatewayToBroker};
use mapkeep_sys::channel::Received;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// How long it may take to answer a ping.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Its tables do not change while it lives.
const GENERATION: u32 = 1;

/// A descriptor that travels with a message.
#[derive(Debug)]
enum Freight {
    None,
    Memory(Rc<Memory>),
    Socket(OwnedFd),
}

impl outbox::Freight for Freight {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Freight::None => Vec::new(),
            Freight::Memory(memory) => vec![memory.descriptor.as_fd()],
            Freight::Socket(socket) => vec![socket.as_fd()],
        }
    }
}

/// A gateway's process.
pub(crate) struct Gateway {
    pub(crate) id: WorkerId,
    pub(crate) channel: Channel,
    stage: Stage,
    outbox: Outbox<BrokerToGateway, Freight>,
    /// Whether the event loop waits for room in its channel.
    pub(crate) waits_for_room: bool,
    /// Tables whose settings it has not answered for.
    unloaded: BTreeSet<TableId>,
    /// The numbers of its wishes that have not been answered.
    wishes: BTreeSet<u32>,
    /// The lookup workers that have a way to it.
    askers: BTreeSet<WorkerId>,
    admitted: Option<Instant>,
    ping: Option<(u32, Instant)>,
    pings: u32,
}

/// What follows from a gateway's message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Nothing,
    /// It says that it is locked down.
    Ready,
    /// It wants a connection to this host of its server.
    Connect {
        number: u32,
        host: u16,
    },
    /// It said what it may not say.
    Violation(&'static str),
    /// It has gone.
    Gone,
}

impl Gateway {
    /// One that has just been started for this server.
    pub(super) fn new(id: WorkerId, channel: Channel, server: &Server) -> Gateway {
        let mut outbox = Outbox::default();
        let size = server.backend.size;
        outbox.push(BrokerToGateway::Backend { size }, Freight::Memory(Rc::clone(&server.backend)));
        Gateway {
            id,
            channel,
            stage: Stage::Starting,
            outbox,
            waits_for_room: false,
            unloaded: BTreeSet::new(),
            wishes: BTreeSet::new(),
            askers: BTreeSet::new(),
            admitted: None,
            ping: None,
            pings: 0,
        }
    }

    /// It has been checked from outside: it gets its tables.
    pub(super) fn admit(&mut self, server: &Server, now: Instant) {
        self.stage = Stage::Admitted;
        self.admitted = Some(now);
        for (id, memory) in &server.tables {
            let message = BrokerToGateway::Table { id: *id, generation: GENERATION, size: memory.size };
            self.outbox.push(message, Freight::Memory(Rc::clone(memory)));
            self.unloaded.insert(*id);
        }
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.stage == Stage::Admitted
    }

    /// Whether it has all its tables.
    pub(super) fn is_settled(&self) -> bool {
        self.is_admitted() && self.unloaded.is_empty()
    }

    /// How long ago it was admitted.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.admitted.map(|moment| now.saturating_duration_since(moment))
    }

    /// Only these lookup workers are left.
    pub(super) fn forget_others(&mut self, left: &BTreeSet<WorkerId>) {
        self.askers.retain(|asker| left.contains(asker));
    }

    /// Whether this lookup worker has a way to it.
    pub(super) fn knows(&self, asker: WorkerId) -> bool {
        self.askers.contains(&asker)
    }

    /// A way from this lookup worker.
    pub(super) fn meet(&mut self, asker: WorkerId, way: OwnedFd) {
        self.outbox.push(BrokerToGateway::Asker, Freight::Socket(way));
        self.askers.insert(asker);
    }

    /// Tells it something that comes without a descriptor.
    pub(super) fn tell(&mut self, message: BrokerToGateway) {
        if let BrokerToGateway::NotConnected { number, .. } = &message {
            self.wishes.remove(number);
        }
        self.outbox.push(message, Freight::None);
    }

    /// A connection that it asked for.
    pub(super) fn connected(&mut self, number: u32, socket: OwnedFd) {
        self.wishes.remove(&number);
        self.outbox.push(BrokerToGateway::Connected { number }, Freight::Socket(socket));
    }

    /// It leaves with its last asker.
    pub(super) fn finish(&mut self) {
        if self.stage != Stage::Draining {
            self.stage = Stage::Draining;
            self.outbox.push(BrokerToGateway::Finish, Freight::None);
        }
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&mut self) -> io::Result<Sent> {
        self.outbox.flush(&self.channel)
    }

    /// Whether it owes a sign of life for too long; asks for the next.
    pub(super) fn is_silent(&mut self, now: Instant, limit: Duration, connected: bool) -> bool {
        match self.ping {
            Some((_, sent)) => return now.saturating_duration_since(sent) > limit.min(ANSWER_TIME),
            None if self.is_settled() && !connected => {}
            None => {
                self.pings = self.pings.wrapping_add(1);
                self.ping = Some((self.pings, now));
                self.tell(BrokerToGateway::Ping(self.pings));
            }
        }
        false
    }

    /// Takes one message.
    pub(super) fn receive(&mut self, server: &Server) -> Option<Incoming> {
        // One byte more than any message: what fills it is too long.
        let mut buffer = [0; 64];
        let length = match self.channel.receive_plain(&mut buffer) {
            Ok(Received::Message(length, _)) => length,
            Ok(Received::Empty) => return None,
            Ok(Received::Closed) | Err(_) => return Some(Incoming::Gone),
            Ok(Received::Oversized) => return Some(Incoming::Violation("an oversized message")),
        };
        Some(match GatewayToBroker::decode(buffer.get(..length).unwrap_or_default()) {
            Ok(message) => self.judge(message, server),
            Err(_) => Incoming::Violation("a malformed message"),
        })
    }

    /// All that a gateway may say, and when.
    pub(super) fn judge(&mut self, message: GatewayToBroker, server: &Server) -> Incoming {
        match (self.stage, message) {
            (Stage::Starting, GatewayToBroker::Ready) => {
                self.stage = Stage::Checking;
                Incoming::Ready
            }
            (_, GatewayToBroker::Ready) => Incoming::Violation("ready twice"),
            (Stage::Admitted | Stage::Draining, GatewayToBroker::Loaded { id, generation: GENERATION }) => {
                match self.unloaded.remove(&id) {
                    true => Incoming::Nothing,
                    false => Incoming::Violation("a verdict on settings that it was not sent"),
                }
            }
            // Ours and the gateway's are of one version: it understands what it is sent.
            (Stage::Admitted | Stage::Draining, GatewayToBroker::Rejected { .. }) => {
                Incoming::Violation("that it does not understand the settings of its table")
            }
            (_, GatewayToBroker::Loaded { .. } | GatewayToBroker::Rejected { .. }) => {
                Incoming::Violation("a verdict on settings that it was not sent")
            }
            (Stage::Admitted | Stage::Draining, GatewayToBroker::Connect { number, host }) => {
                if usize::from(host) >= server.hosts.len() {
                    Incoming::Violation("a wish for a host that its server does not have")
                } else if self.wishes.len() >= usize::from(server.connections) {
                    Incoming::Violation("wishes for more connections than it may have")
                } else if !self.wishes.insert(number) {
                    Incoming::Violation("one number for two wishes")
                } else {
                    Incoming::Connect { number, host }
                }
            }
            (_, GatewayToBroker::Connect { .. }) => Incoming::Violation("a wish before it was checked"),
            (_, GatewayToBroker::Pong(number)) => match self.ping.take() {
                Some((asked, _)) if asked == number => Incoming::Nothing,
                _ => Incoming::Violation("an answer to no ping"),
            },
        }
    }
}
