//! Connections that have been asked for, and what comes back.
//!
//! A connector is in touch with name servers, and sends on this channel. It knows the number of its own wish only: numbers
//! are such that it cannot guess another, so that it can answer for no gateway but its own.

use super::Channel;
use mapkeep_process::outbox::{Outbox, Sent};
use mapkeep_proto::{BrokerToDialer, Decode, DialerToBroker, Host, MAX_MESSAGE, WorkerId};
use mapkeep_sys::channel::Received;
use mapkeep_sys::deadline::after;
use mapkeep_sys::stream::is_stream;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// How much longer than its time a wish may take. The dialer answers for a connector that does not.
const GRACE: Duration = Duration::from_secs(2);
/// Wishes that somebody waits for, at most.
const MOST: usize = 4096;

/// A wish that has not been answered.
#[derive(Debug)]
struct Wish {
    gateway: WorkerId,
    /// The gateway's number of it.
    number: u32,
    until: Instant,
}

/// The answer to a wish of a gateway.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) gateway: WorkerId,
    /// The gateway's number of it.
    pub(crate) number: u32,
    /// The connection, or why there is none.
    pub(crate) came: Result<OwnedFd, String>,
}

/// What has come from the dialer or from a connector.
#[derive(Debug)]
pub(crate) enum Heard {
    /// This answer.
    Answer(Answer),
    /// An answer that nobody waits for: it came too late, or is the second one to a wish. A connector that is ended in the
    /// moment in which it answers gets its answer and the dialer's.
    Unwanted,
    /// It has gone.
    Gone,
    /// Something that ours never sends. It is of no use to anybody, and the wish that it may have been meant for runs out.
    Invalid(&'static str),
}

/// The way to the dialer, if there is one.
pub(crate) struct Dialer {
    channel: Option<Channel>,
    outbox: Outbox<BrokerToDialer, Option<OwnedFd>>,
    pub(crate) waits_for_room: bool,
    wishes: BTreeMap<u32, Wish>,
    numbers: RandomState,
    numbered: u64,
    /// Why there is none.
    why_none: &'static str,
}

impl Dialer {
    /// With this channel to it, or without: then every wish fails. To be called before the lock: numbers need chance.
    pub(crate) fn new(channel: Option<Channel>) -> Dialer {
        Dialer {
            channel,
            outbox: Outbox::default(),
            waits_for_room: false,
            wishes: BTreeMap::new(),
            numbers: RandomState::new(),
            numbered: 0,
            why_none: "the service was started without the process that connects: restart it",
        }
    }

    /// The channel, if there is one.
    pub(crate) fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    /// The descriptor of the channel.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.channel.as_ref().map(|channel| channel.as_fd().as_raw_fd())
    }

    /// Asks for a connection to `host` within this time.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub(crate) fn ask(
        &mut self,
        gateway: WorkerId,
        number: u32,
        milliseconds: u32,
        host: &Host,
        now: Instant,
    ) -> Result<(), String> {
        if self.channel.is_none() {
            return Err(self.why_none.to_owned());
        }
        if self.wishes.len() >= MOST {
            return Err("too many connections have been asked for".to_owned());
        }
        let time = Duration::from_millis(milliseconds.into()).saturating_add(GRACE);
        let until = after(now, time);
        let unguessable = self.fresh_number();
        self.wishes.insert(unguessable, Wish { gateway, number, until });
        let message = BrokerToDialer::Connect { number: unguessable, milliseconds, host: host.clone() };
        self.outbox.push(message, None);
        Ok(())
    }

    #[allow(clippy::cast_possible_truncation, reason = "32 bits of it")]
    fn fresh_number(&mut self) -> u32 {
        loop {
            self.numbered = self.numbered.wrapping_add(1);
            let number = self.numbers.hash_one(self.numbered) as u32;
            if !self.wishes.contains_key(&number) {
                return number;
            }
        }
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&mut self) -> io::Result<Sent> {
        self.channel.as_ref().map_or(Ok(Sent::All), |channel| self.outbox.flush(channel))
    }

    /// Takes one message.
    pub(crate) fn receive(&mut self) -> Option<Heard> {
        let channel = self.channel.as_ref()?;
        let mut buffer = [0; MAX_MESSAGE];
        let (length, mut freight) = match channel.receive(&mut buffer) {
            Ok(Received::Message(length, freight)) => (length, freight),
            Ok(Received::Empty) => return None,
            Ok(Received::Closed) | Err(_) => return Some(Heard::Gone),
            Ok(Received::Oversized) => return Some(Heard::Invalid("an oversized message")),
        };
        let Ok(message) = DialerToBroker::decode(buffer.get(..length).unwrap_or_default()) else {
            return Some(Heard::Invalid("a malformed message"));
        };
        if freight.len() != message.descriptors() {
            return Some(Heard::Invalid("a message with the wrong number of descriptors"));
        }
        let (number, came) = match message {
            DialerToBroker::Connected { number } => match freight.pop().filter(|socket| is_stream(socket)) {
                Some(socket) => (number, Ok(socket)),
                None => return Some(Heard::Invalid("something that is no connection")),
            },
            DialerToBroker::Failed { number, reason } => (number, Err(reason)),
        };
        Some(match self.wishes.remove(&number) {
            Some(Wish { gateway, number, .. }) => Heard::Answer(Answer { gateway, number, came }),
            None => Heard::Unwanted,
        })
    }

    /// It has gone: nothing more is asked of it, and each wish fails. Gives the channel.
    pub(crate) fn lose(&mut self, now: Instant) -> Option<Channel> {
        self.why_none = "the process that connects has exited: the service is about to restart";
        self.outbox = Outbox::default();
        for wish in self.wishes.values_mut() {
            wish.until = now;
        }
        self.channel.take()
    }

    /// This gateway has gone: nobody waits for what it asked for.
    pub(crate) fn forget(&mut self, gateway: WorkerId) {
        self.wishes.retain(|_, wish| wish.gateway != gateway);
    }

    /// The wishes that have not been answered in time: nobody waits for them any more.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<(WorkerId, u32)> {
        let mut overdue = Vec::new();
        self.wishes.retain(|_, wish| {
            let late = wish.until <= now;
            if late {
                overdue.push((wish.gateway, wish.number));
            }
            !late
        });
        overdue
    }

    /// When the first of them is overdue.
    pub(crate) fn next_moment(&self) -> Option<Instant> {
        self.wishes.values().map(|wish| wish.until).min()
    }
}
