//! One client's connection: bytes in, replies out, and how long it may take over a request.

use crate::catalogue::{Catalogue, Scan};
use crate::session::{self, Cursors, Event, Service, Settings};
use crate::wire::{ANNOUNCEMENT, Limits, Parser, Progress, encode_reply};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a client may take from the first byte of a request to the last, or over reading a reply. Stock
/// waits this long, too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);

/// Replies to one client that may wait for it to read them, in bytes. Over this its further requests wait, too; one
/// reply may be as long as the longest value.
const UNREAD: usize = 128 << 10;

/// A connected client. While it is silent it costs no buffer.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    /// Bytes of a request that is not complete.
    input: Vec<u8>,
    parser: Parser,
    /// Replies that the client has not taken yet.
    output: Vec<u8>,
    sent: usize,
    cursors: Cursors<u32, Scan>,
    /// When it must have finished what it is at.
    pub(crate) deadline: Option<Instant>,
    pub(crate) last_active: Instant,
}

/// What became of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on; we wait for the client to send.
    Reading,
    /// It goes on; we wait for the client to take its replies.
    Writing,
    /// It is to be closed.
    Closed,
}

/// What answering needs besides the connection.
pub(crate) struct Desk<'d> {
    pub(crate) catalogue: &'d Catalogue,
    pub(crate) service: Service,
    pub(crate) settings: Settings,
    /// Room for what is read in one go.
    pub(crate) scratch: &'d mut [u8],
    /// Replies of one turn; empty between turns.
    pub(crate) replies: &'d mut Vec<u8>,
    /// Whether bytes of incomplete requests may still be kept.
    pub(crate) room_for_input: bool,
}

impl Client {
    /// Takes over a connection and announces the protocol.
    pub(crate) fn new(socket: OwnedFd, now: Instant) -> (Client, Fate) {
        let mut client = Client {
            socket,
            input: Vec::new(),
            parser: Parser::new(Limits::SERVICE),
            output: ANNOUNCEMENT.to_vec(),
            sent: 0,
            cursors: Cursors::default(),
            deadline: None,
            last_active: now,
        };
        let fate = client.write(now);
        (client, fate)
    }

    /// Bytes held for a request that is not complete.
    pub(crate) fn held(&self) -> usize {
        self.input.len()
    }

    /// Whether it is between requests.
    pub(crate) fn is_idle(&self) -> bool {
        self.input.is_empty() && self.output.is_empty()
    }

    /// The client has sent something, or has gone.
    pub(crate) fn read(&mut self, desk: &mut Desk<'_>, now: Instant) -> Fate {
        let length = match recv(self.socket.as_raw_fd(), desk.scratch, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => {
                if !self.input.is_empty() {
                    tracing::warn!("premature end-of-input from client in the middle of a request");
                }
                return Fate::Closed;
            }
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return self.waiting_for(),
            Err(_) => return Fate::Closed,
        };
        self.last_active = now;
        let fresh = desk.scratch.get(..length).unwrap_or_default();
        let mut held = std::mem::take(&mut self.input);
        let left = if held.is_empty() {
            let taken = self.answer_some(fresh, desk.catalogue, desk.service, desk.settings, desk.replies);
            taken.map(|taken| fresh.get(taken..).unwrap_or_default().to_vec())
        } else {
            held.extend_from_slice(fresh);
            self.answer_held(held, desk)
        };
        self.reply(left, desk, now)
    }

    /// The client has room for replies again, and perhaps more requests that we hold for it.
    pub(crate) fn write_on(&mut self, desk: &mut Desk<'_>, now: Instant) -> Fate {
        let fate = self.write(now);
        if fate != Fate::Reading || self.input.is_empty() {
            return fate;
        }
        let held = std::mem::take(&mut self.input);
        let left = self.answer_held(held, desk);
        self.reply(left, desk, now)
    }

    fn answer_held(&mut self, mut held: Vec<u8>, desk: &mut Desk<'_>) -> Option<Vec<u8>> {
        let taken = self.answer_some(&held, desk.catalogue, desk.service, desk.settings, desk.replies)?;
        held.drain(..taken.min(held.len()));
        Some(held)
    }

