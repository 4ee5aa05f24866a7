//! What the broker tells a gateway about its backend and about each of its tables.
//!
//! These travel in sealed memory files, since settings have no limit that a packet could have. They come from the
//! configuration, which root wrote; they are read as everything else is, so that an error here is an error and no more.
//! No password is among them.

use crate::codec::{DecodeError, Reader, put};
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

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Host, DecodeError> {
        match from.u8()? {
            1 => Ok(Host::Unix(from.bytes(Host::MAX_PATH)?.to_vec())),
            2 => Ok(Host::Tcp {
                name: from.bytes(Host::MAX_NAME)?.to_vec(),
                port: from.bytes(Host::MAX_NAME)?.to_vec(),
            }),
            _ => Err(DecodeError::Field),
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
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

/// A backend: tables with the same one share a gateway and its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its name in log lines, such as `socketmap inet:localhost:9998`.
    pub title: String,
    /// Where it listens, in the order in which the configuration names them; at most [`MAX_HOSTS`].
    pub hosts: Vec<Host>,
    /// Limit of open connections; at least 1.
    pub connections: u16,
    /// The language that it speaks.
    pub protocol: Protocol,
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

/// What a gateway must know about one of its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTable {
    /// Its name, for log lines.
    pub name: Vec<u8>,
    /// How long a question may wait for its answer, in milliseconds.
    pub milliseconds: u32,
    /// What the backend is asked.
    pub asks: Asks,
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
        let mut from = Reader(bytes);
        let title = from.text(usize::MAX)?;
        let count = usize::from(from.u16()?);
        if count > MAX_HOSTS {
            return Err(DecodeError::Field);
        }
        let hosts = (0..count).map(|_| Host::read(&mut from)).collect::<Result<Vec<Host>, DecodeError>>()?;
        let connections = from.u16()?;
        let protocol = match from.u8()? {
            1 => Protocol::Socketmap { max_reply: from.u32()?, max_query: from.u32()? },
            2 => Protocol::Tcp,
            _ => return Err(DecodeError::Field),
        };
        from.end()?;
        if connections == 0 {
            return Err(DecodeError::Field);
        }
        Ok(Backend { title, hosts, connections, protocol })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.title.as_bytes());
        let count = self.hosts.len().min(MAX_HOSTS);
        out.extend_from_slice(&u16::try_from(count).unwrap_or_default().to_le_bytes());
        self.hosts.iter().take(count).for_each(|host| host.write(&mut out));
        out.extend_from_slice(&self.connections.to_le_bytes());
        match self.protocol {
            Protocol::Socketmap { max_reply, max_query } => {
                out.push(1);
                out.extend_from_slice(&max_reply.to_le_bytes());
                out.extend_from_slice(&max_query.to_le_bytes());
            }
            Protocol::Tcp => out.push(2),
        }
        out
    }
}

impl Encoded for BackendTable {
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(bytes);
        let (name, milliseconds) = (from.bytes(usize::MAX)?.to_vec(), from.u32()?);
        let asks = match from.u8()? {
            1 => Asks::Socketmap { map: from.bytes(usize::MAX)?.to_vec() },
            2 => Asks::Tcp,
            _ => return Err(DecodeError::Field),
        };
        from.end()?;
        Ok(BackendTable { name, milliseconds, asks })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, &self.name);
        out.extend_from_slice(&self.milliseconds.to_le_bytes());
        match &self.asks {
            Asks::Socketmap { map } => {
                out.push(1);
                put(&mut out, map);
            }
            Asks::Tcp => out.push(2),
        }
        out
    }
}

#[cfg(test)]
mod tests;
