//! The servers of an LDAP table: names with or without ports, and LDAP URLs.
//!
//! Sources: ldap_table(5), `server_host`; RFC 4516; ldap_url_parse(3) for `ldapi`, whose path is the percent-encoded host.

use super::servers::{Server, checked_port, split_right};
use super::uri::decoded;

/// A server, and whether it speaks TLS from the first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapServer {
    /// Where it is.
    pub server: Server,
    /// What its URL began with.
    pub scheme: LdapScheme,
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LdapScheme {
    /// `ldap://`: TCP, port 389.
    Ldap,
    /// `ldaps://`: TLS, port 636.
    Ldaps,
    /// `ldapi://`: a Unix-domain socket.
    Ldapi,
}

impl LdapServer {
    /// Whether Postfix uses version 3 of the protocol for all servers of a table that names this one.
    pub(super) fn needs_version_3(&self) -> bool {
        self.scheme != LdapScheme::Ldap
    }
}

const SCHEMES: [(&[u8], LdapScheme); 3] =
    [(b"ldap://", LdapScheme::Ldap), (b"ldaps://", LdapScheme::Ldaps), (b"ldapi://", LdapScheme::Ldapi)];

/// Reads an item of `server_host`. `port` is that of servers without one, unless they are URLs.
pub(super) fn parse(item: &[u8], port: i32) -> Result<LdapServer, String> {
    let found = SCHEMES.iter().find_map(|(start, scheme)| {
        let begins = item.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
        begins.then(|| item.get(start.len()..).map(|rest| (*scheme, rest)))?
    });
    let (scheme, rest) = match found {
        Some(found) => found,
        None if item.windows(3).any(|window| window == b"://") => {
            return Err("the URL begins with none of ldap://, ldaps:// and ldapi://; correct it".to_owned());
        }
        None => (LdapScheme::Ldap, item),
    };
    let default = match (scheme, found) {
        (LdapScheme::Ldaps, _) => "636".to_owned(),
        (_, Some(_)) => "389".to_owned(),
        (_, None) => port.to_string(),
    };
    // What follows a slash says what to search; the table says that itself.
    let address = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
    if scheme == LdapScheme::Ldapi {
        let path = decoded(address)?;
        let server = if path.is_empty() { Server::DefaultSocket } else { Server::Unix(path.to_vec()) };
        return Ok(LdapServer { server, scheme });
    }
    let (host, port) = match address.strip_prefix(b"[") {
        Some(inner) => {
            let end = inner.iter().position(|byte| *byte == b']').ok_or("\"[\" without \"]\"; correct it")?;
            let (host, rest) = inner.split_at_checked(end).unwrap_or_default();
            match rest {
                b"]" => (host, None),
                rest => {
                    (host, Some(rest.strip_prefix(b"]:").ok_or("text after \"]\"; write [address]:port")?))
                }
            }
        }
        None => split_right(address),
    };
    let port = match port {
        None | Some(b"") => default.into_bytes(),
        Some(port) => checked_port(port)?.to_vec(),
    };
    checked_port(&port)?;
    let host = decoded(host)?;
    // An empty name is the local host.
    let host = if host.is_empty() { b"localhost".to_vec() } else { host.to_vec() };
    Ok(LdapServer { server: Server::Tcp { host, port: Some(port) }, scheme })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_names_and_urls() {
        for (text, expected, scheme) in [
            ("localhost", "localhost:390", LdapScheme::Ldap),
            ("db:1389", "db:1389", LdapScheme::Ldap),
            ("ldap://db", "db:389", LdapScheme::Ldap),
            ("LDAPS://db/dc=x", "db:636", LdapScheme::Ldaps),
            ("ldaps://[::1]:1636/", "::1:1636", LdapScheme::Ldaps),
            ("ldapi://%2Frun%2Fslapd%2Fldapi/", "unix:/run/slapd/ldapi", LdapScheme::Ldapi),
            ("ldapi:///", "the default socket", LdapScheme::Ldapi),
            ("ldap://", "localhost:389", LdapScheme::Ldap),
        ] {
            let found = parse(text.as_bytes(), 390).unwrap();
            assert_eq!((found.server.to_string().as_str(), found.scheme), (expected, scheme), "{text}");
        }
        for text in ["http://db", "ldap://db:99999", "ldap://[::1", "ldap://[::1]x", "ldapi://%zz"] {
            assert!(parse(text.as_bytes(), 389).is_err(), "{text}");
        }
        assert!(parse(b"db", 70_000).is_err());
    }
}
