//! The lookup worker: holds the tables of one trust class and answers its clients.
//!
//! May: read and write connections that it was handed, map snapshots that it was handed. Never: open, connect,
//! execute, or name anything but a table id to the broker.

mod serving;

use crate::answers::Answers;
use crate::catalogue::{Catalogue, Interrupted, Scan};
use crate::client::Turn;
use crate::clients::{Clients, Trigger};
use crate::loading::Loading;
use crate::session::{Service, Settings};
use mapkeep_proto::{BrokerToLookup, Decode, LookupToBroker, MAX_MESSAGE, TableId, decode_names};
use mapkeep_sandbox::Confined;
use mapkeep_sys::channel::{Channel, Received};
use mapkeep_sys::mapping::Mapping;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes read from a client in one go.
const CHUNK: usize = 16 << 10;
/// Events taken in one go, and turns given in one go to clients that wait for another.
const EVENTS: usize = 256;
/// Messages of the broker that are heard in one go. Each may be a client that sends, leaves and comes again at once.
const MESSAGES: usize = 1024;
/// How long contents are loaded before clients are heard again;
const STEP: Duration = Duration::from_millis(2);
/// and while there are none. The broker is heard each time.
const LONG_STEP: Duration = Duration::from_millis(50);
/// Once the broker has gone: how long those are served that wait for us. They connect again.
const GRACE: Duration = Duration::from_secs(1);
/// While draining: a client that has been silent for this long is let go.
const SILENCE: Duration = Duration::from_secs(5);
/// How often a draining worker looks for silent clients.
const TICK: Duration = Duration::from_secs(1);

const BROKER: u64 = 0;

/// A lookup worker's state.
pub(crate) struct Lookup {
    broker: Channel,
    answers: Answers,
    /// Whether the event loop waits for room in the broker's channel, rather than for messages in it.
    waits_for_room: bool,
    epoll: Epoll,
    service: Service,
    settings: Settings,
    catalogue: Catalogue,
    loading: Loading,
    clients: Clients<Scan, Interrupted>,
    /// Clients that have asked more than one turn had room for, in the order in which they have the next.
    carried: VecDeque<u64>,
    /// Whether the time for those who stand in line was over before the line.
    pressed: bool,
    /// When all that had arrived had been noted last. Whoever has sent something by then is not late, however long we
    /// took to read it.
    looked: Instant,
    draining: bool,
    next_tick: Option<Instant>,
    scratch: Vec<u8>,
    turn: Turn,
}

