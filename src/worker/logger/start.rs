//! The start of the logger: what it is given, and its lock-down.

use mapkeep_log::{Destination, Facility, MailLog};
use mapkeep_process::{Fatal, LOG, fixed_epoll, leave, limits, lock};
use mapkeep_proto::{LogTo, LoggerLaunch};
use mapkeep_sandbox::{Limits, Role, enter};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::{inherit, memory, signals};
use std::os::fd::OwnedFd;

/// Heap of the logger, in bytes.
const LOGGER_HEAP: u64 = 64 << 20;
/// Descriptors of the logger: one for each process of ours, of which there are some hundreds for each configuration that still
/// has clients, if there are 64 workers of a kind.
const LOGGER_DESCRIPTORS: u64 = 2048;

/// Entry point of the logger; `channel` is the one to the supervisor.
pub fn main(launch: LoggerLaunch, channel: OwnedFd) -> ! {
    leave(log(launch, channel))
}

fn log(launch: LoggerLaunch, channel: OwnedFd) -> Result<(), Fatal> {
    let LoggerLaunch { process, destination, facility, ident, host } = launch;
    let supervisor = Channel::from_descriptor(channel);
    let socket = inherit::take(LOG)?;
    if !memory::heap_only() {
        return Err(Fatal::new("the memory allocator rejected its settings (not glibc?)"));
    }
    signals::ignore_pipe_and_size()?;
    let destination = match destination {
        LogTo::Syslog(path) => Destination::Syslog(path),
        LogTo::Postlog(path) => Destination::Postlog(path),
        LogTo::Stderr => Destination::Stderr,
    };
    // Standard error may be a file; a socket is none.
    let fsize = if destination == Destination::Stderr { Limits::UNLIMITED } else { 0 };
    let facility = Facility::numbered(facility);
    let log = MailLog::inherited(destination, Some(socket), facility, &ident, &host)?;
    let epoll = fixed_epoll()?;
    epoll.add(&supervisor, nix::sys::epoll::EpollEvent::new(nix::sys::epoll::EpollFlags::EPOLLIN, 0))?;
    let pid = std::process::id();
    let limits = Limits { fsize, ..limits(LOGGER_DESCRIPTORS, LOGGER_HEAP) };
    let entered = enter(lock(Role::Logger, &process, None, limits));
    if let Err(error) = &entered {
        log.line_of(pid, mapkeep_log::Severity::Fatal, &error.to_string());
    }
    let (confined, report) = entered?;
    if process.verbose {
        log.line_of(pid, mapkeep_log::Severity::Info, &report.to_string());
    }
    crate::run(&supervisor, &epoll, &log, &confined)?;
    Ok(())
}
