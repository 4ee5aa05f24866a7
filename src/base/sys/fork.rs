//! A second process of the same program: fork without exec, and what the child keeps of its parent's descriptors.

use nix::unistd::{ForkResult, Pid, fork};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Forked {
    /// The one that called, with the id of the new one.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Forks. Must be called by a process with one thread; the child must exit by [`exit::now`](crate::exit::now) and never
/// return into the loops of its parent.
///
/// # Errors
/// `EAGAIN` if the user's limit of processes is reached; `ENOMEM`.
pub fn split() -> io::Result<Forked> {
    // SAFETY: the caller has one thread. So no other can hold a lock of the C library or of this program, or be in the
    // middle of a change: the child finds all memory as the one thread left it, and may do whatever the parent may.
    // (With more threads it could only make async-signal-safe calls.) No destructor runs twice, since the child exits
    // by _exit.
    Ok(match unsafe { fork() }? {
        ForkResult::Parent { child } => Forked::Parent(child),
        ForkResult::Child => Forked::Child,
    })
}

/// Keeps the descriptors 0 to 2 and a copy of `kept`, which gets this number and is close-on-exec; closes all others,
/// whichever values own them. Must be called in a child, which must not use those values afterwards.
///
/// # Errors
/// `EBADF` when the number is beyond the limit of descriptors; `EINVAL` when `kept` has it already, or it is below 4.
pub fn keep_only(kept: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    let wrong = || io::Error::from_raw_os_error(libc::EINVAL);
    if number < 4 {
        return Err(wrong());
    }
    // SAFETY: a copy at a number that no value of this process owns: those are below it, as the caller says.
    let copied = unsafe { libc::dup3(kept.as_raw_fd(), number, libc::O_CLOEXEC) };
    if copied < 0 {
        return Err(io::Error::last_os_error());
    }
    let unsigned = |number: RawFd| libc::c_uint::try_from(number).map_err(|_| wrong());
    let (below, above) = (unsigned(number.saturating_sub(1))?, unsigned(number.saturating_add(1))?);
    for (first, last) in [(3, below), (above, libc::c_uint::MAX)] {
        // SAFETY: closes descriptors whose owners are values of the parent, which by this function's contract the child
        // never uses again; it ends without running their destructors.
        if unsafe { libc::close_range(first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    crate::inherit::take(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    const NUMBER: RawFd = 300;

    /// Runs `body` in a child, which does not need the test runner's other threads: it makes system calls and exits.
    fn in_child(body: impl FnOnce() -> u8) -> WaitStatus {
        match split().unwrap() {
            Forked::Parent(child) => waitpid(child, None).unwrap(),
            Forked::Child => crate::exit::now(body()),
        }
    }

    #[test]
    fn child_has_the_one_descriptor_at_its_number_and_no_other() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let other = std::fs::File::open("/dev/null").unwrap();
        let status = in_child(|| {
            let Ok(kept) = keep_only(theirs.as_fd(), NUMBER) else { return 1 };
            // SAFETY: fcntl(F_GETFD) touches no memory, whatever the number.
            let is_open = |number: RawFd| unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
            if (3..1000).any(|number| is_open(number) != (number == NUMBER)) || kept.as_raw_fd() != NUMBER {
                return 2;
            }
            u8::from(UnixStream::from(kept).write_all(b"x").is_err()) * 3
        });
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
        // The parent's own are unchanged.
        assert!(other.metadata().is_ok());
        drop(theirs);
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn number_of_a_standard_stream_or_beyond_the_limit_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let status = in_child(|| {
            let refused =
                |number| keep_only(file.as_fd(), number).err().and_then(|error| error.raw_os_error());
            u8::from(refused(2) != Some(libc::EINVAL))
                + 2 * u8::from(refused(RawFd::MAX) != Some(libc::EBADF))
        });
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    }
}