    /// Keeps what is left of the input (nothing: a violation, so that this is the end), and sends the replies.
    fn reply(&mut self, left: Option<Vec<u8>>, desk: &mut Desk<'_>, now: Instant) -> Fate {
        let answered = !desk.replies.is_empty();
        self.send_first(desk.replies);
        let Some(left) = left else {
            // What was asked before the violation has been answered.
            let _ = self.write(now);
            return Fate::Closed;
        };
        if !left.is_empty() && !desk.room_for_input {
            tracing::warn!("too many incomplete requests from clients -- closing a connection");
            return Fate::Closed;
        }
        // The clock of a request starts with its first byte; more bytes do not extend it.
        if left.is_empty() {
            self.deadline = None;
        } else if answered || self.deadline.is_none() {
            self.deadline = now.checked_add(DEADLINE);
        }
        self.input = left;
        if self.output.is_empty() { Fate::Reading } else { self.write(now) }
    }

    /// Sends replies at once as far as the client takes them, and keeps the rest; `replies` is empty afterwards.
    fn send_first(&mut self, replies: &mut Vec<u8>) {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let sent = match self.output.is_empty() && !replies.is_empty() {
            // An error is met again, and dealt with, when the rest is sent.
            true => send(self.socket.as_raw_fd(), replies, flags).unwrap_or_default(),
            false => 0,
        };
        self.output.extend_from_slice(replies.get(sent..).unwrap_or_default());
        replies.clear();
    }

    /// Answers complete requests at the start of `bytes`, as many as there is room for replies; returns how many
    /// bytes they took, or nothing when the connection must be closed.
    fn answer_some(
        &mut self,
        bytes: &[u8],
        catalogue: &Catalogue,
        service: Service,
        settings: Settings,
        replies: &mut Vec<u8>,
    ) -> Option<usize> {
        let mut taken = 0usize;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            if rest.is_empty() || replies.len() > UNREAD {
                return Some(taken);
            }
            match self.parser.parse(rest) {
                Progress::NeedMore => return Some(taken),
                Progress::Request { request, complaint, consumed } => {
                    if let Some(complaint) = complaint {
                        warn(&complaint);
                    }
                    let cursors = &mut self.cursors;
                    session::answer(&request, service, catalogue, &settings, cursors, replies, &mut log);
                    taken = taken.saturating_add(consumed);
                }
                Progress::Malformed { reply, dialect, complaint, consumed } => {
                    warn(&complaint);
                    encode_reply(&reply, dialect, replies);
                    taken = taken.saturating_add(consumed);
                }
                Progress::Violation(violation) => {
                    warn(&format_args!("{violation} -- closing the connection"));
                    return None;
                }
            }
        }
    }

    /// Sends what the client has not taken yet.
    pub(crate) fn write(&mut self, now: Instant) -> Fate {
        loop {
            let rest = self.output.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                // A long reply must not be remembered by its buffer.
                self.output = Vec::new();
                self.sent = 0;
                self.deadline = if self.input.is_empty() { None } else { now.checked_add(DEADLINE) };
                return Fate::Reading;
            }
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match send(self.socket.as_raw_fd(), rest, flags) {
                Ok(count) => {
                    self.sent = self.sent.saturating_add(count);
                    // It reads: it has its time anew for the rest.
                    self.deadline = now.checked_add(DEADLINE);
                }
                Err(Errno::EAGAIN) => {
                    if self.deadline.is_none() {
                        self.deadline = now.checked_add(DEADLINE);
                    }
                    return Fate::Writing;
                }
                Err(Errno::EINTR) => {}
                Err(_) => return Fate::Closed,
            }
        }
    }

    /// Whether the deadline has passed; says so in the log.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        let late = self.deadline.is_some_and(|deadline| deadline <= now);
        if late && self.output.is_empty() {
            tracing::warn!("timeout: client stalled in the middle of a request -- closing the connection");
        } else if late {
            tracing::warn!("timeout: client does not read its reply -- closing the connection");
        }
        late
    }

    fn waiting_for(&self) -> Fate {
        if self.output.is_empty() { Fate::Reading } else { Fate::Writing }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn warn(complaint: &dyn Display) {
    tracing::warn!("{complaint}");
}

/// Each class of event is a place of its own, so that a flood of one does not hide the others.
fn log(event: Event<'_>) {
    match event {
        Event::Unapproved { .. } => tracing::warn!("{event}"),
        Event::HowToApprove { .. } => tracing::warn!("{event}"),
        Event::Failed { .. } => tracing::warn!("{event}"),
        event => tracing::warn!("{event}"),
    }
}
