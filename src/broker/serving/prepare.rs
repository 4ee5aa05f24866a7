//! What the starts of both brokers have in common: what they are given, what they hold, and their end.

use crate::event_loop::Front;
use crate::supervisor_channel::SupervisorChannel;
use mapkeep_broker_trust::{Anchor, anchor_at};
use mapkeep_log::ChannelSink;
use mapkeep_process::{CHANNEL, EPOLL, Fatal, LOG, fixed_epoll};
use mapkeep_proto::{Listed, Process, Serving, decode_names};
use mapkeep_sandbox::{Given, Role};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::mapping::Mapping;
use mapkeep_sys::{inherit, memory, signals};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// Descriptors that a broker may have open, if its tables do not need more.
pub const DESCRIPTORS: u64 = 8192;
/// Heap, in bytes: lists of names and directories, buffers for account files.
pub const HEAP: u64 = 512 << 20;

/// What each broker is given, and what it prepares before lock-down.
pub struct Prepared {
    /// The channel to the supervisor and the listening sockets.
    pub front: Front,
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

/// Takes over what the supervisor has passed on; `channel` leads to it. From here on, log lines go to the log channel.
pub fn prepare(
    role: Role,
    process: &Process,
    serving: &Serving,
    channel: OwnedFd,
) -> Result<Prepared, Fatal> {
    let supervisor = Channel::from_descriptor(channel);
    let log = Channel::from_descriptor(inherit::take(LOG)?);
    // These lines come from the configuration, so nobody can flood the log with them: none is dropped.
    mapkeep_log::install(Box::new(ChannelSink::new(log)), process.verbose, 1000)?;
    signals::ignore_pipe_and_size()?;
    if !memory::heap_only() {
        return Err(Fatal::new("the memory allocator rejected its settings (not glibc?)"));
    }
    drop(inherit::take(EPOLL)?);
    let epoll = fixed_epoll()?;

    let names = inherit::take(number_of(role, Given::Names)?)?;
    let size = serving.names_size;
    let listeners = usize::try_from(serving.listeners)?;
    let sockets = (number_of(role, Given::Listeners)?..).take(listeners).map(inherit::take);
    let sockets = sockets.collect::<Result<Vec<OwnedFd>, _>>()?;
    let list = decode_names(Mapping::of(names.as_fd(), size)?.as_ref())?;
    let inside = serving.inside.clone();
    let anchor = anchor_at(&inside)?;
    let front = Front::new(SupervisorChannel::new(supervisor), epoll, sockets);
    Ok(Prepared { front, names, size, list, inside, anchor })
}

/// The descriptors that every broker has, besides those of its sockets and its names.
pub const FIXED: [RawFd; 6] = [0, 1, 2, CHANNEL, LOG, EPOLL];

/// The descriptor number that the table of roles gives for this; the first of several.
///
/// # Errors
/// It has no such descriptor.
pub fn number_of(role: Role, given: Given) -> Result<RawFd, Fatal> {
    let number = role.row().descriptors.iter().position(|one| *one == given);
    Ok(number.ok_or_else(|| Fatal::new(format!("{} has no {given:?}", role.name())))?.try_into()?)
}
