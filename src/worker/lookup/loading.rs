//! Contents on their way into use: mapped, put in large pages, indexed, in steps between requests.
//!
//! May: keep mappings. Never: let a content keep clients waiting for longer than a step.

use crate::Broker;
use crate::contents::Contents;
use mapkeep_proto::{LookupToBroker, TableId};
use mapkeep_query::TableError;
use mapkeep_sys::mapping::{Mapping, Settling};
use mapkeep_table_format::Complaint;
use mapkeep_table_lookup::{Opened, Opening, Table};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// How long contents are loaded before others are served again;
pub(crate) const STEP: Duration = Duration::from_millis(2);
/// and while there is nobody but the broker, which is read from each time.
pub(crate) const LONG_STEP: Duration = Duration::from_millis(50);

/// All of them, in the order in which they came, which is that in which they are loaded and answered.
#[derive(Debug, Default)]
pub(crate) struct Loading(VecDeque<Load>);

#[derive(Debug)]
struct Load {
    id: TableId,
    generation: u32,
    stage: Stage,
    complaints: Vec<Complaint>,
}

#[derive(Debug)]
enum Stage {
    Settling(Settling),
    Opening(Box<Opening<Mapping>>),
}

/// How far a content has come.
enum Came {
    /// There is more to do.
    Here(Load),
    Table(TableId, u32, Result<Table<Mapping>, TableError>, Vec<Complaint>),
}

impl Loading {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Begins with a content; the descriptor is not kept. What is to be said of one that is given up: one of the same table
    /// that is on its way, or this one if it cannot be mapped.
    pub(crate) fn begin(
        &mut self,
        id: TableId,
        generation: u32,
        memfd: BorrowedFd<'_>,
        size: u64,
    ) -> Option<LookupToBroker> {
        let stage = match Mapping::in_large_pages(memfd, size) {
            Ok(settling) => Stage::Settling(settling),
            Err(error) => {
                tracing::error!("cannot map the content of table {}: {error}", id.0);
                return Some(LookupToBroker::Rejected { id, generation });
            }
        };
        let load = Load { id, generation, stage, complaints: Vec::new() };
        if let Some(before) = self.0.iter_mut().find(|before| before.id == id) {
            let before = std::mem::replace(before, load);
            return Some(LookupToBroker::Rejected { id, generation: before.generation });
        }
        self.0.push_back(load);
        None
    }

    /// Goes on with contents for so long, and tells the broker what has become of them, as long as its channel has room.
    ///
    /// # Errors
    /// As [`Broker::say`].
    pub(crate) fn go_on(
        &mut self,
        contents: &mut Contents,
        broker: &mut Broker,
        time: Duration,
    ) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let enough = || began.elapsed() >= time;
        while !self.is_empty() && !enough() && !broker.has_unsaid() {
            if let Some(answer) = self.step(contents, &enough) {
                broker.say(answer)?;
            }
        }
        Ok(())
    }

    /// Goes on with the first content until `enough` says so. Says what has become of it when it has come to its end.
    fn step(&mut self, contents: &mut Contents, enough: &dyn Fn() -> bool) -> Option<LookupToBroker> {
        let load = self.0.pop_front()?;
        match load.step(contents, enough) {
            Came::Here(load) => {
                self.0.push_front(load);
                None
            }
            Came::Table(id, generation, opened, complaints) => {
                Some(match contents.take(id, opened, &complaints) {
                    true => LookupToBroker::Loaded { id, generation },
                    false => LookupToBroker::Rejected { id, generation },
                })
            }
        }
    }
}

impl Load {
    fn step(self, contents: &Contents, enough: &dyn Fn() -> bool) -> Came {
        let Load { id, generation, mut stage, mut complaints } = self;
        let opened = loop {
            stage = match stage {
                Stage::Settling(mut settling) => match (settling.step(), contents.kind(id)) {
                    (false, _) => Stage::Settling(settling),
                    (true, Some(kind)) => Stage::Opening(Box::new(Opening::new(kind, settling.finish()))),
                    (true, None) => break Err(TableError::WrongKind),
                },
                Stage::Opening(opening) => match opening.step(&mut complaints, enough) {
                    Ok(Opened::Later(opening)) => Stage::Opening(Box::new(opening)),
                    Ok(Opened::Table(table)) => break Ok(table),
                    Err(error) => break Err(error),
                },
            };
            if enough() {
                return Came::Here(Load { id, generation, stage, complaints });
            }
        };
        Came::Table(id, generation, opened, complaints)
    }
}

#[cfg(test)]
mod tests;
