//! From a question to its answer: what is answered at once, what waits, what is asked on which connection.

mod connections;

use crate::askers::Askers;
use crate::engine::Reply;
use crate::pool::{Event, Health, Line, Pool};
use crate::question::{Question, Spot};
use crate::queue::{Joined, Queue, WAITING};
use crate::tables::Tables;
use mapkeep_proto::{Backend, NoAnswer};
use mapkeep_sys::deadline::after;
use mapkeep_worker_answering::{Gone, Pending, Taken};
use nix::sys::epoll::Epoll;
use std::io;
use std::time::Instant;

/// From here on numbers in epoll's events are those of connections, counted from it; below are those of askers.
pub(crate) const CONNECTIONS: u64 = 1 << 63;

/// What a gateway has once it knows its backend.
pub(crate) struct Service {
    pub(crate) tables: Tables,
    pub(crate) askers: Askers,
    pub(crate) pool: Pool,
    health: Health,
    /// Questions that wait for any connection,
    queue: Queue<Question>,
    /// and those that were lost with a connection, and wait for a fresh one.
    again: Queue<Question>,
}

impl Service {
    pub(crate) fn new(backend: Backend, seed: u64, now: Instant) -> Service {
        let health = Health::new(backend.title.clone(), now);
        let (tables, askers, pool) = (Tables::default(), Askers::default(), Pool::new(backend, seed));
        Service { tables, askers, pool, health, queue: Queue::default(), again: Queue::default() }
    }

    /// Takes the questions of an asker that have come. Says how many.
    pub(crate) fn take_questions(&mut self, number: u64, now: Instant) -> Result<usize, Gone> {
        let mut count = 0_usize;
        while let Some(taken) = self.askers.take(number)? {
            count = count.saturating_add(1);
            match taken {
                Taken::Question(question) => self.judge(number, question, now),
                Taken::Withdrawn { place: Spot::Waits(place), .. } => drop(self.queue.remove(place)),
                Taken::Withdrawn { place: Spot::WaitsForFresh(place), .. } => drop(self.again.remove(place)),
                Taken::Withdrawn { ticket, place: Spot::Asked(connection) } => {
                    if let Some(connection) = self.pool.get_mut(connection) {
                        connection.forget(number, Some(ticket));
                    }
                }
            }
        }
        Ok(count)
    }

    /// Answers a question at once, or puts it in line.
    fn judge(&mut self, asker: u64, pending: Pending, now: Instant) {
        let Pending { ticket, table, client, asked } = pending;
        let Some(table) = self.tables.get(table) else {
            let reason = "the gateway has no settings of it".to_owned();
            return self.askers.answer(asker, ticket, &Reply::Failed(NoAnswer::Unavailable, reason));
        };
        let Some((key, manner)) = asked else {
            return self.askers.answer(asker, ticket, &Reply::Absent);
        };
        if let Some(remark) = table.template.absent(&key) {
            tracing::warn!(subject = table.name.as_str(), "table {}: {remark}", table.name);
            return self.askers.answer(asker, ticket, &Reply::Absent);
        }
        if let Some(reason) = self.pool.refuses(now) {
            return self.askers.answer(asker, ticket, &later(reason));
        }
        let deadline = after(now, table.patience);
        let table = table.clone();
        self.wait(Question { asker, ticket, client, table, key, manner, deadline, asked_before: false });
    }

    /// Puts a question in line.
    fn wait(&mut self, question: Question) {
        let Question { asker, ticket, client, deadline, asked_before, .. } = question;
        let queue = if asked_before { &mut self.again } else { &mut self.queue };
        let (place, refused) = match queue.join(asker, client, deadline, question) {
            Joined::Waits(place) => (Some(place), None),
            Joined::Instead(place, refused) => (Some(place), Some(refused)),
            Joined::Full(refused) => (None, Some(refused)),
        };
        if let Some(place) = place {
            let spot = if asked_before { Spot::WaitsForFresh(place) } else { Spot::Waits(place) };
            self.askers.is_at(asker, ticket, spot);
        }
        if let Some(refused) = refused {
            let (name, title) = (&refused.table.name, &self.pool.backend.title);
            tracing::warn!(
                subject = name.as_str(),
                "table {name}: {WAITING} questions wait for {title} already, and more are temporary errors -- its server is \
                 slower than it is asked"
            );
            self.fail(&refused, &format!("{WAITING} questions wait already"));
        }
    }

    /// Asks what can be asked; `wish` asks for connections.
    pub(crate) fn dispatch(
        &mut self,
        now: Instant,
        mut wish: impl FnMut(u32, u16) -> io::Result<()>,
    ) -> io::Result<()> {
        for fresh in [true, false] {
            while let Some(connection) = self.pool.has_room(fresh) {
                let askers = &self.askers;
                let queue = if fresh { &mut self.again } else { &mut self.queue };
                let Some(question) = queue.next(|asker| askers.reads(asker)) else { break };
                self.askers.is_at(question.asker, question.ticket, Spot::Asked(connection));
                self.pool.ask(connection, question, now);
            }
        }
        while let Some((number, host)) = self.pool.wish(self.waiting(), now) {
            wish(number, host)?;
        }
        Ok(())
    }

    /// An asker has gone, with all that it has asked.
    pub(crate) fn forget(&mut self, epoll: &Epoll, asker: u64, gone: &Gone) -> io::Result<()> {
        self.askers.remove(epoll, asker, gone)?;
        self.queue.forget(asker);
        self.again.forget(asker);
        self.pool.connections().for_each(|(_, connection)| connection.forget(asker, None));
        Ok(())
    }

    /// When something has to be done.
    pub(crate) fn moments(&self) -> impl Iterator<Item = Instant> {
        let ends = [self.queue.next_end(), self.again.next_end(), self.pool.next_moment(self.waiting())];
        ends.into_iter().chain([self.health.due()]).flatten()
    }

    /// How many questions wait.
    fn waiting(&self) -> usize {
        self.queue.len().saturating_add(self.again.len())
    }

    fn fail(&mut self, question: &Question, reason: &str) {
        self.askers.answer(question.asker, question.ticket, &later(reason));
    }

    fn note(&mut self, event: Event<'_>, now: Instant) {
        tell(self.health.note(event, now));
    }

    /// Writes what is to be told of changes that were left out.
    pub(crate) fn settle(&mut self, now: Instant) {
        tell(self.health.left_out(now));
    }
}

fn later(reason: &str) -> Reply {
    Reply::Failed(NoAnswer::Later, reason.to_owned())
}

fn tell(line: Option<Line>) {
    match line {
        Some(Line::Info(text)) => tracing::info!("{text}"),
        Some(Line::Warning(text)) => tracing::warn!("{text}"),
        None => {}
    }
}
