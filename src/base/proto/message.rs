//! One enum for each direction of each channel: what one end can send is all that the other can receive.
//!
//! The number of descriptors that travel with a message belongs to its variant.

use crate::codec::{DecodeError, Reader};
use crate::{Duty, GatewayId, TableId, TrustClass, WorkerId};
use mapkeep_name::Kind;

/// A message that can be read from a packet.
pub trait Decode: Sized {
    /// Reads one message. Total: every byte string gives a message or an error.
    ///
    /// # Errors
    /// See [`DecodeError`]; trailing bytes are an error.
    fn decode(packet: &[u8]) -> Result<Self, DecodeError>;

    /// The bytes of this message.
    fn encode(&self) -> Vec<u8>;

    /// How many descriptors come with it.
    fn descriptors(&self) -> usize;
}

/// Why a table cannot be asked at the moment. The log has the details; a worker needs only the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unavailable {
    /// The file is not there (yet).
    Missing = 1,
    /// The file, or the way to it, breaks a trust rule.
    Refused = 2,
    /// The file is larger than the snapshot limit.
    TooLarge = 3,
    /// Reading failed.
    Unreadable = 4,
    /// This build has no reader for the type.
    UnknownType = 5,
    /// The broker is still copying it.
    Loading = 6,
    /// There is no room for what has to be written.
    NoRoom = 7,
    /// A worker has died of loading it, and there was none before it.
    Unloadable = 8,
}

impl Unavailable {
    pub(crate) fn from_tag(tag: u8) -> Result<Self, DecodeError> {
        let all = [
            Self::Missing,
            Self::Refused,
            Self::TooLarge,
            Self::Unreadable,
            Self::UnknownType,
            Self::Loading,
            Self::NoRoom,
            Self::Unloadable,
        ];
        all.into_iter().find(|reason| *reason as u8 == tag).ok_or(DecodeError::Field)
    }
}

/// Processes that answer for the same tables of a lookup worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The rules workers: for tables of patterns.
    Rules,
    /// This gateway: for the tables that are routed to it ([`BrokerToLookup::Routed`]).
    Gateway(GatewayId),
}

/// What the broker tells a lookup worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerToLookup {
    /// The names of the class's tables, in the order of their ids; one descriptor (a sealed memfd).
    Names {
        /// Size of the names in bytes.
        size: u64,
        /// The value of `smtputf8_enable`.
        smtputf8: bool,
        /// False when the configuration could not be read: then no table may be denied, for a client
        /// takes a denial as final. Lookups are temporary errors until the configuration is mended.
        approval_known: bool,
    },
    /// New content of a table; one descriptor (a sealed memfd).
    Snapshot {
        /// Which table.
        id: TableId,
        /// Rises with each content of this table.
        generation: u32,
        /// What the bytes are.
        kind: Kind,
        /// Size of the content in bytes.
        size: u64,
    },
    /// The table cannot be served. A worker that has content keeps answering from it.
    Unavailable {
        /// Which table.
        id: TableId,
        /// Why.
        reason: Unavailable,
    },
    /// A client connection; one descriptor.
    Client,
    /// Take no more clients; leave when the present ones have gone.
    Finish,
    /// Are you alive?
    Ping(u32),
    /// The way to a process of this group, for a worker that asks; one descriptor (a stream socket).
    Answerer(Group),
    /// The way from a worker that asks, for one that answers; one descriptor (a stream socket).
    Asker,
    /// From now on this gateway is asked for this table. Before the first of these nobody is, and each lookup is a temporary
    /// error; questions that are out stay with the gateway that has them.
    Routed {
        /// Which table.
        id: TableId,
        /// Whom to ask.
        gateway: GatewayId,
        /// How long the gateway has for an answer.
        milliseconds: u32,
    },
}

