//! The rules worker: answers lookup workers for tables of which an answer can take long.
//!
//! It has no clients. Lookup workers send questions on streams; the answers go back in whatever order they come to be known.
//!
//! May: read and write streams that it was handed, map snapshots that it was handed. Never: open, connect, execute, or
//! take the word of a lookup worker for more than a question.

mod answering;
mod pace;
#[cfg(test)]
mod tests;

use crate::Broker;
use crate::contents::Contents;
use crate::loading::{LONG_STEP, Loading, STEP};
use answering::Waiting;
pub(crate) use answering::left;
use mapkeep_process::broker::{BROKER, Incoming};
use mapkeep_process::sleep_until;
use mapkeep_proto::{Answer, BrokerToLookup, DecodeError, Duty, LookupToBroker, TableId, decode_names};
use mapkeep_sandbox::Confined;
use mapkeep_sys::channel::Channel;
use mapkeep_sys::deadline;
use mapkeep_sys::mapping::Mapping;
use mapkeep_worker_answering::{Asker, Gone, Taken};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use pace::{Pace, Turn, Who};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes read from an asker in one go: what a socket holds by default of questions with keys as long as addresses.
const CHUNK: usize = 64 << 10;
/// Events taken in one go. There are 64 askers at most.
const EVENTS: usize = 128;
/// How long questions are answered before it is looked whether others have come, which may go first. A lookup that has
/// begun is ended.
const SLICE: Duration = Duration::from_millis(3);
/// How long answers may wait for each other, to be sent in one go.
const TOGETHER: Duration = Duration::from_micros(200);

/// The other end is closed, and what it is sent is read by nobody.
const ENDS: EpollFlags = EpollFlags::EPOLLHUP.union(EpollFlags::EPOLLERR);

/// Where a question waits: for which table, and in which place.
type InLine = (TableId, pace::Place);

/// A rules worker's state.
pub(crate) struct RulesWorker {
    broker: Broker,
    epoll: Epoll,
    contents: Contents,
    loading: Loading,
    /// By the number that stands for each in epoll's events; each number is given once.
    askers: BTreeMap<u64, Asker<InLine>>,
    last: u64,
    pace: Pace<Waiting>,
    /// It leaves with the last asker.
    draining: bool,
    scratch: Vec<u8>,
    value: Vec<u8>,
    clock: fn() -> Instant,
}

impl RulesWorker {
    /// A worker that has received nothing from its broker yet.
    pub(crate) fn new(broker: Channel, epoll: Epoll) -> io::Result<RulesWorker> {
        Ok(RulesWorker {
            broker: Broker::new(broker, &epoll)?,
            epoll,
            contents: Contents::default(),
            loading: Loading::default(),
            askers: BTreeMap::new(),
            last: BROKER,
            pace: Pace::default(),
            draining: false,
            scratch: vec![0; CHUNK],
            value: Vec::new(),
            clock: Instant::now,
        })
    }

    /// Serves until the last asker has gone after the broker has said so, or has gone itself. Demands the proof of
    /// lock-down.
    pub(crate) fn run(&mut self, _confined: &Confined) -> io::Result<()> {
        while self.round(self.sleep())? {}
        Ok(())
    }

