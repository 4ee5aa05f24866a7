//! The channel to the broker, as the writer's loop uses it.
//!
//! May: send and receive on that one channel, never waiting. Never: act on a message, save for pings.

use mapkeep_proto::{BrokerToWriter, Decode, MAX_MESSAGE, WriterToBroker};
use mapkeep_sys::channel::{Channel, Received};
use mapkeep_sys::deadline;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How often something that takes long looks for pings.
const PULSE: Duration = Duration::from_millis(200);

/// One end of the channel, with the messages that have arrived and those still to be sent.
#[derive(Debug)]
pub(crate) struct Line {
    channel: Channel,
    inbox: VecDeque<(BrokerToWriter, Vec<OwnedFd>)>,
    outbox: VecDeque<WriterToBroker>,
    gone: bool,
    last_pulse: Instant,
}

impl Line {
    pub(crate) fn new(channel: Channel) -> Line {
        let (inbox, outbox) = (VecDeque::new(), VecDeque::new());
        Line { channel, inbox, outbox, gone: false, last_pulse: Instant::now() }
    }

    /// Whether the broker has closed the channel.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether messages wait for room in the channel.
    pub(crate) fn has_more_to_say(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether there are unread messages.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Sends a message, or keeps it until there is room.
    pub(crate) fn say(&mut self, message: WriterToBroker) -> io::Result<()> {
        self.outbox.push_back(message);
        self.flush()
    }

    /// Sends what waits for room.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(message) = self.outbox.front() {
            match self.channel.send(&message.encode(), &[]) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    // The end of the channel is about to be read, and clients are served until then.
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.outbox.clear(),
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// The next message; `None` if none has arrived, or the broker has closed the channel.
    pub(crate) fn next(&mut self) -> io::Result<Option<(BrokerToWriter, Vec<OwnedFd>)>> {
        match self.inbox.pop_front() {
            Some(waiting) => Ok(Some(waiting)),
            None => self.receive(),
        }
    }

    /// Must be called now and then by anything that takes long: the broker kills a writer that leaves a ping
    /// unanswered. Other messages are queued.
    pub(crate) fn pulse(&mut self) {
        let now = Instant::now();
        if !deadline::has_passed(self.last_pulse, PULSE, now) {
            return;
        }
        self.last_pulse = now;
        // An error is met again by the next call from the loop.
        while let Ok(Some((message, freight))) = self.receive() {
            match message {
                BrokerToWriter::Ping(number) => drop(self.say(WriterToBroker::Pong(number))),
                message => self.inbox.push_back((message, freight)),
            }
        }
    }

    fn receive(&mut self) -> io::Result<Option<(BrokerToWriter, Vec<OwnedFd>)>> {
        let mut buffer = [0; MAX_MESSAGE];
        let (length, freight) = match self.channel.receive(&mut buffer)? {
            Received::Message(length, freight) => (length, freight),
            Received::Empty => return Ok(None),
            Received::Closed => {
                self.gone = true;
                return Ok(None);
            }
            Received::Oversized => return Err(io::ErrorKind::InvalidData.into()),
        };
        let message = buffer.get(..length).map(BrokerToWriter::decode);
        let message = message.ok_or(io::ErrorKind::InvalidData)?.map_err(io::Error::other)?;
        if freight.len() != message.descriptors() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Some((message, freight)))
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
