//! A client of the proxymap protocol that behaves as Postfix programs do.
//!
//! Purpose: connect, check the announcement, open a table, look keys up, in either dialect. May: use one
//! local socket, with a time limit on each read and write. Never: retry or wait as the daemons do;
//! a person wants the error.
//!
//! Source of the bytes: traffic of `postmap -q` of Postfix 3.7.11 (old dialect) and of clients of
//! 3.12 (new dialect). This is written apart from the server's parser, so that one checks the other.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// What the service sends first.
const ANNOUNCEMENT: [(&str, &str); 1] = [("protocol", "proxymap_protocol")];
/// The longest name or value that is accepted in a reply, in bytes.
const TOKEN_MAX: u64 = 16 * 1024 * 1024;

/// The table has exact keys, which the old dialect's clients fold before they send them.
const FIXED: u32 = 0x10;
/// What `postmap -q` asks of a table: warn of duplicates, lock, fold keys, UTF-8.
const QUERY_FLAGS: u32 = 0x8_4041;
/// The part of them that the old dialect sends with a lookup: there the client folds keys itself.
const OLD_LOOKUP_FLAGS: u32 = 0x8_0041;
/// The part of them that the old dialect sends with open: nothing.
const OLD_OPEN_FLAGS: u32 = 0;

/// The shape of requests and replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Postfix 3.10 and earlier.
    Old,
    /// Postfix 3.11 and later.
    New,
}

/// The service's verdict on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Done, or found.
    Ok,
    /// Not found.
    NoKey,
    /// Temporary error.
    Retry,
    /// The service did not understand the request.
    Bad,
    /// The table is not approved.
    Deny,
    /// The table's configuration or contents cannot be used.
    Config,
}

/// Why there is no verdict.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// Nothing accepts connections there, or not from us.
    Unreachable(io::Error),
    /// The service answered nothing within the time limit.
    TimedOut,
    /// The service closed the connection in place of an answer.
    Closed,
    /// The connection broke.
    Broken(io::Error),
    /// The reply does not follow the protocol; the text says what was expected.
    Garbled(&'static str),
    /// A table name or key holds a NUL byte, which the protocol cannot carry.
    Nul,
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable(error) => write!(formatter, "cannot connect: {error}"),
            ClientError::TimedOut => formatter.write_str("no answer within the time limit"),
            ClientError::Closed => formatter.write_str("the service closed the connection"),
            ClientError::Broken(error) => write!(formatter, "the connection broke: {error}"),
            ClientError::Garbled(expected) => {
                write!(formatter, "this does not speak the proxymap protocol: expected {expected}")
            }
            ClientError::Nul => formatter.write_str("a name or key cannot hold a NUL byte"),
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::TimedOut,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Closed,
            _ => ClientError::Broken(error),
        }
    }
}

/// A table as the service described it.
#[derive(Clone, Debug)]
pub(crate) struct OpenTable {
    name: Vec<u8>,
    dialect: Dialect,
    flags: u32,
}

