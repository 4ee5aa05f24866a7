//! What the starts of all locked-down processes have in common.
//!
//! May: end the process. Never: choose a limit or a rule.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

pub mod broker;
mod fatal;
mod launch;
pub mod outbox;

pub use fatal::Fatal;
pub use launch::{TITLE, is_launched, launched, refuse};
use mapkeep_proto::{Duty, Ids, Process};
use mapkeep_sandbox::{FileRules, Limits, Lock, Privilege, Role};
use mapkeep_sys::deadline;
use mapkeep_sys::exit;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollTimeout};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The exit status if the requested output cannot be printed (sysexits' EX_IOERR).
pub const NO_OUTPUT: u8 = 74;

/// The fixed descriptor of the channel to the process's broker or supervisor.
pub const CHANNEL: RawFd = 3;
/// The fixed descriptor of the channel to the log.
pub const LOG: RawFd = 4;
/// The fixed descriptor of epoll, which the process creates itself.
pub const EPOLL: RawFd = 5;

/// Address space for programs, libraries and stacks, in bytes.
pub const PROGRAM: u64 = 256 << 20;

/// The role of the reading service's workers with this duty.
#[must_use]
pub fn role_of(duty: Duty) -> Role {
    match duty {
        Duty::Clients => Role::Lookup,
        Duty::Rules => Role::Rules,
        Duty::Gateway => Role::Gateway,
    }
}

/// Exits, with a line in the log if something went wrong.
pub fn leave(ended: Result<(), Fatal>) -> ! {
    let status = match ended {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(fatal = true, "{}", error.text);
            error.status
        }
    };
    exit::now(status)
}

/// How long an event loop may sleep that has something to do at each of these times; the log's own are included.
pub fn sleep_until(moments: impl Iterator<Item = Instant>, now: Instant) -> EpollTimeout {
    match moments.chain(mapkeep_log::settle(now)).min() {
        None => EpollTimeout::NONE,
        Some(next) => milliseconds(deadline::left(next, now)).into(),
    }
}

/// A wait for epoll_wait(2) and poll(2), in milliseconds: rounded up, because a loop would otherwise spin through the
/// last millisecond; at most 65 seconds.
#[must_use]
pub fn milliseconds(wait: Duration) -> u16 {
    u16::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u16::MAX)
}

/// epoll at the number that the system call filters know.
///
/// # Errors
/// Those of epoll_create1(2); or the number is taken.
pub fn fixed_epoll() -> Result<Epoll, Fatal> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    if epoll.0.as_raw_fd() != EPOLL {
        return Err(Fatal::new("descriptor 5 was open at start: only mapkeepd can start this program"));
    }
    Ok(epoll)
}

/// The ids that a process takes, with the capabilities of its role.
#[must_use]
pub fn privilege(role: Role, process: &Process, chroot: Option<PathBuf>) -> Privilege {
    match process.ids {
        Some(Ids { uid, gid }) => Privilege::Root { uid, gid, chroot, keep: role.row().keep },
        None => Privilege::Rootless,
    }
}

/// The limits of a process that starts no other and writes no file: `descriptors` is one more than its highest descriptor
/// number, `heap` its private memory in bytes. A process that maps tables or files needs more address space.
#[must_use]
pub fn limits(descriptors: u64, heap: u64) -> Limits {
    let address_space = heap.saturating_add(PROGRAM);
    Limits { core: 0, nproc: 0, nofile: descriptors, fsize: 0, address_space, data: heap }
}

/// The lock of a process that works on descriptors only: it reaches no file, and has just the fixed descriptors.
#[must_use]
pub fn lock(role: Role, process: &Process, chroot: Option<PathBuf>, limits: Limits) -> Lock<'static> {
    Lock {
        role,
        privilege: privilege(role, process, chroot),
        limits,
        files: FileRules::default(),
        expected_descriptors: &[0, 1, 2, CHANNEL, LOG, EPOLL],
        parent_pid: Some(process.parent),
    }
}
