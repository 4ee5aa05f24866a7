//! Connection URIs of PostgreSQL: `postgresql://user:password@host:port/dbname?parameter=value&...`
//!
//! Source: the PostgreSQL manual, "Connection URIs". A URI may hold a password, so no error shows any of it.

use zeroize::Zeroizing;

use super::Secret;
use super::servers::{Server, checked_port, pgsql_socket};

/// A server, and how to log in to it. What is not said there has the default of libpq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgsqlUri {
    /// Where it is.
    pub server: Server,
    /// The account; that of the process if `None`.
    pub user: Option<Vec<u8>>,
    /// Its password.
    pub password: Secret,
    /// The database; that of the user's name if `None`.
    pub dbname: Option<Vec<u8>>,
    /// Other parameters, such as `sslmode`, in order; of two with the same name the later counts.
    pub options: Vec<(&'static str, Vec<u8>)>,
}

/// Parameters beside those with a field of their own. Those that hold secrets, and those that name services or other files
/// with logins, are not among them.
const OPTIONS: [&str; 30] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssencmode",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "options",
    "require_auth",
    "requirepeer",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
];

/// Whether `item` is a URI, as Postfix sees it: a scheme, and `://`.
pub(super) fn is_uri(item: &[u8]) -> bool {
    let end = item.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"+-".contains(byte));
    let rest = end.and_then(|end| item.get(end..)).unwrap_or_default();
    rest.starts_with(b"://") && item.first().is_some_and(u8::is_ascii_alphabetic)
}

/// Reads a URI.
pub(super) fn parse(uri: &[u8]) -> Result<PgsqlUri, String> {
    let rest = uri.strip_prefix(b"postgresql://").or_else(|| uri.strip_prefix(b"postgres://"));
    let rest = rest.ok_or("the URI does not begin with postgresql:// or postgres://; correct it")?;
    let (rest, query) = split(rest, b'?');
    let (authority, dbname) = split(rest, b'/');
    let (login, address) = match split(authority, b'@') {
        (login, Some(address)) => (login, address),
        (address, None) => (&b""[..], address),
    };
    let (user, password) = split(login, b':');
    let mut found = Raw { dbname: given(dbname)?, user: given(Some(user))?, ..Raw::default() };
    found.password = given(password)?;
    let (host, port) = if let Some(inner) = address.strip_prefix(b"[") {
        let (host, rest) = split(inner, b']');
        let rest = rest.ok_or("the URI has \"[\" without \"]\"; correct it")?;
        (host, if rest.is_empty() { None } else { rest.strip_prefix(b":") })
    } else {
        split(address, b':')
    };
    found.host = given(Some(host))?;
    found.port = given(port)?;
    for pair in query.unwrap_or_default().split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let (name, value) = split(pair, b'=');
        let value = decoded(value.ok_or("a parameter of the URI has no \"=\"; write name=value")?)?;
        found.option(&decoded(name)?, value)?;
    }
    found.finish()
}

#[derive(Default)]
struct Raw {
    host: Option<Zeroizing<Vec<u8>>>,
    port: Option<Zeroizing<Vec<u8>>>,
    user: Option<Zeroizing<Vec<u8>>>,
    password: Option<Zeroizing<Vec<u8>>>,
    dbname: Option<Zeroizing<Vec<u8>>>,
    options: Vec<(&'static str, Vec<u8>)>,
}

impl Raw {
    fn option(&mut self, name: &[u8], value: Zeroizing<Vec<u8>>) -> Result<(), String> {
        match name {
            b"host" => self.host = Some(value),
            b"port" => self.port = Some(value),
            b"user" => self.user = Some(value),
            b"password" => self.password = Some(value),
            b"dbname" => self.dbname = Some(value),
            b"ssl" if **value == *b"true" => self.options.push(("sslmode", b"require".to_vec())),
            name => {
                let known = OPTIONS.iter().find(|known| known.as_bytes() == name);
                let known = known.ok_or_else(|| {
                    format!(
                        "a parameter of the URI is not supported; remove it, supported are {}",
                        OPTIONS.join(", ")
                    )
                })?;
                self.options.push((known, value.to_vec()));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<PgsqlUri, String> {
        let text = |value: Option<Zeroizing<Vec<u8>>>| value.map(|value| value.to_vec());
        let port = text(self.port).filter(|port| !port.is_empty());
        if let Some(port) = &port {
            checked_port(port)?;
        }
        let host = text(self.host).unwrap_or_default();
        let server = if host.is_empty() || host.starts_with(b"/") {
            pgsql_socket(&host, port.as_deref())
        } else {
            Server::Tcp { host, port }
        };
        Ok(PgsqlUri {
            server,
            user: text(self.user),
            password: self.password.map_or_else(Secret::default, |value| Secret::new(value.to_vec())),
            dbname: text(self.dbname),
            options: self.options,
        })
    }
}

/// Splits at the first `byte`.
fn split(text: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = text.splitn(2, |found| *found == byte);
    (parts.next().unwrap_or_default(), parts.next())
}

/// A part that is there and not empty.
fn given(part: Option<&[u8]>) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    part.filter(|part| !part.is_empty()).map(decoded).transpose()
}

/// `text` with each `%XX` as the byte that it means.
pub(super) fn decoded(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.iter().copied();
    let digit = |byte: Option<u8>| {
        byte.and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
    };
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) if (high, low) != (0, 0) => out.push((high << 4) | low),
            _ => {
                return Err(
                    "a \"%\" in the URI is not followed by two hexadecimal digits; write %25".to_owned()
                );
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_takes_all_parts() {
        let uri = parse(b"postgresql://us%40er:p%3Aw@[::1]:5433/mail?sslmode=require&application_name=a%20b")
            .unwrap();
        assert_eq!(uri.server, Server::Tcp { host: b"::1".to_vec(), port: Some(b"5433".to_vec()) });
        assert_eq!((uri.user.as_deref(), uri.password.expose()), (Some(&b"us@er"[..]), &b"p:w"[..]));
        assert_eq!(uri.dbname.as_deref(), Some(&b"mail"[..]));
        assert_eq!(uri.options, [("sslmode", b"require".to_vec()), ("application_name", b"a b".to_vec())]);
        let uri = parse(b"postgres:///mail?host=/run/pg&port=5433&password=x").unwrap();
        assert_eq!(uri.server, Server::Unix(b"/run/pg/.s.PGSQL.5433".to_vec()));
        assert_eq!(uri.password.expose(), b"x");
        assert_eq!(parse(b"postgres://").unwrap().server, Server::DefaultSocket);
        assert!(is_uri(b"a-b+1://") && !is_uri(b"1a://") && !is_uri(b"inet:h:1") && !is_uri(b"://"));
    }

    #[test]
    fn parse_errors_show_nothing_of_the_uri() {
        for uri in [
            "mysql://u:geheim@h/d",
            "postgresql://u:geheim@h:99999/d",
            "postgresql://u:gehe%im@h/d",
            "postgresql://u:geheim@[::1/d",
            "postgresql://u:geheim@h/d?geheim=1",
            "postgresql://u:geheim@h/d?sslmode",
            "postgresql://u:ge%00heim@h/d",
        ] {
            let error = parse(uri.as_bytes()).unwrap_err();
            assert!(!error.contains("geheim") && !error.contains("im@"), "{error}");
        }
    }
}
