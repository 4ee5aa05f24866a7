//! Where the servers of a table are.
//!
//! Sources: mysql_table(5), pgsql_table(5), memcache_table(5), and how stock takes the values apart where these are silent.

use crate::error::shown;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// The Unix-domain socket that the client library of the type tries when it is told nothing else.
    DefaultSocket,
    /// A Unix-domain socket at this path.
    Unix(Vec<u8>),
    /// TCP.
    Tcp {
        /// A name or an address, without the brackets of IPv6.
        host: Vec<u8>,
        /// A number or the name of a service; `None` for the port of the type.
        port: Option<Vec<u8>>,
    },
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Server::DefaultSocket => f.write_str("the default socket"),
            Server::Unix(path) => write!(f, "unix:{}", shown(path)),
            Server::Tcp { host, port: None } => f.write_str(&shown(host)),
            Server::Tcp { host, port: Some(port) } => write!(f, "{}:{}", shown(host), shown(port)),
        }
    }
}

/// An item of `hosts` of a MySQL table: `unix:/path`, or `host` or `host:port` with or without `inet:`. `localhost` is the
/// default socket, with a port or without.
pub(super) fn mysql(item: &[u8]) -> Result<Server, &'static str> {
    let (is_unix, rest) = match (item.strip_prefix(b"unix:"), item.strip_prefix(b"inet:")) {
        (Some(path), _) => (true, path),
        (None, Some(rest)) => (false, rest),
        (None, None) => (false, item),
    };
    let (name, port) = split_right(rest);
    // Stock looks for a port in the path of a socket, too, and ends if there is no such service.
    let port = port.map(|port| checked_port(port).map(<[u8]>::to_vec)).transpose()?;
    Ok(if name.eq_ignore_ascii_case(b"localhost") || name.is_empty() {
        Server::DefaultSocket
    } else if is_unix {
        Server::Unix(name.to_vec())
    } else {
        Server::Tcp { host: without_brackets(name).to_vec(), port }
    })
}

/// The port of PostgreSQL, which is also in the name of its socket.
const PGSQL_PORT: &[u8] = b"5432";

/// An item of `hosts` of a PostgreSQL table that is no URI: a directory of a socket, or `host` or `host:port`, with or
/// without `unix:` or `inet:`.
pub(super) fn pgsql(item: &[u8]) -> Result<Server, &'static str> {
    let rest = item.strip_prefix(b"unix:").or_else(|| item.strip_prefix(b"inet:")).unwrap_or(item);
    if rest.is_empty() || rest.starts_with(b"/") {
        return Ok(pgsql_socket(rest, None));
    }
    let (host, port) = split_right(rest);
    if host.is_empty() {
        return Err("there is no host before the port; write host:port");
    }
    Ok(Server::Tcp {
        host: without_brackets(host).to_vec(),
        port: port.map(checked_port).transpose()?.map(<[u8]>::to_vec),
    })
}

/// The socket of PostgreSQL in `directory`.
pub(super) fn pgsql_socket(directory: &[u8], port: Option<&[u8]>) -> Server {
    if directory.is_empty() {
        return Server::DefaultSocket;
    }
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    Server::Unix([directory, b"/.s.PGSQL.", port.unwrap_or(PGSQL_PORT)].concat())
}

/// The value of `memcache`: `inet:host:port`, `inet:port` (of localhost), `unix:/path` or `local:/path`.
pub(super) fn memcache(value: &[u8]) -> Result<Server, &'static str> {
    const SHAPE: &str = "it is not an address of a server; write inet:host:port or unix:/path";
    let mut parts = value.splitn(2, |byte| *byte == b':');
    let (transport, address) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match transport {
        _ if address.is_empty() => Err(SHAPE),
        b"unix" | b"local" => Ok(Server::Unix(address.to_vec())),
        b"inet" => {
            let (host, port) = match bracketed(address) {
                Some((host, rest)) => (host, rest.strip_prefix(b":").unwrap_or_default()),
                None => match split_right(address) {
                    (host, Some(port)) => (host, port),
                    (port, None) => (&b""[..], port),
                },
            };
            if port.is_empty() {
                return Err("there is no port; write inet:host:port");
            }
            let host = if host.is_empty() { b"localhost" } else { host };
            Ok(Server::Tcp { host: host.to_vec(), port: Some(checked_port(port)?.to_vec()) })
        }
        _ => Err(SHAPE),
    }
}

