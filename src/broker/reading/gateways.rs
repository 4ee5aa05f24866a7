//! Gateways as the broker sees them: one for each server that answers for tables, and the way to the dialer, which connects.
//!
//! A gateway reads what a server sends, and may have been taken over by it. It can only say what [`Gateway::judge`] lists;
//! anything else ends it. A gateway that ends is replaced after a pause; what it has asked for is for nobody then.
//!
//! | file | purpose |
//! |---|---|
//! | `backends.rs` | which servers there are, and what their gateways are told |
//! | `dialer.rs` | connections that have been asked for, and what comes back |
//! | `gateway.rs` | one gateway: what it is sent, and what it may say when |
//! | `pace.rs` | how soon the next connection to a server is asked for |

mod backends;
mod dialer;
mod gateway;
mod pace;

#[cfg(test)]
mod tests;

use crate::workers::Workers;
pub(crate) use backends::{Server, servers};
pub(crate) use dialer::{Answer, Dialer, Heard};
pub(crate) use gateway::{Gateway, Incoming};
use mapkeep_broker_serving::rhythm::Stage;
use mapkeep_proto::{BrokerToGateway, BrokerToLookup, GatewayId, TableId, WorkerId};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::deadline::after;
use mapkeep_sys::stream;
use pace::Pace;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// The pause before a gateway that has ended is replaced, and the longest; it doubles with each that does not live for
/// [`GOOD_LIFE`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const GOOD_LIFE: Duration = Duration::from_secs(60);
/// How long the first client waits for gateways, at most. Later questions wait for them where they are asked.
const START_TIME: Duration = Duration::from_secs(1);

/// Where the gateway of a server is.
enum State {
    /// There is none; another is asked for then.
    Down(Instant),
    /// The supervisor has been asked for one.
    Asked,
    /// It runs.
    Up(Box<Gateway>),
}

/// A server and its gateway.
struct Slot {
    server: Server,
    state: State,
    /// The pause after the next end.
    pause: Duration,
    pace: Pace,
}

/// All of them.
pub(crate) struct Gateways {
    slots: Vec<Slot>,
    pub(crate) dialer: Dialer,
    /// Until when the first client waits for them; none once it has.
    awaited_until: Option<Instant>,
}

impl Gateways {
    /// Those of these servers; none runs yet.
    pub(crate) fn new(servers: Vec<Server>, dialer: Dialer, now: Instant) -> Gateways {
        let share = pace::share(servers.len());
        let slot = |server: Server| {
            let pace = Pace::new(server.connections, share, now);
            Slot { server, state: State::Down(now), pause: PAUSE, pace }
        };
        let awaited_until = now.checked_add(START_TIME).filter(|_| !servers.is_empty());
        Gateways { slots: servers.into_iter().map(slot).collect(), dialer, awaited_until }
    }

