//! Questions to the processes that have the tables which this one does not have: which client asked, which process was
//! asked, and the deadline of each.
//!
//! A question waits here until a peer has room for it, and then with the peer. Each client has one at a time. It ends with
//! its answer, or without one at the deadline or when the peer is lost.
//!
//! May: read and write streams that it was handed. Never: wait, ask the clock, or know what is in a table.

mod peer;

use mapkeep_proto::{Frames, Manner, TableId};
use nix::sys::epoll::Epoll;
use peer::{Peer, Read};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long a request may wait for answers, those to all its questions together: three times what one lookup may take in all
/// its turns, since others are served in between.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The numbers that stand for peers in epoll's events begin here; those of clients never come so far.
pub(crate) const PEERS: u64 = 1 << 63;

/// What is asked, until a peer takes it.
pub(crate) struct Question {
    /// The table.
    pub(crate) table: TableId,
    /// What is wanted of it.
    pub(crate) wanted: Wanted,
}

/// What is wanted of a table.
pub(crate) enum Wanted {
    /// The value of a key, and how to look for it.
    Value { key: Vec<u8>, manner: Manner },
    /// Whether it can be asked at all.
    Usable,
}

impl Question {
    /// The length of its key, in bytes.
    fn key(&self) -> usize {
        match &self.wanted {
            Wanted::Value { key, .. } => key.len(),
            Wanted::Usable => 0,
        }
    }
}

/// Who waits for the answer to a question.
#[derive(Debug)]
struct Waiter {
    client: u64,
    table: TableId,
    /// The length of the key.
    key: usize,
    deadline: Instant,
    place: Place,
}

/// Where a question is.
#[derive(Debug)]
enum Place {
    /// No peer has taken it yet.
    Here(Question),
    /// This peer has it.
    At(u64),
}

/// For whom an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// A client that waits for it.
    Client(u64),
    /// Nobody any more.
    Nobody,
    /// Nobody ever: the question was not asked.
    NeverAsked,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    peers: BTreeMap<u64, Peer>,
    /// How many peers there have been.
    numbered: u64,
    /// By ticket.
    waiters: BTreeMap<u32, Waiter>,
    /// The tickets of questions that no peer has taken yet, in the order in which they came.
    queue: BTreeSet<u32>,
    deadlines: BTreeSet<(Instant, u32)>,
    /// How many questions there have been; the last 32 bits are the ticket of the last.
    asked: u64,
    /// Clients whose peer has been lost, and why.
    lost: VecDeque<(u64, &'static str)>,
}

