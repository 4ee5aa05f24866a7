//! The words of gateways and of those who connect for them. Directions and descriptors as in `message`.
//!
//! A gateway answers for the tables of one backend (a database, a server, a service of the network) on connections that it
//! was handed. It cannot connect: it asks the broker, the broker asks the dialer, and the dialer starts a connector that
//! resolves the name, connects, hands the connection to the broker, and is gone.

use crate::TableId;
use crate::backend::Host;
use crate::codec::{DecodeError, MAX_MESSAGE, Reader};
use crate::field::Field;
use crate::message::{Decode, fields};
use crate::question::MAX_REASON;

/// A message from the broker to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerToGateway {
    /// The backend that it serves; the first message; one descriptor (a sealed memfd with a [`crate::Backend`]).
    Backend {
        /// Size of the encoded backend in bytes.
        size: u64,
    },
    /// Answer for this table from now on, with these settings; one descriptor (a sealed memfd with a
    /// [`crate::BackendTable`]).
    Table {
        /// Which table.
        id: TableId,
        /// Increases with each change of this table's settings.
        generation: u32,
        /// Size of the encoded settings in bytes.
        size: u64,
    },
    /// Stop answering for this table.
    Withdrawn {
        /// Which table.
        id: TableId,
    },
    /// The connection that it asked for under this number; one descriptor (a connected, non-blocking stream socket).
    Connected {
        /// The number of the wish.
        number: u32,
    },
    /// The connection that it asked for under this number is not available.
    NotConnected {
        /// The number of the wish.
        number: u32,
        /// Why, for the log; at most [`MAX_REASON`] bytes.
        reason: String,
    },
    /// A stream on which a lookup worker asks questions; one descriptor (a stream socket).
    Asker,
    /// Exit when the last asker has disconnected.
    Finish,
    /// Are you alive?
    Ping(u32),
}

impl Decode for BrokerToGateway {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => BrokerToGateway::Backend { size: from.u64()? },
            2 => BrokerToGateway::Table {
                id: TableId(from.u16()?),
                generation: from.u32()?,
                size: from.u64()?,
            },
            3 => BrokerToGateway::Withdrawn { id: TableId(from.u16()?) },
            4 => BrokerToGateway::Connected { number: from.u32()? },
            5 => BrokerToGateway::NotConnected { number: from.u32()?, reason: from.text(MAX_REASON)? },
            6 => BrokerToGateway::Asker,
            7 => BrokerToGateway::Finish,
            8 => BrokerToGateway::Ping(from.u32()?),
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            BrokerToGateway::Backend { size } => fields(1, &[&size.to_le_bytes()]),
            BrokerToGateway::Table { id, generation, size } => {
                fields(2, &[&id.0.to_le_bytes(), &generation.to_le_bytes(), &size.to_le_bytes()])
            }
            BrokerToGateway::Withdrawn { id } => fields(3, &[&id.0.to_le_bytes()]),
            BrokerToGateway::Connected { number } => fields(4, &[&number.to_le_bytes()]),
            BrokerToGateway::NotConnected { number, reason } => with_text(5, *number, reason),
            BrokerToGateway::Asker => fields(6, &[]),
            BrokerToGateway::Finish => fields(7, &[]),
            BrokerToGateway::Ping(number) => fields(8, &[&number.to_le_bytes()]),
        }
    }

    fn descriptors(&self) -> usize {
        match self {
            BrokerToGateway::Backend { .. }
            | BrokerToGateway::Table { .. }
            | BrokerToGateway::Connected { .. }
            | BrokerToGateway::Asker => 1,
            BrokerToGateway::Withdrawn { .. }
            | BrokerToGateway::NotConnected { .. }
            | BrokerToGateway::Finish
            | BrokerToGateway::Ping(_) => 0,
        }
    }
}

