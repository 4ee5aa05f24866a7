//! The channel to the broker, as the event loop of a process that works for it uses it.
//!
//! What is to be said is said in order, at once or when the channel has room: the broker may be busy with other things
//! for a while, and that is no reason to end. May: take descriptors from the broker. Never: wait for it.

use mapkeep_proto::{Decode, MAX_MESSAGE};
use mapkeep_sys::channel::{Channel, Received};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;

/// The number that stands for the broker in epoll's events.
pub const BROKER: u64 = 0;

/// The channel, and the messages that wait for room in it. They are few: a worker with unsent messages receives nothing
/// new from its broker. The broker sends `I` and receives `O`.
#[derive(Debug)]
pub struct Broker<I, O> {
    channel: Channel,
    unsaid: VecDeque<O>,
    says: PhantomData<I>,
    /// Whether epoll waits for room in the channel, rather than for messages in it.
    waits_for_room: bool,
    /// Whether the broker has closed its end of the channel.
    has_gone: bool,
}

/// What the broker has sent.
#[derive(Debug)]
pub enum Incoming<I> {
    /// A message and its descriptor.
    Message(I, Option<OwnedFd>),
    /// Nothing more for now.
    Nothing,
    /// It has closed the channel.
    Gone,
}

impl<I: Decode, O: Decode> Broker<I, O> {
    /// The broker at the other end of this channel, which is registered with epoll.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn new(channel: Channel, epoll: &Epoll) -> io::Result<Broker<I, O>> {
        epoll.add(&channel, EpollEvent::new(EpollFlags::EPOLLIN, BROKER))?;
        let (unsaid, says) = (VecDeque::new(), PhantomData);
        Ok(Broker { channel, unsaid, says, waits_for_room: false, has_gone: false })
    }

    /// Sends a message, after all that have not been sent yet.
    ///
    /// # Errors
    /// Those of send(2), except for a channel that is full or closed.
    pub fn say(&mut self, message: O) -> io::Result<()> {
        self.unsaid.push_back(message);
        self.flush()
    }

    /// Sends what the channel has room for.
    ///
    /// # Errors
    /// As [`Broker::say`].
    fn flush(&mut self) -> io::Result<()> {
        while let Some(message) = self.unsaid.front() {
            match self.channel.send(&message.encode(), &[]) {
                Ok(()) => drop(self.unsaid.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The broker has exited: the end of its channel will be read next, and clients are served until then.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.unsaid.clear(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether a message waits for room.
    #[must_use]
    pub fn has_unsaid(&self) -> bool {
        !self.unsaid.is_empty()
    }

    /// The broker's next message; nothing while a message waits for room.
    ///
    /// # Errors
    /// Those of send(2) and recvmsg(2); `InvalidData` and the like for an invalid message, or one with the wrong number
    /// of descriptors.
    pub fn receive(&mut self) -> io::Result<Incoming<I>> {
        self.flush()?;
        if self.has_unsaid() {
            return Ok(Incoming::Nothing);
        }
        let mut buffer = [0; MAX_MESSAGE];
        let (length, mut freight) = match self.channel.receive(&mut buffer)? {
            Received::Message(length, freight) => (length, freight),
            Received::Empty => return Ok(Incoming::Nothing),
            Received::Closed => return Ok(Incoming::Gone),
            Received::Oversized => return Err(io::ErrorKind::InvalidData.into()),
        };
        let message = I::decode(buffer.get(..length).unwrap_or_default()).map_err(io::Error::other)?;
        if freight.len() != message.descriptors() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Incoming::Message(message, freight.pop()))
    }

    /// The broker has exited: removes its channel from epoll.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn forget(&mut self, epoll: &Epoll) -> io::Result<()> {
        self.has_gone = true;
        Ok(epoll.delete(&self.channel)?)
    }

    /// Has epoll wait for room or for messages, whichever is needed next.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn watch(&mut self, epoll: &Epoll) -> io::Result<()> {
        if !self.has_gone && self.has_unsaid() != self.waits_for_room {
            self.waits_for_room = self.has_unsaid();
            let wanted = if self.waits_for_room { EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            epoll.modify(&self.channel, &mut EpollEvent::new(wanted, BROKER))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapkeep_proto::{BrokerToLookup, LookupToBroker};
    use nix::sys::epoll::EpollCreateFlags;

    fn pair() -> (Broker<BrokerToLookup, LookupToBroker>, Channel) {
        let (near, far) = Channel::pair().unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        (Broker::new(near, &epoll).unwrap(), far)
    }

    #[test]
    fn full_channel_is_waited_for_and_nothing_is_lost_or_swapped() {
        let (mut broker, far) = pair();
        let mut said = 0;
        while !broker.has_unsaid() {
            broker.say(LookupToBroker::Pong(said)).unwrap();
            said += 1;
        }
        broker.say(LookupToBroker::Pong(said)).unwrap();
        far.send(&BrokerToLookup::Finish.encode(), &[]).unwrap();
        assert!(
            matches!(broker.receive().unwrap(), Incoming::Nothing),
            "it takes nothing while something waits"
        );
        for expected in 0..=said {
            let mut buffer = [0; 64];
            let Ok(Received::Message(length, _)) = far.receive_plain(&mut buffer) else {
                panic!("{expected}")
            };
            assert_eq!(LookupToBroker::decode(&buffer[..length]), Ok(LookupToBroker::Pong(expected)));
            broker.flush().unwrap();
        }
        assert!(!broker.has_unsaid());
        assert!(matches!(broker.receive().unwrap(), Incoming::Message(BrokerToLookup::Finish, None)));
    }

    #[test]
    fn closed_broker_is_no_error_and_nothing_waits_for_it() {
        let (mut broker, far) = pair();
        while !broker.has_unsaid() {
            broker.say(LookupToBroker::Ready).unwrap();
        }
        drop(far);
        assert!(matches!(broker.receive().unwrap(), Incoming::Gone));
        assert!(!broker.has_unsaid());
        broker.say(LookupToBroker::Ready).unwrap();
        assert!(!broker.has_unsaid());
    }
}
