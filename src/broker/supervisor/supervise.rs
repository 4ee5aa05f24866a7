//! The supervisor: starts the others, answers to master(8) or a service manager, and otherwise stays out of the way.
//!
//! May: spawn, wait, signal its children, pass channels, read /proc/PID/status, and at a reload the configuration.
//! Never: read a byte that came from a worker or a client; all that it reads are the fixed-size messages of the
//! brokers.

mod dialer;
mod ending;
mod generation;
mod reap;
mod receive;
mod reload;
mod requests;
mod waiting;

#[cfg(test)]
mod tests;

use crate::children::{BackOff, Child, Spawner};
use crate::master::Status;
use crate::notify::Notify;
pub(crate) use dialer::Dialer;
pub(crate) use ending::{Ending, Fatal};
pub(crate) use generation::Generation;
use mapkeep_config_site::load_config::Source;
use mapkeep_config_site::options::Mode;
use mapkeep_process::milliseconds;
use mapkeep_proto::{Duty, SupervisorToBroker, TrustClass, WorkerId};
use mapkeep_sandbox::{Confined, Role};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::deadline::{after, has_passed, left};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a child may take from its start to being locked down.
const LOCK_TIME: Duration = Duration::from_secs(10);
/// How often an unlocked child is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How soon to try again to say what a channel had no room for.
const PAUSE: Duration = Duration::from_millis(100);
/// How long children may take to finish what they are at when the service ends.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long the writer may take to answer what it has been asked and to write its checkpoints when the service ends: they
/// may be large and the disk slow. Whatever it has acknowledged is safe without them.
const CHECKPOINTS: Duration = Duration::from_secs(600);

/// All that the supervisor holds.
pub(crate) struct Supervisor {
    pub(crate) source: Source,
    pub(crate) spawner: Spawner,
    /// There is none where no table needs it, and none once it has died.
    pub(crate) dialer: Option<Dialer>,
    pub(crate) listeners: Vec<OwnedFd>,
    /// The paths of these sockets, as far as they have any.
    pub(crate) places: Vec<PathBuf>,
    pub(crate) status: Option<Status>,
    pub(crate) notify: Notify,
    pub(crate) signals: SignalFd,
    /// The configuration in force.
    pub(crate) serving: Generation,
    /// The one that a reload has read, until it is ready.
    pub(crate) coming: Option<Generation>,
    /// The previous ones, the oldest first, until their clients have gone.
    pub(crate) leaving: VecDeque<Generation>,
    pub(crate) state: State,
}

/// What changes while it runs.
#[derive(Debug, Default)]
pub(crate) struct State {
    logger: Option<(Child, Channel)>,
    /// Each worker with the number of its generation.
    workers: BTreeMap<WorkerId, (Child, u32)>,
    last_worker: u32,
    last_generation: u32,
    /// Starts that are due.
    starts: Vec<Start>,
    back_off: BTreeMap<Role, BackOff>,
    no_worker_before: BTreeMap<Role, Instant>,
    idle_since: Option<Instant>,
    reported: bool,
    /// A reload is in progress, and whether another has been asked for.
    reloading: bool,
    again: bool,
    /// The new broker starts when the previous one has gone (writing service only).
    waits_for_old: bool,
    /// What the last reload failed of; else empty.
    outcome: String,
    /// The start has been told in the log.
    announced: bool,
    /// The dialer has died: the service ends then, to be started anew.
    ends_at: Option<Instant>,
    /// The duties of which a worker has been started.
    begun: BTreeSet<Duty>,
}

/// A process that is to be started.
#[derive(Clone, Copy, Debug)]
struct Start {
    role: Role,
    /// What a worker is there for; means nothing for other roles.
    duty: Duty,
    /// For which generation.
    number: u32,
    at: Instant,
}

impl Start {
    fn of(role: Role, number: u32, at: Instant) -> Start {
        Start { role, duty: Duty::Clients, number, at }
    }

    /// Whether it is one of those that brokers ask for.
    fn is_worker(&self) -> bool {
        self.role.row().outlives_broker.is_some()
    }
}

