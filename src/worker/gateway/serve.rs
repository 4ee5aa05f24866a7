//! The gateway's event loop, and what the broker says.

use crate::service::{CONNECTIONS, Service};
use mapkeep_process::broker::{BROKER, Broker, Incoming};
use mapkeep_process::sleep_until;
use mapkeep_proto::{Backend, BrokerToGateway, Encoded, GatewayToBroker};
use mapkeep_sandbox::Confined;
use mapkeep_sys::channel::Channel;
use mapkeep_sys::mapping::Mapping;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// Bytes read from an asker or a server in one go: what a socket holds by default of questions with keys as long as
/// addresses.
const CHUNK: usize = 64 << 10;
/// Events taken in one go.
const EVENTS: usize = 128;
/// Messages of the broker that are read in one go.
const MESSAGES: usize = 256;

/// A gateway's state.
pub(crate) struct Gateway {
    broker: Broker<BrokerToGateway, GatewayToBroker>,
    pub(crate) epoll: Epoll,
    /// Nothing before it knows its backend.
    service: Option<Service>,
    /// Decides on pauses.
    seed: u64,
    /// It leaves with the last asker.
    draining: bool,
    /// Questions have come, or come back, that have not been looked at.
    has_more: bool,
    scratch: Vec<u8>,
    pub(crate) clock: fn() -> Instant,
}

impl Gateway {
    /// A gateway that has received nothing from its broker yet.
    pub(crate) fn new(broker: Channel, epoll: Epoll, seed: u64) -> io::Result<Gateway> {
        Ok(Gateway {
            broker: Broker::new(broker, &epoll)?,
            epoll,
            service: None,
            seed,
            draining: false,
            has_more: false,
            scratch: vec![0; CHUNK],
            clock: Instant::now,
        })
    }

    /// Serves until the last asker has gone after the broker has said so, or has gone itself. Demands the proof of
    /// lock-down.
    pub(crate) fn run(&mut self, _confined: &Confined) -> io::Result<()> {
        while self.round(self.sleep())? {}
        Ok(())
    }

    /// Waits for something to do, at most for `timeout`, and does it. False when there is nothing left to be done.
    ///
    /// Answers of servers come first, then what the broker says; then questions are taken, and asked as far as connections
    /// have room. Each stream and each connection is read from once.
    pub(crate) fn round(&mut self, timeout: EpollTimeout) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let now = (self.clock)();
        let events = events.get(..count).unwrap_or_default();
        if let Some(service) = &mut self.service {
            for event in events.iter().filter(|event| event.data() & CONNECTIONS != 0) {
                let number = event.data() & !CONNECTIONS;
                service.receive(&self.epoll, number, event.events(), &mut self.scratch, now)?;
            }
        }
        if events.iter().any(|event| event.data() == BROKER) {
            self.receive_from_broker(now)?;
        }
        self.serve(events, now)?;
        self.broker.watch(&self.epoll)?;
        let is_empty = self.service.as_ref().is_none_or(|service| service.askers.is_empty());
        Ok(!(self.draining && is_empty))
    }

    pub(crate) fn sleep(&self) -> EpollTimeout {
        let now = (self.clock)();
        let moments = self.service.iter().flat_map(Service::moments);
        sleep_until(moments.chain(self.has_more.then_some(now)), now)
    }

    /// Takes questions, asks them, and sends answers.
    fn serve(&mut self, events: &[EpollEvent], now: Instant) -> io::Result<()> {
        let Gateway { service, epoll, broker, scratch, .. } = self;
        let Some(service) = service else { return Ok(()) };
        for event in events.iter().filter(|event| event.data() != BROKER && event.data() & CONNECTIONS == 0) {
            if let Err(gone) = service.askers.receive(event.data(), event.events(), scratch) {
                service.forget(epoll, event.data(), &gone)?;
            }
        }
        for number in service.askers.numbers() {
            if let Err(gone) = service.take_questions(number, now) {
                service.forget(epoll, number, &gone)?;
            }
        }
        service.expire(epoll, now)?;
        let wish = |number, host| broker.say(GatewayToBroker::Connect { number, host });
        service.dispatch(now, wish)?;
        let has_lost = service.flush(epoll, now)?;
        // Who has got answers may have more in line.
        let mut taken = 0_usize;
        for number in service.askers.numbers() {
            match service.askers.flush(number).and_then(|()| service.take_questions(number, now)) {
                Ok(count) => taken = taken.saturating_add(count),
                Err(gone) => service.forget(epoll, number, &gone)?,
            }
        }
        service.askers.watch(epoll)?;
        service.settle(now);
        self.has_more = taken > 0 || has_lost;
        Ok(())
    }

    /// Takes what the broker has sent, up to the first answer that has no room.
    fn receive_from_broker(&mut self, now: Instant) -> io::Result<()> {
        for _ in 0..MESSAGES {
            match self.broker.receive()? {
                Incoming::Message(message, freight) => self.obey(message, freight, now)?,
                Incoming::Nothing => break,
                Incoming::Gone => {
                    // Lookup workers answer what has arrived before they leave, and need us for it.
                    self.draining = true;
                    if let Some(service) = &mut self.service {
                        service.broker_has_gone(now);
                    }
                    return self.broker.forget(&self.epoll);
                }
            }
        }
        Ok(())
    }

    fn obey(&mut self, message: BrokerToGateway, freight: Option<OwnedFd>, now: Instant) -> io::Result<()> {
        let Gateway { service, epoll, broker, .. } = self;
        match (message, freight, service) {
            (BrokerToGateway::Backend { size }, Some(settings), service @ None) => {
                let settings = Mapping::of(settings.as_fd(), size)?;
                let backend = Backend::decode(settings.as_ref()).map_err(io::Error::other)?;
                *service = Some(Service::new(backend, self.seed, now));
                broker.say(GatewayToBroker::Ready)
            }
            (BrokerToGateway::Table { id, generation, size }, Some(settings), Some(service)) => {
                let settings = Mapping::of(settings.as_fd(), size)?;
                let protocol = &service.pool.backend.protocol;
                broker.say(match service.tables.load(id, settings.as_ref(), protocol) {
                    true => GatewayToBroker::Loaded { id, generation },
                    false => GatewayToBroker::Rejected { id, generation },
                })
            }
            (BrokerToGateway::Withdrawn { id }, _, Some(service)) => {
                service.tables.withdraw(id);
                Ok(())
            }
            (BrokerToGateway::Connected { number }, Some(stream), Some(service)) => {
                service.connected(epoll, number, stream, now)
            }
            (BrokerToGateway::NotConnected { number, reason }, _, Some(service)) => {
                service.not_connected(number, &reason, now)
            }
            (BrokerToGateway::Asker, Some(stream), Some(service)) => service.askers.add(epoll, stream),
            (BrokerToGateway::Finish, ..) => {
                self.draining = true;
                Ok(())
            }
            (BrokerToGateway::Ping(number), ..) => broker.say(GatewayToBroker::Pong(number)),
            // A backend that comes twice, or after what belongs to it.
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
