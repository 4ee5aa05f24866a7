//! The start of a lookup worker: what it is given, and its lock-down.

use crate::Lookup;
use crate::elsewhere::PATIENCE;
use crate::rules_worker::RulesWorker;
use mapkeep_log::ChannelSink;
use mapkeep_process::{Fatal, LOG, PROGRAM, fixed_epoll, leave, limits, lock, role_of};
use mapkeep_proto::{Duty, WorkerLaunch, version_text};
use mapkeep_sandbox::{Confined, Limits, enter};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::{inherit, signals};
use mapkeep_worker_session::Service;
use nix::sys::epoll::Epoll;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Heap of a lookup or rules worker, in bytes: connections, the indexes of text tables, compiled patterns.
const LOOKUP_HEAP: u64 = 4 << 30;

/// What the program says of itself: its version, and that of the library that matches patterns.
#[must_use]
pub fn version() -> String {
    format!("{} (PCRE2 {})", version_text("mapkeep-worker"), mapkeep_table_lookup::pcre_version())
}

/// Entry point of a lookup worker or a rules worker; `channel` is the one to its broker.
pub fn main(launch: &WorkerLaunch, channel: OwnedFd) -> ! {
    main_with_patience(launch, channel, PATIENCE)
}

/// As [`main`], for a program that has requests wait for answers of other processes for so long at most. Only tests have
/// one: nothing that the product reads sets this time.
pub fn main_with_patience(launch: &WorkerLaunch, channel: OwnedFd, patience: Duration) -> ! {
    leave(lookup(launch, channel, patience))
}

/// A process that answers from tables, by its duty.
enum Worker {
    Clients(Box<Lookup>),
    Rules(Box<RulesWorker>),
}

impl Worker {
    fn new(duty: Duty, broker: Channel, epoll: Epoll, patience: Duration) -> Result<Worker, Fatal> {
        Ok(match duty {
            Duty::Rules => Worker::Rules(Box::new(RulesWorker::new(broker, epoll)?)),
            Duty::Gateway => return Err(Fatal::new("a gateway is another program's process")),
            Duty::Clients => {
                Worker::Clients(Box::new(Lookup { patience, ..Lookup::new(broker, epoll, Service::Read)? }))
            }
        })
    }

    fn run(&mut self, confined: &Confined) -> io::Result<()> {
        match self {
            Worker::Clients(worker) => worker.run(confined),
            Worker::Rules(worker) => worker.run(confined),
        }
    }
}

fn lookup(launch: &WorkerLaunch, channel: OwnedFd, patience: Duration) -> Result<(), Fatal> {
    let process = &launch.process;
    let broker = Channel::without_freight(channel);
    let log = Channel::without_freight(inherit::take(LOG)?);
    mapkeep_log::install(Box::new(ChannelSink::new(log)), process.verbose, 10)?;
    signals::ignore_pipe_and_size()?;
    let epoll = fixed_epoll()?;
    let mut worker = Worker::new(launch.duty, broker, epoll, patience)?;
    // Old and new content of every table may be mapped at the same time.
    let mapped = launch.snapshot_limit.saturating_mul(launch.tables.saturating_add(1)).saturating_mul(2);
    let role = role_of(launch.duty);
    let address_space = mapped.saturating_add(LOOKUP_HEAP).saturating_add(PROGRAM);
    let limits = Limits { address_space, ..limits(launch.descriptors, LOOKUP_HEAP) };
    let (confined, report) = enter(lock(role, process, Some(launch.chroot.clone()), limits))?;
    tracing::debug!("{report}");
    if launch.tells {
        tracing::info!(
            "patterns of pcre tables are matched by PCRE2 {}",
            mapkeep_table_lookup::pcre_version()
        );
    }
    let ended = worker.run(&confined);
    // The worker is not dropped: a channel that closes before the process has exited looks as if it was closed on
    // purpose, and the process would be killed.
    leave(ended.map_err(Into::into))
}