impl Supervisor {
    /// Runs the service. Demands the proof of lock-down.
    pub(crate) fn run(mut self, _confined: &Confined) -> Result<Ending, Fatal> {
        let now = Instant::now();
        let first = self.serving.number;
        self.start(Start::of(Role::Logger, first, now), now)?;
        self.note_dialer();
        self.start(Start::of(self.serving.plan.broker_role(), first, now), now)?;
        let ending = loop {
            let now = Instant::now();
            self.settle(now);
            self.generations_mut().for_each(Generation::flush);
            self.end_orphans(now);
            self.start_due(now)?;
            self.check_children(now)?;
            self.announce();
            self.notify.beat(now);
            if self.is_idle(now) {
                break Ending::Idle;
            }
            if self.state.ends_at.is_some_and(|moment| moment <= now) {
                break Ending::DialerGone;
            }
            if let Some(ending) = self.wait(now)? {
                break ending;
            }
        };
        self.notify.stopping();
        tracing::info!("{} stops: {ending}", self.serving.plan.service.name());
        self.finish();
        Ok(ending)
    }

    fn generations(&self) -> impl Iterator<Item = &Generation> {
        std::iter::once(&self.serving).chain(&self.coming).chain(&self.leaving)
    }

    fn generations_mut(&mut self) -> impl Iterator<Item = &mut Generation> {
        std::iter::once(&mut self.serving).chain(&mut self.coming).chain(&mut self.leaving)
    }

    fn generation(&self, number: u32) -> Option<&Generation> {
        self.generations().find(|generation| generation.number == number)
    }

    fn generation_mut(&mut self, number: u32) -> Option<&mut Generation> {
        self.generations_mut().find(|generation| generation.number == number)
    }

    /// Starts a process for a generation, unless that has gone or is about to.
    fn start(&mut self, start: Start, now: Instant) -> Result<(), Fatal> {
        let started = match start.role {
            Role::Logger => self.start_logger(now),
            Role::Broker | Role::WriteBroker => self.start_broker(start.number, now),
            Role::Lookup | Role::Rules | Role::Gateway | Role::Writer => self.start_worker(start, now),
            // Nothing asks for these after the lock: a dialer starts before it, connectors are forks of one.
            Role::Supervisor | Role::WriteSupervisor | Role::Dialer | Role::Connector => Ok(()),
        };
        if let (Role::Gateway, Err(error)) = (start.role, &started) {
            self.cannot_start_gateway(start, error, now);
            return Ok(());
        }
        match started.map_err(|error| Fatal::Io("cannot start a process", error)) {
            Err(fatal) if start.role == Role::Logger => Err(fatal),
            Err(fatal) => self.fail(start.number, fatal),
            Ok(()) => Ok(()),
        }
    }

    fn start_logger(&mut self, now: Instant) -> io::Result<()> {
        let (child, channel) = self.spawner.logger(now)?;
        let brokers = self.generations().filter_map(|one| one.broker.as_ref()).map(|(broker, _)| broker);
        let dialer = self.dialer.iter().map(|dialer| &dialer.child);
        for other in dialer.chain(brokers).chain(self.state.workers.values().map(|(worker, _)| worker)) {
            other.introduce(&channel);
        }
        self.state.logger = Some((child, channel));
        Ok(())
    }

    fn start_broker(&mut self, number: u32, now: Instant) -> io::Result<()> {
        if number == self.serving.number {
            let dialer = self.dialer.as_mut();
            let child = self.serving.start(&self.spawner, dialer, &self.listeners, now)?;
            if let Some((_, logger)) = &self.state.logger {
                child.introduce(logger);
            }
        }
        Ok(())
    }

    fn start_worker(&mut self, start: Start, now: Instant) -> io::Result<()> {
        let Start { duty, number, .. } = start;
        if self.serving.plan.writes() && !self.state.workers.is_empty() {
            // Two writers must never have the same tables. One whose broker has died is about to leave.
            self.state.starts.push(Start { at: after(now, LOOK), ..start });
            return Ok(());
        }
        let mut takes = std::iter::once(&mut self.serving).chain(&mut self.coming);
        let Some(generation) = takes.find(|one| one.number == number) else { return Ok(()) };
        if let Some(at) = generation.requests.must_wait(now) {
            self.state.starts.push(Start { at, ..start });
            return Ok(());
        }
        let (child, channel) = match start.role {
            Role::Writer => self.spawner.writer(&generation.plan, now)?,
            _ => {
                let first = self.state.begun.insert(duty);
                self.spawner.lookup(&generation.plan, duty, first, now)?
            }
        };
        if let Some((_, logger)) = &self.state.logger {
            child.introduce(logger);
        }
        self.state.last_worker = self.state.last_worker.wrapping_add(1);
        let id = WorkerId(self.state.last_worker);
        self.state.workers.insert(id, (child, number));
        generation.requests.started(id, duty);
        let class = TrustClass::EVERYONE;
        generation.tell(SupervisorToBroker::Worker { id, class, duty }, Some(channel));
        Ok(())
    }

