//! Pairs of stream sockets, for two processes that talk to each other in frames of any length.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::io;
use std::os::fd::OwnedFd;

/// A connected pair, both ends close-on-exec and non-blocking.
///
/// # Errors
/// Those of socketpair(2): too many descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    use nix::unistd::{read, write};

    #[test]
    fn pair_is_a_stream_that_neither_waits_nor_outlives_an_exec() {
        let (one, other) = pair().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(read(&other, &mut buffer), Err(nix::errno::Errno::EAGAIN));
        assert_eq!((write(&one, b"ab"), write(&one, b"cd")), (Ok(2), Ok(2)));
        assert_eq!(read(&other, &mut buffer), Ok(4), "without bounds between messages");
        for end in [&one, &other] {
            let flags = FdFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
            let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL).unwrap());
            assert!(flags.contains(OFlag::O_NONBLOCK));
        }
    }
}
