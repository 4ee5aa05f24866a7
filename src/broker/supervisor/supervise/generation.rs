//! One reading of the configuration, and the broker that serves it.

use super::dialer::Dialer;
use super::requests::Requests;
use crate::children::{Child, Spawner};
use mapkeep_config_site::plan::ServicePlan;
use mapkeep_process::outbox::{Outbox, Sent};
use mapkeep_process::role_of;
use mapkeep_proto::{Duty, SupervisorToBroker, encode_names};
use mapkeep_sandbox::Role;
use mapkeep_sys::channel::Channel;
use nix::sys::signal::{Signal, kill};
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Messages that may wait for room in a broker's channel, which has room for some hundred. Ours reads them at once.
const WAITING: usize = 512;

/// A configuration and its broker. The one of the start is number 0; each reload makes the next.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) number: u32,
    pub(crate) plan: ServicePlan,
    /// The approved names, sealed.
    names: OwnedFd,
    names_size: u64,
    pub(super) broker: Option<(Child, Channel)>,
    /// What this broker is still to be told. It waits for the answers, so none may be lost.
    unsaid: Outbox<SupervisorToBroker, Option<OwnedFd>>,
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
    /// When it was made, or told to finish, or its broker closed its channel.
    pub(super) since: Instant,
}

impl Generation {
    pub(crate) fn new(number: u32, plan: ServicePlan) -> Result<Generation, Box<dyn Error>> {
        let names = encode_names(&plan.names)?;
        let names_size = u64::try_from(names.len())?;
        let names = mapkeep_broker_snapshot::seal_bytes(&names).map_err(|failure| failure.to_string())?;
        let requests = Requests::of(&plan);
        Ok(Generation {
            number,
            plan,
            names,
            names_size,
            broker: None,
            requests,
            unsaid: Outbox::default(),
            was_ready: false,
            stopped: false,
            hung_up: false,
            ended: false,
            since: Instant::now(),
        })
    }

    /// The role of its workers with this duty.
    pub(super) fn worker_role(&self, duty: Duty) -> Role {
        if self.plan.writes() { Role::Writer } else { role_of(duty) }
    }

    /// The workers that it cannot do without.
    pub(super) fn workers_needed(&self) -> Vec<Role> {
        let duties = Duty::OF_SNAPSHOTS.into_iter().filter(|duty| match self.plan.writes() {
            true => *duty == Duty::Clients,
            false => self.plan.has_work_for(*duty),
        });
        duties.map(|duty| self.worker_role(duty)).collect()
    }

    /// Starts its broker.
    pub(super) fn start(
        &mut self,
        spawner: &Spawner,
        dialer: Option<&mut Dialer>,
        listeners: &[OwnedFd],
        now: Instant,
    ) -> io::Result<&Child> {
        let names = (self.names.as_fd(), self.names_size);
        let dialer = dialer.filter(|_| self.plan.has_work_for(Duty::Gateway));
        let end = dialer.map(|dialer| dialer.meet()).transpose()?;
        let end = end.as_ref().map(AsFd::as_fd);
        let (child, channel) = spawner.broker(&self.plan, names, end, listeners, now)?;
        self.hung_up = false;
        self.requests = Requests::of(&self.plan);
        self.unsaid = Outbox::default();
        Ok(&self.broker.insert((child, channel)).0)
    }

    /// Tells its broker something, with a worker's channel beside it: now, or when there is room.
    pub(super) fn tell(&mut self, message: SupervisorToBroker, freight: Option<Channel>) {
        if self.broker.is_some() {
            self.unsaid.push(message, freight.map(Channel::into_descriptor));
            self.flush();
        }
    }

    /// Whether its broker has been told everything.
    pub(super) fn is_quiet(&self) -> bool {
        self.broker.is_none() || self.unsaid.is_empty()
    }

    /// Tells what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        let Some((_, broker)) = &self.broker else { return };
        let problem = match self.unsaid.flush(broker) {
            Ok(Sent::All) => return,
            Ok(Sent::Part | Sent::Crowded) if self.unsaid.len() <= WAITING => return,
            Ok(_) => "does not read its messages".to_owned(),
            // One that has gone is about to be reaped; a new one asks for its own workers.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => String::new(),
            Err(error) => format!("cannot be reached ({error})"),
        };
        self.unsaid = Outbox::default();
        if !problem.is_empty() {
            tracing::error!("the broker {problem} -- replacing it");
            self.kill_broker();
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

    /// Whether its broker has closed its channel and is still there.
    pub(super) fn is_leaving(&self) -> bool {
        self.hung_up && self.broker.is_some()
    }

    /// How long ago `since` was.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}
