//! Accepting clients without reading from them.

use nix::errno::Errno;
use nix::sys::socket::{Backlog, SockFlag, accept4};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What accept(2) gave.
#[derive(Debug)]
pub enum Accepted {
    /// A client's connection, non-blocking and close-on-exec.
    Client(OwnedFd),
    /// Nobody is waiting (or a sibling process was quicker).
    Nobody,
    /// No descriptor or memory is free: try again when a client has disconnected.
    Exhausted,
}

/// Accepts one waiting client. The flags of the listening socket, which other processes share, are not changed.
///
/// # Errors
/// Anything that makes the listening socket itself unusable.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Accepted> {
    match accept4(listener.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC) {
        // SAFETY: accept4 has just created this descriptor and nobody else knows its number.
        Ok(client) => Ok(Accepted::Client(unsafe { OwnedFd::from_raw_fd(client) })),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => Ok(Accepted::Nobody),
        Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => Ok(Accepted::Exhausted),
        Err(error) => Err(error.into()),
    }
}

/// The backlog for a socket that we listen on ourselves: what master(8) uses at its default process limit.
#[must_use]
pub fn backlog() -> Backlog {
    Backlog::new(128).unwrap_or(Backlog::MAXCONN)
}
