//! Pairs of stream sockets, for two processes that talk to each other in frames of any length.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socketpair, sockopt};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// A connected pair, both ends close-on-exec and non-blocking.
///
/// # Errors
/// Those of socketpair(2): too many descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?)
}

/// Whether this is a stream socket.
pub fn is_stream(descriptor: impl AsFd) -> bool {
    getsockopt(&descriptor, sockopt::SockType) == Ok(SockType::Stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    use nix::unistd::{read, write};

    #[test]
    fn only_a_stream_socket_is_one() {
        let (one, _other) = pair().unwrap();
        assert!(is_stream(&one));
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_stream(udp) && !is_stream(null));
        assert!(!is_stream(crate::channel::Channel::pair().unwrap().0.into_descriptor()));
    }

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
