//! Descriptors that the process was started with, and numbers for others that stay clear of theirs.

use nix::fcntl::{FcntlArg, fcntl};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The lowest number that no fixed descriptor has. policy/seccomp.json has the same number.
const FIRST_FREE: RawFd = 6;

/// Takes ownership of an inherited descriptor. Must be called once for each number, at the start of a process, before
/// anything else is opened.
///
/// # Errors
/// `EBADF` if nothing is open at that number.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: fcntl(F_GETFD) touches no memory, whatever the number.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above; setting a descriptor flag touches no memory. Inherited descriptors must not leak on.
    let set = unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open (checked above) and, by this function's contract, not yet owned.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A second descriptor of an open file, close-on-exec, with a number from 6 on. The system call lists refer to the
/// numbers below: a copy that got one of them, after a `close`, would be mistaken for a channel. The standard library
/// asks for a number from 3 on, which those lists refuse.
///
/// # Errors
/// `EMFILE` when no number is left.
pub fn copy(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let number = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(FIRST_FREE))?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from `first` on. Must be called at the start of a process, before it has opened anything
/// that it needs.
///
/// # Errors
/// Those of close_range(2): none on kernels that have it.
pub fn close_from(first: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(io::Error::other)?;
    // SAFETY: closes descriptors that, by this function's contract, no value of this process owns yet.
    if unsafe { libc::close_range(first, libc::c_uint::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
    use std::os::unix::net::UnixStream;

    #[test]
    fn taken_descriptor_is_closed_on_drop_and_absent_one_is_an_error() {
        let (one, other) = UnixStream::pair().unwrap();
        let taken = take(one.into_raw_fd()).unwrap();
        drop(taken);
        assert_eq!(std::io::Read::read(&mut &other, &mut [0; 1]).unwrap(), 0);
        assert!(take(-1).is_err());
        assert!(take(1_000_000).is_err());
    }

    #[test]
    fn copy_stays_clear_of_the_fixed_numbers_and_of_programs() {
        let (one, other) = UnixStream::pair().unwrap();
        let copied = copy(one.as_fd()).unwrap();
        assert!(copied.as_raw_fd() >= FIRST_FREE);
        let flags = fcntl(&copied, FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        drop(one);
        std::io::Write::write_all(&mut UnixStream::from(copied), b"x").unwrap();
        assert_eq!(std::io::Read::read(&mut &other, &mut [0; 1]).unwrap(), 1);
    }
}
