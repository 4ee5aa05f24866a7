//! The broker's start: what it is given, what it prepares, and its lock-down.

use crate::gateways::{Dialer, Gateways, servers};
use crate::serve::{Bounds, Broker};
use crate::tables::Tables;
use crate::watch::Watch;
use crate::workers::Workers;
use mapkeep_broker_serving::event_loop;
use mapkeep_broker_serving::prepare::{DESCRIPTORS, FIXED, HEAP, Prepared, number_of, prepare};
use mapkeep_broker_trust::{Directory, Owners, People, Refusal, located};
use mapkeep_name::Kind;
use mapkeep_process::{Fatal, leave, limits, privilege};
use mapkeep_proto::{BrokerLaunch, BrokerToLookup, Duty, TableId};
use mapkeep_sandbox::{FileRules, Given, Limits, Located, Lock, Role, enter};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::inherit;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// The part of them that is not for the tables' current snapshots: its own, workers' channels, connections in flight,
/// further snapshots of tables.
const OTHERS: u64 = 4096;

/// Entry point of the process; `channel` is the one to the supervisor.
pub fn main(launch: BrokerLaunch, channel: OwnedFd) -> ! {
    leave(run(launch, channel))
}

/// Prepares, locks down and serves until the supervisor tells it to exit.
fn run(launch: BrokerLaunch, channel: OwnedFd) -> Result<(), Fatal> {
    let BrokerLaunch { process, serving, .. } = &launch;
    let Prepared { front, names, size, list, inside, anchor } =
        prepare(Role::Broker, process, serving, channel)?;
    let hello =
        BrokerToLookup::Names { size, smtputf8: serving.smtputf8, approval_known: serving.approval_known };
    let owners = Owners::declared(&launch.owners)
        .with_settings(&launch.owners_text, &launch.trusted_directories)
        .among(Rc::new(People::read()));
    let serve = launch.workers;
    let rules = list.iter().any(|table| Duty::of(Kind::of(&table.name)) == Duty::Rules);
    let duties = Duty::OF_SNAPSHOTS.into_iter().filter(|duty| *duty == Duty::Clients || rules);
    let wanted = duties.map(|duty| (duty, serve)).collect();
    let (descriptors, room) = descriptors_for(list.len());
    let (servers, problems) = servers(&list, &launch.backends, &inside, room)?;
    problems.iter().for_each(|problem| tracing::error!("{problem}"));
    let given = inherit::take(number_of(Role::Broker, Given::Dialer)?)?;
    let dialer = Dialer::new(launch.backends.dialer.then(|| Channel::from_descriptor(given)));
    let gateways = Gateways::new(servers, dialer, Instant::now());
    let limit = launch.snapshot_limit;
    let room = room.saturating_sub(gateways.descriptors().count());
    let mut tables = Tables::new(list, anchor, owners, limit, room, Instant::now());
    let mut watch = Watch::new()?;
    let directories = watch_all(&mut tables, &mut watch, &inside);

    let mut broker = Broker {
        front,
        tables,
        watch,
        workers: Workers::new(names, hello, gateways.routes(), wanted),
        gateways,
        gateways_are_settled: false,
        bounds: Bounds {
            max_use: launch.max_use,
            room: serving.room,
            daemon_timeout: serving.daemon_timeout,
        },
        asked: BTreeMap::new(),
    };
    broker.register()?;
    let expected = broker.descriptors();
    let lock = Lock {
        role: Role::Broker,
        // It opens tables by path, so it keeps the host's root directory; Landlock limits what it can reach there.
        privilege: privilege(Role::Broker, process, None),
        limits: Limits { fsize: limit.saturating_add(1), ..limits(descriptors, HEAP) },
        files: FileRules { read_found: directories, ..FileRules::default() },
        expected_descriptors: &expected,
        parent_pid: Some(process.parent),
    };
    let (confined, report) = enter(lock)?;
    tracing::debug!("{report}");
    Ok(event_loop::run(&mut broker, &confined)?)
}

/// The descriptor limit of a broker with this number of tables, and the number of snapshots that it has descriptors
/// for, which is smaller if the hard limit of the service is low.
fn descriptors_for(tables: usize) -> (u64, usize) {
    use nix::sys::resource::{Resource, getrlimit};
    let wanted = u64::try_from(tables).unwrap_or(u64::MAX).saturating_add(OTHERS).max(DESCRIPTORS);
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(wanted, |(_, hard)| hard.min(wanted));
    // The other descriptors are needed more than those of snapshots.
    let room = limit.saturating_sub(OTHERS.min(limit / 2));
    (limit, usize::try_from(room).unwrap_or(usize::MAX))
}

/// Watches each table's directory, and those that links lead to; returns all of them, for Landlock.
fn watch_all(tables: &mut Tables, watch: &mut Watch, inside: &Path) -> Vec<Located> {
    let mut found: Vec<Located> = Vec::new();
    for index in 0..tables.entries.len() {
        let (Some((holders, trouble)), Ok(id)) = (tables.holders(index), u16::try_from(index)) else {
            continue;
        };
        let Some(entry) = tables.entries.get_mut(index) else { continue };
        if let (None, Some(Refusal::Missing { component })) = (holders.first(), trouble) {
            tracing::warn!(
                "{} does not exist; create it, then reload the service (\"postfix reload\", or \"systemctl reload\" \
                 of its own unit)",
                located(inside, Directory { path: component, dev: 0, ino: 0 }).seen_from_host().display()
            );
        }
        // The target of a link may be exchanged in a directory that is not watched.
        entry.watched = holders.len() == 1;
        for (directory, name) in holders {
            let located = located(inside, directory);
            let file = located.seen_from_host().join(OsStr::from_bytes(&name));
            entry.watched &= watch.add(TableId(id), file.as_os_str().as_bytes());
            if !found.contains(&located) {
                found.push(located);
            }
        }
    }
    found
}

impl Broker {
    /// Every descriptor that must be open at lock-down, including the standard ones and the log.
    fn descriptors(&self) -> Vec<RawFd> {
        let mut numbers = FIXED.to_vec();
        numbers.push(self.watch.as_fd().as_raw_fd());
        numbers.push(self.workers.names().as_raw_fd());
        numbers.extend(self.gateways.descriptors());
        numbers.extend(self.front.listeners.descriptors());
        numbers.extend(self.tables.anchor_descriptors());
        numbers
    }
}
