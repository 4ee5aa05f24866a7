//! The names of tables that a server answers for: where it listens, and which of its maps is asked.
//!
//! Source: what postmap(1) of Postfix 3.7.11 makes of such names, and socketmap_table(5), tcp_table(5). Stock dies of a name
//! that it cannot read, at the first lookup or when it opens the table.

use crate::{BadName, Kind, split};
use std::collections::HashSet;
use std::fmt;
use std::net::Ipv6Addr;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// A Unix-domain socket at this path, at most [`Endpoint::MAX_PATH`] bytes; one that does not begin with `/` lies
    /// below `queue_directory`, where Postfix's daemons run.
    Unix(Vec<u8>),
    /// TCP, at a host and a port.
    Tcp {
        /// A name, or an address without brackets; at most [`Endpoint::MAX_NAME`] bytes.
        host: Vec<u8>,
        /// A number, or the name of a service; at most [`Endpoint::MAX_NAME`] bytes.
        port: Vec<u8>,
    },
}

/// What the name of a table says of the server that answers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where the server listens.
    pub endpoint: Endpoint,
    /// Which of its maps is asked, for `socketmap`; it may be empty. A `tcp` server has one table only.
    pub map: Option<Vec<u8>>,
}

impl Endpoint {
    /// The longest path of a socket in bytes: that of unix(7), without the closing NUL byte.
    pub const MAX_PATH: usize = 107;
    /// The longest name of a host or a service in bytes: that of a domain name (RFC 1035, 2.3.4).
    pub const MAX_NAME: usize = 255;
}

/// As it would stand in a `socketmap` name: `unix:/path`, `inet:host:port` or `inet:[address]:port`.
impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(out, "unix:{}", path.escape_ascii()),
            Endpoint::Tcp { host, port } if host.contains(&b':') || port.contains(&b':') => {
                write!(out, "inet:[{}]:{}", host.escape_ascii(), port.escape_ascii())
            }
            Endpoint::Tcp { host, port } => {
                write!(out, "inet:{}:{}", host.escape_ascii(), port.escape_ascii())
            }
        }
    }
}

impl Kind {
    /// Whether a server answers for tables of this type, which a gateway asks.
    #[must_use]
    pub fn is_remote(self) -> bool {
        matches!(self, Kind::Socketmap | Kind::Tcp)
    }
}

/// What the name of a table says of the server that answers for it; nothing if none does.
///
/// # Errors
/// What is wrong with the name, where Postfix has a fatal error or cannot open the table.
pub fn remote(name: &[u8]) -> Result<Option<Remote>, BadName> {
    let rest = split(name).1;
    match Kind::of(name) {
        Kind::Tcp => Ok(Some(Remote { endpoint: host_and_port(rest)?, map: None })),
        Kind::Socketmap => {
            let (server, map) = split_last(rest).ok_or(SERVER_AND_MAP)?;
            Ok(Some(Remote { endpoint: endpoint(server)?, map: Some(map.to_vec()) }))
        }
        _ => Ok(None),
    }
}

/// The servers that answer for tables of these names, each once, in the order in which they are named first.
pub fn servers<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Vec<(Kind, Endpoint)> {
    let mut known = HashSet::new();
    let of_name = |name: &'a [u8]| Some((Kind::of(name), remote(name).ok()??.endpoint));
    names.into_iter().filter_map(of_name).filter(|server| known.insert(server.clone())).collect()
}

const SERVER_AND_MAP: BadName = BadName(
    "expected socketmap:inet:host:port:map or socketmap:unix:path:map, and no server or no map is there",
);

/// A transport, and where it leads to.
fn endpoint(server: &[u8]) -> Result<Endpoint, BadName> {
    match split(server) {
        (_, b"") => Err(SERVER_AND_MAP),
        (b"inet", rest) => host_and_port(rest),
        (b"unix" | b"local", path) if path.len() > Endpoint::MAX_PATH => {
            Err(BadName("the path of the socket is longer than 107 bytes"))
        }
        (b"unix" | b"local", path) => Ok(Endpoint::Unix(path.to_vec())),
        _ => Err(BadName("the server's transport is none of inet, unix and local")),
    }
}

/// `host:port`, `[host]:port`, `:port` or `port`; without a host it is `localhost`.
fn host_and_port(text: &[u8]) -> Result<Endpoint, BadName> {
    let (host, port) = match text.strip_prefix(b"[") {
        Some(bracketed) => in_brackets(bracketed)?,
        None => split_last(text).unwrap_or((b"", text)),
    };
    let omitted = host.is_empty() && !text.starts_with(b"[");
    let host = if omitted { b"localhost" } else { host };
    if port.is_empty() {
        return Err(BadName("the server's port is missing"));
    }
    if !is_address(host) && !is_host_name(host) {
        return Err(BadName("the server is neither a host name nor an address"));
    }
    if port.first().is_some_and(u8::is_ascii_digit) && !port.iter().all(u8::is_ascii_digit) {
        return Err(BadName("the server's port begins with a digit and is no number"));
    }
    if port.len() > Endpoint::MAX_NAME {
        return Err(BadName("the name of the server's port is longer than 255 bytes"));
    }
    Ok(Endpoint::Tcp { host: host.to_vec(), port: port.to_vec() })
}

/// What follows an opening bracket: host and port.
fn in_brackets(text: &[u8]) -> Result<(&[u8], &[u8]), BadName> {
    const PREFIX: &[u8] = b"IPv6:";
    let close = text.iter().position(|byte| *byte == b']').ok_or(BadName("a closing bracket is missing"))?;
    let (inside, after) = text.split_at_checked(close).unwrap_or_default();
    let port = match after.strip_prefix(b"]").unwrap_or_default() {
        b"" => b"",
        rest => rest.strip_prefix(b":").ok_or(BadName("something other than a port follows the bracket"))?,
    };
    match inside.split_at_checked(PREFIX.len()) {
        Some((word, address)) if word.eq_ignore_ascii_case(PREFIX) && is_ipv6(address) => Ok((address, port)),
        Some((word, _)) if word.eq_ignore_ascii_case(PREFIX) => {
            Err(BadName("the server's IPv6 address is malformed"))
        }
        _ => Ok((inside, port)),
    }
}

/// Splits at the last colon.
fn split_last(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().rposition(|byte| *byte == b':')?;
    Some((text.get(..colon)?, text.get(colon..)?.strip_prefix(b":")?))
}

fn is_address(text: &[u8]) -> bool {
    if text.contains(&b':') { is_ipv6(text) } else { is_ipv4(text) }
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// Four numbers below 256, with any zeros before them, as stock has it. Only 0.0.0.0 begins with zero.
fn is_ipv4(text: &[u8]) -> bool {
    let number = |part: &[u8]| -> Option<u8> {
        part.iter().all(u8::is_ascii_digit).then_some(())?;
        std::str::from_utf8(part).ok()?.parse().ok()
    };
    let numbers: Option<Vec<u8>> = text.split(|byte| *byte == b'.').map(number).collect();
    numbers.is_some_and(|all| all.len() == 4 && (all.first() != Some(&0) || all.iter().all(|one| *one == 0)))
}

/// Labels of letters, digits, `_` and, inside, `-`, of at most 63 bytes; not digits alone.
fn is_host_name(text: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && label.iter().all(fits)
            && !label.starts_with(b"-")
            && !label.ends_with(b"-")
    };
    text.len() <= Endpoint::MAX_NAME
        && text.split(|byte| *byte == b'.').all(label)
        && text.iter().any(|byte| !byte.is_ascii_digit() && *byte != b'.')
}

#[cfg(test)]
mod tests;
