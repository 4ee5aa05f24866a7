//! The start of a lookup worker: what it is given, and its lock-down.

use crate::Lookup;
use crate::elsewhere::PATIENCE;
use crate::rules_worker::RulesWorker;
use mapkeep_log::ChannelSink;
use mapkeep_process::{
    CHANNEL, EPOLL, LOG, NO_OUTPUT, PROGRAM, fixed_epoll, leave, privilege, role_of, taken_arguments,
};
use mapkeep_proto::{Arguments, Duty, version_text};
use mapkeep_sandbox::{Confined, FileRules, Limits, Lock, enter};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::{exit, inherit, signals};
use mapkeep_worker_session::Service;
use nix::sys::epoll::Epoll;
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

/// Heap of a lookup or rules worker, in bytes: connections, the indexes of text tables, compiled patterns.
const LOOKUP_HEAP: u64 = 4 << 30;

/// Entry point of a lookup worker; without a role, what the program says of itself.
pub fn main() -> ! {
    main_with_patience(PATIENCE)
}

/// As [`main`], for a program that has requests wait for answers of other processes for so long at most. Only tests have
/// one: nothing that the product reads sets this time.
pub fn main_with_patience(patience: Duration) -> ! {
    if std::env::args_os().skip(1).eq(["--version"]) {
        let text = version_text("mapkeep-worker");
        let printed = writeln!(std::io::stdout(), "{text} (PCRE2 {})", mapkeep_table_lookup::pcre_version());
        exit::now(if printed.is_ok() { 0 } else { NO_OUTPUT });
    }
    let arguments = taken_arguments("mapkeep-worker");
    leave(lookup(&arguments, patience))
}

/// A process that answers from tables, by its duty.
enum Worker {
    Clients(Box<Lookup>),
    Rules(Box<RulesWorker>),
}

impl Worker {
    fn new(
        arguments: &Arguments,
        broker: Channel,
        epoll: Epoll,
        patience: Duration,
    ) -> Result<Worker, Box<dyn Error>> {
        Ok(match arguments.value("duty")? {
            Duty::Rules => Worker::Rules(Box::new(RulesWorker::new(broker, epoll)?)),
            Duty::Clients => {
                let service = match arguments.text("service")? {
                    "proxywrite" => Service::Write,
                    _ => Service::Read,
                };
                Worker::Clients(Box::new(Lookup { patience, ..Lookup::new(broker, epoll, service)? }))
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

fn lookup(arguments: &Arguments, patience: Duration) -> Result<(), Box<dyn Error>> {
    let broker = Channel::without_freight(inherit::take(CHANNEL)?);
    let log = Channel::without_freight(inherit::take(LOG)?);
    mapkeep_log::install(Box::new(ChannelSink::new(log)), arguments.value("verbose")?, 10)?;
    signals::ignore_pipe_and_size()?;
    let epoll = fixed_epoll()?;
    let mut worker = Worker::new(arguments, broker, epoll, patience)?;
    // Old and new content of every table may be mapped at the same time.
    let tables: u64 = arguments.value("tables")?;
    let largest: u64 = arguments.value("snapshot_limit")?;
    let mapped = largest.saturating_mul(tables.saturating_add(1)).saturating_mul(2);
    let chroot: PathBuf = arguments.text("chroot")?.into();
    let role = role_of(arguments.value("duty")?);
    let lock = Lock {
        role,
        privilege: privilege(role, arguments, Some(chroot))?,
        limits: Limits {
            core: 0,
            nproc: 0,
            nofile: arguments.value("descriptors")?,
            fsize: 0,
            address_space: mapped.saturating_add(LOOKUP_HEAP).saturating_add(PROGRAM),
            data: LOOKUP_HEAP,
        },
        files: FileRules::default(),
        expected_descriptors: &[0, 1, 2, CHANNEL, LOG, EPOLL],
        parent_pid: Some(arguments.value("parent")?),
    };
    let (confined, report) = enter(lock)?;
    tracing::debug!("{report}");
    if arguments.value("tells")? {
        tracing::info!(
            "patterns of pcre tables are matched by PCRE2 {}",
            mapkeep_table_lookup::pcre_version()
        );
    }
    let ended = worker.run(&confined);
    // The worker is not dropped: a channel that closes before the process has gone looks like one that was closed on
    // purpose, and has the process killed.
    leave(ended.map_err(Into::into))
}
