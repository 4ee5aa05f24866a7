//! The writer's event loop: clients, groups of changes, and what the broker says.
//!
//! A turn answers what the clients that are ready have asked, holds the replies back, commits the changes of each table
//! with one sync, and sends the replies. Between turns, one bounded step is taken of whatever else there is to do.
//!
//! May: read and write connections that it was handed. Never: open, connect, execute, or name anything but a table id to
//! the broker.

mod broker;
#[cfg(test)]
mod tests;

use crate::checkpoints::{Checkpoints, Effect, When};
use crate::group::{Group, Mark};
use crate::line::Line;
use crate::opening::{Opener, Openings};
use crate::tables::{Changed, Outturn, Tables};
use mapkeep_process::sleep_until;
use mapkeep_proto::{TableId, WriterToBroker};
use mapkeep_sandbox::Confined;
use mapkeep_sys::channel::Channel;
use mapkeep_sys::deadline;
use mapkeep_table_store::StoreError;
use mapkeep_worker_session::client::Context;
use mapkeep_worker_session::clients::{Clients, Trigger};
use mapkeep_worker_session::{Service, Settings};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::time::{Duration, Instant};

/// Bytes read from a client in one go.
const CHUNK: usize = 16 << 10;
/// Events taken in one go.
const EVENTS: usize = 256;
/// While the service is stopping: a client that has been silent for this long is disconnected,
const SILENCE: Duration = Duration::from_millis(100);
/// which is looked for so often,
const TICK: Duration = Duration::from_millis(50);
/// and every client after this.
const GRACE: Duration = Duration::from_secs(1);

const BROKER: u64 = 0;

/// The writer's state.
pub(crate) struct Writer<O> {
    line: Line,
    epoll: Epoll,
    settings: Settings,
    tables: Tables,
    clients: Clients<Tables>,
    /// Clients that have something for us, in the order in which they are served.
    ready: VecDeque<u64>,
    /// The same, to find one.
    is_ready: BTreeSet<u64>,
    /// How many changes the last turn has committed at once.
    last_changes: usize,
    /// Whether the broker has something for us.
    broker_waits: bool,
    openings: Openings<O>,
    checkpoints: Checkpoints,
    /// The service is stopping; when the last clients are disconnected.
    finishing: Option<Instant>,
    next_tick: Option<Instant>,
    /// Nothing more is read from clients than what has arrived.
    closing: bool,
    /// When all input that had arrived was last recorded. A client that has sent something by then is not late, however
    /// long a sync delayed the reading of it.
    looked: Instant,
    /// Whether epoll reports room in the broker's channel.
    waits_for_room: bool,
    scratch: Vec<u8>,
}

impl<O: Opener> Writer<O> {
    /// A writer that has received nothing from its broker yet.
    pub(crate) fn new(broker: Channel, epoll: Epoll, opener: O) -> io::Result<Writer<O>> {
        epoll.add(&broker, EpollEvent::new(EpollFlags::EPOLLIN, BROKER))?;
        Ok(Writer {
            line: Line::new(broker),
            epoll,
            settings: Settings { smtputf8_enable: true },
            tables: Tables::default(),
            clients: Clients::numbered_after(BROKER, Trigger::Level),
            ready: VecDeque::new(),
            is_ready: BTreeSet::new(),
            last_changes: 0,
            broker_waits: false,
            openings: Openings::new(opener),
            checkpoints: Checkpoints::new(),
            finishing: None,
            next_tick: None,
            closing: false,
            looked: Instant::now(),
            waits_for_room: false,
            scratch: vec![0; CHUNK],
        })
    }

    /// Serves until the broker closes the channel, or until everything is done after the broker's `Finish`. Requires
    /// the proof of lock-down.
    pub(crate) fn run(&mut self, _confined: &Confined) -> io::Result<()> {
        self.serve()
    }

    /// The same, for tests.
    pub(crate) fn serve(&mut self) -> io::Result<()> {
        loop {
            let timeout = self.patience(Instant::now());
            self.await_events(timeout)?;
            self.turn()?;
            let now = Instant::now();
            if self.broker_waits || self.line.has_waiting() {
                self.receive_from_broker(now)?;
            }
            if self.line.is_gone() {
                return self.last_turns();
            }
            self.take_step(now)?;
            self.close_late()?;
            if self.is_finished(now)? {
                return Ok(());
            }
            self.tell_broker()?;
        }
    }