/// A connection to a proxymap service.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket at `path` and checks the announcement. `timeout` bounds each wait.
    ///
    /// # Errors
    /// Unreachable, or whatever came in place of the announcement.
    pub(crate) fn connect(path: &Path, timeout: Duration) -> Result<Client, ClientError> {
        let stream = UnixStream::connect(path).map_err(ClientError::Unreachable)?;
        stream.set_read_timeout(Some(timeout)).map_err(ClientError::Unreachable)?;
        stream.set_write_timeout(Some(timeout)).map_err(ClientError::Unreachable)?;
        let mut client = Client { stream: BufReader::new(stream) };
        for (name, value) in ANNOUNCEMENT {
            let garbled = ClientError::Garbled("the announcement of a proxymap service");
            if client.token()? != name.as_bytes() || client.token()? != value.as_bytes() {
                return Err(garbled);
            }
        }
        client.end()?;
        Ok(client)
    }

    /// Opens a table: tries the old dialect first, which only a server of Postfix 3.11 or later refuses, then the new
    /// one. Returns no table unless the status is OK.
    ///
    /// # Errors
    /// No verdict.
    pub(crate) fn open(&mut self, table: &[u8]) -> Result<(Status, Option<OpenTable>), ClientError> {
        let mut status = Status::Bad;
        for dialect in [Dialect::Old, Dialect::New] {
            let (attribute, flags) = match dialect {
                Dialect::Old => (&b"flags"[..], OLD_OPEN_FLAGS),
                Dialect::New => (&b"instance_flags"[..], QUERY_FLAGS),
            };
            self.send(&[(b"request", b"open"), (b"table", table), (attribute, &decimal(flags))])?;
            status = self.status()?;
            let flags = self.flags()?;
            self.end()?;
            if status == Status::Ok {
                let table = OpenTable { name: table.to_vec(), dialect, flags };
                return Ok((status, Some(table)));
            }
            if status != Status::Bad {
                break;
            }
        }
        Ok((status, None))
    }

    /// Looks `key` up. The value is empty unless the status is OK.
    ///
    /// # Errors
    /// No verdict.
    pub(crate) fn lookup(
        &mut self,
        table: &mut OpenTable,
        key: &[u8],
    ) -> Result<(Status, Vec<u8>), ClientError> {
        let name = table.name.as_slice();
        match table.dialect {
            Dialect::Old => {
                let folded = if table.flags & FIXED == 0 { key.to_vec() } else { fold(key) };
                let flags = decimal(OLD_LOOKUP_FLAGS);
                self.send(&[
                    (b"request", b"lookup"),
                    (b"table", name),
                    (b"flags", &flags),
                    (b"key", &folded),
                ])?;
            }
            Dialect::New => {
                // The service folds the key, as the flags ask.
                let (instance, flags) = (decimal(QUERY_FLAGS), decimal(table.flags));
                self.send(&[
                    (b"request", b"lookup"),
                    (b"table", name),
                    (b"instance_flags", &instance),
                    (b"flags", &flags),
                    (b"key", key),
                ])?;
            }
        }
        let status = self.status()?;
        if table.dialect == Dialect::New {
            let flags = self.flags()?;
            if matches!(status, Status::Ok | Status::NoKey) {
                table.flags = flags;
            }
        }
        let value = self.attribute(b"value", "the attribute `value`")?;
        self.end()?;
        Ok((status, value))
    }

    /// Sends one list of attributes in one write.
    fn send(&mut self, attributes: &[(&[u8], &[u8])]) -> Result<(), ClientError> {
        let mut bytes = Vec::new();
        for (name, value) in attributes {
            if value.contains(&0) {
                return Err(ClientError::Nul);
            }
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(value);
            bytes.push(0);
        }
        bytes.push(0);
        self.stream.get_mut().write_all(&bytes)?;
        Ok(())
    }

    /// Reads up to the next NUL.
    fn token(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut token = Vec::new();
        (&mut self.stream).take(TOKEN_MAX).read_until(0, &mut token)?;
        match token.pop() {
            Some(0) => Ok(token),
            Some(_) if token.len() as u64 >= TOKEN_MAX.saturating_sub(1) => {
                Err(ClientError::Garbled("a value of reasonable length"))
            }
            _ => Err(ClientError::Closed),
        }
    }

    /// Reads the attribute `name`; `expected` describes it in an error.
    fn attribute(&mut self, name: &[u8], expected: &'static str) -> Result<Vec<u8>, ClientError> {
        if self.token()? == name { self.token() } else { Err(ClientError::Garbled(expected)) }
    }

    fn status(&mut self) -> Result<Status, ClientError> {
        match self.attribute(b"status", "the attribute `status`")?.as_slice() {
            b"0" => Ok(Status::Ok),
            b"1" => Ok(Status::NoKey),
            b"2" => Ok(Status::Retry),
            b"3" => Ok(Status::Bad),
            b"4" => Ok(Status::Deny),
            b"5" => Ok(Status::Config),
            _ => Err(ClientError::Garbled("a status from 0 to 5")),
        }
    }

    fn flags(&mut self) -> Result<u32, ClientError> {
        let text = self.attribute(b"flags", "the attribute `flags`")?;
        let number = std::str::from_utf8(&text).ok().and_then(|digits| digits.parse().ok());
        number.ok_or(ClientError::Garbled("a number"))
    }

    /// Reads the end of a list. Nothing may follow before the next request.
    fn end(&mut self) -> Result<(), ClientError> {
        if !self.token()?.is_empty() || !self.stream.buffer().is_empty() {
            return Err(ClientError::Garbled("the end of the reply"));
        }
        Ok(())
    }
}

/// A number as the wire has it.
fn decimal(number: u32) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// The key in lower case, character by character if it is UTF-8, else its ASCII letters. Postfix uses
/// Unicode case folding; the results differ for a few characters, such as the sharp s.
fn fold(key: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(key) {
        Ok(text) => text.chars().flat_map(char::to_lowercase).collect::<String>().into_bytes(),
        Err(_) => key.to_ascii_lowercase(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