impl Lookup {
    /// A worker that has not heard from its broker yet.
    pub(crate) fn new(broker: Channel, epoll: Epoll, service: Service) -> io::Result<Lookup> {
        epoll.add(&broker, EpollEvent::new(EpollFlags::EPOLLIN, BROKER))?;
        Ok(Lookup {
            broker,
            answers: Answers::default(),
            waits_for_room: false,
            epoll,
            service,
            settings: Settings { smtputf8_enable: true },
            catalogue: Catalogue::default(),
            loading: Loading::default(),
            clients: Clients::numbered_after(BROKER, Trigger::Edge),
            carried: VecDeque::new(),
            pressed: false,
            looked: Instant::now(),
            draining: false,
            next_tick: None,
            scratch: vec![0; CHUNK],
            turn: Turn::default(),
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
    /// Everybody who is there is heard for a turn: first clients that have sent something, and the broker; then those that have
    /// sent more than a turn had room for, and those that stand in line for tables that take long. Then new contents are gone
    /// on with for a step.
    fn round(&mut self) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut count = self.wait(&mut events, self.sleep())?;
        let carried = self.begin_round();
        let mut broker_speaks = false;
        // All of them, however many: what stands in line can take long.
        let mut more = self.clients.count().div_ceil(EVENTS);
        loop {
            let (told, now) = (events.get(..count).unwrap_or_default(), Instant::now());
            broker_speaks |= told.iter().any(|event| event.data() == BROKER);
            self.hear_clients(told, now)?;
            if count < EVENTS {
                self.looked = now;
            }
            if count < EVENTS || more == 0 {
                break;
            }
            more = more.saturating_sub(1);
            count = self.wait(&mut events, EpollTimeout::ZERO)?;
        }
        let now = Instant::now();
        if broker_speaks && !self.hear_broker(now)? {
            self.leave()?;
            return Ok(false);
        }
        self.hear_waiting(carried, now)?;
        self.load()?;
        self.clients.close_late(&self.epoll, self.looked, |_| false)?;
        self.drain(now)?;
        self.report_closed()?;
        self.watch_broker()?;
        Ok(!self.draining || !self.clients.is_empty())
    }

    fn wait(&self, events: &mut [EpollEvent], timeout: EpollTimeout) -> io::Result<usize> {
        match self.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => Ok(0),
            count => Ok(count?),
        }
    }

    /// The broker has gone: answers what has arrived.
    fn leave(&mut self) -> io::Result<()> {
        let began = Instant::now();
        let mut events = [EpollEvent::empty(); EVENTS];
        // Each client is read from once more; what comes after that would have no end.
        for _ in 0..=self.clients.count().div_ceil(EVENTS) {
            let count = self.wait(&mut events, EpollTimeout::ZERO).unwrap_or_default();
            self.hear_clients(events.get(..count).unwrap_or_default(), began)?;
            if count < EVENTS {
                break;
            }
        }
        loop {
            let now = Instant::now();
            let carried = self.begin_round();
            self.hear_waiting(carried, now)?;
            let waiting = !self.carried.is_empty() || self.pressed;
            if !waiting || now.saturating_duration_since(began) > GRACE {
                return Ok(());
            }
        }
    }

    fn sleep(&self) -> EpollTimeout {
        let loads = !self.loading.is_empty() && !self.answers.wait();
        if !self.carried.is_empty() || self.pressed || loads {
            return EpollTimeout::ZERO;
        }
        let now = Instant::now();
        let first = self.clients.next_deadline().into_iter().chain(self.next_tick);
        let first = first.chain(self.catalogue.pace.line.next_moment(now));
        let Some(next) = first.chain(mapkeep_log::settle(now)).min() else { return EpollTimeout::NONE };
        let wait = next.saturating_duration_since(now).as_micros().div_ceil(1000);
        EpollTimeout::from(u16::try_from(wait).unwrap_or(u16::MAX))
    }

    fn say(&mut self, message: LookupToBroker) -> io::Result<()> {
        self.answers.say(&self.broker, message)
    }

    /// Tells how many clients have gone; while other things wait for room, the number adds up.
    fn report_closed(&mut self) -> io::Result<()> {
        if self.answers.wait() {
            return Ok(());
        }
        match self.clients.take_closed() {
            0 => Ok(()),
            closed => self.say(LookupToBroker::Closed(closed)),
        }
    }

    /// Has epoll wait for what the broker's channel is to be used for next.
    fn watch_broker(&mut self) -> io::Result<()> {
        let waits = self.answers.wait();
        if waits != self.waits_for_room {
            self.waits_for_room = waits;
            let wanted = if waits { EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            self.epoll.modify(&self.broker, &mut EpollEvent::new(wanted, BROKER))?;
        }
        Ok(())
    }

    /// Takes what the broker has sent, up to the first answer that has no room, or some of it if there is much. False when the
    /// broker has gone.
    fn hear_broker(&mut self, now: Instant) -> io::Result<bool> {
        let mut buffer = [0; MAX_MESSAGE];
        self.answers.flush(&self.broker)?;
        for _ in 0..MESSAGES {
            if self.answers.wait() {
                break;
            }
            let (length, mut freight) = match self.broker.receive(&mut buffer)? {
                Received::Message(length, freight) => (length, freight),
                Received::Empty => return Ok(true),
                Received::Closed => return Ok(false),
                Received::Oversized => return Err(io::ErrorKind::InvalidData.into()),
            };
            let message =
                BrokerToLookup::decode(buffer.get(..length).unwrap_or_default()).map_err(io::Error::other)?;
            if freight.len() != message.descriptors() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.obey(message, freight.pop(), now)?;
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
                self.say(LookupToBroker::Ready)
            }
            (BrokerToLookup::Snapshot { id, generation, size, .. }, Some(content)) => {
                self.begin_load(id, generation, size, &content)
            }
            (BrokerToLookup::Client, Some(socket)) => {
                let number = self.clients.add(&self.epoll, socket, now)?;
                self.catalogue.pace.askers.note(number, now);
                Ok(())
            }
            (BrokerToLookup::Unavailable { id, reason }, _) => {
                self.catalogue.unavailable(id, reason);
                Ok(())
            }
            (BrokerToLookup::Finish, _) => {
                self.draining = true;
                self.next_tick = Some(now);
                Ok(())
            }
            (BrokerToLookup::Ping(number), _) => {
                self.catalogue.tidy();
                self.say(LookupToBroker::Pong(number))
            }
            (_, None) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Begins to load a content.
    fn begin_load(&mut self, id: TableId, generation: u32, size: u64, content: &OwnedFd) -> io::Result<()> {
        match self.loading.begin(id, generation, content.as_fd(), size) {
            Ok(None) => Ok(()),
            Ok(Some(of_the_one_before)) => self.say(of_the_one_before),
            Err(error) => {
                tracing::error!("cannot map the content of table {}: {error}", id.0);
                self.say(LookupToBroker::Rejected { id, generation })
            }
        }
    }

    /// Goes on with contents that are on their way, for a while.
    fn load(&mut self) -> io::Result<()> {
        if self.loading.is_empty() {
            return Ok(());
        }
        let time = if self.clients.is_empty() { LONG_STEP } else { STEP };
        let began = Instant::now();
        let enough = || began.elapsed() >= time;
        while !self.loading.is_empty() && !enough() && !self.answers.wait() {
            if let Some(answer) = self.loading.step(&mut self.catalogue, &enough) {
                self.say(answer)?;
            }
        }
        Ok(())
    }

    /// Lets silent clients go while draining.
    fn drain(&mut self, now: Instant) -> io::Result<()> {
        if self.next_tick.is_none_or(|moment| moment > now) {
            return Ok(());
        }
        self.next_tick = now.checked_add(TICK);
        self.clients.close_silent(&self.epoll, SILENCE, self.looked, |_| false)
    }
}

#[cfg(test)]
mod tests;
