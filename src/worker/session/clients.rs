//! All clients of one process, as its event loop sees them.
//!
//! May: add connections to epoll and take them out. Never: answer.

use crate::Tables;
use crate::client::{Client, Fate};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Bytes of incomplete requests, of all clients together.
const HELD: usize = 64 << 20;

/// The client has closed its connection, or its half of it.
const ENDS: EpollFlags = EpollFlags::EPOLLRDHUP.union(EpollFlags::EPOLLHUP).union(EpollFlags::EPOLLERR);

/// Both halves are closed: replies would not be read by anybody.
pub const GONE: EpollFlags = EpollFlags::EPOLLHUP.union(EpollFlags::EPOLLERR);

/// How epoll reports a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Edge-triggered: once for everything that has arrived, so that the kernel need not check each served client
    /// again. For a loop that serves a client each time it is reported.
    Edge,
    /// Again and again until it has been read. For a loop that lets a client wait.
    Level,
}

impl Trigger {
    /// What to tell of a client.
    fn interest(self, fate: Fate) -> EpollFlags {
        let what = match fate {
            Fate::Writing => EpollFlags::EPOLLOUT,
            Fate::Reading | Fate::Closed => EpollFlags::EPOLLIN,
        };
        // Input of a client that waits for room for replies is not reported: it would be reported for as long as the
        // client waits.
        let half_closed = if fate == Fate::Reading { EpollFlags::EPOLLRDHUP } else { EpollFlags::empty() };
        match self {
            Trigger::Edge => what | EpollFlags::EPOLLET | half_closed,
            Trigger::Level => what,
        }
    }
}

/// The connections, by the number that stands for each in epoll's events. `T` is the tables that they ask.
pub struct Clients<T: Tables> {
    list: BTreeMap<u64, Client<T>>,
    trigger: Trigger,
    last: u64,
    /// Deadlines in the order in which they were set; entries whose client has moved on are skipped.
    deadlines: VecDeque<(Instant, u64)>,
    held: usize,
    closed: u32,
    /// The states of requests whose client no longer waits.
    given_up: Vec<T::Search>,
}

impl<T: Tables<Id = u32>> Clients<T> {
    /// None yet. They get numbers above `last`, each number once, so that an event of a closed connection can reach no
    /// other.
    #[must_use]
    pub fn numbered_after(last: u64, trigger: Trigger) -> Clients<T> {
        Clients {
            list: BTreeMap::new(),
            trigger,
            last,
            deadlines: VecDeque::new(),
            held: 0,
            closed: 0,
            given_up: Vec::new(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many have disconnected since the last call.
    pub fn take_closed(&mut self) -> u32 {
        std::mem::take(&mut self.closed)
    }

    /// The states of requests that waited for another process, of clients that have disconnected since the last call.
    pub fn take_given_up(&mut self) -> Vec<T::Search> {
        std::mem::take(&mut self.given_up)
    }

    /// When to look for late clients next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(moment, _)| *moment)
    }

    /// Takes over a connection, and returns its number.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn add(&mut self, epoll: &Epoll, socket: OwnedFd, now: Instant) -> io::Result<u64> {
        let (client, fate) = Client::new(socket, now);
        self.last = self.last.saturating_add(1);
        if fate == Fate::Closed {
            self.closed = self.closed.saturating_add(1);
            return Ok(self.last);
        }
        epoll.add(&client, EpollEvent::new(self.trigger.interest(fate), self.last))?;
        self.list.insert(self.last, client);
        Ok(self.last)
    }

    /// Serves a client that epoll has reported, and acts on the result. The argument of `work` tells whether bytes of
    /// incomplete requests may still be buffered. A client that waits for its turn is not read from meanwhile; if it
    /// can no longer receive replies, it is closed.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn receive(
        &mut self,
        epoll: &Epoll,
        event: EpollEvent,
        work: impl FnOnce(&mut Client<T>, bool) -> Fate,
    ) -> io::Result<()> {
        self.serve(epoll, event.data(), Some(event.events()), work)
    }