    /// Waits for something to do, at most for `timeout`, and does it. False when there is nothing left to be done.
    fn round(&mut self, timeout: EpollTimeout) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut broker = false;
        for event in events.iter().take(count) {
            match event.data() {
                BROKER => broker = true,
                asker => self.receive(asker, event.events())?,
            }
        }
        self.serve()?;
        if broker {
            self.receive_from_broker()?;
        }
        let time = if self.askers.is_empty() { LONG_STEP } else { STEP };
        self.loading.go_on(&mut self.contents, &mut self.broker, time)?;
        self.broker.watch(&self.epoll)?;
        Ok(!(self.draining && self.askers.is_empty()))
    }

    fn sleep(&self) -> EpollTimeout {
        let now = (self.clock)();
        let loads = (!self.loading.is_empty() && !self.broker.has_unsaid()).then_some(now);
        let question = self.pace.next_moment(now, |asker| self.askers.get(&asker).is_some_and(Asker::reads));
        sleep_until(loads.into_iter().chain(question), now)
    }

    /// An asker has sent something, or has room, or has gone.
    fn receive(&mut self, number: u64, told: EpollFlags) -> io::Result<()> {
        let RulesWorker { askers, scratch, .. } = self;
        let Some(asker) = askers.get_mut(&number) else { return Ok(()) };
        let mut received = if told.intersects(ENDS) { Err(Gone::Closed) } else { Ok(()) };
        if told.contains(EpollFlags::EPOLLOUT) {
            received = received.and_then(|()| asker.flush());
        }
        if told.contains(EpollFlags::EPOLLIN) {
            received = received.and_then(|()| asker.read(scratch));
        }
        self.go_on_with(number, received)
    }

    /// Takes the questions of an asker that have come, and has epoll tell of what it is to do next; or lets it go.
    fn go_on_with(&mut self, number: u64, received: Result<(), Gone>) -> io::Result<()> {
        let RulesWorker { askers, pace, contents, epoll, clock, .. } = self;
        let Some(asker) = askers.get_mut(&number) else { return Ok(()) };
        let now = clock();
        let sorted = received.and_then(|()| sort(number, asker, contents, pace, now));
        match sorted {
            Ok(()) if asker.wanted() == asker.awaited => Ok(()),
            Ok(()) => {
                asker.awaited = asker.wanted();
                Ok(epoll.modify(&*asker, &mut EpollEvent::new(asker.awaited, number))?)
            }
            Err(gone) => {
                if let Gone::Garbage(error) = gone {
                    tracing::warn!(
                        "a lookup worker sent an invalid question ({error}) -- closing its stream"
                    );
                }
                epoll.delete(&*asker)?;
                askers.remove(&number);
                pace.forget(number);
                Ok(())
            }
        }
    }

    /// Answers questions for a while, and sends the answers.
    fn serve(&mut self) -> io::Result<()> {
        let RulesWorker { askers, pace, contents, value, clock, .. } = self;
        let began = clock();
        pace.tidy(began);
        let (mut now, mut sent) = (began, began);
        while !deadline::has_passed(began, SLICE, now) {
            let reads = |asker: u64| askers.get(&asker).is_some_and(Asker::reads);
            let Some(Turn { table, who, mut question }) = pace.next(now, reads) else { break };
            if deadline::has_passed(sent, TOGETHER, now) || !pace.is_quick(table) {
                // An error is met again, and dealt with, at the end.
                askers.values_mut().for_each(|asker| drop(asker.flush()));
                sent = now;
            }
            let outcome = question.answer(table, contents, *clock, value);
            let ended = clock();
            pace.ended(table, who, ended.saturating_duration_since(now), ended);
            now = ended;
            let Some(asker) = askers.get_mut(&who.asker) else { continue };
            if let Some(outcome) = outcome {
                let mut reason = String::new();
                let answered = answering::answered(&outcome, value, &mut reason);
                asker.answer(&Answer { ticket: question.ticket, answered });
            } else {
                let ticket = question.ticket;
                asker.waits_at(ticket, (table, pace.join(table, who, question, now)));
            }
        }
        let askers: Vec<u64> = self.askers.keys().copied().collect();
        askers.into_iter().try_for_each(|number| {
            let flushed = self.askers.get_mut(&number).map_or(Ok(()), Asker::flush);
            self.go_on_with(number, flushed)
        })
    }

    /// Takes what the broker has sent, up to the first answer that has no room.
    fn receive_from_broker(&mut self) -> io::Result<()> {
        loop {
            match self.broker.receive()? {
                Incoming::Message(message, freight) => self.obey(message, freight)?,
                Incoming::Nothing => return Ok(()),
                Incoming::Gone => {
                    // Lookup workers answer what has arrived before they leave, and need us for it.
                    self.draining = true;
                    return self.broker.forget(&self.epoll);
                }
            }
        }
    }

    fn obey(&mut self, message: BrokerToLookup, freight: Option<OwnedFd>) -> io::Result<()> {
        match (message, freight) {
            (BrokerToLookup::Names { size, .. }, Some(names)) => {
                let block = Mapping::of(names.as_fd(), size)?;
                let names = decode_names(block.as_ref()).map_err(io::Error::other)?;
                self.contents = Contents::new(names, |kind| Duty::of(kind) == Duty::Rules);
                self.broker.say(LookupToBroker::Ready)
            }
            (BrokerToLookup::Snapshot { id, generation, size, .. }, Some(content)) => {
                let given_up = self.loading.begin(id, generation, content.as_fd(), size);
                given_up.map_or(Ok(()), |message| self.broker.say(message))
            }
            (BrokerToLookup::Asker, Some(stream)) => {
                self.last = self.last.saturating_add(1);
                let asker = Asker::new(stream);
                self.epoll.add(&asker, EpollEvent::new(asker.awaited, self.last))?;
                self.askers.insert(self.last, asker);
                Ok(())
            }
            (BrokerToLookup::Unavailable { id, reason }, _) => {
                self.contents.unavailable(id, reason);
                Ok(())
            }
            (BrokerToLookup::Finish, _) => {
                self.draining = true;
                Ok(())
            }
            (BrokerToLookup::Ping(number), _) => {
                self.contents.tidy();
                self.broker.say(LookupToBroker::Pong(number))
            }
            // We have no clients, and ask nobody.
            (BrokerToLookup::Client | BrokerToLookup::Answerer(_) | BrokerToLookup::Routed { .. }, _)
            | (_, None) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Puts the questions of an asker that have come in line, as far as they may wait there.
fn sort(
    number: u64,
    asker: &mut Asker<InLine>,
    contents: &Contents,
    pace: &mut Pace<Waiting>,
    now: Instant,
) -> Result<(), Gone> {
    while let Some(taken) = asker.take()? {
        match taken {
            // It knows the same list of tables.
            Taken::Question(question) if contents.kind(question.table).is_none() => {
                return Err(Gone::Garbage(DecodeError::Field));
            }
            Taken::Question(question) => {
                let (ticket, table) = (question.ticket, question.table);
                let who = Who { asker: number, client: question.client };
                asker.waits_at(ticket, (table, pace.join(table, who, Waiting::new(question), now)));
            }
            Taken::Withdrawn { place: (table, place), .. } => drop(pace.withdraw(table, number, place)),
        }
    }
    Ok(())
}
