//! The start of a gateway: what it is given, and its lock-down.

use crate::serve::Gateway;
use mapkeep_log::ChannelSink;
use mapkeep_process::{CHANNEL, EPOLL, Fatal, LOG, PROGRAM, fixed_epoll, leave, privilege};
use mapkeep_proto::GatewayLaunch;
use mapkeep_sandbox::{FileRules, Limits, Lock, Role, enter};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::{inherit, signals};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;

/// Memory, in bytes: what askers have in line (2 GiB for 64 of them), and a value for each connection.
const HEAP: u64 = 4 << 30;

/// Entry point of a gateway; `channel` is the one to its broker.
pub fn main(launch: &GatewayLaunch, channel: OwnedFd) -> ! {
    leave(run(launch, channel))
}

fn run(launch: &GatewayLaunch, channel: OwnedFd) -> Result<(), Fatal> {
    let process = &launch.process;
    let broker = Channel::without_freight(channel);
    let log = Channel::without_freight(inherit::take(LOG)?);
    mapkeep_log::install(Box::new(ChannelSink::new(log)), process.verbose, 10)?;
    signals::ignore_pipe_and_size()?;
    let epoll = fixed_epoll()?;
    let seed = RandomState::new().hash_one(std::process::id());
    let mut gateway = Gateway::new(broker, epoll, seed)?;
    let lock = Lock {
        role: Role::Gateway,
        privilege: privilege(Role::Gateway, process, Some(launch.chroot.clone())),
        limits: Limits {
            core: 0,
            nproc: 0,
            nofile: launch.descriptors,
            fsize: 0,
            address_space: HEAP.saturating_add(PROGRAM),
            data: HEAP,
        },
        files: FileRules::default(),
        expected_descriptors: &[0, 1, 2, CHANNEL, LOG, EPOLL],
        parent_pid: Some(process.parent),
    };
    let (confined, report) = enter(lock)?;
    tracing::debug!("{report}");
    let ended = gateway.run(&confined);
    // The gateway is not dropped: a channel that closes before the process has gone looks like one that was closed on
    // purpose, and has the process killed.
    leave(ended.map_err(Into::into))
}
