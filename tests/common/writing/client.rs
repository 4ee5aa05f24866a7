//! A client of proxywrite: requests, replies, and a connection.
//!
//! May: send and read. Never: hide a reply. Source of the requests' form: the stock server's bytes, taken with strace from
//! Postfix 3.7.11.

use super::super::{PATIENCE, wire};
use super::{CACHE, Content, INSTANCE, NOKEY, OK};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One request: a table, flags, and what to do with the table.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub table: &'a str,
    pub flags: u32,
}

impl Request<'_> {
    fn bytes(&self, verb: &str, more: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = format!("request\0{verb}\0table\0{}\0flags\0{}\0", self.table, self.flags).into_bytes();
        for (name, value) in more {
            out.extend_from_slice(name.as_bytes());
            out.push(0);
            out.extend_from_slice(value);
            out.push(0);
        }
        out.push(0);
        out
    }

    pub fn open(&self) -> Vec<u8> {
        self.bytes("open", &[])
    }

    pub fn lookup(&self, key: &[u8]) -> Vec<u8> {
        self.bytes("lookup", &[("key", key)])
    }

    pub fn update(&self, key: &[u8], value: &[u8]) -> Vec<u8> {
        self.bytes("update", &[("key", key), ("value", value)])
    }

    pub fn delete(&self, key: &[u8]) -> Vec<u8> {
        self.bytes("delete", &[("key", key)])
    }

    pub fn first(&self) -> Vec<u8> {
        self.bytes("sequence", &[("function", b"0")])
    }

    pub fn next(&self) -> Vec<u8> {
        self.bytes("sequence", &[("function", b"1")])
    }
}

/// A whole reply, as bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply(pub Vec<u8>);

impl Reply {
    /// The value of an attribute; empty when there is none.
    pub fn field(&self, name: &str) -> &[u8] {
        let mut parts = self.0.split(|b| *b == 0);
        while let (Some(found), Some(value)) = (parts.next(), parts.next()) {
            if found == name.as_bytes() {
                return value;
            }
        }
        b""
    }

    pub fn status(&self) -> u32 {
        self.number("status")
    }

    pub fn flags(&self) -> u32 {
        self.number("flags")
    }

    fn number(&self, name: &str) -> u32 {
        let text = String::from_utf8_lossy(self.field(name)).into_owned();
        text.parse().unwrap_or_else(|_| panic!("no {name} in {self:?}"))
    }

    pub fn value(&self) -> &[u8] {
        self.field("value")
    }

    pub fn key(&self) -> &[u8] {
        self.field("key")
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = wire::text(&self.0);
        match text.char_indices().nth(300) {
            Some((end, _)) => write!(out, "{}... ({} bytes)", &text[..end], self.0.len()),
            None => out.write_str(&text),
        }
    }
}

/// One connection. Methods without `try` take a lost connection as a failure of the test.
pub struct Client {
    /// What the methods that take a key send.
    pub flags: u32,
    stream: UnixStream,
    heard: Vec<u8>,
}

impl Client {
    pub fn open(socket: &Path) -> Self {
        Self::try_open(socket).unwrap_or_else(|e| panic!("{}: {e}", socket.display()))
    }

    /// Connects, and reads the announcement.
    pub fn try_open(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Client { flags: CACHE, stream, heard: Vec::new() };
        let first = client.receive()?;
        assert_eq!(first.0, wire::bytes(wire::ANNOUNCEMENT), "the announcement");
        Ok(client)
    }

    /// Sends a request; the reply is for `receive`.
    pub fn send(&mut self, request: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(request)
    }

    /// Sends a request and waits for its reply.
    pub fn try_ask(&mut self, request: &[u8]) -> std::io::Result<Reply> {
        self.send(request)?;
        self.receive()
    }

    pub fn ask(&mut self, request: &[u8]) -> Reply {
        self.try_ask(request)
            .unwrap_or_else(|e| panic!("{e} instead of a reply to {:?}", Reply(request.to_vec())))
    }

    /// Opens a table as a client of Postfix 3.7 does: with the instance bits only.
    pub fn open_table(&mut self, table: &str) {
        let reply = self.ask(&Request { table, flags: self.flags & INSTANCE }.open());
        assert_eq!(reply.status(), OK, "open {table}: {reply:?}");
    }

    /// Stores an entry; returns the status.
    pub fn update(&mut self, table: &str, key: &[u8], value: &[u8]) -> u32 {
        self.ask(&Request { table, flags: self.flags }.update(key, value)).status()
    }

    /// Removes an entry; returns the status.
    pub fn delete(&mut self, table: &str, key: &[u8]) -> u32 {
        self.ask(&Request { table, flags: self.flags }.delete(key)).status()
    }

    /// Looks a key up.
    pub fn lookup(&mut self, table: &str, key: &[u8]) -> Reply {
        self.ask(&Request { table, flags: self.flags }.lookup(key))
    }

    /// The value of a key; `None` when there is none. Any other answer is a failure.
    pub fn value(&mut self, table: &str, key: &[u8]) -> Option<Vec<u8>> {
        let reply = self.lookup(table, key);
        match reply.status() {
            OK => Some(reply.value().to_vec()),
            NOKEY => None,
            _ => panic!("lookup of {} in {table}: {reply:?}", key.escape_ascii()),
        }
    }

    /// All entries, in the order in which the server lists them.
    pub fn list(&mut self, table: &str, flags: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        let request = Request { table, flags };
        let mut entries = Vec::new();
        let mut reply = self.ask(&request.first());
        while reply.status() == OK {
            entries.push((reply.key().to_vec(), reply.value().to_vec()));
            reply = self.ask(&request.next());
        }
        assert_eq!(reply.status(), NOKEY, "end of {table}: {reply:?}");
        entries
    }

    /// All entries, each of which must be listed once.
    pub fn content(&mut self, table: &str) -> Content {
        let entries = self.list(table, self.flags);
        let count = entries.len();
        let content: Content = entries.into_iter().collect();
        assert_eq!(content.len(), count, "{table} lists an entry twice");
        content
    }

    /// Waits for one whole reply.
    pub fn receive(&mut self) -> std::io::Result<Reply> {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(end) = wire::list_end(&self.heard) {
                return Ok(Reply(self.heard.drain(..end).collect()));
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.heard.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the server has closed the connection; anything else that it sends is a failure.
    pub fn wait_closed(&mut self) {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            other => panic!("{other:?} instead of the end of the connection"),
        }
    }
}
