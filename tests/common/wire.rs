//! A raw proxymap client: bytes out, bytes in, nothing interpreted that a test does not ask for.
//!
//! Requests and replies are written as in the fact sheet, with `|` for one NUL byte:
//! `request|open|table|hash:/etc/aliases|flags|0||`. Source of the format: the stock server's bytes, taken with strace
//! from Postfix 3.7.11 (`docs/COMPATIBILITY.md`).

use super::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The announcement that a server sends to every client that connects.
pub const ANNOUNCEMENT: &str = "protocol|proxymap_protocol||";

/// How a wait for a reply ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A whole attribute list, with `|` for NUL.
    Reply(String),
    /// The server closed the connection before a whole list had come.
    Closed,
    /// Nothing whole came in time; the connection is still open.
    Silence,
}

/// One connection to a lookup service.
pub struct Wire {
    stream: UnixStream,
    heard: Vec<u8>,
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// The bytes of a request written with `|` for NUL.
pub fn bytes(text: &str) -> Vec<u8> {
    text.bytes().map(|b| if b == b'|' { 0 } else { b }).collect()
}

/// The text of bytes, with `|` for NUL and escapes for what is not ASCII, so that different byte strings look
/// different.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| if b == 0 { "|".to_string() } else { b.escape_ascii().to_string() }).collect()
}

/// The value of one attribute of a reply; `None` when it is not there.
pub fn attribute<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = reply.split('|');
    while let (Some(found), Some(value)) = (parts.next(), parts.next()) {
        if found == name {
            return Some(value);
        }
    }
    None
}

/// The number in an attribute of a reply.
pub fn number(reply: &str, name: &str) -> u32 {
    let value = attribute(reply, name).unwrap_or_else(|| panic!("no {name} in {reply:?}"));
    value.parse().unwrap_or_else(|_| panic!("{name} is no number in {reply:?}"))
}

impl Wire {
    /// Connects, and expects the announcement.
    pub fn open(socket: &Path) -> Self {
        let mut wire = Self::connect(socket);
        let first = wire.receive(PATIENCE);
        assert_eq!(first, Received::Reply(ANNOUNCEMENT.to_string()), "announcement of {}", socket.display());
        wire
    }

    /// Connects and reads nothing.
    pub fn connect(socket: &Path) -> Self {
        let stream =
            UnixStream::connect(socket).unwrap_or_else(|e| panic!("connect {}: {e}", socket.display()));
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout can be set");
        Self { stream, heard: Vec::new() }
    }

    /// Sends bytes as they are; an error is part of the story only for tests that look at it.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent; replies can still be heard.
    pub fn finish_sending(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("the connection is open");
    }

    /// Sends one request and returns the reply, which must come.
    pub fn ask(&mut self, request: &str) -> String {
        match self.try_ask(request) {
            Received::Reply(reply) => reply,
            other => panic!("{other:?} instead of a reply to {request:?}"),
        }
    }

    /// Sends one request and returns how the wait for the reply ended.
    pub fn try_ask(&mut self, request: &str) -> Received {
        match self.send(&bytes(request)) {
            Ok(()) => self.receive(PATIENCE),
            Err(_) => Received::Closed,
        }
    }

    /// Waits for one whole attribute list.
    pub fn receive(&mut self, within: Duration) -> Received {
        let start = Instant::now();
        loop {
            if let Some(end) = list_end(&self.heard) {
                let list: Vec<u8> = self.heard.drain(..end).collect();
                return Received::Reply(text(&list));
            }
            let Some(left) = within.checked_sub(start.elapsed()).filter(|d| !d.is_zero()) else {
                return Received::Silence;
            };
            self.stream.set_read_timeout(Some(left)).expect("a read timeout can be set");
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Received::Closed,
                Ok(n) => self.heard.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Received::Closed,
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(e) => panic!("reading a reply: {e}"),
            }
        }
    }

    /// Bytes that came after the last whole list; a well-behaved server leaves none.
    pub fn left_over(&self) -> &[u8] {
        &self.heard
    }
}

/// Where the first attribute list ends: after the empty name that follows any number of name and value pairs.
/// Looking for two NULs in a row would be wrong, since a value may be empty.
pub fn list_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let name = bytes.get(at..)?.iter().position(|&b| b == 0)?;
        if name == 0 {
            return Some(at + 1);
        }
        at += name + 1;
        at += bytes.get(at..)?.iter().position(|&b| b == 0)? + 1;
    }
}
