//! A lookup worker that asks, at the other end of a stream.
//!
//! What it sends is read as a client's bytes are: it may have been taken over by a client. May: read and write the one
//! socket. Never: wait, or keep more of it than its bounds.

use super::answering::Pending;
use super::pace::{Pace, Place, Who};
use crate::contents::Contents;
use mapkeep_proto::{Answer, Asked, DecodeError, Frames, Question, TableId};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::unistd::{read, write};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// Questions of one asker that may wait, in bytes ([`cost`]). With more of them nothing is read from it, and what it has
/// sent waits in the socket. Room for the questions of 10,000 clients with keys as long as addresses, or of 120 with the
/// longest keys; the largest service has 64 askers, which come to 2 GiB, half of what a worker may have.
pub(super) const WAITING: usize = 32 << 20;
/// Answers that the asker has not read, in bytes, beside those in the socket. Over this it gets no more until it has read,
/// and nothing is read from it. The longest answer may come on top.
pub(super) const UNREAD: usize = 256 << 10;
/// What a waiting question takes beside its key, in bytes: about as much as its place in line.
const OVERHEAD: usize = 200;

/// Why a stream is closed.
#[derive(Debug)]
pub(super) enum Gone {
    /// Its other end is closed.
    Closed,
    /// What it sent is no question.
    Garbage(DecodeError),
}

/// The stream, and what waits at both of its ends.
pub(super) struct Asker {
    stream: OwnedFd,
    input: Frames,
    output: Vec<u8>,
    /// Where its questions wait, by ticket.
    tickets: BTreeMap<u32, (TableId, Place)>,
    /// What they cost.
    waiting: usize,
    /// What epoll tells of.
    pub(super) awaited: EpollFlags,
}

/// What a question counts for while it waits, in bytes.
fn cost(question: &Pending) -> usize {
    question.key().saturating_add(OVERHEAD)
}

impl Asker {
    /// The asker at the other end of a stream, whose socket must be non-blocking.
    pub(super) fn new(stream: OwnedFd) -> Asker {
        let (input, output) = (Frames::default(), Vec::new());
        let tickets = BTreeMap::new();
        Asker { stream, input, output, tickets, waiting: 0, awaited: EpollFlags::EPOLLIN }
    }

    /// Reads once, if more may wait, as much as there is room for in `scratch`.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> Result<(), Gone> {
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

    /// Puts the questions that have come in line, as far as they may wait there; `number` is our number of this asker.
    pub(super) fn sort(
        &mut self,
        number: u64,
        contents: &Contents,
        pace: &mut Pace<Pending>,
        now: Instant,
    ) -> Result<(), Gone> {
        while self.has_room() {
            let Some(body) = self.input.next(Question::LONGEST).map_err(Gone::Garbage)? else { break };
            let question = Question::decode(body).map_err(Gone::Garbage)?;
            let (ticket, table) = (question.ticket, question.table);
            if question.asked == Asked::Withdrawn {
                // It may have been answered by now.
                let place = self.tickets.remove(&ticket);
                let withdrawn = place.and_then(|(table, place)| pace.withdraw(table, number, place));
                self.waiting = self.waiting.saturating_sub(withdrawn.as_ref().map_or(0, cost));
                continue;
            }
            // An asker knows the same list of tables, and has a ticket for each question.
            if contents.kind(table).is_none() || self.tickets.contains_key(&ticket) {
                return Err(Gone::Garbage(DecodeError::Field));
            }
            let pending = Pending::of(&question);
            self.waiting = self.waiting.saturating_add(cost(&pending));
            let place = pace.join(table, Who { asker: number, client: question.client }, pending, now);
            self.tickets.insert(ticket, (table, place));
        }
        Ok(())
    }

    /// Whether more may be read from it.
    fn has_room(&self) -> bool {
        self.waiting < WAITING && self.reads()
    }

    /// Whether it reads its answers, so that it may have more.
    pub(super) fn reads(&self) -> bool {
        self.output.len() < UNREAD
    }

    /// Has it wait with as much as may wait.
    #[cfg(test)]
    pub(super) fn fill(&mut self) {
        self.waiting = WAITING;
    }

    /// Bytes of answers that it has not read.
    #[cfg(test)]
    pub(super) fn unread(&self) -> usize {
        self.output.len()
    }

    /// A question has been asked in part, and waits for its next turn at another place.
    pub(super) fn waits_at(&mut self, ticket: u32, table: TableId, place: Place) {
        self.tickets.insert(ticket, (table, place));
    }

    /// Appends the answer to a question.
    pub(super) fn answer(&mut self, question: &Pending, answer: &Answer<'_>) {
        self.tickets.remove(&question.ticket);
        self.waiting = self.waiting.saturating_sub(cost(question));
        answer.encode(&mut self.output);
    }

    /// Sends what the socket has room for.
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
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
    pub(super) fn wanted(&self) -> EpollFlags {
        let mut wanted = EpollFlags::empty();
        wanted.set(EpollFlags::EPOLLIN, self.has_room());
        wanted.set(EpollFlags::EPOLLOUT, !self.output.is_empty());
        wanted
    }
}

impl AsFd for Asker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Shows nothing of what is asked or answered.
impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, unread) = (self.waiting, self.output.len());
        f.debug_struct("Asker").field("waiting", &waiting).field("unread", &unread).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
