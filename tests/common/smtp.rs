//! The smallest SMTP client that tests need (RFC 5321, one command at a time, and Postfix's XCLIENT).
//!
//! May: connect to the loopback address of an instance. Never: retry or hide a reply; what the server says is the result.

use super::PATIENCE;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One reply: its code, and its lines joined with newlines, without the codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub text: String,
}

/// An SMTP session.
pub struct Smtp {
    stream: BufReader<TcpStream>,
}

impl Smtp {
    /// Connects, and expects the greeting and a good answer to EHLO.
    pub fn open(address: SocketAddr) -> Self {
        let mut session = Self::connect(address).expect("the SMTP port answers");
        let greeting = session.reply();
        assert_eq!(greeting.code, 220, "greeting: {greeting:?}");
        let hello = session.command("EHLO client.example");
        assert_eq!(hello.code, 250, "EHLO: {hello:?}");
        session
    }

    /// Connects as if from another address and name, which the instance lets loopback clients claim.
    pub fn open_as(address: SocketAddr, name: &str, ip: &str) -> Self {
        let mut session = Self::open(address);
        let claimed = session.command(&format!("XCLIENT NAME={name} ADDR={ip}"));
        assert_eq!(claimed.code, 220, "XCLIENT: {claimed:?}");
        let hello = session.command("EHLO client.example");
        assert_eq!(hello.code, 250, "EHLO after XCLIENT: {hello:?}");
        session
    }

    fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Whether an SMTP server greets there now; for waiting until an instance is ready.
    pub fn greets(address: SocketAddr) -> bool {
        Self::connect(address).is_ok_and(|mut s| {
            // Short, so that a daemon which will never greet is given up and reported soon.
            let _ = s.stream.get_ref().set_read_timeout(Some(Duration::from_secs(5)));
            let mut line = String::new();
            let greeted = s.stream.read_line(&mut line).is_ok() && line.starts_with("220");
            let _ = s.stream.get_mut().write_all(b"QUIT\r\n");
            greeted
        })
    }

    /// Sends one command line and reads its reply.
    pub fn command(&mut self, line: &str) -> Reply {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("the session is open");
        self.reply()
    }

    /// Starts a message; the sender must be accepted.
    pub fn mail(&mut self, from: &str) {
        let reply = self.command(&format!("MAIL FROM:<{from}>"));
        assert_eq!(reply.code, 250, "MAIL FROM:<{from}>: {reply:?}");
    }

    /// Names one recipient; the reply is the result.
    pub fn rcpt(&mut self, to: &str) -> Reply {
        self.command(&format!("RCPT TO:<{to}>"))
    }

    /// Forgets the message begun.
    pub fn reset(&mut self) {
        let reply = self.command("RSET");
        assert_eq!(reply.code, 250, "RSET: {reply:?}");
    }

    /// Sends a short message to the recipients accepted so far, and returns its queue id.
    pub fn data(&mut self, subject: &str) -> String {
        let go = self.command("DATA");
        assert_eq!(go.code, 354, "DATA: {go:?}");
        let done = self.command(&format!("Subject: {subject}\r\n\r\nA message that tests lookups.\r\n."));
        assert_eq!(done.code, 250, "end of data: {done:?}");
        let (_, id) = done.text.split_once("queued as ").unwrap_or_else(|| panic!("no queue id: {done:?}"));
        id.trim().to_string()
    }

    /// A whole message to one recipient, who must be accepted; returns its queue id.
    pub fn deliver(&mut self, from: &str, to: &str) -> String {
        self.mail(from);
        let reply = self.rcpt(to);
        assert_eq!(reply.code, 250, "RCPT TO:<{to}>: {reply:?}");
        self.data(&format!("to {to}"))
    }

    /// Ends the session politely.
    pub fn quit(mut self) {
        let reply = self.command("QUIT");
        assert_eq!(reply.code, 221, "QUIT: {reply:?}");
    }

    fn reply(&mut self) -> Reply {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).expect("a reply before the deadline");
            assert!(read > 0, "the server closed the session; so far: {lines:?}");
            let line = line.trim_end();
            let code = line
                .get(..3)
                .and_then(|c| c.parse().ok())
                .unwrap_or_else(|| panic!("no reply code: {line:?}"));
            lines.push(line.get(4..).unwrap_or_default().to_string());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Reply { code, text: lines.join("\n") };
            }
        }
    }
}
