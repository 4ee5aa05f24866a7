//! Connections of the service: how they come, what comes on them, and how they end.

use super::{CONNECTIONS, Service};
use crate::pool::{Broken, Event};
use crate::question::Question;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

impl Service {
    /// Has epoll tell of a connection that was asked for.
    pub(crate) fn connected(
        &mut self,
        epoll: &Epoll,
        wish: u32,
        stream: OwnedFd,
        now: Instant,
    ) -> io::Result<()> {
        let number = self.pool.connected(wish, stream, now).ok_or(io::ErrorKind::InvalidData)?;
        if let Some(connection) = self.pool.get_mut(number) {
            epoll.add(&*connection, EpollEvent::new(connection.awaited, CONNECTIONS | number))?;
        }
        self.note(Event::Connected, now);
        Ok(())
    }

    /// A connection that was asked for cannot be had.
    pub(crate) fn not_connected(&mut self, wish: u32, reason: &str, now: Instant) -> io::Result<()> {
        let reason = mapkeep_log::sanitise(reason.as_bytes(), mapkeep_proto::MAX_REASON);
        if !self.pool.not_connected(wish, &reason, now) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.note(Event::Refused(&reason), now);
        self.give_up();
        Ok(())
    }

    /// The broker has gone: there will be no more connections.
    pub(crate) fn broker_has_gone(&mut self, now: Instant) {
        self.pool.close(now);
        self.give_up();
    }

    /// Answers questions that nothing is on its way for.
    fn give_up(&mut self) {
        let Some(reason) = self.pool.is_hopeless().map(str::to_owned) else { return };
        while let Some(question) = self.again.next(|_| true) {
            self.fail(&question, &reason);
        }
        while self.pool.is_empty() {
            let Some(question) = self.queue.next(|_| true) else { break };
            self.fail(&question, &reason);
        }
    }

    /// epoll has told something of a connection.
    pub(crate) fn receive(
        &mut self,
        epoll: &Epoll,
        number: u64,
        told: EpollFlags,
        scratch: &mut [u8],
        now: Instant,
    ) -> io::Result<()> {
        let Service { pool, askers, .. } = self;
        let Some(connection) = pool.get_mut(number) else { return Ok(()) };
        let mut has_answered = false;
        let received = connection.receive(told, scratch, now, |question, reply| {
            has_answered = true;
            askers.answer(question.asker, question.ticket, &reply.checked(question.manner));
        });
        if has_answered {
            self.note(Event::Answered, now);
        }
        match received {
            Ok(()) => Ok(()),
            Err(broken) => self.close(epoll, number, broken, now),
        }
    }

    /// Closes a connection that is of no use any more. What was in flight on it is asked once more, or fails.
    fn close(&mut self, epoll: &Epoll, number: u64, broken: Broken, now: Instant) -> io::Result<()> {
        let Some(connection) = self.pool.remove(number) else { return Ok(()) };
        epoll.delete(&connection)?;
        let has_answered = connection.has_answered;
        let mut questions = connection.into_questions();
        match broken {
            Broken::LastAnswer => {}
            Broken::Garbage(garbage) => {
                self.note(Event::Garbled(garbage.0), now);
                // It was to be the answer to the first.
                if let Some(question) = questions.next() {
                    self.fail(&question, &format!("the server sent {}", garbage.0));
                }
            }
            Broken::Closed(how) => {
                let mut lost = Vec::new();
                for question in questions.by_ref() {
                    if question.asked_before {
                        lost.push(question);
                    } else {
                        self.wait(Question { asked_before: true, ..question });
                    }
                }
                if !lost.is_empty() {
                    self.note(Event::Lost(how), now);
                    let reason = format!("lost the connection before the answer: {how}");
                    lost.iter().for_each(|question| self.fail(question, &reason));
                    if !has_answered {
                        self.pool.fail(reason, now);
                        self.give_up();
                    }
                }
            }
        }
        questions.for_each(|question| self.wait(Question { asked_before: true, ..question }));
        Ok(())
    }

    /// Answers questions whose time is over, and closes connections that are late or spent.
    pub(crate) fn expire(&mut self, epoll: &Epoll, now: Instant) -> io::Result<()> {
        while let Some(question) = self.queue.expired(now).or_else(|| self.again.expired(now)) {
            let patience = question.table.patience;
            self.fail(&question, &format!("no connection was free within {} ms", patience.as_millis()));
        }
        while let Some((number, patience)) = self.pool.late(now) {
            let Some(connection) = self.pool.remove(number) else { break };
            epoll.delete(&connection)?;
            for question in connection.into_questions() {
                if question.deadline <= now {
                    let patience = question.table.patience;
                    self.fail(&question, &format!("no answer within {} ms", patience.as_millis()));
                } else {
                    self.wait(Question { asked_before: true, ..question });
                }
            }
            self.note(Event::Slow(patience), now);
        }
        while let Some(number) = self.pool.spent(now) {
            self.close(epoll, number, Broken::LastAnswer, now)?;
        }
        Ok(())
    }

    /// Sends what has been asked. Says whether a connection was lost by that, so that something may have to be asked again.
    pub(crate) fn flush(&mut self, epoll: &Epoll, now: Instant) -> io::Result<bool> {
        let mut broken = Vec::new();
        for (number, connection) in self.pool.connections() {
            if let Err(error) = connection.flush() {
                broken.push((number, error));
                continue;
            }
            let wanted = connection.wanted();
            if wanted != connection.awaited {
                connection.awaited = wanted;
                epoll.modify(&*connection, &mut EpollEvent::new(wanted, CONNECTIONS | number))?;
            }
        }
        let has_lost = !broken.is_empty();
        broken.into_iter().try_for_each(|(number, error)| self.close(epoll, number, error, now))?;
        Ok(has_lost)
    }
}
