//! The only words that the processes exchange.
//!
//! Purpose: table ids, and one enum of messages for each direction of each channel, with a hand-written codec. May:
//! nothing but compute. Never: I/O, paths, client bytes.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod backend;
mod codec;
mod field;
mod gateway;
mod launch;
mod message;
mod names;
mod program;
mod question;
mod supervisor;
mod write;

pub use backend::{Asks, Backend, BackendTable, Encoded, Host, MAX_HOSTS, Protocol};
pub use codec::{DecodeError, MAX_MESSAGE};
pub use gateway::{BrokerToDialer, BrokerToGateway, DialerToBroker, GatewayToBroker, SupervisorToDialer};
pub use launch::{
    Backends, BrokerLaunch, DialerLaunch, GatewayLaunch, Ids, Launch, LogTo, LoggerLaunch, Process, Serving,
    SupervisorToProcess, WorkerLaunch, WriteBrokerLaunch, WriterLaunch,
};
pub use message::{BrokerToLookup, Decode, Group, LookupToBroker, Unavailable};
pub use names::{Listed, decode_names, encode_names};
pub use program::{ByHand, WRONG_USAGE, version_text};
pub use question::{
    Answer, Answered, Asked, Frames, MAX_KEY, MAX_REASON, MAX_VALUE, Manner, NoAnswer, Question,
};
pub use supervisor::{BrokerToSupervisor, SupervisorToBroker, SupervisorToLogger};
pub use write::{BrokerToWriter, Part, WriterToBroker};

/// The place of a table in the approved list; the only way in which a worker can name a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub u16);

/// The number of a gateway, unique for the lifetime of a broker. It tells lookup workers which gateway to ask for a
/// table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(pub u16);

/// The number of a spawned process, unique for the lifetime of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u32);

/// The number of draining lookup workers from which on no other is replaced for having served enough clients, while
/// `serve` workers serve.
#[must_use]
pub fn max_draining(serve: u32) -> u32 {
    serve.saturating_add(3)
}

/// Servers that have a gateway, at most: each is a process.
pub const MAX_GATEWAYS: u32 = 64;

/// Connections that the dialer makes at a time, for all brokers: one for each server at least.
pub const MAX_CONNECTORS: usize = 64;

/// A group of callers that may ask the same set of tables, served by workers of their own.
///
/// There is one class for now: every caller may ask every approved table, as in stock Postfix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrustClass(pub u16);

impl TrustClass {
    /// The class of every caller, as long as there is no policy that distinguishes them.
    pub const EVERYONE: TrustClass = TrustClass(0);
}

/// The duty of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Duty {
    /// It serves clients, and answers at once from indexed tables; for tables of patterns it asks a rules worker.
    Clients = 0,
    /// It has tables of patterns (`regexp`, `pcre`), where an answer can take long, and answers lookup workers.
    Rules = 1,
    /// It has connections to a server, and answers lookup workers for the tables of this server.
    Gateway = 2,
}

impl Duty {
    /// The duty responsible for a table: that of the workers which get its snapshots, or of the gateway which asks its
    /// server. A lookup in a `cidr` table is indexed, and costs less than a question to another process.
    #[must_use]
    pub fn of(kind: mapkeep_name::Kind) -> Duty {
        match kind {
            mapkeep_name::Kind::Regexp | mapkeep_name::Kind::Pcre => Duty::Rules,
            kind if kind.is_remote() => Duty::Gateway,
            _ => Duty::Clients,
        }
    }

    /// All of them.
    pub const ALL: [Duty; 3] = [Duty::Clients, Duty::Rules, Duty::Gateway];

    /// Those whose workers get snapshots: lookup workers and rules workers.
    pub const OF_SNAPSHOTS: [Duty; 2] = [Duty::Clients, Duty::Rules];

    pub(crate) fn from_tag(tag: u8) -> Result<Duty, DecodeError> {
        Duty::ALL.into_iter().find(|duty| *duty as u8 == tag).ok_or(DecodeError::Field)
    }
}
