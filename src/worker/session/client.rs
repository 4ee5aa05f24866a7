//! One client's connection: bytes in, replies out, and how long it may take over a request.
//!
//! May: read and write the one socket. Never: wait: sockets are non-blocking since accept4(2). They are read and
//! written by read(2) and write(2) because the kernel passes calls of which no argument is filtered without running a
//! filter; that SIGPIPE is ignored (`mapkeep_sys::signals`) does the rest.

mod context;
mod deferred_replies;
mod turn;

pub use context::{Context, Replies, UNREAD};
pub use turn::Turn;

use crate as session;
use crate::wire::{ANNOUNCEMENT, Limits, Parser, Progress, encode_reply};
use crate::{Answer, Cursors, Event, Pending, Service, Settings, Tables};
use nix::errno::Errno;
use nix::unistd::{read, write};
use std::fmt::{self, Display};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a client may take from the first byte of a request to the last, or over reading a reply. Stock
/// waits this long, too.
pub const DEADLINE: Duration = Duration::from_secs(1);

/// A connected client of the tables `T`. While it is silent it costs no buffer.
pub struct Client<T: Tables> {
    socket: OwnedFd,
    /// Bytes of a request that is incomplete, or that has to wait.
    input: Vec<u8>,
    /// Whether the input may begin with a complete request, which waits for us: for room, for another turn, or for the reply
    /// to the request before it.
    more: bool,
    /// The request that waits for another process to answer. What was sent after it stays in the input.
    pending: Option<Box<Pending<u32, T::Search>>>,
    /// Whether the last reading took all that it had room for, so that there may be more.
    pub has_unread: bool,
    parser: Parser,
    /// Replies that the client has not taken yet.
    output: Vec<u8>,
    sent: usize,
    /// Whether the output waits for its release.
    defers_replies: bool,
    /// It is closed once it has its replies: what it sent after that was no request, or too much.
    ends: bool,
    cursors: Cursors<u32, T::Cursor>,
    /// What the event loop waits for.
    pub awaited: Fate,
    /// When it must have finished what it is at.
    pub deadline: Option<Instant>,
    /// When it last sent or received something.
    pub last_active: Instant,
}

/// What became of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Open; we wait for the client to send.
    Reading,
    /// Open; we wait for the client to read its replies.
    Writing,
    /// It must be closed.
    Closed,
}

/// The result of reading.
enum Taken {
    /// There was nothing.
    Nothing,
    /// The client has disconnected.
    Gone,
    /// The rest of the input after the answered requests; `None` if it is not a request.
    Left(Option<Vec<u8>>),
}

impl<T: Tables<Id = u32>> Client<T> {
    /// Takes over a connection, whose socket must be non-blocking, and sends the protocol announcement.
    pub fn new(socket: OwnedFd, now: Instant) -> (Client<T>, Fate) {
        let mut client = Client {
            socket,
            input: Vec::new(),
            more: false,
            pending: None,
            has_unread: false,
            parser: Parser::new(Limits::SERVICE),
            output: ANNOUNCEMENT.to_vec(),
            sent: 0,
            defers_replies: false,
            ends: false,
            cursors: Cursors::default(),
            awaited: Fate::Reading,
            deadline: None,
            last_active: now,
        };
        let fate = client.write(now);
        client.awaited = fate;
        (client, fate)
    }

    /// Bytes held of requests that are not complete, or have to wait.
    pub fn held(&self) -> usize {
        let pending = self.pending.as_ref().map_or(0, |pending| pending.held());
        self.input.len().saturating_add(pending)
    }

    /// Whether it is between requests.
    pub fn is_idle(&self) -> bool {
        self.input.is_empty() && self.output.is_empty() && self.pending.is_none()
    }

    /// Whether it waits for us, and not we for it.
    pub fn waits(&self) -> bool {
        (self.more || self.pending.is_some()) && self.output.is_empty()
    }

