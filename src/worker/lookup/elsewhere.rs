//! Questions to the processes that have the tables which this one does not have: which client asked, which process was
//! asked, and the deadline of each.
//!
//! Peers come in groups: the rules workers, and each gateway. A question goes to a peer of the group that answers for its
//! table; it waits here until one has room for it, and then with the peer. Each client has one at a time. It ends with its
//! answer, or without one at the deadline or when the peer is lost. What waits for gateways is bounded (`bounds.rs`), so that
//! a silent server takes nobody else's room.
//!
//! May: read and write streams that it was handed. Never: wait, ask the clock, or know what is in a table.

mod bounds;
mod peer;
mod question;

use bounds::{Bounds, TOO_MANY};
use mapkeep_proto::{Frames, Group, TableId};
use nix::sys::epoll::Epoll;
use peer::{Peer, Read};
pub(crate) use question::{Question, Route, Wanted};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long a request may wait for answers of rules workers, those to all its questions together: three times what one lookup
/// may take in all its turns, since others are served in between.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The numbers that stand for peers in epoll's events begin here; those of clients never come so far.
pub(crate) const PEERS: u64 = 1 << 63;

/// Who waits for the answer to a question.
#[derive(Debug)]
struct Waiter {
    client: u64,
    table: TableId,
    group: Group,
    /// The length of the key.
    key: usize,
    /// Bytes that are kept for the request.
    held: usize,
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
    /// The tickets of questions that no peer has taken yet, in the order in which they came; no group without one.
    queues: BTreeMap<Group, BTreeSet<u32>>,
    bounds: Bounds,
    deadlines: BTreeSet<(Instant, u32)>,
    /// How many questions there have been; the last 32 bits are the ticket of the last.
    asked: u64,
    /// Clients that get no answer, since their peer has been lost or their question was one too many; and why.
    lost: VecDeque<(u64, &'static str)>,
}

impl Elsewhere {
    /// Takes over the stream to a process of this group; it must be non-blocking.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn add(&mut self, epoll: &Epoll, stream: OwnedFd, group: Group) -> io::Result<()> {
        let number = PEERS.saturating_add(self.numbered);
        self.numbered = self.numbered.saturating_add(1);
        self.peers.insert(number, Peer::new(epoll, stream, number, group)?);
        Ok(())
    }

    /// Puts a question, for as long as the deadline has not passed. Gives its ticket, or nothing if too many questions wait for
    /// the same group already: then the client gets no answer, as [`Elsewhere::next_unanswered`] says. `held`: bytes that are
    /// kept for the request.
    pub(crate) fn ask(
        &mut self,
        client: u64,
        question: Question,
        held: usize,
        deadline: Instant,
    ) -> Option<u32> {
        let (table, key, group) = (question.table, question.key(), question.route.group());
        if !self.bounds.admit(group, held) {
            self.lost.push_back((client, TOO_MANY));
            return None;
        }
        let ticket = self.fresh_ticket();
        let place = Place::Here(question);
        self.waiters.insert(ticket, Waiter { client, table, group, key, held, deadline, place });
        self.queues.entry(group).or_default().insert(ticket);
        self.deadlines.insert((deadline, ticket));
        Some(ticket)
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
        self.unqueue(waiter.group, ticket);
        self.deadlines.remove(&(waiter.deadline, ticket));
        self.bounds.release(waiter.group, waiter.held);
        Some(waiter)
    }

    fn unqueue(&mut self, group: Group, ticket: u32) {
        if let Some(queue) = self.queues.get_mut(&group) {
            queue.remove(&ticket);
            if queue.is_empty() {
                self.queues.remove(&group);
            }
        }
    }

    /// Hands questions to peers, each to the one of its group that has the fewest, and sends them as far as there is room.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn send(&mut self, epoll: &Epoll) -> io::Result<()> {
        loop {
            let groups: Vec<Group> = self.queues.keys().copied().collect();
            groups.into_iter().for_each(|group| self.hand_out(group));
            let mut gone = Vec::new();
            for (number, peer) in &mut self.peers {
                if !peer.flush(epoll, *number)? {
                    gone.push(*number);
                }
            }
            for number in gone {
                self.lose(epoll, number, Loss::Gone)?;
            }
            let can_take = |group: &Group| self.peers.values().any(|peer| peer.takes(*group));
            if !self.queues.keys().any(can_take) {
                return Ok(());
            }
        }
    }

    /// Hands the questions for one group to its peers, as far as they have room.
    fn hand_out(&mut self, group: Group) {
        while let Some(ticket) = self.queues.get(&group).and_then(BTreeSet::first).copied() {
            let with_room = self.peers.iter_mut().filter(|(_, peer)| peer.takes(group));
            let Some((number, peer)) = with_room.min_by_key(|(_, peer)| peer.load()) else { return };
            if let Some(waiter) = self.waiters.get_mut(&ticket)
                && let Place::Here(question) = std::mem::replace(&mut waiter.place, Place::At(*number))
            {
                peer.ask(ticket, waiter.client, &question);
            }
            self.unqueue(group, ticket);
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
            Read::Gone => self.lose(epoll, number, Loss::Gone).map(|()| None),
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
        let who = match self.peers.get(&number).map(Peer::group) {
            Some(Group::Gateway(_)) => "gateway",
            Some(Group::Rules) | None => "rules worker",
        };
        tracing::error!("a {who} sent {how} -- sending it no more questions");
        self.lose(epoll, number, Loss::Wrong)
    }

    fn lose(&mut self, epoll: &Epoll, number: u64, loss: Loss) -> io::Result<()> {
        let Some(peer) = self.peers.remove(&number) else { return Ok(()) };
        let why = loss.sentence(peer.group());
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
        let waiter = self.waiters.get(&ticket)?;
        let loss = match waiter.place {
            Place::Here(_) => Loss::Unasked,
            Place::At(_) => Loss::Silent,
        };
        let why = loss.sentence(waiter.group);
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
        self.queues.values().map(BTreeSet::len).sum()
    }

    /// Whether somebody waits for an answer.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.waiters.is_empty()
    }
}

/// Why there is no answer.
#[derive(Clone, Copy)]
enum Loss {
    /// The peer has exited.
    Gone,
    /// It sent something that is no answer.
    Wrong,
    /// No peer has taken the question in time.
    Unasked,
    /// The peer has not answered in time.
    Silent,
}

impl Loss {
    fn sentence(self, group: Group) -> &'static str {
        match (group, self) {
            (Group::Rules, Loss::Gone) => "the rules worker that had the question has exited",
            (Group::Rules, Loss::Wrong) => "the rules worker that had the question sent an invalid answer",
            (Group::Rules, Loss::Unasked) => "no rules worker accepted the question within a minute",
            (Group::Rules, Loss::Silent) => {
                "the rules worker that had the question did not answer within a minute"
            }
            (Group::Gateway(_), Loss::Gone) => "the gateway that had the question has exited",
            (Group::Gateway(_), Loss::Wrong) => "the gateway that had the question sent an invalid answer",
            (Group::Gateway(_), Loss::Unasked) => "no gateway accepted the question within query_timeout",
            (Group::Gateway(_), Loss::Silent) => {
                "the gateway that had the question did not answer within query_timeout"
            }
        }
    }
}
