//! When checkpoints are written, and how far the one in progress has come: one at a time, in bounded steps.
//!
//! May: have a store write into the file that the broker made for it. Never: wait. What goes wrong here loses nothing:
//! everything that clients were told is in the store.

mod plan;
#[cfg(test)]
mod tests;

use crate::engine::{Saver, Stage};
use crate::tables::Tables;
use mapkeep_proto::{TableId, WriterToBroker};
use mapkeep_table_store::StoreError;
use plan::Plan;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// When there is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    At(Instant),
    /// Not before something happens.
    Later,
}

/// The checkpoint in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    None,
    /// The broker has been asked for a file. It always answers.
    Asked(TableId, Instant),
    Writing(TableId, Instant),
    /// The broker has been asked to put the file in place. It always answers.
    Placing(TableId, Instant),
}

/// What follows for the loop.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// To be sent to the broker.
    pub(crate) say: Option<WriterToBroker>,
    /// This table's store has turned out to be damaged.
    pub(crate) damaged: Option<(TableId, StoreError)>,
}

/// All checkpoints.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    plans: BTreeMap<TableId, Plan>,
    work: Work,
    finishing: bool,
    /// A checkpoint of every table has been requested, including those that open later.
    all_wanted: bool,
}

impl Checkpoints {
    pub(crate) fn new() -> Checkpoints {
        Checkpoints { plans: BTreeMap::new(), work: Work::None, finishing: false, all_wanted: false }
    }

    /// A table has been opened, or its file has been read again. `wanted`: it has no good file.
    pub(crate) fn opened(&mut self, id: TableId, tables: &Tables, wanted: bool, now: Instant) {
        let Some(unsaved) = with(tables, id, |saver| saver.unsaved()) else { return };
        let plan = self.plans.entry(id).or_default();
        if wanted || self.all_wanted {
            plan.want(now);
        }
        if unsaved {
            plan.changed(now);
        }
    }

    /// Entries of a table have changed durably.
    pub(crate) fn changed(&mut self, id: TableId, now: Instant) {
        if let Some(plan) = self.plans.get_mut(&id) {
            plan.changed(now);
        }
    }

    /// Requests a checkpoint of every table, whether or not it has changed.
    pub(crate) fn want_all(&mut self, now: Instant) {
        self.all_wanted = true;
        for plan in self.plans.values_mut() {
            plan.want(now);
        }
    }

    /// From now on what has changed is due at once, and what fails is not tried again.
    pub(crate) fn finish(&mut self) {
        self.finishing = true;
        for plan in self.plans.values_mut() {
            plan.finish();
        }
    }

    /// Whether all checkpoints that can be written are written.
    pub(crate) fn is_done(&self) -> bool {
        self.work == Work::None && self.plans.values().all(|plan| plan.due(self.finishing).is_none())
    }

    /// Whether no checkpoint is in progress.
    pub(crate) fn is_idle(&self) -> bool {
        self.work == Work::None
    }

    /// When [`Checkpoints::go_on`] has something to do.
    pub(crate) fn next(&self, now: Instant) -> When {
        match self.work {
            Work::Writing(..) => When::Now,
            Work::Asked(..) | Work::Placing(..) => When::Later,
            Work::None => match self.plans.values().filter_map(|plan| plan.due(self.finishing)).min() {
                Some(due) if due <= now => When::Now,
                Some(due) => When::At(due),
                None => When::Later,
            },
        }
    }

    /// Takes one step: begins the checkpoint that is most overdue, or continues the one in progress.
    pub(crate) fn go_on(&mut self, tables: &Tables, now: Instant) -> Effect {
        match self.work {
            Work::None => {
                let due = self.plans.iter().filter_map(|(id, plan)| Some((plan.due(self.finishing)?, *id)));
                let Some((_, id)) = due.filter(|(due, _)| *due <= now).min() else {
                    return Effect::default();
                };
                self.work = Work::Asked(id, now);
                say(WriterToBroker::WantNew(id))
            }
            Work::Asked(..) | Work::Placing(..) => Effect::default(),
            Work::Writing(id, began) => match with(tables, id, |saver| saver.step()) {
                Some(Ok(Stage::More)) => Effect::default(),
                Some(Ok(Stage::Whole)) => {
                    self.work = Work::Placing(id, began);
                    say(WriterToBroker::Replace(id))
                }
                Some(Err(error)) => self.discard(tables, id, error, now),
                None => {
                    self.work = Work::None;
                    say(WriterToBroker::Discard(id))
                }
            },
        }
    }

