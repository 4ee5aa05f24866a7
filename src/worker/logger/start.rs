//! The start of the logger: what it is given, and its lock-down.

use mapkeep_log::{Destination, Facility, MailLog};
use mapkeep_process::{CHANNEL, EPOLL, LOG, PROGRAM, fixed_epoll, leave, privilege, taken_arguments};
use mapkeep_proto::Arguments;
use mapkeep_sandbox::{FileRules, Limits, Lock, Role, enter};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::{inherit, memory, signals};
use std::error::Error;
use std::path::PathBuf;

/// Heap of the logger, in bytes.
const LOGGER_HEAP: u64 = 64 << 20;
/// Descriptors of the logger: one for each process of ours, of which there are some hundreds for each configuration that still
/// has clients, if there are 64 workers of a kind.
const LOGGER_DESCRIPTORS: u64 = 2048;

/// Entry point of the logger.
pub fn main() -> ! {
    leave(log(&taken_arguments("mapkeep-worker")))
}

fn log(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let supervisor = Channel::from_descriptor(inherit::take(CHANNEL)?);
    let socket = inherit::take(LOG)?;
    if !memory::heap_only() {
        return Err("the allocator does not take its tuning (not glibc?)".into());
    }
    signals::ignore_pipe_and_size()?;
    let path: PathBuf = arguments.text("path")?.into();
    let destination = match arguments.text("destination")? {
        "syslog" => Destination::Syslog(path),
        "postlog" => Destination::Postlog(path),
        _ => Destination::Stderr,
    };
    // Standard error may be a file; a socket is none.
    let fsize = if destination == Destination::Stderr { Limits::UNLIMITED } else { 0 };
    let facility = Facility::numbered(arguments.value("facility")?);
    let (ident, host) = (arguments.text("ident")?, arguments.text("host")?);
    let log = MailLog::inherited(destination, Some(socket), facility, ident, host)?;
    let epoll = fixed_epoll()?;
    epoll.add(&supervisor, nix::sys::epoll::EpollEvent::new(nix::sys::epoll::EpollFlags::EPOLLIN, 0))?;
    let pid = std::process::id();
    let lock = Lock {
        role: Role::Logger,
        privilege: privilege(Role::Logger, arguments, None)?,
        limits: Limits {
            core: 0,
            nproc: 0,
            nofile: LOGGER_DESCRIPTORS,
            fsize,
            address_space: LOGGER_HEAP.saturating_add(PROGRAM),
            data: LOGGER_HEAP,
        },
        files: FileRules::default(),
        expected_descriptors: &[0, 1, 2, CHANNEL, LOG, EPOLL],
        parent_pid: Some(arguments.value("parent")?),
    };
    let entered = enter(lock);
    if let Err(error) = &entered {
        log.line_of(pid, mapkeep_log::Severity::Fatal, &error.to_string());
    }
    let (confined, report) = entered?;
    if arguments.value("verbose")? {
        log.line_of(pid, mapkeep_log::Severity::Info, &report.to_string());
    }
    crate::run(&supervisor, &epoll, &log, &confined)?;
    Ok(())
}
