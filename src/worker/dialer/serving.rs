//! The dialer's loop: wishes of brokers, forks, their deaths, their time.
//!
//! Never: a byte of the network, nor of what a connector has read.

use crate::connector::{self, Own, Wish};
use crate::reason;
use mapkeep_process::outbox::{Outbox, Sent};
use mapkeep_process::sleep_until;
use mapkeep_proto::{
    BrokerToDialer, Decode, DialerToBroker, MAX_CONNECTORS, MAX_MESSAGE, SupervisorToDialer,
};
use mapkeep_sandbox::Confined;
use mapkeep_sys::channel::{Channel, Received};
use mapkeep_sys::fork::{Forked, split};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Brokers at a time: one serves, others have clients left from before a reload. Their channels need numbers below that
/// of a connector's channel.
const BROKERS: usize = 200;
/// Messages of one broker in a turn.
const TURN: usize = 64;
/// The longest time of a wish.
const LONGEST: Duration = Duration::from_secs(600);
/// How much later than its time a connector is ended that has not ended: its own account of what went wrong is better.
const GRACE: Duration = Duration::from_millis(250);

const SUPERVISOR: u64 = 0;
const DEATHS: u64 = 1;
const FIRST_BROKER: u64 = 2;

/// A connector that has not ended.
struct Attempt {
    pid: Pid,
    broker: u64,
    number: u32,
    milliseconds: u32,
    /// When it is ended; none when it has been.
    end: Option<Instant>,
}

struct Broker {
    channel: Channel,
    unsent: Outbox<DialerToBroker, Option<OwnedFd>>,
}

/// The dialer.
pub(crate) struct Dialer {
    supervisor: Channel,
    epoll: Epoll,
    deaths: SignalFd,
    brokers: BTreeMap<u64, Broker>,
    next: u64,
    attempts: Vec<Attempt>,
    /// Whom servers see, for reasons.
    own: Own,
}

