//! One connection to the backend, and what is in flight on it.

use crate::engine::{Engine, Garbage, Lifetime, Reply};
use crate::question::Question;
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, recv, send};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The other end has closed its side.
const ENDS: EpollFlags = EpollFlags::EPOLLRDHUP.union(EpollFlags::EPOLLHUP).union(EpollFlags::EPOLLERR);
/// Bytes of output whose buffer is kept when all of them have been sent.
const KEPT: usize = 64 << 10;

/// A connection.
pub(crate) struct Connection {
    stream: OwnedFd,
    engine: Box<dyn Engine>,
    output: Vec<u8>,
    in_flight: VecDeque<InFlight>,
    opened: Instant,
    /// When it was asked or has answered last.
    used: Instant,
    /// An answer has come on it.
    pub(crate) has_answered: bool,
    /// It has been asked.
    has_asked: bool,
    /// The other end has closed its side: it is asked no more.
    ends: bool,
    /// What epoll tells of.
    pub(crate) awaited: EpollFlags,
}

/// A question whose answer has not come.
struct InFlight {
    /// Nothing if nobody asks it any more; its answer comes nevertheless.
    question: Option<Question>,
    deadline: Instant,
    /// How long it could wait.
    patience: Duration,
}

/// Why a connection is of no use any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The other end has closed it, or the network has.
    Closed(&'static str),
    /// What came is no answer.
    Garbage(Garbage),
    /// The answer that came is the last.
    LastAnswer,
}

impl Connection {
    /// A new connection; its socket must be non-blocking.
    pub(super) fn new(stream: OwnedFd, mut engine: Box<dyn Engine>, now: Instant) -> Connection {
        let mut output = Vec::new();
        engine.begin(&mut output);
        Connection {
            stream,
            engine,
            output,
            in_flight: VecDeque::new(),
            opened: now,
            used: now,
            has_answered: false,
            has_asked: false,
            ends: false,
            awaited: EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP,
        }
    }

    /// Whether it can be asked one more question; with `fresh`, only if it never was asked one.
    pub(super) fn has_room(&self, fresh: bool) -> bool {
        !self.ends && self.engine.room() > 0 && !(fresh && self.has_asked)
    }

    /// How good a choice it is: the one with less in flight, then the one that was used last, so that others become idle.
    pub(super) fn rank(&self) -> (std::cmp::Reverse<usize>, Instant) {
        (std::cmp::Reverse(self.in_flight.len()), self.used)
    }

    /// Asks a question.
    pub(super) fn ask(&mut self, question: Question, now: Instant) {
        self.engine.ask(&question.table.template, &question.key, &mut self.output);
        self.used = now;
        self.has_asked = true;
        let (deadline, patience) = (question.deadline, question.table.patience);
        self.in_flight.push_back(InFlight { question: Some(question), deadline, patience });
    }

    /// epoll has told something: reads once, and gives answers that have come to `answer`.
    pub(crate) fn receive(
        &mut self,
        told: EpollFlags,
        scratch: &mut [u8],
        now: Instant,
        mut answer: impl FnMut(Question, Reply),
    ) -> Result<(), Broken> {
        self.ends |= told.intersects(ENDS);
        if told == EpollFlags::EPOLLOUT {
            return Ok(());
        }
        let length = match recv(self.stream.as_raw_fd(), scratch, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Err(Broken::Closed("the server closed it")),
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(error) => return Err(Broken::Closed(error.desc())),
        };
        let mut input = scratch.get(..length).unwrap_or_default();
        while !input.is_empty() {
            let came = self.engine.receive(&mut input, &mut self.output).map_err(Broken::Garbage)?;
            let Some(came) = came else { break };
            let Some(asked) = self.in_flight.pop_front() else {
                return Err(Broken::Garbage(Garbage("an answer to no question")));
            };
            self.used = now;
            self.has_answered = true;
            if let Some(question) = asked.question {
                answer(question, came.reply);
            }
            if came.ends {
                return Err(Broken::LastAnswer);
            }
        }
        Ok(())
    }

    /// Sends what the socket has room for.
    pub(crate) fn flush(&mut self) -> Result<(), Broken> {
        let (mut sent, flags) = (0, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
        let ended = loop {
            let rest = self.output.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match send(self.stream.as_raw_fd(), rest, flags) {
                Ok(count) => sent = sent.saturating_add(count),
                Err(Errno::EAGAIN) => break Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => break Err(Broken::Closed(error.desc())),
            }
        };
        self.output.drain(..sent.min(self.output.len()));
        if self.output.is_empty() && self.output.capacity() > KEPT {
            self.output = Vec::new();
        }
        ended
    }

    /// What epoll is to tell of.
    pub(crate) fn wanted(&self) -> EpollFlags {
        let mut wanted = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        wanted.set(EpollFlags::EPOLLOUT, !self.output.is_empty());
        wanted
    }

    /// Nobody asks a question of this asker any more, or none of its questions. Its answer is read and dropped.
    pub(crate) fn forget(&mut self, asker: u64, ticket: Option<u32>) {
        for asked in &mut self.in_flight {
            let is_meant = |question: &Question| {
                question.asker == asker && ticket.is_none_or(|ticket| question.ticket == ticket)
            };
            asked.question = asked.question.take().filter(|question| !is_meant(question));
        }
    }

    /// How long a question on it could wait that is not answered in time, if there is one.
    pub(crate) fn is_late(&self, now: Instant) -> Option<Duration> {
        self.in_flight.iter().find(|asked| asked.deadline <= now).map(|asked| asked.patience)
    }

    /// When it has to be looked at: an answer is late, or it has been open for long enough.
    pub(super) fn next_moment(&self, lifetime: Lifetime) -> Option<Instant> {
        match self.in_flight.iter().map(|asked| asked.deadline).min() {
            Some(deadline) => Some(deadline),
            None => {
                let idle = lifetime.idle.and_then(|idle| self.used.checked_add(idle));
                let age = lifetime.age.and_then(|age| self.opened.checked_add(age));
                idle.into_iter().chain(age).min()
            }
        }
    }

    /// Whether nothing is in flight on it.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The questions that were in flight, in order.
    pub(crate) fn into_questions(self) -> impl Iterator<Item = Question> {
        self.in_flight.into_iter().filter_map(|asked| asked.question)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