/// Splits at the last colon.
pub(super) fn split_right(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().rposition(|byte| *byte == b':').and_then(|at| text.split_at_checked(at)) {
        Some((left, right)) => (left, right.get(1..)),
        None => (text, None),
    }
}

/// The name of a service, or a number up to 65535.
pub(super) fn checked_port(port: &[u8]) -> Result<&[u8], &'static str> {
    let is_number = port.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok());
    if port.is_empty() || (is_number && number.is_none()) {
        return Err("the port is not valid; write a number up to 65535 or the name of a service");
    }
    Ok(port)
}

/// `[address]` at the beginning, and what follows it.
fn bracketed(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"[")?;
    let (host, rest) = inner.split_at_checked(inner.iter().position(|byte| *byte == b']')?)?;
    let is_marked = host.get(..5).is_some_and(|mark| mark.eq_ignore_ascii_case(b"ipv6:"));
    Some((if is_marked { host.get(5..)? } else { host }, rest.get(1..)?))
}

fn without_brackets(host: &[u8]) -> &[u8] {
    match bracketed(host) {
        Some((inner, b"")) => inner,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(parse: fn(&[u8]) -> Result<Server, &'static str>, text: &str) -> String {
        parse(text.as_bytes()).map_or_else(|error| format!("error: {error}"), |server| server.to_string())
    }

    #[test]
    fn mysql_localhost_is_the_default_socket() {
        for (text, expected) in [
            ("localhost", "the default socket"),
            ("inet:LOCALHOST:3306", "the default socket"),
            ("unix:localhost", "the default socket"),
            ("db", "db"),
            ("inet:db:3307", "db:3307"),
            ("db:mysql", "db:mysql"),
            ("[::1]:3306", "::1:3306"),
            ("unix:/run/mysqld/mysqld.sock", "unix:/run/mysqld/mysqld.sock"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(named(mysql, text), expected, "{text}");
        }
        assert!(
            named(mysql, "db:65536").starts_with("error: ") && named(mysql, "db:").starts_with("error: ")
        );
    }

    #[test]
    fn pgsql_localhost_is_tcp_and_a_path_is_a_directory() {
        for (text, expected) in [
            ("localhost", "localhost"),
            ("inet:db:5433", "db:5433"),
            ("unix:/run/postgresql", "unix:/run/postgresql/.s.PGSQL.5432"),
            ("/run/postgresql/", "unix:/run/postgresql/.s.PGSQL.5432"),
            ("unix:", "the default socket"),
            ("unix:db", "db"),
        ] {
            assert_eq!(named(pgsql, text), expected, "{text}");
        }
        assert!(named(pgsql, ":5432").starts_with("error: "));
    }

    #[test]
    fn memcache_needs_a_transport_and_a_port() {
        for (text, expected) in [
            ("inet:localhost:11211", "localhost:11211"),
            ("inet:11211", "localhost:11211"),
            ("inet::11211", "localhost:11211"),
            ("inet:[::1]:11211", "::1:11211"),
            ("inet:[ipv6:::1]:11211", "::1:11211"),
            ("unix:/run/memcached.sock", "unix:/run/memcached.sock"),
            ("local:/run/memcached.sock", "unix:/run/memcached.sock"),
        ] {
            assert_eq!(named(memcache, text), expected, "{text}");
        }
        for text in [
            "",
            "localhost",
            "localhost:11211",
            "inet:",
            "inet:host:",
            "unix:",
            ":x",
            "inet:[::1]",
            "INET:a:1",
        ] {
            assert!(named(memcache, text).starts_with("error: "), "{text}");
        }
    }
}
