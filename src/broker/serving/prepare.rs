//! What the starts of both brokers have in common: what they are given, what they hold, and their end.

use crate::listeners::Listeners;
use crate::rhythm::LISTENERS;
use crate::supervisor_channel::SupervisorChannel;
use mapkeep_broker_trust::{Anchor, anchor_at};
use mapkeep_log::ChannelSink;
use mapkeep_proto::{Arguments, Listed, decode_names};
use mapkeep_sandbox::{LOCK_FAILED, LockError};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::mapping::Mapping;
use mapkeep_sys::{exit, inherit, memory, signals, title};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use std::error::Error;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// Fixed descriptors of the broker.
const SUPERVISOR: RawFd = 3;
const LOG: RawFd = 4;
const EPOLL: RawFd = 5;

/// Descriptors that a broker may have open, if its tables do not need more.
pub const DESCRIPTORS: u64 = 8192;
/// Heap, in bytes: lists of names and directories, buffers for account files.
pub const HEAP: u64 = 512 << 20;
/// Address space for programs, libraries and stacks, in bytes.
pub const PROGRAM: u64 = 256 << 20;

/// What each of the two brokers is given, and makes before its lock-down.
pub struct Prepared {
    /// The channel to the supervisor.
    pub supervisor_channel: SupervisorChannel,
    /// epoll, at its fixed number.
    pub epoll: Epoll,
    /// The listening sockets.
    pub listeners: Listeners,
    /// The sealed list of names, and its size in bytes.
    pub names: OwnedFd,
    /// The size of the list of names, in bytes.
    pub size: u64,
    /// The tables.
    pub list: Vec<Listed>,
    /// Where `/` in a table's path is; empty for the host's own root.
    pub inside: PathBuf,
    /// Where walks begin.
    pub anchor: Anchor,
}

/// Takes what the supervisor has handed over. The log goes to its channel from here on.
pub fn prepare(arguments: &Arguments) -> Result<Prepared, Box<dyn Error>> {
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
    let mut sockets = Vec::new();
    for number in arguments.list::<RawFd>("listen")? {
        sockets.push(inherit::take(number)?);
    }
    let list = decode_names(Mapping::of(names.as_fd(), size)?.as_ref())?;
    let inside: PathBuf = arguments.text("inside")?.into();
    let anchor = anchor_at(&inside)?;
    let (supervisor_channel, listeners) =
        (SupervisorChannel::new(supervisor), Listeners::new(sockets, LISTENERS));
    Ok(Prepared { supervisor_channel, epoll, listeners, names, size, list, inside, anchor })
}

/// The descriptors that every broker has, besides those of its sockets and its names.
pub const FIXED: [RawFd; 6] = [0, 1, 2, SUPERVISOR, LOG, EPOLL];

/// The life of a broker process: `run` with its arguments, which `ps` shows no longer.
pub fn live(run: fn(&Arguments) -> Result<(), Box<dyn Error>>) -> ! {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let arguments = Arguments::read(words);
    title::keep_only();
    match run(&arguments) {
        Ok(()) => exit::now(0),
        Err(error) => {
            tracing::error!(fatal = true, "{error}");
            exit::now(if error.downcast_ref::<LockError>().is_some() { LOCK_FAILED } else { 1 })
        }
    }
}