    /// Whether it waits for another turn.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.pending.is_none() && self.waits()
    }

    /// The state of a request that waits for another process.
    pub fn search(&mut self) -> Option<&mut T::Search> {
        self.pending.as_mut().map(|pending| pending.search())
    }

    /// What was kept of such a request by a client that is closed.
    pub fn into_search(self) -> Option<T::Search> {
        self.pending.map(|pending| pending.into_search())
    }

    /// Reads once, and answers what is complete.
    fn take_in<R: Replies>(&mut self, context: &mut Context<'_, T, R>, now: Instant) -> Taken {
        self.has_unread = false;
        let length = match read(&self.socket, context.scratch) {
            Ok(0) => {
                if !self.input.is_empty() {
                    tracing::warn!("premature end-of-input from client in the middle of a request");
                }
                return Taken::Gone;
            }
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return Taken::Nothing,
            Err(_) => return Taken::Gone,
        };
        self.last_active = now;
        self.has_unread = length == context.scratch.len();
        if self.input.is_empty() {
            let Context { tables, service, settings, replies, .. } = context;
            let fresh = context.scratch.get(..length).unwrap_or_default();
            let taken = self.answer_some(fresh, *tables, *service, *settings, *replies);
            Taken::Left(taken.map(|taken| fresh.get(taken..).unwrap_or_default().to_vec()))
        } else {
            self.input.extend_from_slice(context.scratch.get(..length).unwrap_or_default());
            self.answer_kept(context)
        }
    }

    /// Answers the complete requests in the buffered input.
    fn answer_kept<R: Replies>(&mut self, context: &mut Context<'_, T, R>) -> Taken {
        let mut kept = std::mem::take(&mut self.input);
        let taken =
            self.answer_some(&kept, context.tables, context.service, context.settings, context.replies);
        Taken::Left(taken.map(|taken| {
            kept.drain(..taken.min(kept.len()));
            kept
        }))
    }

    /// Buffers the rest of the input. Returns the state of the connection if there is nothing more to do.
    fn keep(&mut self, taken: Taken, answered: bool, room: bool, now: Instant) -> Option<Fate> {
        let left = match taken {
            Taken::Nothing => return Some(self.waiting_for()),
            Taken::Gone => return Some(Fate::Closed),
            Taken::Left(None) => {
                self.ends = true;
                return None;
            }
            Taken::Left(Some(left)) => left,
        };
        if (!left.is_empty() || self.pending.is_some()) && !room {
            tracing::warn!("too many incomplete or waiting requests from clients -- closing a connection");
            self.ends = true;
            return None;
        }
        // The clock of a request starts with its first byte; more bytes do not extend it. A request that has to wait
        // for us has no clock.
        if left.is_empty() || self.more {
            self.deadline = None;
        } else if answered || self.deadline.is_none() {
            self.deadline = now.checked_add(DEADLINE);
        }
        self.input = left;
        None
    }

    /// Sends replies at once as far as the client takes them, and buffers the rest; `replies` is empty afterwards.
    fn send_first(&mut self, replies: &mut Vec<u8>) {
        let sent = match self.output.is_empty() && !replies.is_empty() {
            // An error is met again, and dealt with, when the rest is sent.
            true => write(&self.socket, replies).unwrap_or_default(),
            false => 0,
        };
        self.output.extend_from_slice(replies.get(sent..).unwrap_or_default());
        replies.clear();
    }

    /// Answers complete requests at the start of `bytes`, as many as there is room for replies and as the turn has
    /// time for; returns how many bytes they took, or nothing when the connection must be closed.
    fn answer_some<R: Replies>(
        &mut self,
        bytes: &[u8],
        tables: &T,
        service: Service,
        settings: Settings,
        replies: &mut R,
    ) -> Option<usize> {
        let mut taken = 0usize;
        self.more = false;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                return Some(taken);
            }
            if !replies.has_room() {
                self.more = true;
                return Some(taken);
            }
            match self.parser.parse(rest) {
                Progress::NeedMore => return Some(taken),
                Progress::Request { request, complaint, consumed } => {
                    if let Some(complaint) = complaint {
                        warn(&complaint);
                    }
                    let (cursors, out) = (&mut self.cursors, replies.bytes());
                    let start = out.len();
                    taken = taken.saturating_add(consumed);
                    match session::answer(&request, service, tables, &settings, cursors, out, &mut log) {
                        Answer::Ready(answered) => replies.answered(&answered, start, consumed),
                        Answer::Pending(pending) => {
                            self.pending = Some(Box::new(pending));
                            self.more = taken < bytes.len();
                            return Some(taken);
                        }
                    }
                }
                Progress::Malformed { reply, dialect, complaint, consumed } => {
                    warn(&complaint);
                    encode_reply(&reply, dialect, replies.bytes());
                    replies.refused();
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
    fn write(&mut self, now: Instant) -> Fate {
        loop {
            let rest = self.output.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                // A long reply must not be remembered by its buffer.
                self.output = Vec::new();
                self.sent = 0;
                let waits_for_rest = !self.input.is_empty() && !self.more;
                self.deadline = if waits_for_rest { now.checked_add(DEADLINE) } else { None };
                return Fate::Reading;
            }
            match write(&self.socket, rest) {
                Ok(count) => {
                    self.sent = self.sent.saturating_add(count);
                    // The client reads, so its time starts again for the rest.
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

    /// Whether the deadline has passed; if so, logs that.
    pub fn is_late(&self, now: Instant) -> bool {
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

impl<T: Tables> AsFd for Client<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Shows nothing that the client has sent.
impl<T: Tables> fmt::Debug for Client<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("socket", &self.socket).finish_non_exhaustive()
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
