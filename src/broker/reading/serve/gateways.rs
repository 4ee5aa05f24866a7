//! What the broker does about gateways and the dialer: it starts them, hears them, and passes wishes and connections on.

use super::{Broker, WORKERS};
use crate::gateways::{Heard, Incoming};
use mapkeep_proto::{BrokerToSupervisor, Duty, TrustClass, WorkerId};
use std::io;
use std::time::Instant;

/// The token of the channel to the dialer.
pub(super) const DIALER: u64 = WORKERS << 1;
/// Messages of the dialer in a turn.
const MESSAGES: usize = 64;

impl Broker {
    /// Starts gateways that are missing, and passes on what has waited for its time.
    pub(super) fn tend_gateways(&mut self, now: Instant) -> io::Result<()> {
        if !self.front.is_finishing() {
            for _ in 0..self.gateways.ask(now) {
                self.say(BrokerToSupervisor::Need(TrustClass::EVERYONE, Duty::Gateway))?;
            }
        }
        self.gateways.dial(now);
        self.gateways_are_settled = self.gateways.are_settled(now);
        Ok(())
    }

    /// Replaces those that do not answer.
    pub(super) fn beat_gateways(&mut self, now: Instant) -> io::Result<()> {
        let connected = self.workers.clients() > 0;
        for id in self.gateways.heartbeat(now, self.bounds.daemon_timeout, connected) {
            self.receive_from_gateway(id)?;
            let title = self.gateways.title(id).to_owned();
            if !title.is_empty() {
                tracing::error!("the gateway of {title} does not respond -- replacing it");
                self.lose_gateway(id)?;
            }
        }
        Ok(())
    }

    /// Sends what waits for gateways and for the dialer.
    pub(super) fn flush_gateways(&mut self) -> io::Result<()> {
        for id in self.gateways.ids() {
            let Some(gateway) = self.gateways.get_mut(id) else { continue };
            let sent = gateway.flush();
            let token = WORKERS | u64::from(id.0);
            if !self.front.sent(&sent, &gateway.channel, token, &mut gateway.waits_for_room)? {
                self.receive_from_gateway(id)?;
            }
        }
        let dialer = &mut self.gateways.dialer;
        let sent = dialer.flush();
        let mut waits = dialer.waits_for_room;
        if let Some(channel) = dialer.channel()
            && !self.front.sent(&sent, channel, DIALER, &mut waits)?
        {
            return self.receive_from_dialer();
        }
        self.gateways.dialer.waits_for_room = waits;
        Ok(())
    }

    pub(super) fn receive_from_gateway(&mut self, id: WorkerId) -> io::Result<()> {
        // One that talks without end must not keep the others waiting.
        for _ in 0..256 {
            match self.gateways.receive(id) {
                None => return Ok(()),
                Some(Incoming::Nothing) => {}
                Some(Incoming::Ready) => self.say(BrokerToSupervisor::WorkerReady(id))?,
                Some(Incoming::Connect { number, host }) => self.gateways.wish(id, number, host),
                Some(Incoming::Gone) => return self.lose_gateway(id),
                Some(Incoming::Violation(what)) => {
                    tracing::error!("the gateway of {} sent {what} -- replacing it", self.gateways.title(id));
                    return self.lose_gateway(id);
                }
            }
        }
        Ok(())
    }

    /// Ends one that is not to be trusted any more, or has closed its channel.
    fn lose_gateway(&mut self, id: WorkerId) -> io::Result<()> {
        self.say(BrokerToSupervisor::Kill(id))?;
        self.forget_gateway(id)
    }

    /// One has gone: lookup workers see the ends of their streams.
    pub(super) fn forget_gateway(&mut self, id: WorkerId) -> io::Result<()> {
        let Some((channel, title)) = self.gateways.remove(id, Instant::now()) else { return Ok(()) };
        if !self.front.is_finishing() {
            tracing::warn!("the gateway of {title} has gone -- lookups in its tables wait for another");
        }
        self.front.epoll.delete(&channel)?;
        Ok(())
    }

    pub(super) fn receive_from_dialer(&mut self) -> io::Result<()> {
        for _ in 0..MESSAGES {
            let now = Instant::now();
            match self.gateways.dialer.receive() {
                None => return Ok(()),
                Some(Heard::Unwanted) => {}
                Some(Heard::Answer(answer)) => self.gateways.answer(answer, now),
                Some(Heard::Gone) => return self.lose_dialer(now),
                // Connectors share the dialer's channel. What one of them sends must not cost the others anything.
                Some(Heard::Invalid(what)) => {
                    tracing::warn!("a process that connects to servers sent {what} -- ignoring it");
                }
            }
        }
        Ok(())
    }

    /// It has exited, or has closed its channel to us, which it has no reason to do: then it is ended, so that another
    /// comes with the restart of the service.
    fn lose_dialer(&mut self, now: Instant) -> io::Result<()> {
        self.say(BrokerToSupervisor::DialerWrong)?;
        if let Some(channel) = self.gateways.dialer.lose(now) {
            self.front.epoll.delete(&channel)?;
        }
        Ok(())
    }
}