    /// How long to wait for something to happen.
    fn patience(&self, now: Instant) -> EpollTimeout {
        let checkpoint = self.next_checkpoint(now);
        if !self.ready.is_empty() || checkpoint == When::Now || self.line.has_waiting() {
            return EpollTimeout::ZERO;
        }
        let checkpoint = if let When::At(moment) = checkpoint { Some(moment) } else { None };
        let last = self.finishing.filter(|_| !self.clients.is_empty());
        let moments =
            [self.clients.next_deadline(), self.next_tick, self.openings.next(now), checkpoint, last];
        sleep_until(moments.into_iter().flatten(), now)
    }

    /// Notes which clients have something for us. False: none that were not known already.
    fn await_events(&mut self, timeout: EpollTimeout) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        if count < EVENTS {
            self.looked = Instant::now();
        }
        let mut found = false;
        for event in events.iter().take(count) {
            if event.data() == BROKER {
                self.broker_waits = true;
            } else if self.clients.get_mut(event.data()).is_some_and(|client| !client.defers_replies()) {
                found |= self.note(event.data());
            }
        }
        Ok(found)
    }

    /// Puts a client last in the row. False: it is there already.
    fn note(&mut self, client: u64) -> bool {
        let fresh = self.is_ready.insert(client);
        if fresh {
            self.ready.push_back(client);
        }
        fresh
    }

    /// Answers pending requests, within the bounds of a turn, commits the changes, and sends the replies.
    fn turn(&mut self) -> io::Result<()> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let mut group = Group::default();
        let now = Instant::now();
        loop {
            while group.is_open()
                && let Some(client) = self.ready.pop_front()
            {
                self.is_ready.remove(&client);
                self.answer(client, &mut group, now)?;
                if self.tables.are_settled() {
                    // These replies depend on no uncommitted change, and need not wait for a sync.
                    self.release(group.take(), &[])?;
                }
            }
            // One sync serves all clients, so requests that have arrived meanwhile are included. If one client makes
            // all changes, there are none to wait for, and clients that only look up are answered while it prepares its
            // next change.
            let crowd = self.last_changes > 1 && group.clients() < self.clients.count();
            let more = !self.closing && crowd && group.is_open() && self.tables.has_open_group();
            if !more || !self.await_events(EpollTimeout::ZERO)? {
                break;
            }
        }
        self.last_changes = group.changes();
        let outturns = self.tables.end_turn();
        self.release(group.take(), &outturns)?;
        self.note_outturns(outturns)
    }

    /// Answers what one client has asked. Its replies stay with it.
    fn answer(&mut self, client: u64, group: &mut Group, now: Instant) -> io::Result<()> {
        let Writer { clients, epoll, tables, settings, scratch, .. } = self;
        let (tables, service, settings) = (&*tables, Service::Write, *settings);
        clients.with(epoll, client, |client, room_for_input| {
            client.defer(
                &mut Context { tables, service, settings, scratch, replies: group, room_for_input },
                now,
            )
        })?;
        group.served(client);
        Ok(())
    }

    /// Sends the replies, in the place of those that do not hold temporary errors.
    fn release(&mut self, served: Vec<(u64, Vec<Mark>)>, outturns: &[Outturn]) -> io::Result<()> {
        let lost: BTreeSet<u32> = outturns
            .iter()
            .filter(|outturn| outturn.result.is_err())
            .map(|outturn| u32::from(outturn.id.0))
            .collect();
        let now = Instant::now();
        for (number, marks) in served {
            self.clients.with(&self.epoll, number, |client, _| {
                if !lost.is_empty() {
                    client.take_back(&marks, |table| lost.contains(&table));
                }
                client.release(now)
            })?;
            if self.clients.get_mut(number).is_some_and(|client| client.has_more()) {
                self.note(number);
            }
        }
        Ok(())
    }

    /// Acts on the result of a turn for each table.
    fn note_outturns(&mut self, outturns: Vec<Outturn>) -> io::Result<()> {
        let now = Instant::now();
        for Outturn { id, result } in outturns {
            match result {
                Ok(Changed::Yes) => self.checkpoints.changed(id, now),
                Ok(Changed::No) => {}
                Err(error) => {
                    tracing::warn!(
                        "table {}: {error} -- rolling back the updates that were to be committed together; their \
                         clients get a temporary error",
                        self.tables.shown(id)
                    );
                    match error {
                        StoreError::Corrupt(what) => self.set_aside(id, &what)?,
                        _ if self.tables.with(id, |engine| engine.is_removed()) == Some(true) => {
                            self.hand_back(id, "its file has been removed".to_owned())?;
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// A table's store is damaged: closes it, and has its files set aside.
    fn set_aside(&mut self, id: TableId, what: &str) -> io::Result<()> {
        let reason = format!("its store is damaged ({what}), and being replaced by a fresh one");
        let Some(engine) = self.tables.close(id, reason) else { return Ok(()) };
        if let Some(message) = self.checkpoints.closed(id) {
            self.line.say(message)?;
        }
        let Some((part, rescue)) = engine.rescue() else { return Ok(()) };
        let generation = self.tables.generation(id);
        tracing::error!(
            "table {}: its store is damaged: {what} -- setting its files aside and keeping what can be read of them",
            self.tables.shown(id)
        );
        if let Some(rescue) = rescue {
            self.openings.keep(id, rescue);
        }
        self.line.say(WriterToBroker::Corrupt { id, generation, part })
    }

    /// One bounded step of the work other than serving clients.
    fn take_step(&mut self, now: Instant) -> io::Result<()> {
        if self.step_openings(now)? {
            return Ok(());
        }
        if self.next_checkpoint(now) != When::Now {
            return Ok(());
        }
        let effect = self.checkpoints.go_on(&self.tables, now);
        self.apply(effect)
    }

    /// When a checkpoint should begin or continue. While clients are being disconnected, none begins, because they
    /// still change tables.
    fn next_checkpoint(&self, now: Instant) -> When {
        let waits = self.finishing.is_some() && !self.clients.is_empty() && self.checkpoints.is_idle();
        if waits { When::Later } else { self.checkpoints.next(now) }
    }

    /// Does what follows from a step of a checkpoint.
    fn apply(&mut self, effect: Effect) -> io::Result<()> {
        if let Some(message) = effect.say {
            self.line.say(message)?;
        }
        match effect.damaged {
            Some((id, StoreError::Corrupt(what))) => self.set_aside(id, &what),
            _ => Ok(()),
        }
    }

    /// Once the service ends: lets clients go. Whether everything is done.
    fn is_finished(&mut self, now: Instant) -> io::Result<bool> {
        let Some(until) = self.finishing else { return Ok(false) };
        if now >= until && !self.clients.is_empty() {
            self.close_all()?;
        } else if self.next_tick.is_some_and(|tick| tick <= now) {
            self.next_tick = Some(deadline::after(now, TICK));
            let Writer { clients, epoll, is_ready, looked, .. } = self;
            clients.close_silent(epoll, SILENCE, *looked, |client| is_ready.contains(&client))?;
        }
        if !self.clients.is_empty() {
            return Ok(false);
        }
        self.next_tick = None;
        Ok(self.checkpoints.is_done() && !self.line.has_more_to_say())
    }

    /// Closes the connections of clients that take too long.
    fn close_late(&mut self) -> io::Result<()> {
        let Writer { clients, epoll, is_ready, looked, .. } = self;
        clients.close_late(epoll, *looked, |client| is_ready.contains(&client))
    }

    /// Answers what has arrived, then closes every connection.
    fn close_all(&mut self) -> io::Result<()> {
        self.await_events(EpollTimeout::ZERO)?;
        // Each client is read from once more; what comes after that would have no end.
        self.closing = true;
        while !self.ready.is_empty() {
            self.turn()?;
        }
        self.clients.close_all(&self.epoll)
    }

    /// The broker has exited: answers what has arrived. Changes still become durable; checkpoints cannot be put in
    /// place any more.
    fn last_turns(&mut self) -> io::Result<()> {
        self.close_all()
    }

    /// Tells the broker how many clients have disconnected, and sends messages that had no room before.
    fn tell_broker(&mut self) -> io::Result<()> {
        self.line.flush()?;
        if !self.line.has_more_to_say() {
            let closed = self.clients.take_closed();
            if closed > 0 {
                self.line.say(WriterToBroker::Closed(closed))?;
            }
        }
        let waits = self.line.has_more_to_say();
        if waits != self.waits_for_room {
            self.waits_for_room = waits;
            let interest =
                if waits { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            self.epoll.modify(&self.line, &mut EpollEvent::new(interest, BROKER))?;
        }
        Ok(())
    }
}
