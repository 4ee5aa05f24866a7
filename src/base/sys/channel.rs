//! Message channels between processes: SOCK_SEQPACKET socket pairs, optionally with one descriptor a message.
//!
//! SEQPACKET keeps message bounds and, unlike SOCK_DGRAM, tells when the peer has gone (a read of 0 bytes).

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, send,
    sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// One end of a channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// Whether this end may send descriptors.
    sends_descriptors: bool,
}

/// What came out of a channel.
#[derive(Debug)]
pub enum Received {
    /// A message: its length in bytes and the descriptors that came with it.
    Message(usize, Vec<OwnedFd>),
    /// Nothing is waiting.
    Empty,
    /// The other end is closed.
    Closed,
    /// The message was larger than the buffer, or carried more descriptors than a message may.
    Oversized,
}

/// Room for the descriptors of one message. The kernel rounds the space up, so that a message with one too many still
/// fits and is refused, instead of leaking a descriptor.
const DESCRIPTOR_ROOM: usize = 4;

impl Channel {
    /// A connected pair, both ends close-on-exec and non-blocking.
    ///
    /// # Errors
    /// Those of socketpair(2): too many descriptors.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Channel::from_descriptor(one), Channel::from_descriptor(other)))
    }

    /// The channel at this descriptor, which must be a SEQPACKET socket.
    #[must_use]
    pub fn from_descriptor(descriptor: OwnedFd) -> Channel {
        Channel { socket: descriptor, sends_descriptors: true }
    }

    /// The same for an end that never sends descriptors: it uses sendto(2), which cannot carry any, so that a
    /// locked-down process needs no sendmsg(2).
    #[must_use]
    pub fn without_freight(descriptor: OwnedFd) -> Channel {
        Channel { socket: descriptor, sends_descriptors: false }
    }

    /// Releases the descriptor, for the child that gets this end.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.socket
    }

    /// Sends one message with `descriptors`. Never blocks, never raises SIGPIPE.
    ///
    /// # Errors
    /// `WouldBlock` if the peer does not read; `BrokenPipe` if it has closed its end, with or without unread messages;
    /// `Unsupported` for descriptors on an end that sends none.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        if !self.sends_descriptors {
            if !descriptors.is_empty() {
                return Err(io::ErrorKind::Unsupported.into());
            }
            send(self.socket.as_raw_fd(), message, flags).map_err(one_name_for_gone)?;
            return Ok(());
        }
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(message)], control, flags, None)
            .map_err(one_name_for_gone)?;
        Ok(())
    }

    /// Receives one message and its descriptors, from a peer that is trusted to send some.
    ///
    /// # Errors
    /// Those of recvmsg(2), except for an empty or closed channel, which are values.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut parts = [IoSliceMut::new(buffer)];
        let mut space = nix::cmsg_space!([RawFd; DESCRIPTOR_ROOM]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(Received::Empty),
            Err(Errno::ECONNRESET) => return Ok(Received::Closed),
            Err(error) => return Err(error.into()),
        };
        let truncated = message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        let length = message.bytes;
        let mut descriptors = Vec::new();
        if let Ok(controls) = message.cmsgs() {
            for control in controls {
                if let ControlMessageOwned::ScmRights(raw) = control {
                    for descriptor in raw {
                        // SAFETY: the kernel has just installed this descriptor for this message, and nothing
                        // else in this process knows its number yet.
                        descriptors.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
                    }
                }
            }
        }
        Ok(match (truncated, length) {
            (true, _) => Received::Oversized,
            (false, 0) => Received::Closed,
            (false, length) => Received::Message(length, descriptors),
        })
    }

    /// Receives one message from a peer that may be hostile: descriptors sent with it are never installed.
    ///
    /// # Errors
    /// Those of recv(2), except for an empty or closed channel, which are values.
    pub fn receive_plain(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        match recv(self.socket.as_raw_fd(), buffer, flags) {
            Ok(0) | Err(Errno::ECONNRESET) => Ok(Received::Closed),
            Ok(length) if length > buffer.len() => Ok(Received::Oversized),
            Ok(length) => Ok(Received::Message(length, Vec::new())),
            Err(Errno::EAGAIN) => Ok(Received::Empty),
            Err(error) => Err(error.into()),
        }
    }
}

/// If a peer exits with messages of ours unread, the error is different, once, from that of a peer that has read
/// everything.
fn one_name_for_gone(error: Errno) -> Errno {
    if error == Errno::ECONNRESET { Errno::EPIPE } else { error }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    fn file() -> File {
        File::open("/proc/self/status").unwrap()
    }

    fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn closed_peer_has_one_error() {
        for unread in [0, 1] {
            let (one, other) = Channel::pair().unwrap();
            for _ in 0..unread {
                one.send(b"unread", &[]).unwrap();
            }
            drop(other);
            for _ in 0..2 {
                let error = one.send(b"late", &[]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{unread} unread");
            }
        }
    }

    #[test]
    fn message_with_descriptor_arrives_whole() {
        let (one, other) = Channel::pair().unwrap();
        one.send(b"hello", &[file().as_fd()]).unwrap();
        let mut buffer = [0; 64];
        let Received::Message(5, mut descriptors) = other.receive(&mut buffer).unwrap() else { panic!() };
        let mut text = String::new();
        File::from(descriptors.pop().unwrap()).read_to_string(&mut text).unwrap();
        assert!(text.starts_with("Name:"));
        assert!(matches!(other.receive(&mut buffer).unwrap(), Received::Empty));
        drop(one);
        // A child that another test is just starting also has it, until it executes its program.
        let begun = std::time::Instant::now();
        while matches!(other.receive(&mut buffer).unwrap(), Received::Empty) {
            assert!(begun.elapsed().as_secs() < 60, "still open");
            std::thread::yield_now();
        }
        assert!(matches!(other.receive(&mut buffer).unwrap(), Received::Closed));
    }

    #[test]
    fn oversized_message_is_seen_both_ways() {
        let (one, other) = Channel::pair().unwrap();
        one.send(&[7; 100], &[]).unwrap();
        one.send(&[7; 100], &[]).unwrap();
        let mut buffer = [0; 50];
        assert!(matches!(other.receive_plain(&mut buffer).unwrap(), Received::Oversized));
        assert!(matches!(other.receive(&mut buffer).unwrap(), Received::Oversized));
    }

    #[test]
    fn received_descriptor_does_not_survive_an_exec() {
        let (one, other) = Channel::pair().unwrap();
        one.send(b"x", &[file().as_fd()]).unwrap();
        let Received::Message(1, descriptors) = other.receive(&mut [0; 64]).unwrap() else {
            panic!("no message")
        };
        let flags = nix::fcntl::fcntl(&descriptors[0], nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, nix::libc::FD_CLOEXEC);
    }

    #[test]
    fn descriptor_flood_leaves_no_descriptor() {
        let (one, other) = Channel::pair().unwrap();
        let file = file();
        let flood = vec![file.as_fd(); 200];
        let mut buffer = [0; 64];
        // Other tests of this process open descriptors too: the flood must be far above their noise.
        let before = open_descriptors();
        for _ in 0..20 {
            one.send(b"x", &flood).unwrap();
            assert!(matches!(other.receive_plain(&mut buffer).unwrap(), Received::Message(1, _)));
            one.send(b"x", &flood).unwrap();
            assert!(matches!(other.receive(&mut buffer).unwrap(), Received::Oversized));
        }
        assert!(open_descriptors() < before + 100);
    }
}