impl Decode for BrokerToLookup {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => BrokerToLookup::Names {
                size: from.u64()?,
                smtputf8: from.flag()?,
                approval_known: from.flag()?,
            },
            2 => BrokerToLookup::Snapshot {
                id: TableId(from.u16()?),
                generation: from.u32()?,
                kind: Kind::from_tag(from.u8()?).ok_or(DecodeError::Field)?,
                size: from.u64()?,
            },
            3 => BrokerToLookup::Unavailable {
                id: TableId(from.u16()?),
                reason: Unavailable::from_tag(from.u8()?)?,
            },
            4 => BrokerToLookup::Client,
            5 => BrokerToLookup::Finish,
            6 => BrokerToLookup::Ping(from.u32()?),
            7 => BrokerToLookup::Answerer(match from.u8()? {
                0 => Group::Rules,
                1 => Group::Gateway(GatewayId(from.u16()?)),
                _ => return Err(DecodeError::Field),
            }),
            8 => BrokerToLookup::Asker,
            9 => BrokerToLookup::Routed {
                id: TableId(from.u16()?),
                gateway: GatewayId(from.u16()?),
                milliseconds: from.u32()?,
            },
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match *self {
            BrokerToLookup::Names { size, smtputf8, approval_known } => {
                fields(1, &[&size.to_le_bytes(), &[smtputf8.into()], &[approval_known.into()]])
            }
            BrokerToLookup::Snapshot { id, generation, kind, size } => fields(
                2,
                &[&id.0.to_le_bytes(), &generation.to_le_bytes(), &[kind as u8], &size.to_le_bytes()],
            ),
            BrokerToLookup::Unavailable { id, reason } => fields(3, &[&id.0.to_le_bytes(), &[reason as u8]]),
            BrokerToLookup::Client => fields(4, &[]),
            BrokerToLookup::Finish => fields(5, &[]),
            BrokerToLookup::Ping(number) => fields(6, &[&number.to_le_bytes()]),
            BrokerToLookup::Answerer(Group::Rules) => fields(7, &[&[0]]),
            BrokerToLookup::Answerer(Group::Gateway(id)) => fields(7, &[&[1], &id.0.to_le_bytes()]),
            BrokerToLookup::Asker => fields(8, &[]),
            BrokerToLookup::Routed { id, gateway, milliseconds } => {
                fields(9, &[&id.0.to_le_bytes(), &gateway.0.to_le_bytes(), &milliseconds.to_le_bytes()])
            }
        }
    }

    fn descriptors(&self) -> usize {
        match self {
            BrokerToLookup::Names { .. }
            | BrokerToLookup::Snapshot { .. }
            | BrokerToLookup::Client
            | BrokerToLookup::Answerer(_)
            | BrokerToLookup::Asker => 1,
            BrokerToLookup::Unavailable { .. }
            | BrokerToLookup::Finish
            | BrokerToLookup::Ping(_)
            | BrokerToLookup::Routed { .. } => 0,
        }
    }
}

/// What a lookup worker may say to the broker. Anything else costs it its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupToBroker {
    /// Locked down, checked, and holding the names.
    Ready,
    /// This content is now the one that answers.
    Loaded {
        /// Which table.
        id: TableId,
        /// Which content.
        generation: u32,
    },
    /// This content does not parse; the one before it (if any) goes on answering.
    Rejected {
        /// Which table.
        id: TableId,
        /// Which content.
        generation: u32,
    },
    /// So many clients have gone since the last such message.
    Closed(u32),
    /// The answer to a ping.
    Pong(u32),
}

impl Decode for LookupToBroker {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => LookupToBroker::Ready,
            2 => LookupToBroker::Loaded { id: TableId(from.u16()?), generation: from.u32()? },
            3 => LookupToBroker::Rejected { id: TableId(from.u16()?), generation: from.u32()? },
            4 => LookupToBroker::Closed(from.u32()?),
            5 => LookupToBroker::Pong(from.u32()?),
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match *self {
            LookupToBroker::Ready => fields(1, &[]),
            LookupToBroker::Loaded { id, generation } => {
                fields(2, &[&id.0.to_le_bytes(), &generation.to_le_bytes()])
            }
            LookupToBroker::Rejected { id, generation } => {
                fields(3, &[&id.0.to_le_bytes(), &generation.to_le_bytes()])
            }
            LookupToBroker::Closed(count) => fields(4, &[&count.to_le_bytes()]),
            LookupToBroker::Pong(number) => fields(5, &[&number.to_le_bytes()]),
        }
    }

    fn descriptors(&self) -> usize {
        0
    }
}

