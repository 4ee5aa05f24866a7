//! A broker's channel to its supervisor: what it still has to say, and what it is told.

use mapkeep_proto::{BrokerToSupervisor, Decode, MAX_MESSAGE, SupervisorToBroker};
use mapkeep_sys::channel::{Channel, Received};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The channel, and what waits for room in it.
#[derive(Debug)]
pub struct SupervisorChannel {
    channel: Channel,
    unsaid: VecDeque<BrokerToSupervisor>,
}

/// What came out of the channel.
#[derive(Debug)]
pub enum Told {
    /// A message, and the descriptor that came with it.
    Message(SupervisorToBroker, Option<OwnedFd>),
    /// Nothing is waiting.
    Nothing,
    /// The supervisor has exited, or wants this broker to exit.
    Closed,
}

impl SupervisorChannel {
    /// For a channel on which nothing has been sent yet.
    pub fn new(channel: Channel) -> SupervisorChannel {
        SupervisorChannel { channel, unsaid: VecDeque::new() }
    }

    /// Sends a message to the supervisor, now or when the channel has room.
    pub fn say(&mut self, message: BrokerToSupervisor) -> io::Result<()> {
        self.unsaid.push_back(message);
        self.flush()
    }

    /// Whether everything has been sent.
    pub fn is_quiet(&self) -> bool {
        self.unsaid.is_empty()
    }

    /// Sends what the channel has room for.
    ///
    /// # Errors
    /// Those of sendmsg(2), except a full channel and a supervisor that has exited.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(message) = self.unsaid.front() {
            match self.channel.send(&message.encode(), &[]) {
                Ok(()) => drop(self.unsaid.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // It has exited, maybe without reading everything that we sent: the end of its channel will be read
                // next.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
                {
                    self.unsaid.clear();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes one message.
    ///
    /// # Errors
    /// The message is not a supervisor's: the two programs are not of the same version.
    pub fn receive(&self) -> io::Result<Told> {
        let mut buffer = [0; MAX_MESSAGE];
        let (length, mut descriptors) = match self.channel.receive(&mut buffer)? {
            Received::Message(length, descriptors) => (length, descriptors),
            Received::Empty => return Ok(Told::Nothing),
            Received::Closed => return Ok(Told::Closed),
            Received::Oversized => return Err(io::ErrorKind::InvalidData.into()),
        };
        let message =
            SupervisorToBroker::decode(buffer.get(..length).unwrap_or_default()).map_err(io::Error::other)?;
        if descriptors.len() != message.descriptors() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Told::Message(message, descriptors.pop()))
    }
}

impl AsFd for SupervisorChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapkeep_proto::WorkerId;

    #[test]
    fn supervisor_that_exits_without_reading_is_no_error() {
        let (near, far) = Channel::pair().unwrap();
        let mut channel = SupervisorChannel::new(near);
        channel.say(BrokerToSupervisor::Ready).unwrap();
        drop(far);
        for _ in 0..3 {
            channel.say(BrokerToSupervisor::Kill(WorkerId(1))).unwrap();
            assert!(channel.is_quiet());
        }
        assert!(matches!(channel.receive().unwrap(), Told::Closed));
    }

    #[test]
    fn messages_without_room_are_sent_later_and_in_order() {
        let (near, far) = Channel::pair().unwrap();
        let mut channel = SupervisorChannel::new(near);
        let mut said = 0;
        while channel.is_quiet() {
            channel.say(BrokerToSupervisor::Clients(said)).unwrap();
            said += 1;
        }
        channel.say(BrokerToSupervisor::Clients(said)).unwrap();
        for expected in 0..=said {
            let mut buffer = [0; 64];
            let Ok(Received::Message(length, _)) = far.receive_plain(&mut buffer) else {
                panic!("{expected}")
            };
            let message = BrokerToSupervisor::decode(&buffer[..length]).unwrap();
            assert_eq!(message, BrokerToSupervisor::Clients(expected));
            channel.flush().unwrap();
        }
        assert!(channel.is_quiet());
    }
}
