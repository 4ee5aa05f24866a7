//! What the broker tells a gateway about its backend and about each of its tables.
//!
//! These travel in sealed memory files, since settings have no limit that a packet could have. They come from the
//! configuration, which root wrote; they are read as everything else is, so that an error here is an error and no more.
//! No password is among them.

use crate::codec::{DecodeError, Reader, put};
use crate::field::{Field, encoded, record, whole};
use mapkeep_name::Endpoint;

/// Limit of hosts of a backend. Postfix has no limit; real configurations have far fewer.
pub const MAX_HOSTS: usize = 64;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A Unix-domain socket at this path, at most [`Host::MAX_PATH`] bytes.
    Unix(Vec<u8>),
    /// TCP: a name or an address (without the brackets of IPv6), and a port as a number or the name of a service. Each at
    /// most [`Host::MAX_NAME`] bytes.
    Tcp {
        /// Name or address.
        name: Vec<u8>,
        /// Port or service.
        port: Vec<u8>,
    },
}

impl Host {
    /// The longest path of a socket in bytes: that of unix(7), without the closing NUL byte.
    pub const MAX_PATH: usize = Endpoint::MAX_PATH;
    /// The longest name of a host or a service in bytes: that of a domain name (RFC 1035, 2.3.4).
    pub const MAX_NAME: usize = Endpoint::MAX_NAME;
}

/// From the name of a table. A path stays as it is written, relative or not.
impl From<Endpoint> for Host {
    fn from(endpoint: Endpoint) -> Host {
        match endpoint {
            Endpoint::Unix(path) => Host::Unix(path),
            Endpoint::Tcp { host, port } => Host::Tcp { name: host, port },
        }
    }
}

record! {
    /// A backend: tables with the same one share a gateway and its connections.
    Backend {
        /// Its name in log lines, such as `socketmap inet:localhost:9998`.
        title: String,
        /// Where it listens, in the order in which the configuration names them; at most [`MAX_HOSTS`].
        hosts: Vec<Host>,
        /// Limit of open connections; at least 1.
        connections: u16,
        /// The language that it speaks.
        protocol: Protocol,
    }
}

/// The protocol of a backend, with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// socketmap_table(5).
    Socketmap {
        /// The longest reply in bytes (`socketmap_max_reply_size`).
        max_reply: u32,
        /// The longest query in bytes.
        max_query: u32,
    },
    /// tcp_table(5).
    Tcp,
}

record! {
    /// What a gateway must know about one of its tables.
    BackendTable {
        /// Its name, for log lines.
        name: Vec<u8>,
        /// How long a question may wait for its answer, in milliseconds.
        milliseconds: u32,
        /// What the backend is asked.
        asks: Asks,
    }
}

/// What a backend is asked for a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// A key of this map of a socketmap server.
    Socketmap {
        /// The map's name.
        map: Vec<u8>,
    },
    /// A key, from a server that has one table.
    Tcp,
}

/// Something that is passed in a memory file.
pub trait Encoded: Sized {
    /// Decodes it. Total: every byte string gives a value or an error.
    ///
    /// # Errors
    /// See [`DecodeError`]; trailing bytes are an error.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// The bytes of it.
    fn encode(&self) -> Vec<u8>;
}

impl Encoded for Backend {
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let backend: Backend = whole(bytes)?;
        if backend.connections == 0 { Err(DecodeError::Field) } else { Ok(backend) }
    }

    fn encode(&self) -> Vec<u8> {
        encoded(self)
    }
}

impl Encoded for BackendTable {
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        whole(bytes)
    }

    fn encode(&self) -> Vec<u8> {
        encoded(self)
    }
}

impl Field for Host {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Host::Unix(path) => {
                out.push(1);
                put(out, path);
            }
            Host::Tcp { name, port } => {
                out.push(2);
                put(out, name);
                put(out, port);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Host, DecodeError> {
        match from.u8()? {
            1 => Ok(Host::Unix(from.bytes(Host::MAX_PATH)?.to_vec())),
            2 => Ok(Host::Tcp {
                name: from.bytes(Host::MAX_NAME)?.to_vec(),
                port: from.bytes(Host::MAX_NAME)?.to_vec(),
            }),
            _ => Err(DecodeError::Field),
        }
    }
}

/// The first [`MAX_HOSTS`] of them.
impl Field for Vec<Host> {
    fn put(&self, out: &mut Vec<u8>) {
        let count = self.len().min(MAX_HOSTS);
        u16::try_from(count).unwrap_or_default().put(out);
        self.iter().take(count).for_each(|host| host.put(out));
    }

    fn take(from: &mut Reader<'_>) -> Result<Vec<Host>, DecodeError> {
        match usize::from(from.u16()?) {
            count if count > MAX_HOSTS => Err(DecodeError::Field),
            count => (0..count).map(|_| Host::take(from)).collect(),
        }
    }
}

impl Field for Protocol {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Protocol::Socketmap { max_reply, max_query } => {
                out.push(1);
                max_reply.put(out);
                max_query.put(out);
            }
            Protocol::Tcp => out.push(2),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Protocol, DecodeError> {
        match from.u8()? {
            1 => Ok(Protocol::Socketmap { max_reply: from.u32()?, max_query: from.u32()? }),
            2 => Ok(Protocol::Tcp),
            _ => Err(DecodeError::Field),
        }
    }
}

impl Field for Asks {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Asks::Socketmap { map } => {
                out.push(1);
                map.put(out);
            }
            Asks::Tcp => out.push(2),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Asks, DecodeError> {
        match from.u8()? {
            1 => Ok(Asks::Socketmap { map: Field::take(from)? }),
            2 => Ok(Asks::Tcp),
            _ => Err(DecodeError::Field),
        }
    }
}

#[cfg(test)]
mod tests;
