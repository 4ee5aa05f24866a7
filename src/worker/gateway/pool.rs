//! The connections to the backend: how many, for how long, and when another is asked for.
//!
//! May: compute with times that it is given, read and write the connections that it was handed. Never: read the clock, or
//! ask for more connections than the backend may have, or for more than one in a second while it cannot be reached.

mod connection;
mod health;

pub(crate) use connection::{Broken, Connection};
pub(crate) use health::{Event, Health, Line};

use crate::engine::{Lifetime, engine, lifetime};
use crate::question::Question;
use mapkeep_proto::Backend;
use mapkeep_sys::deadline::{after, has_passed};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// After an attempt that failed the next is made so much later, more or less a tenth of it, so that several gateways
/// do not come at the same time. An attempt that takes longer is not waited for by who comes then.
const PAUSE: Duration = Duration::from_secs(1);

/// The connections, and what is known of the attempts to get more.
pub(crate) struct Pool {
    pub(crate) backend: Backend,
    lifetime: Lifetime,
    open: BTreeMap<u64, Connection>,
    /// Connections that have been asked for, and when.
    wishes: BTreeMap<u32, Instant>,
    wished: u32,
    opened: u64,
    /// Which host is tried next.
    host: u16,
    /// Why the last attempt failed, and when the next may be made.
    failed: Option<(String, Instant)>,
    /// The broker has gone: there will be no more connections.
    is_closed: bool,
    random: u64,
}

impl Pool {
    /// Without connections. `seed` decides on the pauses between attempts.
    pub(crate) fn new(backend: Backend, seed: u64) -> Pool {
        Pool {
            lifetime: lifetime(&backend.protocol),
            backend,
            open: BTreeMap::new(),
            wishes: BTreeMap::new(),
            wished: 0,
            opened: 0,
            host: 0,
            failed: None,
            is_closed: false,
            random: seed,
        }
    }

    /// A connection that can be asked one more question; with `fresh`, one that was never asked any.
    pub(crate) fn has_room(&self, fresh: bool) -> Option<u64> {
        let roomy = self.open.iter().filter(|(_, connection)| connection.has_room(fresh));
        roomy.max_by_key(|(_, connection)| connection.rank()).map(|(number, _)| *number)
    }

    /// Asks on a connection that has room.
    pub(crate) fn ask(&mut self, number: u64, question: Question, now: Instant) {
        if let Some(connection) = self.open.get_mut(&number) {
            connection.ask(question, now);
        }
    }

    /// The number and the host of a connection that is to be asked for, if so many questions wait.
    pub(crate) fn wish(&mut self, waiting: usize, now: Instant) -> Option<(u32, u16)> {
        let (open, wishes) = (self.open.len(), self.wishes.len());
        let has_room = open.saturating_add(wishes) < usize::from(self.backend.connections);
        // Nothing is known of a backend without a connection: one attempt shows it.
        let alone = wishes == 0;
        let may = match &self.failed {
            Some((_, next)) => alone && *next <= now,
            None => alone || open > 0,
        };
        if self.is_closed || wishes >= waiting || !has_room || !may {
            return None;
        }
        self.wished = self.wished.wrapping_add(1);
        self.wishes.insert(self.wished, now);
        Some((self.wished, self.host))
    }

    /// A connection that was asked for has come. Gives its number; nothing if nobody asked for it.
    pub(crate) fn connected(&mut self, wish: u32, stream: OwnedFd, now: Instant) -> Option<u64> {
        self.wishes.remove(&wish)?;
        self.failed = None;
        self.opened = self.opened.saturating_add(1);
        let connection = Connection::new(stream, engine(&self.backend.protocol), now);
        self.open.insert(self.opened, connection);
        Some(self.opened)
    }

    /// A connection that was asked for cannot be had. False if nobody asked for it.
    pub(crate) fn not_connected(&mut self, wish: u32, reason: &str, now: Instant) -> bool {
        let was_wished = self.wishes.remove(&wish).is_some();
        let hosts = u16::try_from(self.backend.hosts.len()).unwrap_or(u16::MAX).max(1);
        self.host = self.host.saturating_add(1).checked_rem(hosts).unwrap_or_default();
        self.fail(format!("cannot connect: {reason}"), now);
        was_wished
    }

    /// The backend cannot be reached, or closes each connection before it has answered.
    pub(crate) fn fail(&mut self, reason: String, now: Instant) {
        // xorshift (Marsaglia, 2003); nothing depends on its being hard to guess.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = u32::try_from(self.random % 201).unwrap_or_default();
        let pause = PAUSE.saturating_mul(900_u32.saturating_add(part)) / 1000;
        let next = after(now, pause);
        self.failed = Some((reason, next));
    }

    /// The broker has gone.
    pub(crate) fn close(&mut self, now: Instant) {
        self.is_closed = true;
        self.wishes.clear();
        self.fail("the service ends".to_owned(), now);
    }

    /// Why a question cannot be answered at once, if so: there is no connection, and the last attempt has failed.
    pub(crate) fn refuses(&self, now: Instant) -> Option<&str> {
        let (reason, next) = self.failed.as_ref().filter(|_| self.open.is_empty())?;
        let is_hopeless = match self.wishes.values().min() {
            Some(began) => has_passed(*began, PAUSE, now),
            None => *next > now || self.is_closed,
        };
        is_hopeless.then_some(reason)
    }

    /// Why questions that wait have nothing to wait for, if so.
    pub(crate) fn is_hopeless(&self) -> Option<&str> {
        let (reason, _) = self.failed.as_ref().filter(|_| self.wishes.is_empty())?;
        Some(reason)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Connection> {
        self.open.get_mut(&number)
    }

    pub(crate) fn connections(&mut self) -> impl Iterator<Item = (u64, &mut Connection)> {
        self.open.iter_mut().map(|(number, connection)| (*number, connection))
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Connection> {
        self.open.remove(&number)
    }

    /// Whether any connection is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// A connection on which an answer is late, and how long was waited for it.
    pub(crate) fn late(&self, now: Instant) -> Option<(u64, Duration)> {
        self.open.iter().find_map(|(number, connection)| Some((*number, connection.is_late(now)?)))
    }

    /// A connection that nobody needs for now and that has been open for long enough.
    pub(crate) fn spent(&self, now: Instant) -> Option<u64> {
        let is_spent = |connection: &Connection| {
            connection.is_idle() && connection.next_moment(self.lifetime).is_some_and(|moment| moment <= now)
        };
        self.open.iter().find(|(_, connection)| is_spent(connection)).map(|(number, _)| *number)
    }

    /// When something has to be done; `waiting` questions want an attempt as soon as there may be one.
    pub(crate) fn next_moment(&self, waiting: usize) -> Option<Instant> {
        let looks = self.open.values().filter_map(|connection| connection.next_moment(self.lifetime));
        let has_room = self.open.len() < usize::from(self.backend.connections);
        let wants = waiting > 0 && self.wishes.is_empty() && has_room && !self.is_closed;
        let attempt = self.failed.as_ref().filter(|_| wants).map(|(_, next)| *next);
        looks.chain(attempt).min()
    }
}
