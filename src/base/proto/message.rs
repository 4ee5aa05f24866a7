//! One enum for each direction of each channel: what one end can send is all that the other can receive.
//!
//! The number of descriptors that travel with a message belongs to its variant.

use crate::codec::{DecodeError, Reader};
use crate::{GatewayId, TableId};
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

/// Why a table is not available. The log has the details; a worker needs only the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unavailable {
    /// The file does not exist (yet).
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
    /// There is no space left for what must be written.
    NoRoom = 7,
    /// The snapshot crashed a worker, and there was no previous one.
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
    /// This gateway, for the tables that are routed to it ([`BrokerToLookup::Routed`]).
    Gateway(GatewayId),
}

/// A message from the broker to a lookup worker or a rules worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerToLookup {
    /// The names of the class's tables, in the order of their ids; one descriptor (a sealed memfd).
    Names {
        /// Size of the names in bytes.
        size: u64,
        /// The value of `smtputf8_enable`.
        smtputf8: bool,
        /// False if the configuration could not be read: then no table may be denied, because a client takes a denial
        /// as final. Lookups are temporary errors until the configuration is corrected.
        approval_known: bool,
    },
    /// A new snapshot of a table; one descriptor (a sealed memfd).
    Snapshot {
        /// Which table.
        id: TableId,
        /// Increases with each snapshot of this table.
        generation: u32,
        /// The kind of table.
        kind: Kind,
        /// Size of the snapshot in bytes.
        size: u64,
    },
    /// The table cannot be served. A worker that has a snapshot continues to answer from it.
    Unavailable {
        /// Which table.
        id: TableId,
        /// Why.
        reason: Unavailable,
    },
    /// A client connection; one descriptor.
    Client,
    /// Take no more clients; exit when the present ones have disconnected.
    Finish,
    /// Are you alive?
    Ping(u32),
    /// A stream to a process of this group, for a worker that asks; one descriptor (a stream socket).
    Answerer(Group),
    /// A stream from a worker that asks, for one that answers; one descriptor (a stream socket).
    Asker,
    /// Ask this gateway for this table from now on. Until the first such message, each lookup is a temporary error;
    /// questions already asked stay with the gateway that has them.
    Routed {
        /// Which table.
        id: TableId,
        /// The gateway to ask.
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

/// A message from a lookup worker or a rules worker to the broker. A worker that sends anything else is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupToBroker {
    /// It is locked down, has checked itself, and has the names.
    Ready,
    /// This snapshot is now in use.
    Loaded {
        /// Which table.
        id: TableId,
        /// Which snapshot.
        generation: u32,
    },
    /// This snapshot does not parse; the previous one (if any) stays in use.
    Rejected {
        /// Which table.
        id: TableId,
        /// Which snapshot.
        generation: u32,
    },
    /// The number of clients that have disconnected since the last such message.
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