    /// The descriptors that are open for them.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let memories = self.slots.iter().flat_map(|slot| slot.server.memories());
        memories.map(|memory| memory.descriptor.as_raw_fd()).chain(self.dialer.descriptor())
    }

    /// What lookup workers are told of them: whom to ask for each table.
    pub(crate) fn routes(&self) -> Vec<BrokerToLookup> {
        let numbered = (0..).map(GatewayId).zip(&self.slots);
        let routes = numbered.flat_map(|(gateway, Slot { server, .. })| {
            let milliseconds = server.milliseconds;
            server.ids().map(move |id| BrokerToLookup::Routed { id, gateway, milliseconds })
        });
        routes.collect()
    }

    /// How many are to be asked for now; they count as asked for.
    pub(crate) fn ask(&mut self, now: Instant) -> u32 {
        let mut asked: u32 = 0;
        for slot in &mut self.slots {
            if matches!(slot.state, State::Down(at) if at <= now) {
                slot.state = State::Asked;
                asked = asked.saturating_add(1);
            }
        }
        asked
    }

    /// One has been started. False if none was asked for.
    pub(crate) fn add(&mut self, id: WorkerId, channel: Channel) -> bool {
        let waits = self.slots.iter_mut().find(|slot| matches!(slot.state, State::Asked));
        let Some(slot) = waits else { return false };
        slot.state = State::Up(Box::new(Gateway::new(id, channel, &slot.server)));
        true
    }

    /// One has been checked from outside.
    pub(crate) fn admitted(&mut self, id: WorkerId, now: Instant) {
        if let Some((gateway, server)) = self.with_server(id) {
            gateway.admit(server, now);
        }
    }

    /// One has gone, or is given up. Gives its channel, and what it was there for.
    pub(crate) fn remove(&mut self, id: WorkerId, now: Instant) -> Option<(Channel, String)> {
        let fits = |slot: &&mut Slot| matches!(&slot.state, State::Up(gateway) if gateway.id == id);
        let slot = self.slots.iter_mut().find(fits)?;
        let lived = slot.gateway().and_then(|gateway| gateway.age(now));
        if lived.is_some_and(|lived| lived >= GOOD_LIFE) {
            slot.pause = PAUSE;
        }
        let next = State::Down(after(now, slot.pause));
        slot.pause = slot.pause.saturating_mul(2).min(LONGEST_PAUSE);
        slot.pace.forget();
        self.dialer.forget(id);
        match std::mem::replace(&mut slot.state, next) {
            State::Up(gateway) => Some((gateway.channel, slot.server.title.clone())),
            State::Down(_) | State::Asked => None,
        }
    }

    /// One of them.
    pub(crate) fn get_mut(&mut self, id: WorkerId) -> Option<&mut Gateway> {
        self.slots.iter_mut().filter_map(Slot::gateway_mut).find(|gateway| gateway.id == id)
    }

    fn with_server(&mut self, id: WorkerId) -> Option<(&mut Gateway, &Server)> {
        self.slots.iter_mut().find_map(|slot| match &mut slot.state {
            State::Up(gateway) if gateway.id == id => Some((&mut **gateway, &slot.server)),
            _ => None,
        })
    }

    fn up(&self) -> impl Iterator<Item = &Gateway> {
        self.slots.iter().filter_map(Slot::gateway)
    }

    /// Those that run.
    pub(crate) fn ids(&self) -> Vec<WorkerId> {
        self.up().map(|gateway| gateway.id).collect()
    }

    /// The server of one of them, for the log.
    pub(crate) fn title(&self, id: WorkerId) -> &str {
        let of = self.slots.iter().find(|slot| slot.gateway().is_some_and(|gateway| gateway.id == id));
        of.map_or("", |slot| slot.server.title.as_str())
    }

    /// Whether a server has none now.
    pub(crate) fn is_short(&self) -> bool {
        self.slots.iter().any(|slot| slot.gateway().is_none())
    }

    /// Takes what one of them has said.
    pub(crate) fn receive(&mut self, id: WorkerId) -> Option<Incoming> {
        let (gateway, server) = self.with_server(id)?;
        gateway.receive(server)
    }

    /// Makes the ways between gateways and lookup workers that are missing.
    ///
    /// # Errors
    /// Those of socketpair(2): too many descriptors. What is missing is made another time.
    pub(crate) fn introduce(&mut self, workers: &mut Workers) -> io::Result<()> {
        let askers = workers.askers();
        for (number, slot) in (0..).map(GatewayId).zip(&mut self.slots) {
            let Some(gateway) = slot.gateway_mut().filter(|gateway| gateway.is_admitted()) else { continue };
            gateway.forget_others(&askers);
            for asker in &askers {
                if !gateway.knows(*asker) {
                    let (near, far) = stream::pair()?;
                    gateway.meet(*asker, near);
                    workers.meet(*asker, number, far);
                }
            }
        }
        Ok(())
    }

    /// Lets them go: nobody is left to ask them.
    pub(crate) fn finish(&mut self) {
        self.slots.iter_mut().filter_map(Slot::gateway_mut).for_each(Gateway::finish);
    }

    /// Asks those for a sign of life that are starting, or that clients may wait for (`connected`); returns those that owe
    /// one for longer than `limit`.
    pub(crate) fn heartbeat(&mut self, now: Instant, limit: Duration, connected: bool) -> Vec<WorkerId> {
        let up = self.slots.iter_mut().filter_map(Slot::gateway_mut);
        up.filter_map(|gateway| gateway.is_silent(now, limit, connected).then_some(gateway.id)).collect()
    }

    /// One asks for a connection to a host of its server: it is asked for when it may be.
    pub(crate) fn wish(&mut self, id: WorkerId, number: u32, host: u16) {
        let fits = |slot: &&mut Slot| slot.gateway().is_some_and(|gateway| gateway.id == id);
        if let Some(slot) = self.slots.iter_mut().find(fits) {
            slot.pace.wish(number, host);
        }
    }

    /// Passes wishes on that may be by now, and gives up those that nobody has answered.
    pub(crate) fn dial(&mut self, now: Instant) {
        for (id, number) in self.dialer.overdue(now) {
            self.answer(
                Answer { gateway: id, number, came: Err("the dialer did not answer".to_owned()) },
                now,
            );
        }
        let mut refused = Vec::new();
        for slot in &mut self.slots {
            let State::Up(gateway) = &slot.state else { continue };
            while let Some((number, host)) = slot.pace.next(now) {
                let Some(host) = slot.server.hosts.get(usize::from(host)) else { continue };
                let asked = self.dialer.ask(gateway.id, number, slot.server.milliseconds, host, now);
                if let Err(reason) = asked {
                    refused.push(Answer { gateway: gateway.id, number, came: Err(reason) });
                    slot.pace.answered(false, now);
                }
            }
        }
        for answer in refused {
            self.pass_on(answer);
        }
    }

    /// A wish has been answered.
    pub(crate) fn answer(&mut self, answer: Answer, now: Instant) {
        let fits = |slot: &&mut Slot| slot.gateway().is_some_and(|gateway| gateway.id == answer.gateway);
        if let Some(slot) = self.slots.iter_mut().find(fits) {
            slot.pace.answered(answer.came.is_ok(), now);
            self.pass_on(answer);
        }
    }

    fn pass_on(&mut self, Answer { gateway, number, came }: Answer) {
        let Some(gateway) = self.get_mut(gateway) else { return };
        match came {
            Ok(socket) => gateway.connected(number, socket),
            Err(reason) => gateway.tell(BrokerToGateway::NotConnected { number, reason }),
        }
    }

    /// Whether the first client need not wait for them any more: each serves, has failed, or takes too long.
    pub(crate) fn are_settled(&mut self, now: Instant) -> bool {
        let settled = |slot: &Slot| match &slot.state {
            State::Up(gateway) => gateway.is_settled(),
            State::Down(_) => true,
            State::Asked => false,
        };
        if self.awaited_until.is_some_and(|until| until <= now) || self.slots.iter().all(settled) {
            self.awaited_until = None;
        }
        self.awaited_until.is_none()
    }

    /// When there is something to do.
    pub(crate) fn next_moment(&self) -> Option<Instant> {
        let moments = self.slots.iter().filter_map(|slot| match &slot.state {
            State::Down(at) => Some(*at),
            State::Up(_) => slot.pace.next_moment(),
            State::Asked => None,
        });
        moments.chain(self.dialer.next_moment()).chain(self.awaited_until).min()
    }
}

impl Slot {
    fn gateway(&self) -> Option<&Gateway> {
        match &self.state {
            State::Up(gateway) => Some(gateway),
            State::Down(_) | State::Asked => None,
        }
    }

    fn gateway_mut(&mut self) -> Option<&mut Gateway> {
        match &mut self.state {
            State::Up(gateway) => Some(gateway),
            State::Down(_) | State::Asked => None,
        }
    }
}