    /// The broker has made an empty file.
    pub(crate) fn file(&mut self, tables: &Tables, id: TableId, file: OwnedFd, now: Instant) -> Effect {
        let Work::Asked(asked, began) = self.work else { return say(WriterToBroker::Discard(id)) };
        if asked != id {
            return say(WriterToBroker::Discard(id));
        }
        match with(tables, id, |saver| saver.begin(file)) {
            Some(Ok(())) => {
                self.work = Work::Writing(id, began);
                if let Some(plan) = self.plans.get_mut(&id) {
                    plan.begun();
                }
                Effect::default()
            }
            Some(Err(error)) => self.discard(tables, id, error, now),
            None => {
                self.work = Work::None;
                say(WriterToBroker::Discard(id))
            }
        }
    }

    /// The broker has put the file in place.
    pub(crate) fn placed(&mut self, tables: &Tables, id: TableId, now: Instant) -> Effect {
        let Work::Placing(placing, began) = self.work else { return Effect::default() };
        if placing != id {
            return Effect::default();
        }
        self.work = Work::None;
        let (plan, took) = (self.plans.entry(id).or_default(), now.saturating_duration_since(began));
        match with(tables, id, |saver| saver.placed().map(|()| saver.unsaved())) {
            Some(Ok(unsaved)) => {
                plan.saved(unsaved, took, now);
                tracing::debug!("table {}: checkpoint written in {took:?}", tables.shown(id));
                Effect::default()
            }
            Some(Err(error)) => {
                // The file is in place nevertheless.
                plan.failed(now);
                refuse(tables, id, &error, plan)
            }
            None => Effect::default(),
        }
    }

    /// The broker could not make the file, or put it in place.
    pub(crate) fn not_placed(&mut self, tables: &Tables, id: TableId, now: Instant) {
        match self.work {
            Work::Asked(at, _) | Work::Writing(at, _) | Work::Placing(at, _) if at == id => {
                self.work = Work::None;
                with(tables, id, |saver| saver.give_up());
                self.plans.entry(id).or_default().failed(now);
            }
            _ => {}
        }
    }

    /// Another program has written the file, so the checkpoint in progress is void. No other one begins until that file
    /// has been imported: its changes would be lost.
    pub(crate) fn suspend(&mut self, tables: &Tables, id: TableId) {
        if self.is_at(id) {
            self.work = Work::None;
            with(tables, id, |saver| saver.give_up());
        }
        if let Some(plan) = self.plans.get_mut(&id) {
            plan.suspend();
        }
    }

    /// The file has been imported: the store's other changes must be written.
    pub(crate) fn resume(&mut self, id: TableId, now: Instant) {
        if let Some(plan) = self.plans.get_mut(&id) {
            plan.resume(now);
        }
    }

    /// A table has been closed.
    pub(crate) fn closed(&mut self, id: TableId) -> Option<WriterToBroker> {
        self.plans.remove(&id);
        match self.work {
            Work::Writing(writing, _) if writing == id => {
                self.work = Work::None;
                Some(WriterToBroker::Discard(id))
            }
            // An answer of the broker is still to come.
            _ => None,
        }
    }

    fn is_at(&self, id: TableId) -> bool {
        match self.work {
            Work::None => false,
            Work::Asked(at, _) | Work::Writing(at, _) | Work::Placing(at, _) => at == id,
        }
    }

    /// Abandons the checkpoint in progress.
    fn discard(&mut self, tables: &Tables, id: TableId, error: StoreError, now: Instant) -> Effect {
        self.work = Work::None;
        with(tables, id, |saver| saver.give_up());
        let plan = self.plans.entry(id).or_default();
        plan.failed(now);
        Effect { say: Some(WriterToBroker::Discard(id)), ..refuse(tables, id, &error, plan) }
    }
}

fn say(message: WriterToBroker) -> Effect {
    Effect { say: Some(message), damaged: None }
}

/// Says in the log that there is no checkpoint.
fn refuse(tables: &Tables, id: TableId, error: &StoreError, plan: &Plan) -> Effect {
    tracing::warn!(
        "table {}: cannot write its checkpoint: {error} -- {}; nothing is lost, its store has all changes",
        tables.shown(id),
        plan.pause_shown()
    );
    let damaged = matches!(error, StoreError::Corrupt(_)).then(|| (id, error.clone()));
    Effect { say: None, damaged }
}

/// Does something with the half of a table's store that writes checkpoints.
fn with<T>(tables: &Tables, id: TableId, work: impl FnOnce(&mut dyn Saver) -> T) -> Option<T> {
    tables.with(id, |engine| engine.saver().map(work)).flatten()
}