impl Elsewhere {
    /// Takes over the stream to a process that answers; it must be non-blocking.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn add(&mut self, epoll: &Epoll, stream: OwnedFd) -> io::Result<()> {
        let number = PEERS.saturating_add(self.numbered);
        self.numbered = self.numbered.saturating_add(1);
        self.peers.insert(number, Peer::new(epoll, stream, number)?);
        Ok(())
    }

    /// Puts a question, for as long as the deadline has not passed. Gives its ticket.
    pub(crate) fn ask(&mut self, client: u64, question: Question, deadline: Instant) -> u32 {
        let ticket = self.fresh_ticket();
        let (table, key) = (question.table, question.key());
        self.waiters.insert(ticket, Waiter { client, table, key, deadline, place: Place::Here(question) });
        self.queue.insert(ticket);
        self.deadlines.insert((deadline, ticket));
        ticket
    }

    /// The next number that no question has.
    #[allow(clippy::cast_possible_truncation, reason = "the last 32 bits are meant")]
    fn fresh_ticket(&mut self) -> u32 {
        loop {
            self.asked = self.asked.saturating_add(1);
            let ticket = self.asked as u32;
            if !self.waiters.contains_key(&ticket) {
                return ticket;
            }
        }
    }

    /// Nobody waits for this answer any more. A peer that is at it is told so.
    pub(crate) fn forget(&mut self, ticket: u32) -> Option<u64> {
        let waiter = self.remove(ticket)?;
        if let Place::At(number) = waiter.place
            && let Some(peer) = self.peers.get_mut(&number)
        {
            peer.withdraw(ticket, waiter.table, waiter.client, waiter.key);
        }
        Some(waiter.client)
    }

    fn remove(&mut self, ticket: u32) -> Option<Waiter> {
        let waiter = self.waiters.remove(&ticket)?;
        self.queue.remove(&ticket);
        self.deadlines.remove(&(waiter.deadline, ticket));
        Some(waiter)
    }

    /// Hands questions to peers, each to the one that has the fewest, and sends them as far as there is room.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn send(&mut self, epoll: &Epoll) -> io::Result<()> {
        loop {
            while let Some(ticket) = self.queue.first().copied() {
                let with_room = self.peers.iter_mut().filter(|(_, peer)| peer.has_room());
                let Some((number, peer)) = with_room.min_by_key(|(_, peer)| peer.load()) else { break };
                self.queue.remove(&ticket);
                let Some(waiter) = self.waiters.get_mut(&ticket) else { continue };
                if let Place::Here(question) = std::mem::replace(&mut waiter.place, Place::At(*number)) {
                    peer.ask(ticket, waiter.client, &question);
                }
            }
            let mut gone = Vec::new();
            for (number, peer) in &mut self.peers {
                if !peer.flush(epoll, *number)? {
                    gone.push(*number);
                }
            }
            for number in gone {
                self.lose(epoll, number, GONE)?;
            }
            if self.queue.is_empty() || !self.peers.values().any(Peer::has_room) {
                return Ok(());
            }
        }
    }

    /// Reads once from a peer. Gives what has come from it, which is to be put back; nothing if there is nothing, or if the
    /// peer has gone.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn read(
        &mut self,
        epoll: &Epoll,
        number: u64,
        scratch: &mut [u8],
    ) -> io::Result<Option<Frames>> {
        let Some(peer) = self.peers.get_mut(&number) else { return Ok(None) };
        match peer.read(scratch) {
            Read::Some => Ok(Some(std::mem::take(&mut peer.frames))),
            Read::Nothing => Ok(None),
            Read::Gone => self.lose(epoll, number, GONE).map(|()| None),
        }
    }

    /// Puts back what has come from a peer and is not a whole answer yet.
    pub(crate) fn put_back(&mut self, number: u64, mut frames: Frames) {
        if let Some(peer) = self.peers.get_mut(&number) {
            frames.shrink();
            peer.frames = frames;
        }
    }

    /// A peer has answered a question.
    pub(crate) fn answered(&mut self, number: u64, ticket: u32) -> Recipient {
        let key = match self.waiters.get(&ticket).map(|waiter| (&waiter.place, waiter.key)) {
            Some((Place::At(peer), key)) if *peer == number => key,
            // It was on its way when the question was withdrawn.
            None if (1..=self.asked).contains(&u64::from(ticket)) => return Recipient::Nobody,
            None | Some(_) => return Recipient::NeverAsked,
        };
        if let Some(peer) = self.peers.get_mut(&number) {
            peer.answered(key);
        }
        self.remove(ticket).map_or(Recipient::Nobody, |waiter| Recipient::Client(waiter.client))
    }

    /// A peer has said something that is no answer: nothing more is asked of it.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn violated(&mut self, epoll: &Epoll, number: u64, how: &str) -> io::Result<()> {
        tracing::error!("a rules worker sent {how} -- sending it no more questions");
        self.lose(epoll, number, WRONG)
    }

    fn lose(&mut self, epoll: &Epoll, number: u64, why: &'static str) -> io::Result<()> {
        let Some(peer) = self.peers.remove(&number) else { return Ok(()) };
        let lost = |waiter: &Waiter| matches!(waiter.place, Place::At(peer) if peer == number);
        let tickets: Vec<u32> =
            self.waiters.iter().filter(|(_, waiter)| lost(waiter)).map(|(ticket, _)| *ticket).collect();
        if !tickets.is_empty() {
            tracing::warn!("{why}: {} waiting requests get a temporary error", tickets.len());
        }
        for ticket in tickets {
            let client = self.remove(ticket).map(|waiter| (waiter.client, why));
            self.lost.extend(client);
        }
        peer.close(epoll)
    }

    /// The next client that gets no answer, and why: its peer has been lost, or its deadline has passed.
    pub(crate) fn next_unanswered(&mut self, now: Instant) -> Option<(u64, &'static str)> {
        if let Some(lost) = self.lost.pop_front() {
            return Some(lost);
        }
        let (_, ticket) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        let why = match self.waiters.get(&ticket)?.place {
            Place::Here(_) => UNASKED,
            Place::At(_) => SILENT,
        };
        Some((self.forget(ticket)?, why))
    }

    /// When to look for requests next whose deadline has passed.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Bytes that wait for peers to read them.
    #[cfg(test)]
    pub(crate) fn unsent(&self) -> usize {
        self.peers.values().map(Peer::unsent).sum()
    }

    /// How many questions no peer has taken yet.
    #[cfg(test)]
    pub(crate) fn untaken(&self) -> usize {
        self.queue.len()
    }

    /// Whether somebody waits for an answer.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.waiters.is_empty()
    }
}

const GONE: &str = "the rules worker that had the question has exited";
const WRONG: &str = "the rules worker that had the question sent an invalid answer";
const UNASKED: &str = "no rules worker accepted the question within a minute";
const SILENT: &str = "the rules worker that had the question did not answer within a minute";

/// Shows no key.
impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("table", &self.table).finish_non_exhaustive()
    }
}
