//! The start of the dialer: what it is given, and its lock-down.

use crate::connector::Own;
use crate::serving::Dialer;
use mapkeep_log::ChannelSink;
use mapkeep_process::{CHANNEL, EPOLL, Fatal, LOG, PROGRAM, fixed_epoll, leave};
use mapkeep_proto::{DialerLaunch, Ids};
use mapkeep_sandbox::{FileRules, Limits, Lock, Privilege, Role, Tcp, enter};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::{inherit, signals};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{OwnedFd, RawFd};

/// Heap of the dialer and of each connector, in bytes.
const HEAP: u64 = 64 << 20;
/// One more than the highest descriptor: beyond that of a connector's channel.
const DESCRIPTORS: u64 = 512;
/// The descriptor on which deaths of connectors are told.
const SIGNALS: RawFd = 6;

/// Entry point of the dialer; `channel` is the one to the supervisor.
pub fn main(launch: DialerLaunch, channel: OwnedFd) -> ! {
    leave(dial(launch, channel))
}

fn dial(launch: DialerLaunch, channel: OwnedFd) -> Result<(), Fatal> {
    let DialerLaunch { process, groups, account, ipv4, ipv6 } = launch;
    let supervisor = Channel::from_descriptor(channel);
    let log = Channel::without_freight(inherit::take(LOG)?);
    mapkeep_log::install(Box::new(ChannelSink::new(log)), process.verbose, 10)?;
    signals::ignore_pipe_and_size()?;
    let epoll = fixed_epoll()?;
    let deaths = SigSet::from(Signal::SIGCHLD);
    deaths.thread_block()?;
    let deaths = SignalFd::with_flags(&deaths, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut dialer = Dialer::new(supervisor, epoll, deaths, Own { account, ipv4, ipv6 })?;
    let lock = Lock {
        role: Role::Dialer,
        // The account that servers see: that of stock's proxymap, with its groups.
        privilege: match process.ids {
            Some(Ids { uid, gid }) => Privilege::Account { uid, gid, groups },
            None => Privilege::Rootless,
        },
        limits: Limits {
            core: 0,
            // All processes of the account count, and other services have some: the dialer counts its own.
            nproc: Limits::UNLIMITED,
            nofile: DESCRIPTORS,
            fsize: 0,
            address_space: HEAP.saturating_add(PROGRAM),
            data: HEAP,
        },
        files: FileRules { read_beneath: vec!["/".into()], tcp: Tcp::Anywhere, ..FileRules::default() },
        expected_descriptors: &[0, 1, 2, CHANNEL, LOG, EPOLL, SIGNALS],
        parent_pid: Some(process.parent),
    };
    let (confined, report) = enter(lock)?;
    tracing::debug!("{report}");
    let ended = dialer.run(&confined);
    leave(ended.map_err(Into::into))
}
