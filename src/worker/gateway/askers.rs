//! The lookup workers that ask.
//!
//! What they send is read as a client's bytes are. May: read and write their streams. Never: wait for one of them.

use crate::engine::Reply;
use crate::question::{Spot, answered};
use mapkeep_proto::Answer;
use mapkeep_worker_answering::{Asker, Gone, Taken};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

/// The other end is closed, and what it is sent is read by nobody.
const ENDS: EpollFlags = EpollFlags::EPOLLHUP.union(EpollFlags::EPOLLERR);

/// All of them, by the number that stands for each in epoll's events; each number is given once.
#[derive(Debug, Default)]
pub(crate) struct Askers {
    known: BTreeMap<u64, Asker<Spot>>,
    last: u64,
}

impl Askers {
    /// One more asks on this stream.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn add(&mut self, epoll: &Epoll, stream: OwnedFd) -> io::Result<()> {
        // The number 0 is the broker's.
        self.last = self.last.saturating_add(1);
        let asker = Asker::new(stream);
        epoll.add(&asker, EpollEvent::new(asker.awaited, self.last))?;
        self.known.insert(self.last, asker);
        Ok(())
    }

    /// epoll has told something of an asker: sends what it has room for, and reads once. An error is met again when its
    /// questions are taken.
    pub(crate) fn receive(&mut self, number: u64, told: EpollFlags, scratch: &mut [u8]) -> Result<(), Gone> {
        let Some(asker) = self.known.get_mut(&number) else { return Ok(()) };
        if told.intersects(ENDS) {
            return Err(Gone::Closed);
        }
        if told.contains(EpollFlags::EPOLLOUT) {
            asker.flush()?;
        }
        if told.contains(EpollFlags::EPOLLIN) { asker.read(scratch) } else { Ok(()) }
    }

    /// What an asker has sent next, as far as more of it may wait.
    pub(crate) fn take(&mut self, number: u64) -> Result<Option<Taken<Spot>>, Gone> {
        self.known.get_mut(&number).map_or(Ok(None), Asker::take)
    }

    /// Where a question is now.
    pub(crate) fn is_at(&mut self, asker: u64, ticket: u32, spot: Spot) {
        if let Some(asker) = self.known.get_mut(&asker) {
            asker.waits_at(ticket, spot);
        }
    }

    /// Answers a question.
    pub(crate) fn answer(&mut self, asker: u64, ticket: u32, reply: &Reply) {
        if let Some(asker) = self.known.get_mut(&asker) {
            asker.answer(&Answer { ticket, answered: answered(reply) });
        }
    }

    /// Sends what an asker has room for.
    pub(crate) fn flush(&mut self, number: u64) -> Result<(), Gone> {
        self.known.get_mut(&number).map_or(Ok(()), Asker::flush)
    }

    /// Whether an asker reads its answers, so that it may have more.
    pub(crate) fn reads(&self, number: u64) -> bool {
        self.known.get(&number).is_some_and(Asker::reads)
    }

    /// Has epoll tell of what each asker is to do next.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn watch(&mut self, epoll: &Epoll) -> io::Result<()> {
        for (number, asker) in &mut self.known {
            let wanted = asker.wanted();
            if wanted != asker.awaited {
                asker.awaited = wanted;
                epoll.modify(&*asker, &mut EpollEvent::new(wanted, *number))?;
            }
        }
        Ok(())
    }

    /// Lets an asker go.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn remove(&mut self, epoll: &Epoll, number: u64, gone: &Gone) -> io::Result<()> {
        if let Gone::Garbage(error) = gone {
            tracing::warn!("a lookup worker sent an invalid question ({error}) -- closing its stream");
        }
        match self.known.remove(&number) {
            Some(asker) => Ok(epoll.delete(&asker)?),
            None => Ok(()),
        }
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.known.keys().copied().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
