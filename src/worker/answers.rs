//! What a lookup worker tells its broker, in order, at once or when the channel has room.
//!
//! The broker may be busy with other things for a while; that is no reason to end. Called by: the worker's loop.

use mapkeep_proto::{Decode, LookupToBroker};
use mapkeep_sys::channel::Channel;
use std::collections::VecDeque;
use std::io;

/// Messages that wait for room. There are few of them: a worker that has some takes nothing new from its broker.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    unsaid: VecDeque<LookupToBroker>,
}

impl Answers {
    /// Says something after all that has not been said yet.
    ///
    /// # Errors
    /// Those of send(2), but for a channel that is full or whose other end has gone.
    pub(crate) fn say(&mut self, channel: &Channel, message: LookupToBroker) -> io::Result<()> {
        self.unsaid.push_back(message);
        self.flush(channel)
    }

    /// Says what the channel has room for.
    ///
    /// # Errors
    /// As [`Answers::say`].
    pub(crate) fn flush(&mut self, channel: &Channel) -> io::Result<()> {
        while let Some(message) = self.unsaid.front() {
            match channel.send(&message.encode(), &[]) {
                Ok(()) => drop(self.unsaid.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // It has gone: the end of its channel is about to be read, and clients are served until then.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.unsaid.clear(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether something waits for room.
    pub(crate) fn wait(&self) -> bool {
        !self.unsaid.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapkeep_sys::channel::Received;

    #[test]
    fn full_channel_is_waited_for_and_nothing_is_lost_or_swapped() {
        let (near, far) = Channel::pair().unwrap();
        let mut answers = Answers::default();
        let mut said = 0;
        while !answers.wait() {
            answers.say(&near, LookupToBroker::Pong(said)).unwrap();
            said += 1;
        }
        answers.say(&near, LookupToBroker::Pong(said)).unwrap();
        for expected in 0..=said {
            let mut buffer = [0; 64];
            let Ok(Received::Message(length, _)) = far.receive_plain(&mut buffer) else {
                panic!("{expected}")
            };
            assert_eq!(LookupToBroker::decode(&buffer[..length]), Ok(LookupToBroker::Pong(expected)));
            answers.flush(&near).unwrap();
        }
        assert!(!answers.wait());
    }

    #[test]
    fn broker_that_has_gone_is_no_error_and_nothing_waits_for_it() {
        let (near, far) = Channel::pair().unwrap();
        let mut answers = Answers::default();
        while !answers.wait() {
            answers.say(&near, LookupToBroker::Ready).unwrap();
        }
        drop(far);
        answers.flush(&near).unwrap();
        assert!(!answers.wait());
        answers.say(&near, LookupToBroker::Ready).unwrap();
        assert!(!answers.wait());
    }
}