    /// Does something with a client, and draws the consequences, as [`Clients::receive`] does.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn with(
        &mut self,
        epoll: &Epoll,
        number: u64,
        work: impl FnOnce(&mut Client<T>, bool) -> Fate,
    ) -> io::Result<()> {
        self.serve(epoll, number, None, work)
    }

    fn serve(
        &mut self,
        epoll: &Epoll,
        number: u64,
        told: Option<EpollFlags>,
        work: impl FnOnce(&mut Client<T>, bool) -> Fate,
    ) -> io::Result<()> {
        let Some(client) = self.list.get_mut(&number) else { return Ok(()) };
        let gone = told.is_some_and(|told| told.intersects(GONE));
        if told.is_some() && client.waits() {
            client.has_unread = true;
            return if gone { self.close(epoll, number) } else { Ok(()) };
        }
        let (held, deadline) = (client.held(), client.deadline);
        let fate = work(client, self.held < HELD);
        self.held = self.held.saturating_sub(held).saturating_add(client.held());
        // A client that is served at once has had its turn. Buffering what else it has sent would be of no use.
        if fate == Fate::Closed || (gone && (client.waits() || self.trigger == Trigger::Edge)) {
            return self.close(epoll, number);
        }
        if let Some(moment) = client.deadline.filter(|moment| Some(*moment) != deadline) {
            self.deadlines.push_back((moment, number));
        }
        // A last request may have come with the end of the connection.
        client.has_unread |= told.is_some_and(|told| told.intersects(ENDS));
        let more = self.trigger == Trigger::Edge && client.has_unread && !client.waits();
        if fate != client.awaited || (more && fate == Fate::Reading) {
            client.awaited = fate;
            // The kernel checks the connection again, and reports what it finds.
            epoll.modify(&*client, &mut EpollEvent::new(self.trigger.interest(fate), number))?;
        }
        Ok(())
    }

    /// The client of this number, if it is still there.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Client<T>> {
        self.list.get_mut(&number)
    }

    /// Closes a connection.
    fn close(&mut self, epoll: &Epoll, number: u64) -> io::Result<()> {
        if let Some(client) = self.list.remove(&number) {
            self.held = self.held.saturating_sub(client.held());
            epoll.delete(&client)?;
            self.closed = self.closed.saturating_add(1);
            self.given_up.extend(client.into_search());
        }
        Ok(())
    }

    /// Closes the connections of clients that take too long over a request or a reply; not of those that wait for us.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn close_late(&mut self, epoll: &Epoll, now: Instant, waits: impl Fn(u64) -> bool) -> io::Result<()> {
        let mut waiting = Vec::new();
        while let Some((moment, number)) =
            self.deadlines.front().copied().filter(|(moment, _)| *moment <= now)
        {
            self.deadlines.pop_front();
            if waits(number) {
                waiting.push((moment, number));
            } else if self.list.get(&number).is_some_and(|client| client.is_late(now)) {
                self.close(epoll, number)?;
            }
        }
        waiting.into_iter().rev().for_each(|entry| self.deadlines.push_front(entry));
        Ok(())
    }

    /// Closes the connections of clients that are between requests and have been silent for so long; not of those that
    /// wait for us. Postfix's clients notice before their next request and connect again without a delay.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn close_silent(
        &mut self,
        epoll: &Epoll,
        silence: Duration,
        now: Instant,
        waits: impl Fn(u64) -> bool,
    ) -> io::Result<()> {
        let silent = |(number, client): &(&u64, &Client<T>)| {
            let silence_now = now.saturating_duration_since(client.last_active);
            client.is_idle() && silence_now >= silence && !waits(**number)
        };
        let silent = self.list.iter().filter(silent);
        let numbers: Vec<u64> = silent.map(|(number, _)| *number).collect();
        numbers.into_iter().try_for_each(|number| self.close(epoll, number))
    }

    /// Closes every connection.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn close_all(&mut self, epoll: &Epoll) -> io::Result<()> {
        let numbers: Vec<u64> = self.list.keys().copied().collect();
        numbers.into_iter().try_for_each(|number| self.close(epoll, number))
    }
}

impl<T: Tables> fmt::Debug for Clients<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("count", &self.list.len()).finish_non_exhaustive()
    }
}
