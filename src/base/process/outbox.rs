//! What a process still has to send to another: messages with the descriptors that travel beside them.

use mapkeep_proto::Decode;
use mapkeep_sys::channel::Channel;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The descriptors that are sent with a message. They are closed once it has been sent.
pub trait Freight {
    /// The descriptors, in their order.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;
}

impl Freight for Option<OwnedFd> {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.iter().map(AsFd::as_fd).collect()
    }
}

/// The result of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Everything was sent.
    All,
    /// More messages wait for room in the channel.
    Part,
    /// Too many descriptors are in flight. The kernel counts them by user id, which other services of the machine may
    /// share, until they are received. Try again after a while, and accept no clients meanwhile.
    Crowded,
}

/// Messages in the order in which they are to arrive.
#[derive(Debug)]
pub struct Outbox<M, F> {
    queue: VecDeque<(M, F)>,
}

impl<M, F> Default for Outbox<M, F> {
    fn default() -> Self {
        Outbox { queue: VecDeque::new() }
    }
}

impl<M: Decode, F: Freight> Outbox<M, F> {
    /// Appends a message.
    pub fn push(&mut self, message: M, freight: F) {
        self.queue.push_back((message, freight));
    }

    /// Sends what the channel has room for.
    ///
    /// # Errors
    /// The other end is closed.
    pub fn flush(&mut self, channel: &Channel) -> io::Result<Sent> {
        while let Some((message, freight)) = self.queue.front() {
            match channel.send(&message.encode(), &freight.descriptors()) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Part),
                Err(error) if error.raw_os_error() == Some(Errno::ETOOMANYREFS as i32) => {
                    return Ok(Sent::Crowded);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Sent::All)
    }

    /// What has not been sent.
    pub fn into_unsent(self) -> impl Iterator<Item = (M, F)> {
        self.queue.into_iter()
    }

    /// Whether all has been sent.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many messages have not been sent.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// The number of unsent messages for which `like` is true.
    pub fn count(&self, like: impl Fn(&M) -> bool) -> usize {
        self.queue.iter().filter(|(message, _)| like(message)).count()
    }

    /// The messages that have not been sent, in their order. For tests.
    #[cfg(feature = "testbed")]
    pub fn waiting(&self) -> impl Iterator<Item = &M> {
        self.queue.iter().map(|(message, _)| message)
    }
}
