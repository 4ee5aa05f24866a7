//! The start of the writer: what it is given, and its lock-down.

use crate::opening::Stores;
use crate::serve::Writer;
use mapkeep_log::ChannelSink;
use mapkeep_process::{Fatal, LOG, PROGRAM, fixed_epoll, leave, limits, lock};
use mapkeep_proto::WriterLaunch;
use mapkeep_sandbox::{Limits, Role, enter};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::{inherit, signals};
use std::os::fd::OwnedFd;

/// Memory, in bytes: connections, what the stores keep of their files, files and damaged stores that are taken over.
const HEAP: u64 = 4 << 30;
/// The largest map of one lmdb file, in bytes; the old and the new map may exist at the same time.
const MAP: u64 = 2 * mapkeep_table_store::lmdb::MAP_LIMIT;

/// Entry point of the writer; `channel` is the one to its broker.
pub fn main(launch: &WriterLaunch, channel: OwnedFd) -> ! {
    leave(run(launch, channel))
}

fn run(launch: &WriterLaunch, channel: OwnedFd) -> Result<(), Fatal> {
    let process = &launch.process;
    let broker = Channel::without_freight(channel);
    let log = Channel::without_freight(inherit::take(LOG)?);
    mapkeep_log::install(Box::new(ChannelSink::new(log)), process.verbose, 10)?;
    // A file that may not grow any more is an error of the write, not the end of the process.
    signals::ignore_pipe_and_size()?;
    let epoll = fixed_epoll()?;
    mapkeep_table_store::prepare()?;
    let mut writer = Writer::new(broker, epoll, Stores)?;
    let limits = Limits {
        // The file systems have limits enough.
        fsize: Limits::UNLIMITED,
        address_space: MAP.saturating_mul(launch.tables).saturating_add(HEAP).saturating_add(PROGRAM),
        ..limits(launch.descriptors, HEAP)
    };
    let (confined, report) = enter(lock(Role::Writer, process, Some(launch.chroot.clone()), limits))?;
    tracing::debug!("{report}");
    let ended = writer.run(&confined);
    // The writer is not dropped: a channel that closes before the process has exited looks as if it was closed on
    // purpose, and the process would be killed.
    leave(ended.map_err(Into::into))
}
