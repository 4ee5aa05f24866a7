//! The lookup worker: holds the tables of one trust class and answers its clients.
//!
//! May: read and write connections that it was handed, map snapshots that it was handed. Never: open, connect,
//! execute, or name anything but a table id to the broker.

use crate::answers::Answers;
use crate::catalogue::{Catalogue, Scan};
use crate::client::Desk;
use crate::clients::{Clients, Trigger};
use crate::session::{Service, Settings};
use mapkeep_proto::{BrokerToLookup, Decode, LookupToBroker, MAX_MESSAGE, TableId, decode_names};
use mapkeep_sandbox::Confined;
use mapkeep_sys::channel::{Channel, Received};
use mapkeep_sys::mapping::Mapping;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes read from a client in one go.
const CHUNK: usize = 16 << 10;
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
    clients: Clients<Scan>,
    draining: bool,
    next_tick: Option<Instant>,
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
            clients: Clients::numbered_after(BROKER, Trigger::Edge),
            draining: false,
            next_tick: None,
        })
    }

    /// Serves until the broker goes, or until the last client has gone after the broker has said so. Demands
    /// the proof of lock-down.
    pub(crate) fn run(&mut self, _confined: &Confined) -> io::Result<()> {
        let mut scratch = vec![0; CHUNK];
        let mut replies = Vec::new();
        let mut events = [EpollEvent::empty(); 256];
        let mut leaving = false;
        loop {
            let timeout = if leaving { EpollTimeout::ZERO } else { self.sleep() };
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            let now = Instant::now();
            for event in events.iter().take(count) {
                if event.data() != BROKER {
                    self.hear_client(*event, &mut scratch, &mut replies, now)?;
                }
            }
            if leaving {
                // What was readable when the broker went has been answered.
                return Ok(());
            }
            if events.iter().take(count).any(|event| event.data() == BROKER) {
                leaving = !self.hear_broker(now)?;
            }
            self.clients.close_late(&self.epoll, now, |_| false)?;
            self.drain(now)?;
            self.report_closed()?;
            self.watch_broker()?;
            if self.draining && self.clients.is_empty() {
                return Ok(());
            }
        }
    }

    fn sleep(&self) -> EpollTimeout {
        let now = Instant::now();
        let first = self.clients.next_deadline().into_iter().chain(self.next_tick);
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

    /// Takes what the broker has sent, up to the first answer that has no room. False when the broker has gone.
    fn hear_broker(&mut self, now: Instant) -> io::Result<bool> {
        let mut buffer = [0; MAX_MESSAGE];
        self.answers.flush(&self.broker)?;
        while !self.answers.wait() {
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
                self.load(id, generation, size, &content)
            }
            (BrokerToLookup::Client, Some(socket)) => self.clients.add(&self.epoll, socket, now),
            (BrokerToLookup::Unavailable { id, reason }, _) => {
                self.catalogue.unavailable(id, reason);
                Ok(())
            }
            (BrokerToLookup::Finish, _) => {
                self.draining = true;
                self.next_tick = Some(now);
                Ok(())
            }
            (BrokerToLookup::Ping(number), _) => self.say(LookupToBroker::Pong(number)),
            (_, None) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Maps a content and takes it into use; the descriptor is not kept.
    fn load(&mut self, id: TableId, generation: u32, size: u64, content: &OwnedFd) -> io::Result<()> {
        let loaded = match Mapping::with_large_pages(content.as_fd(), size) {
            Ok(mapping) => self.catalogue.load(id, mapping),
            Err(error) => {
                tracing::error!("cannot map the content of table {}: {error}", id.0);
                false
            }
        };
        self.say(match loaded {
            true => LookupToBroker::Loaded { id, generation },
            false => LookupToBroker::Rejected { id, generation },
        })
    }

    fn hear_client(
        &mut self,
        event: EpollEvent,
        scratch: &mut [u8],
        replies: &mut Vec<u8>,
        now: Instant,
    ) -> io::Result<()> {
        let Lookup { clients, epoll, catalogue, service, settings, .. } = self;
        let (tables, service, settings) = (&*catalogue, *service, *settings);
        clients.hear(epoll, event, |client, room_for_input| {
            client.serve(&mut Desk { tables, service, settings, scratch, replies, room_for_input }, now)
        })
    }

    /// Lets silent clients go while draining.
    fn drain(&mut self, now: Instant) -> io::Result<()> {
        if self.next_tick.is_none_or(|moment| moment > now) {
            return Ok(());
        }
        self.next_tick = now.checked_add(TICK);
        self.clients.close_silent(&self.epoll, SILENCE, now, |_| false)
    }
}
