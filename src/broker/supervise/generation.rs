//! One reading of the configuration, and the broker that serves it.

use super::requests::Requests;
use crate::children::{Child, Nursery};
use crate::plan::Plan;
use mapkeep_proto::{Decode, SupervisorToBroker, encode_names};
use mapkeep_sys::channel::Channel;
use nix::sys::signal::{Signal, kill};
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A configuration and its broker. The one of the start is number 0; each reload makes the next.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) number: u32,
    pub(crate) plan: Plan,
    /// The approved names, sealed.
    names: OwnedFd,
    names_size: u64,
    pub(super) broker: Option<(Child, Channel)>,
    /// What this broker has asked for.
    pub(super) requests: Requests,
    /// Whether its broker has ever been ready for clients.
    pub(super) was_ready: bool,
    /// Of one that another has replaced: whether its broker has stopped accepting.
    pub(super) stopped: bool,
    /// Whether its broker has closed its channel, as one that leaves does.
    pub(super) hung_up: bool,
    /// Whether we have ended it, so that its end is no surprise.
    pub(super) ended: bool,
    /// When it was made, or told to finish.
    pub(super) since: Instant,
}

impl Generation {
    pub(crate) fn new(number: u32, plan: Plan) -> Result<Generation, Box<dyn Error>> {
        let names = encode_names(&plan.names)?;
        let names_size = u64::try_from(names.len())?;
        let names = crate::snapshot::seal_bytes(&names).map_err(|failure| failure.to_string())?;
        let requests = Requests::of(&plan);
        Ok(Generation {
            number,
            plan,
            names,
            names_size,
            broker: None,
            requests,
            was_ready: false,
            stopped: false,
            hung_up: false,
            ended: false,
            since: Instant::now(),
        })
    }

    /// Starts its broker.
    pub(super) fn start(
        &mut self,
        nursery: &Nursery,
        listeners: &[OwnedFd],
        now: Instant,
    ) -> io::Result<&Child> {
        let names = (self.names.as_fd(), self.names_size);
        let (child, channel) = nursery.broker(&self.plan, names, listeners, now)?;
        self.hung_up = false;
        self.requests = Requests::of(&self.plan);
        Ok(&self.broker.insert((child, channel)).0)
    }

    /// Tells its broker something, with a worker's channel beside it.
    pub(super) fn tell(&self, message: &SupervisorToBroker, freight: Option<Channel>) {
        let freight = freight.map(Channel::into_descriptor);
        let descriptors: Vec<_> = freight.iter().map(AsFd::as_fd).collect();
        if let Some((_, broker)) = &self.broker {
            match broker.send(&message.encode(), &descriptors) {
                // One that has gone is about to be buried; a new one asks for its own workers.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    tracing::warn!("cannot reach the broker: {error}");
                }
                _ => {}
            }
        }
    }

    /// Ends its broker; workers leave when their broker has gone.
    pub(super) fn kill(&mut self) {
        self.ended = true;
        self.kill_broker();
    }

    pub(super) fn kill_broker(&self) {
        if let Some((child, _)) = &self.broker {
            let _ = kill(child.pid, Signal::SIGKILL);
        }
    }

    /// The descriptors that it holds before it has a broker.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.names.as_raw_fd()
    }

    /// Whether it has not yet done what it was told to, or hung up and is still there.
    pub(super) fn lingers(&self) -> bool {
        !self.ended && (!self.stopped || self.hung_up)
    }

    /// How long ago `since` was.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}