/// A message from a gateway to the broker. A gateway that sends anything else is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayToBroker {
    /// It is locked down, has checked itself, and knows its backend.
    Ready,
    /// These settings of a table are now in force.
    Loaded {
        /// Which table.
        id: TableId,
        /// Which settings.
        generation: u32,
    },
    /// These settings of a table are invalid; the previous ones (if any) stay in force.
    Rejected {
        /// Which table.
        id: TableId,
        /// Which settings.
        generation: u32,
    },
    /// It requests a connection.
    Connect {
        /// A number that comes back with the answer; each is used once.
        number: u32,
        /// Which of the backend's hosts, counted from 0.
        host: u16,
    },
    /// The answer to a ping.
    Pong(u32),
}

impl Decode for GatewayToBroker {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => GatewayToBroker::Ready,
            2 => GatewayToBroker::Loaded { id: TableId(from.u16()?), generation: from.u32()? },
            3 => GatewayToBroker::Rejected { id: TableId(from.u16()?), generation: from.u32()? },
            4 => GatewayToBroker::Connect { number: from.u32()?, host: from.u16()? },
            5 => GatewayToBroker::Pong(from.u32()?),
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            GatewayToBroker::Ready => fields(1, &[]),
            GatewayToBroker::Loaded { id, generation } => {
                fields(2, &[&id.0.to_le_bytes(), &generation.to_le_bytes()])
            }
            GatewayToBroker::Rejected { id, generation } => {
                fields(3, &[&id.0.to_le_bytes(), &generation.to_le_bytes()])
            }
            GatewayToBroker::Connect { number, host } => {
                fields(4, &[&number.to_le_bytes(), &host.to_le_bytes()])
            }
            GatewayToBroker::Pong(number) => fields(5, &[&number.to_le_bytes()]),
        }
    }

    fn descriptors(&self) -> usize {
        0
    }
}

/// A message from the supervisor to the dialer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupervisorToDialer {
    /// A broker that may ask for connections; one descriptor (the channel to it). The previous broker may still ask as
    /// well.
    Broker,
}

impl Decode for SupervisorToDialer {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => SupervisorToDialer::Broker,
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        fields(1, &[])
    }

    fn descriptors(&self) -> usize {
        1
    }
}

/// A message from the broker to the dialer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerToDialer {
    /// Have a connector connect.
    Connect {
        /// A number that comes back with the answer.
        number: u32,
        /// How long it may take in total, in milliseconds.
        milliseconds: u32,
        /// Where to.
        host: Host,
    },
}

impl Decode for BrokerToDialer {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => BrokerToDialer::Connect {
                number: from.u32()?,
                milliseconds: from.u32()?,
                host: Host::take(&mut from)?,
            },
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        let BrokerToDialer::Connect { number, milliseconds, host } = self;
        let mut packet = fields(1, &[&number.to_le_bytes(), &milliseconds.to_le_bytes()]);
        host.put(&mut packet);
        debug_assert!(packet.len() <= MAX_MESSAGE, "names of hosts and paths have limits");
        packet
    }

    fn descriptors(&self) -> usize {
        0
    }
}

/// A message from the dialer or one of its connectors to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialerToBroker {
    /// Connected; one descriptor (a non-blocking stream socket).
    Connected {
        /// The number that came with the wish.
        number: u32,
    },
    /// Not connected.
    Failed {
        /// The number that came with the wish.
        number: u32,
        /// Why, for the log; at most [`MAX_REASON`] bytes.
        reason: String,
    },
}

impl Decode for DialerToBroker {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => DialerToBroker::Connected { number: from.u32()? },
            2 => DialerToBroker::Failed { number: from.u32()?, reason: from.text(MAX_REASON)? },
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            DialerToBroker::Connected { number } => fields(1, &[&number.to_le_bytes()]),
            DialerToBroker::Failed { number, reason } => with_text(2, *number, reason),
        }
    }

    fn descriptors(&self) -> usize {
        usize::from(matches!(self, DialerToBroker::Connected { .. }))
    }
}

/// A message of a number and a text, which is cut if it is too long.
fn with_text(tag: u8, number: u32, text: &str) -> Vec<u8> {
    let mut packet = fields(tag, &[&number.to_le_bytes()]);
    crate::codec::put(&mut packet, crate::question::cut(text).as_bytes());
    packet
}

#[cfg(test)]
mod tests;
