//! The lookup worker: holds the tables of one trust class and answers its clients. And the rules worker, which answers lookup
//! workers for tables of patterns (`rules_worker.rs`); both run one program, as their duty says.
//!
//! May: read and write connections that it was handed, map snapshots that it was handed. Never: open, connect,
//! execute, or name anything but a table id to the broker.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod catalogue;
mod contents;
mod elsewhere;
mod loading;
mod peers;
mod rules_worker;
mod serving;
mod start;

pub use start::{main, main_with_patience, version};

use crate::catalogue::Catalogue;
use crate::elsewhere::{Elsewhere, PATIENCE, Route};
use crate::loading::{LONG_STEP, Loading, STEP};
use mapkeep_process::broker::{self, BROKER, Incoming};
use mapkeep_process::sleep_until;
use mapkeep_proto::{BrokerToLookup, LookupToBroker, decode_names};
use mapkeep_sandbox::Confined;
use mapkeep_sys::channel::Channel;
use mapkeep_sys::deadline;
use mapkeep_sys::mapping::Mapping;
use mapkeep_worker_session::client::Turn;
use mapkeep_worker_session::clients::{Clients, Trigger};
use mapkeep_worker_session::{Service, Settings};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes read from a client in one go.
const CHUNK: usize = 16 << 10;
/// Events taken in one go, and turns given in one go to clients that wait for another.
const EVENTS: usize = 256;
/// Messages of the broker that are read in one go. Each may be a client that sends, leaves and comes again at once.
const MESSAGES: usize = 1024;
/// Once the broker has gone: how long those are served that wait for us. They connect again.
const GRACE: Duration = Duration::from_secs(1);
/// While draining: a client that has been silent for this long is let go.
const SILENCE: Duration = Duration::from_secs(5);
/// How often a draining worker looks for silent clients.
const TICK: Duration = Duration::from_secs(1);

/// The channel to the broker.
pub(crate) type Broker = broker::Broker<BrokerToLookup, LookupToBroker>;

/// A lookup worker's state.
pub(crate) struct Lookup {
    broker: Broker,
    epoll: Epoll,
    service: Service,
    settings: Settings,
    catalogue: Catalogue,
    loading: Loading,
    clients: Clients<Catalogue>,
    /// What is asked of other processes.
    elsewhere: Elsewhere,
    /// How long a request may wait for answers of rules workers.
    patience: Duration,
    /// Clients that have asked more than one turn had room for, in the order in which they have the next.
    carried: VecDeque<u64>,
    /// When all that had arrived had been noted last. Whoever has sent something by then is not late, however long we
    /// took to read it.
    looked: Instant,
    draining: bool,
    next_tick: Option<Instant>,
    scratch: Vec<u8>,
    turn: Turn,
    clock: fn() -> Instant,
}

impl Lookup {
    /// A worker that has received nothing from its broker yet.
    pub(crate) fn new(broker: Channel, epoll: Epoll, service: Service) -> io::Result<Lookup> {
        Ok(Lookup {
            broker: Broker::new(broker, &epoll)?,
            epoll,
            service,
            settings: Settings { smtputf8_enable: true },
            catalogue: Catalogue::default(),
            loading: Loading::default(),
            clients: Clients::numbered_after(BROKER, Trigger::Edge),
            elsewhere: Elsewhere::default(),
            patience: PATIENCE,
            carried: VecDeque::new(),
            looked: Instant::now(),
            draining: false,
            next_tick: None,
            scratch: vec![0; CHUNK],
            turn: Turn::default(),
            clock: Instant::now,
        })
    }

    /// Serves until the broker goes, or until the last client has gone after the broker has said so. Demands
    /// the proof of lock-down.
    pub(crate) fn run(&mut self, _confined: &Confined) -> io::Result<()> {
        while self.round()? {}
        Ok(())
    }

