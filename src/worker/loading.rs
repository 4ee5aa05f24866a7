//! Contents on their way into use: mapped, put in large pages, indexed, in steps between requests.
//!
//! May: keep mappings. Never: let a content keep clients waiting for longer than a step.

use crate::catalogue::Catalogue;
use mapkeep_proto::{LookupToBroker, TableId};
use mapkeep_sys::mapping::{Mapping, Settling};
use mapkeep_table::{Complaint, Opened, Opening, Table, TableError};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

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

    /// Begins with a content; the descriptor is not kept. One of the same table that is on its way is given up, and what is
    /// to be said of that is returned.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub(crate) fn begin(
        &mut self,
        id: TableId,
        generation: u32,
        memfd: BorrowedFd<'_>,
        size: u64,
    ) -> io::Result<Option<LookupToBroker>> {
        let stage = Stage::Settling(Mapping::in_large_pages(memfd, size)?);
        let load = Load { id, generation, stage, complaints: Vec::new() };
        if let Some(before) = self.0.iter_mut().find(|before| before.id == id) {
            let before = std::mem::replace(before, load);
            return Ok(Some(LookupToBroker::Rejected { id, generation: before.generation }));
        }
        self.0.push_back(load);
        Ok(None)
    }

    /// Goes on with the first content until `enough` says so. Says what has become of it when it has come to its end.
    pub(crate) fn step(
        &mut self,
        catalogue: &mut Catalogue,
        enough: &dyn Fn() -> bool,
    ) -> Option<LookupToBroker> {
        let load = self.0.pop_front()?;
        match load.step(catalogue, enough) {
            Came::Here(load) => {
                self.0.push_front(load);
                None
            }
            Came::Table(id, generation, opened, complaints) => {
                Some(match catalogue.take(id, opened, &complaints) {
                    true => LookupToBroker::Loaded { id, generation },
                    false => LookupToBroker::Rejected { id, generation },
                })
            }
        }
    }
}

impl Load {
    fn step(self, catalogue: &Catalogue, enough: &dyn Fn() -> bool) -> Came {
        let Load { id, generation, mut stage, mut complaints } = self;
        let opened = loop {
            stage = match stage {
                Stage::Settling(mut settling) => match (settling.step(), catalogue.kind(id)) {
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