impl Dialer {
    /// A dialer without brokers. `own` is what its connectors have to know of it.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn new(supervisor: Channel, epoll: Epoll, deaths: SignalFd, own: Own) -> io::Result<Dialer> {
        epoll.add(&supervisor, EpollEvent::new(EpollFlags::EPOLLIN, SUPERVISOR))?;
        epoll.add(&deaths, EpollEvent::new(EpollFlags::EPOLLIN, DEATHS))?;
        let (brokers, next, attempts) = (BTreeMap::new(), FIRST_BROKER, Vec::new());
        Ok(Dialer { supervisor, epoll, deaths, brokers, next, attempts, own })
    }

    /// Serves until the supervisor goes. Demands the proof of lock-down.
    ///
    /// # Errors
    /// Those of epoll_wait(2), and a supervisor that says something that it cannot mean.
    pub(crate) fn run(&mut self, confined: &Confined) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let now = Instant::now();
            self.end_late(now);
            let timeout = sleep_until(self.attempts.iter().filter_map(|attempt| attempt.end), now);
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in events.iter().take(count) {
                match event.data() {
                    SUPERVISOR => {
                        if !self.meet()? {
                            return Ok(());
                        }
                    }
                    DEATHS => self.reap()?,
                    broker => self.serve(broker, confined)?,
                }
            }
        }
    }

    /// Takes channels of brokers from the supervisor. False when it has gone.
    fn meet(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 64];
        loop {
            let (length, mut freight) = match self.supervisor.receive(&mut buffer)? {
                Received::Message(length, freight) => (length, freight),
                Received::Empty => return Ok(true),
                Received::Closed => return Ok(false),
                Received::Oversized => return Err(io::ErrorKind::InvalidData.into()),
            };
            let message = SupervisorToDialer::decode(buffer.get(..length).unwrap_or_default());
            let SupervisorToDialer::Broker = message.map_err(io::Error::other)?;
            let Some(channel) = freight.pop().filter(|_| freight.is_empty()) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            if self.brokers.len() >= BROKERS {
                tracing::warn!("{BROKERS} brokers want connections: one more gets none -- reload less often");
                continue;
            }
            let (channel, number) = (Channel::from_descriptor(channel), self.next);
            self.next = number.saturating_add(1);
            self.epoll.add(&channel, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
            self.brokers.insert(number, Broker { channel, unsent: Outbox::default() });
        }
    }

    /// Hears a broker; one that breaks the protocol, or has gone, is heard no more.
    fn serve(&mut self, number: u64, confined: &Confined) -> io::Result<()> {
        let mut buffer = [0; MAX_MESSAGE];
        for _ in 0..TURN {
            self.flush(number)?;
            // Gone, or it does not read: it is heard when it does.
            let Some(broker) = self.brokers.get(&number).filter(|broker| broker.unsent.is_empty()) else {
                return Ok(());
            };
            let length = match broker.channel.receive_plain(&mut buffer) {
                Ok(Received::Message(length, _)) => length,
                Ok(Received::Empty) => return Ok(()),
                Ok(Received::Closed) | Err(_) => return self.part_with(number),
                Ok(Received::Oversized) => {
                    tracing::warn!(
                        "a broker has sent a message that is too long: it gets no more connections"
                    );
                    return self.part_with(number);
                }
            };
            match BrokerToDialer::decode(buffer.get(..length).unwrap_or_default()) {
                Ok(message) => self.dial(number, message, confined),
                Err(error) => {
                    tracing::warn!("a broker has broken the protocol ({error}): it gets no more connections");
                    return self.part_with(number);
                }
            }
        }
        self.flush(number)
    }

    /// Starts a connector.
    fn dial(&mut self, broker: u64, message: BrokerToDialer, confined: &Confined) {
        let BrokerToDialer::Connect { number, milliseconds, host } = message;
        let now = Instant::now();
        let time = Duration::from_millis(milliseconds.into()).min(LONGEST);
        let Some(until) = now.checked_add(time) else { return };
        if self.attempts.len() >= MAX_CONNECTORS {
            let reason =
                format!("{MAX_CONNECTORS} connections are being made at the moment, which is the limit");
            return self.fail(broker, number, reason);
        }
        let Some(channel) = self.brokers.get(&broker).map(|broker| &broker.channel) else { return };
        let wish = Wish { number, until, host };
        let own = Pid::this().as_raw();
        match split() {
            Ok(Forked::Child) => connector::run(confined, own, channel, &wish, &self.own),
            Ok(Forked::Parent(pid)) => {
                let end = until.checked_add(GRACE);
                self.attempts.push(Attempt { pid, broker, number, milliseconds, end });
            }
            Err(error) => self.fail(broker, number, format!("no process can be started for it: {error}")),
        }
    }

    /// Answers a wish that no connector answers.
    fn fail(&mut self, broker: u64, number: u32, reason: String) {
        if let Some(broker) = self.brokers.get_mut(&broker) {
            broker.unsent.push(DialerToBroker::Failed { number, reason }, None);
        }
    }

    /// Sends what waits. While something does, nothing is read of that broker.
    fn flush(&mut self, number: u64) -> io::Result<()> {
        let Some(broker) = self.brokers.get_mut(&number) else { return Ok(()) };
        let heard = match broker.unsent.is_empty() {
            true => return Ok(()),
            false => broker.unsent.flush(&broker.channel),
        };
        let interest = match heard {
            Ok(Sent::All) => EpollFlags::EPOLLIN,
            Ok(Sent::Part | Sent::Crowded) => EpollFlags::EPOLLOUT,
            Err(_) => return self.part_with(number),
        };
        self.epoll.modify(&broker.channel, &mut EpollEvent::new(interest, number))?;
        Ok(())
    }

    /// Forgets a broker, and ends what is done for it.
    fn part_with(&mut self, number: u64) -> io::Result<()> {
        if let Some(broker) = self.brokers.remove(&number) {
            // Forks have the channel, too, so that closing it would not take it out of there.
            self.epoll.delete(&broker.channel)?;
        }
        self.attempts.iter_mut().filter(|attempt| attempt.broker == number).for_each(Attempt::stop);
        Ok(())
    }

    /// Ends connectors whose time is over.
    fn end_late(&mut self, now: Instant) {
        let late = |attempt: &&mut Attempt| attempt.end.is_some_and(|end| end <= now);
        self.attempts.iter_mut().filter(late).for_each(Attempt::stop);
    }

    /// Notes which connectors have ended; answers for those that did not.
    fn reap(&mut self) -> io::Result<()> {
        while let Ok(Some(_)) = self.deaths.read_signal() {}
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(status) => status,
                Err(error) => return Err(error.into()),
            };
            let place = self.attempts.iter().position(|attempt| Some(attempt.pid) == status.pid());
            let Some(attempt) = place.map(|place| self.attempts.swap_remove(place)) else { continue };
            let Attempt { broker, number, milliseconds, end, .. } = attempt;
            if let Some(reason) = reason::of_death(status, end.is_none(), milliseconds) {
                self.fail(broker, number, reason);
                self.flush(broker)?;
            }
        }
    }
}

impl Attempt {
    /// Ends it. Its process is still to be waited for, so its id is nobody else's.
    fn stop(&mut self) {
        if self.end.take().is_some() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}