/// What the supervisor tells the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupervisorToBroker {
    /// A worker has been started; one descriptor (the channel to it).
    Worker {
        /// Its number.
        id: WorkerId,
        /// The class whose tables and callers it gets.
        class: TrustClass,
        /// What it is there for.
        duty: Duty,
    },
    /// The worker's confinement has been checked from outside: it may have clients.
    Admit(WorkerId),
    /// The worker's process has ended.
    Gone(WorkerId),
    /// Another broker has taken over, or the service ends: accept nobody any more, let the workers finish, and leave
    /// after the last.
    Finish,
    /// Have the writer write its checkpoints (writing service only).
    Checkpoint,
}

impl Decode for SupervisorToBroker {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => SupervisorToBroker::Worker {
                id: WorkerId(from.u32()?),
                class: TrustClass(from.u16()?),
                duty: Duty::from_tag(from.u8()?)?,
            },
            2 => SupervisorToBroker::Admit(WorkerId(from.u32()?)),
            3 => SupervisorToBroker::Gone(WorkerId(from.u32()?)),
            4 => SupervisorToBroker::Finish,
            5 => SupervisorToBroker::Checkpoint,
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match *self {
            SupervisorToBroker::Worker { id, class, duty } => {
                fields(1, &[&id.0.to_le_bytes(), &class.0.to_le_bytes(), &[duty as u8]])
            }
            SupervisorToBroker::Admit(id) => fields(2, &[&id.0.to_le_bytes()]),
            SupervisorToBroker::Gone(id) => fields(3, &[&id.0.to_le_bytes()]),
            SupervisorToBroker::Finish => fields(4, &[]),
            SupervisorToBroker::Checkpoint => fields(5, &[]),
        }
    }

    fn descriptors(&self) -> usize {
        usize::from(matches!(self, SupervisorToBroker::Worker { .. }))
    }
}

/// What the broker tells the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerToSupervisor {
    /// Locked down and checked; the tables have been looked at once.
    Ready,
    /// A worker of this class is wanted, and for what.
    Need(TrustClass, Duty),
    /// This worker says that it is locked down and holds its tables: check it, then admit it.
    WorkerReady(WorkerId),
    /// This worker broke the protocol or stopped answering: end it.
    Kill(WorkerId),
    /// How many clients are connected, sent when the number becomes zero or stops being zero.
    Clients(u32),
    /// The answer to Finish: from now on it accepts nobody.
    Finishing,
}

impl Decode for BrokerToSupervisor {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => BrokerToSupervisor::Ready,
            2 => BrokerToSupervisor::Need(TrustClass(from.u16()?), Duty::from_tag(from.u8()?)?),
            3 => BrokerToSupervisor::WorkerReady(WorkerId(from.u32()?)),
            4 => BrokerToSupervisor::Kill(WorkerId(from.u32()?)),
            5 => BrokerToSupervisor::Clients(from.u32()?),
            6 => BrokerToSupervisor::Finishing,
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match *self {
            BrokerToSupervisor::Ready => fields(1, &[]),
            BrokerToSupervisor::Need(class, duty) => fields(2, &[&class.0.to_le_bytes(), &[duty as u8]]),
            BrokerToSupervisor::WorkerReady(id) => fields(3, &[&id.0.to_le_bytes()]),
            BrokerToSupervisor::Kill(id) => fields(4, &[&id.0.to_le_bytes()]),
            BrokerToSupervisor::Clients(count) => fields(5, &[&count.to_le_bytes()]),
            BrokerToSupervisor::Finishing => fields(6, &[]),
        }
    }

    fn descriptors(&self) -> usize {
        0
    }
}

/// What the supervisor tells the logger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupervisorToLogger {
    /// Lines of the process `pid` come out of this channel; one descriptor.
    Source {
        /// The process whose lines they are.
        pid: u32,
    },
}

impl Decode for SupervisorToLogger {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => SupervisorToLogger::Source { pid: from.u32()? },
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match *self {
            SupervisorToLogger::Source { pid } => fields(1, &[&pid.to_le_bytes()]),
        }
    }

    fn descriptors(&self) -> usize {
        1
    }
}

/// A tag and its fields, one after the other.
pub(crate) fn fields(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![tag];
    for part in parts {
        packet.extend_from_slice(part);
    }
    packet
}

#[cfg(test)]
pub(crate) mod tests;
