//! Starting a process: fork, put its descriptors at fixed numbers, close all others, exec.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{ForkResult, Pid, fork};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A child gets its descriptors at numbers below this one; copies are first made above it.
const PARK: RawFd = 200;

/// A program to start.
#[derive(Debug)]
pub struct Program<'a> {
    /// The executable, opened once at start: an upgrade on disk cannot mix two versions in one service.
    pub executable: BorrowedFd<'a>,
    /// The title that `ps` shows, then the arguments.
    pub arguments: &'a [CString],
    /// The child's descriptors 0, 1, 2, ...: the n-th becomes number n. Nothing else stays open.
    pub descriptors: &'a [BorrowedFd<'a>],
}

/// Starts it with an empty environment. Must be called by a process with one thread.
///
/// # Errors
/// Those of fork(2) and of duplicating descriptors. A failed exec ends the child with exit status 127.
pub fn spawn(program: &Program<'_>) -> io::Result<Pid> {
    let mut parked = Vec::with_capacity(program.descriptors.len());
    for descriptor in program.descriptors {
        parked.push(park(*descriptor)?);
    }
    let arguments: Vec<&std::ffi::CStr> = program.arguments.iter().map(CString::as_c_str).collect();
    let executable = park(program.executable)?;
    // SAFETY: the caller has one thread, so the child finds every lock of the C library free.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let _failed = become_program(&executable, &arguments, &parked);
            // SAFETY: _exit runs no code of this process: the parent's buffers are not flushed twice.
            unsafe { libc::_exit(127) }
        }
    }
}

/// A copy of a descriptor at a high number, close-on-exec.
fn park(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let number = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(PARK))?;
    crate::inherit::take(number)
}

fn become_program(
    executable: &OwnedFd,
    arguments: &[&std::ffi::CStr],
    parked: &[OwnedFd],
) -> Result<(), Errno> {
    let mut first_free: RawFd = 0;
    for descriptor in parked {
        // SAFETY: dup2 onto a low number; whatever the parent had there is not used by the child again.
        // The copy is not close-on-exec, which is the point.
        Errno::result(unsafe { libc::dup2(descriptor.as_raw_fd(), first_free) })?;
        first_free = first_free.saturating_add(1);
    }
    let from = libc::c_uint::try_from(first_free).unwrap_or_default();
    let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: marks every descriptor from `from` on as close-on-exec; the executable's own is used by the exec below
    // and closed with it.
    Errno::result(unsafe { libc::close_range(from, libc::c_uint::MAX, flags) })?;
    crate::signals::defaults().map_err(|_| Errno::EINVAL)?;
    let nothing: [&std::ffi::CStr; 0] = [];
    nix::unistd::execveat(executable, c"", arguments, &nothing, nix::fcntl::AtFlags::AT_EMPTY_PATH)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    /// `spawn` requires a process with one thread; a test runner has several, which is harmless for a child that only
    /// calls exec.
    #[test]
    fn child_has_just_its_descriptors_and_no_environment() {
        let shell = File::open("/bin/sh").unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let script = c"/bin/ls /proc/$$/fd; /usr/bin/env";
        let pid = spawn(&Program {
            executable: shell.as_fd(),
            arguments: &[c"probe".into(), c"-c".into(), script.into()],
            descriptors: &[null.as_fd(), writer.as_fd(), null.as_fd()],
        })
        .unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(nix::sys::wait::waitpid(pid, None).unwrap(), nix::sys::wait::WaitStatus::Exited(pid, 0));
        assert!(text.starts_with("0\n1\n2\nPWD="), "{text}");
        assert!(!text.contains("HOME="), "{text}");
    }
}