    fn start_due(&mut self, now: Instant) -> Result<(), Fatal> {
        let (due, later): (Vec<Start>, Vec<Start>) =
            std::mem::take(&mut self.state.starts).into_iter().partition(|start| start.at <= now);
        self.state.starts = later;
        for start in due {
            self.start(start, now)?;
        }
        Ok(())
    }

    /// Checks from outside the children that are not yet known to be locked down.
    fn check_children(&mut self, now: Instant) -> Result<(), Fatal> {
        let Supervisor { spawner, state, serving, coming, dialer, .. } = self;
        let brokers = std::iter::once(serving).chain(coming);
        let brokers = brokers.filter_map(|one| one.broker.as_mut().map(|(child, _)| (one.number, child)));
        let logger = state.logger.iter_mut().map(|(child, _)| (0, child));
        let dialer = dialer.iter_mut().map(|dialer| (0, &mut dialer.child));
        let mut failed = Vec::new();
        for (number, child) in logger.chain(dialer).chain(brokers).filter(|(_, child)| !child.checked) {
            match spawner.check(child) {
                Ok(found) => {
                    child.checked = true;
                    child.brief = found.brief();
                    tracing::debug!("{} is locked down: {found}", child.role.name());
                }
                Err(difference) if now.saturating_duration_since(child.started) > LOCK_TIME => {
                    failed.push((number, Fatal::Lock(child.role, difference)));
                }
                Err(_) => {}
            }
        }
        for (number, fatal) in failed {
            match fatal {
                Fatal::Lock(Role::Logger | Role::Dialer, _) => return Err(fatal),
                fatal => self.fail(number, fatal)?,
            }
        }
        if let Some(dialer) = &mut self.dialer {
            dialer.introduce();
        }
        Ok(())
    }

    /// Once all processes of the start are known to be locked down, one line says so, with what an auditor needs of each.
    fn announce(&mut self) {
        if self.state.announced {
            return;
        }
        let logger = self.state.logger.as_ref().map(|(child, _)| child);
        let broker = self.serving.broker.as_ref().map(|(child, _)| child);
        let plan = &self.serving.plan;
        let workers = self.serving.workers_needed().into_iter().map(|role| {
            let one = self.state.workers.values().map(|(child, _)| child);
            one.filter(|child| child.role == role).find(|child| child.checked)
        });
        let mut processes = format!("supervisor {}", self.spawner.own_brief);
        let dialer = self.dialer.iter().map(|dialer| Some(&dialer.child));
        for child in [logger, broker].into_iter().chain(dialer).chain(workers) {
            let Some(child) = child.filter(|child| child.checked) else { return };
            processes.push_str(&format!(", {} {}", child.role.title(), child.brief));
        }
        let (service, count) = (plan.service.name(), plan.approved());
        let tables = if count == 1 { "table" } else { "tables" };
        tracing::info!("{service} is up with {count} {tables}, all processes locked down: {processes}");
        self.state.announced = true;
    }

    fn unchecked(&self) -> bool {
        let brokers = std::iter::once(&self.serving).chain(&self.coming);
        let brokers = brokers.filter_map(|one| one.broker.as_ref());
        let dialer = self.dialer.as_ref().is_some_and(|dialer| !dialer.child.checked);
        dialer || brokers.chain(&self.state.logger).any(|(child, _)| !child.checked)
    }

    fn is_idle(&self, now: Instant) -> bool {
        let limit = self.serving.plan.max_idle;
        let since = self.state.idle_since;
        !limit.is_zero() && since.is_some_and(|since| has_passed(since, limit, now))
    }
}