    /// Waits for something to do, and does it. False when there is nothing left to be done.
    ///
    /// Everybody who is there is served for a turn: first clients whose answers have come from other processes, then clients
    /// that have sent something, then those that have sent more than a turn had room for, and the broker. What is to be asked
    /// of other processes is sent in one go. Then new contents are continued for a step.
    fn round(&mut self) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let timeout = self.sleep();
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let now = (self.clock)();
        if count < EVENTS {
            self.looked = now;
        }
        let events = events.get(..count).unwrap_or_default();
        self.serve_peers(events, now)?;
        self.serve_clients(events, now)?;
        if events.iter().any(|event| event.data() == BROKER) && !self.receive_from_broker(now)? {
            self.leave()?;
            return Ok(false);
        }
        self.ask_peers(now)?;
        let time = if self.clients.is_empty() { LONG_STEP } else { STEP };
        self.loading.go_on(&mut self.catalogue.contents, &mut self.broker, time)?;
        self.clients.close_late(&self.epoll, self.looked, |_| false)?;
        self.drain(now)?;
        self.report_closed()?;
        self.broker.watch(&self.epoll)?;
        Ok(!self.draining || !self.clients.is_empty())
    }

    /// The broker has gone: answers what has arrived.
    fn leave(&mut self) -> io::Result<()> {
        self.broker.forget(&self.epoll)?;
        let began = (self.clock)();
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or_default();
        self.serve_clients(events.get(..count).unwrap_or_default(), began)?;
        // Each client is read from once more; what comes after that would have no end.
        loop {
            let now = (self.clock)();
            self.serve_peers(events.get(..count).unwrap_or_default(), now)?;
            self.serve_clients(&[], now)?;
            self.ask_peers(now)?;
            let time = GRACE.saturating_sub(now.saturating_duration_since(began));
            let waits = self.elsewhere.is_waited_for();
            if time.is_zero() || (self.carried.is_empty() && !waits) {
                return Ok(());
            }
            let patience = if self.carried.is_empty() { time.min(TICK / 100) } else { Duration::ZERO };
            let timeout = EpollTimeout::from(u16::try_from(patience.as_millis()).unwrap_or_default());
            count = self.epoll.wait(&mut events, timeout).unwrap_or_default();
        }
    }

    fn sleep(&self) -> EpollTimeout {
        let loads = !self.loading.is_empty() && !self.broker.has_unsaid();
        if !self.carried.is_empty() || loads {
            return EpollTimeout::ZERO;
        }
        let now = (self.clock)();
        let moments = [self.clients.next_deadline(), self.elsewhere.next_deadline(), self.next_tick];
        sleep_until(moments.into_iter().flatten(), now)
    }

    /// Tells how many clients have gone; while other things wait for room, the number adds up.
    fn report_closed(&mut self) -> io::Result<()> {
        if self.broker.has_unsaid() {
            return Ok(());
        }
        match self.clients.take_closed() {
            0 => Ok(()),
            closed => self.broker.say(LookupToBroker::Closed(closed)),
        }
    }

    /// Takes what the broker has sent, up to the first answer that has no room, or some of it if there is much. False when the
    /// broker has gone.
    fn receive_from_broker(&mut self, now: Instant) -> io::Result<bool> {
        for _ in 0..MESSAGES {
            match self.broker.receive()? {
                Incoming::Message(message, freight) => self.obey(message, freight, now)?,
                Incoming::Nothing => return Ok(true),
                Incoming::Gone => return Ok(false),
            }
        }
        Ok(true)
    }

    fn obey(&mut self, message: BrokerToLookup, freight: Option<OwnedFd>, now: Instant) -> io::Result<()> {
        match (message, freight) {
            (BrokerToLookup::Names { size, smtputf8, approval_known }, Some(names)) => {
                let block = Mapping::of(names.as_fd(), size)?;
                let names = decode_names(block.as_ref()).map_err(io::Error::other)?;
                self.settings = Settings { smtputf8_enable: smtputf8 };
                self.catalogue = Catalogue::new(names, approval_known);
                self.broker.say(LookupToBroker::Ready)
            }
            (BrokerToLookup::Snapshot { id, generation, size, .. }, Some(content)) => {
                let given_up = self.loading.begin(id, generation, content.as_fd(), size);
                given_up.map_or(Ok(()), |message| self.broker.say(message))
            }
            (BrokerToLookup::Client, Some(socket)) => self.clients.add(&self.epoll, socket, now).map(drop),
            (BrokerToLookup::Unavailable { id, reason }, _) => {
                self.catalogue.contents.unavailable(id, reason);
                Ok(())
            }
            (BrokerToLookup::Finish, _) => {
                self.draining = true;
                self.next_tick = Some(now);
                Ok(())
            }
            (BrokerToLookup::Ping(number), _) => {
                self.catalogue.contents.tidy();
                self.broker.say(LookupToBroker::Pong(number))
            }
            (BrokerToLookup::Answerer(group), Some(stream)) => self.elsewhere.add(&self.epoll, stream, group),
            (BrokerToLookup::Routed { id, gateway, milliseconds }, _) => {
                let time = Duration::from_millis(milliseconds.into());
                self.catalogue.contents.route(id, Route::Gateway(gateway, time));
                Ok(())
            }
            // Nobody asks a worker of this kind.
            (BrokerToLookup::Asker, _) | (_, None) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Lets silent clients go while draining.
    fn drain(&mut self, now: Instant) -> io::Result<()> {
        if self.next_tick.is_none_or(|moment| moment > now) {
            return Ok(());
        }
        self.next_tick = Some(deadline::after(now, TICK));
        self.clients.close_silent(&self.epoll, SILENCE, self.looked, |_| false)
    }
}

#[cfg(test)]
mod tests;
