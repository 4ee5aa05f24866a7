//! The broker's start: what it is given, what it prepares, and its lock-down.

use crate::door::Door;
use crate::gather::{anchor_at, located};
use crate::link::Link;
use crate::serve::{Bounds, Broker, LISTENERS, State};
use crate::tables::Tables;
use crate::trust::{Anchor, Directory, Owners, People, Refusal};
use crate::watch::Watch;
use crate::workers::Workers;
use mapkeep_log::ChannelSink;
use mapkeep_proto::{Arguments, BrokerToLookup, Listed, TableId, decode_names};
use mapkeep_sandbox::{Capability, FileRules, Limits, Located, Lock, Privilege, Role, enter};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::mapping::Mapping;
use mapkeep_sys::{inherit, memory, signals};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use std::error::Error;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Fixed descriptors of the broker.
const SUPERVISOR: RawFd = 3;
const LOG: RawFd = 4;
const EPOLL: RawFd = 5;

/// Descriptors that a broker may have open, if its tables do not need more.
pub(crate) const DESCRIPTORS: u64 = 8192;
/// Those of them that are for other things than the contents of tables: its own, workers' channels, clients on their way,
/// second contents of tables.
const OTHERS: u64 = 4096;
/// Heap, in bytes: lists of names and directories, buffers for account files.
pub(crate) const HEAP: u64 = 512 << 20;
/// Address space for programs, libraries and stacks, in bytes.
pub(crate) const PROGRAM: u64 = 256 << 20;

/// What each of the two brokers is given, and makes before its lock-down.
pub(crate) struct Prepared {
    pub(crate) link: Link,
    pub(crate) epoll: Epoll,
    pub(crate) door: Door,
    /// The sealed list of names, and its size in bytes.
    pub(crate) names: OwnedFd,
    pub(crate) size: u64,
    pub(crate) list: Vec<Listed>,
    /// Where `/` in a table's path is; empty for the host's own root.
    pub(crate) inside: PathBuf,
    pub(crate) anchor: Anchor,
}

/// Takes what the supervisor has handed over. The log goes to its channel from here on.
pub(crate) fn prepare(arguments: &Arguments) -> Result<Prepared, Box<dyn Error>> {
    let supervisor = Channel::from_descriptor(inherit::take(SUPERVISOR)?);
    let log = Channel::from_descriptor(inherit::take(LOG)?);
    // Lines of the configuration, which nobody can flood: all of them are wanted.
    mapkeep_log::install(Box::new(ChannelSink::new(log)), arguments.value("verbose")?, 1000)?;
    signals::ignore_pipe_and_size()?;
    if !memory::heap_only() {
        return Err("the allocator does not take its tuning (not glibc?)".into());
    }
    drop(inherit::take(EPOLL)?);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    if epoll.0.as_raw_fd() != EPOLL {
        return Err("epoll did not get descriptor 5".into());
    }

    let names = inherit::take(arguments.value("names")?)?;
    let size: u64 = arguments.value("names_size")?;
    let mut listeners = Vec::new();
    for number in arguments.list::<RawFd>("listen")? {
        listeners.push(inherit::take(number)?);
    }
    let list = decode_names(Mapping::of(names.as_fd(), size)?.as_ref())?;
    let inside: PathBuf = arguments.text("inside")?.into();
    let anchor = anchor_at(&inside)?;
    let (link, door) = (Link::new(supervisor), Door::new(listeners, LISTENERS));
    Ok(Prepared { link, epoll, door, names, size, list, inside, anchor })
}

/// The descriptors that every broker has, besides those of its sockets and its names.
pub(crate) const FIXED: [RawFd; 6] = [0, 1, 2, SUPERVISOR, LOG, EPOLL];

/// Prepares, locks down and serves until the supervisor says that it is over.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Prepared { link, epoll, door, names, size, list, inside, anchor } = prepare(arguments)?;
    let hello = BrokerToLookup::Names {
        size,
        smtputf8: arguments.value("smtputf8")?,
        approval_known: arguments.value("approval_known")?,
    };
    let owners = Owners::declared(&arguments.list("owners")?)
        .with_settings(arguments.text("owners_text")?, arguments.text("trusted_directories")?)
        .among(Rc::new(People::read()));
    let limit: u64 = arguments.value("snapshot_limit")?;
    let (descriptors, room) = descriptors_for(list.len());
    let mut tables = Tables::new(list, anchor, owners, limit, room, Instant::now());
    let mut watch = Watch::new()?;
    let directories = watch_all(&mut tables, &mut watch, &inside);

    let broker = Broker {
        supervisor: link,
        epoll,
        door,
        tables,
        watch,
        workers: Workers::new(names, hello),
        bounds: Bounds {
            max_use: arguments.value("max_use")?,
            room: arguments.value("room")?,
            daemon_timeout: Duration::from_secs(arguments.value("daemon_timeout")?),
        },
        state: State::default(),
    };
    broker.register()?;
    let expected = broker.descriptors();
    let lock = Lock {
        role: Role::Broker,
        // It opens tables of any owner.
        privilege: privilege(arguments, &[Capability::CAP_DAC_READ_SEARCH])?,
        limits: Limits {
            core: 0,
            nproc: 0,
            nofile: descriptors,
            fsize: limit.saturating_add(1),
            address_space: HEAP.saturating_add(PROGRAM),
            data: HEAP,
        },
        files: FileRules { read_found: directories, ..FileRules::default() },
        expected_descriptors: &expected,
        parent_pid: Some(arguments.value("parent")?),
    };
    let (confined, report) = enter(lock)?;
    tracing::debug!("{report}");
    broker.run(&confined)?;
    Ok(())
}

/// The descriptor limit of a broker with so many tables, and how many contents there are descriptors for: fewer where
/// the hard limit that the service was started with is low.
fn descriptors_for(tables: usize) -> (u64, usize) {
    use nix::sys::resource::{Resource, getrlimit};
    let wanted = u64::try_from(tables).unwrap_or(u64::MAX).saturating_add(OTHERS).max(DESCRIPTORS);
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(wanted, |(_, hard)| hard.min(wanted));
    // What is not for contents is needed more.
    let room = limit.saturating_sub(OTHERS.min(limit / 2));
    (limit, usize::try_from(room).unwrap_or(usize::MAX))
}

/// Whose rights the supervisor says that a broker has; `keep` are the capabilities that it needs for its task.
pub(crate) fn privilege(
    arguments: &Arguments,
    keep: &'static [Capability],
) -> Result<Privilege, Box<dyn Error>> {
    if arguments.value("rootless")? {
        return Ok(Privilege::Rootless);
    }
    Ok(Privilege::Root {
        uid: arguments.value("uid")?,
        gid: arguments.value("gid")?,
        // It opens tables by path, so its root is the machine's; Landlock bounds what it reaches there.
        chroot: None,
        keep,
    })
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
                "{} does not exist; after making it, reload the service (\"postfix reload\", or \"systemctl reload\" of its own \
                 unit)",
                located(inside, Directory { path: component, dev: 0, ino: 0 }).seen_from_host().display()
            );
        }
        // What a link leads to may be exchanged in a directory that is not watched.
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
    /// Every descriptor that must be open when it locks down, the standard ones and the log included.
    fn descriptors(&self) -> Vec<RawFd> {
        let mut numbers = FIXED.to_vec();
        numbers.push(self.watch.as_fd().as_raw_fd());
        numbers.push(self.workers.names().as_raw_fd());
        numbers.extend(self.door.descriptors());
        numbers.extend(self.tables.anchor_descriptors());
        numbers
    }
}
