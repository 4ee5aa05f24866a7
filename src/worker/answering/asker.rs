//! A lookup worker that asks, at the other end of a stream.
//!
//! What it sends is read as a client's bytes are: it may have been taken over by a client. May: read and write the one
//! socket. Never: wait, or keep more of it than its bounds.

use mapkeep_proto::{Answer, Asked, DecodeError, Frames, Manner, Question, TableId};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::unistd::{read, write};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Questions of one asker that may wait, in bytes of their keys and what each takes beside. With more of them nothing is
/// read from it, and what it has sent waits in the socket. Room for the questions of 10,000 clients with keys as long as
/// addresses, or of 120 with the longest keys; the largest service has 64 askers, which come to 2 GiB, half of what a
/// worker may have.
pub const WAITING: usize = 32 << 20;
/// Answers that the asker has not read, in bytes, beside those in the socket. Over this it gets no more until it has read,
/// and nothing is read from it. The longest answer may come on top.
pub const UNREAD: usize = 256 << 10;
/// What a waiting question takes beside its key, in bytes: about as much as its place in the queue.
const OVERHEAD: usize = 200;

/// Why a stream is closed.
#[derive(Debug)]
pub enum Gone {
    /// Its other end is closed.
    Closed,
    /// What it sent is no question.
    Garbage(DecodeError),
}

/// A question that waits, in memory of its own.
pub struct Pending {
    /// The number that its answer carries.
    pub ticket: u32,
    /// The table.
    pub table: TableId,
    /// The asker's number of its client.
    pub client: u64,
    /// The key, and how to look for it; nothing where the question is whether the table can be asked at all.
    pub asked: Option<(Box<[u8]>, Manner)>,
}

/// What an asker has sent.
#[derive(Debug)]
pub enum Taken<P> {
    /// A question. It counts as waiting until [`Asker::answer`].
    Question(Pending),
    /// Nobody waits for the answer to a question of it any more.
    Withdrawn {
        /// Its number.
        ticket: u32,
        /// Where it waits.
        place: P,
    },
}

/// The stream, and what waits at both of its ends. A place `P` is where its owner keeps a question.
pub struct Asker<P> {
    stream: OwnedFd,
    input: Frames,
    output: Vec<u8>,
    /// Its questions, by ticket.
    tickets: BTreeMap<u32, Ticket<P>>,
    /// What they cost.
    waiting: usize,
    /// What they may cost.
    limit: usize,
    /// What epoll tells of.
    pub awaited: EpollFlags,
}

/// A question that waits.
struct Ticket<P> {
    /// Where; nothing if it has not been said.
    place: Option<P>,
    /// What it counts for, in bytes.
    cost: usize,
}

impl<P> Asker<P> {
    /// The asker at the other end of a stream, whose socket must be non-blocking.
    #[must_use]
    pub fn new(stream: OwnedFd) -> Asker<P> {
        let (input, output) = (Frames::default(), Vec::new());
        let (tickets, awaited) = (BTreeMap::new(), EpollFlags::EPOLLIN);
        Asker { stream, input, output, tickets, waiting: 0, limit: WAITING, awaited }
    }

    /// Sets what its questions may cost in bytes, instead of [`WAITING`].
    pub fn limit(&mut self, waiting: usize) {
        self.limit = waiting;
    }

    /// Reads once, if more may wait, as much as there is room for in `scratch`.
    ///
    /// # Errors
    /// The other end is closed.
    pub fn read(&mut self, scratch: &mut [u8]) -> Result<(), Gone> {
        if !self.has_room() {
            return Ok(());
        }
        match read(&self.stream, scratch) {
            Ok(0) => Err(Gone::Closed),
            Ok(length) => {
                self.input.add(scratch.get(..length).unwrap_or_default());
                Ok(())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(_) => Err(Gone::Closed),
        }
    }

    /// The next thing that has come, as far as more may wait.
    ///
    /// # Errors
    /// It is no question, or its ticket is that of a question that waits: an asker has one for each.
    pub fn take(&mut self) -> Result<Option<Taken<P>>, Gone> {
        while self.has_room() {
            let Some(body) = self.input.next(Question::LONGEST).map_err(Gone::Garbage)? else { break };
            let Question { ticket, table, client, asked } = Question::decode(body).map_err(Gone::Garbage)?;
            let asked = match asked {
                Asked::Lookup { key, manner } => Some((Box::from(key), manner)),
                Asked::Usable => None,
                Asked::Withdrawn => match self.forget(ticket) {
                    Some(place) => return Ok(Some(Taken::Withdrawn { ticket, place })),
                    // It has been answered by now.
                    None => continue,
                },
            };
            let pending = Pending { ticket, table, client, asked };
            let Entry::Vacant(vacant) = self.tickets.entry(ticket) else {
                return Err(Gone::Garbage(DecodeError::Field));
            };
            let cost = pending.key().saturating_add(OVERHEAD);
            vacant.insert(Ticket { place: None, cost });
            self.waiting = self.waiting.saturating_add(cost);
            return Ok(Some(Taken::Question(pending)));
        }
        Ok(None)
    }

    /// A question waits at this place now.
    pub fn waits_at(&mut self, ticket: u32, place: P) {
        if let Some(known) = self.tickets.get_mut(&ticket) {
            known.place = Some(place);
        }
    }

    /// A question waits no more. Says where it did.
    fn forget(&mut self, ticket: u32) -> Option<P> {
        let Ticket { place, cost } = self.tickets.remove(&ticket)?;
        self.waiting = self.waiting.saturating_sub(cost);
        place
    }

    /// Whether more may be read from it.
    fn has_room(&self) -> bool {
        self.waiting < self.limit && self.reads()
    }

    /// Whether it reads its answers, so that it may have more.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.output.len() < UNREAD
    }

    /// Bytes of answers that it has not read.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.output.len()
    }

    /// Appends the answer to a question.
    pub fn answer(&mut self, answer: &Answer<'_>) {
        self.forget(answer.ticket);
        answer.encode(&mut self.output);
    }

    /// Sends what the socket has room for.
    ///
    /// # Errors
    /// The other end is closed.
    pub fn flush(&mut self) -> Result<(), Gone> {
        let mut sent = 0;
        let ended = loop {
            let rest = self.output.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match write(&self.stream, rest) {
                Ok(count) => sent = sent.saturating_add(count),
                Err(Errno::EAGAIN) => break Ok(()),
                Err(Errno::EINTR) => {}
                Err(_) => break Err(Gone::Closed),
            }
        };
        self.output.drain(..sent.min(self.output.len()));
        if self.output.is_empty() && self.output.capacity() > UNREAD {
            // A long answer must not be remembered by its buffer.
            self.output = Vec::new();
        }
        ended
    }

    /// What epoll is to tell of. That it has gone is told anyway.
    #[must_use]
    pub fn wanted(&self) -> EpollFlags {
        let mut wanted = EpollFlags::empty();
        wanted.set(EpollFlags::EPOLLIN, self.has_room());
        wanted.set(EpollFlags::EPOLLOUT, !self.output.is_empty());
        wanted
    }
}

impl Pending {
    /// The length of its key, in bytes.
    #[must_use]
    pub fn key(&self) -> usize {
        self.asked.as_ref().map_or(0, |(key, _)| key.len())
    }
}

impl<P> AsFd for Asker<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Shows nothing of what is asked.
impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// Shows nothing of what is asked or answered.
impl<P> fmt::Debug for Asker<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, unread) = (self.waiting, self.output.len());
        f.debug_struct("Asker").field("waiting", &waiting).field("unread", &unread).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
