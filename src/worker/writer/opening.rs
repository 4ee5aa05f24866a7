//! Opening tables, and taking over files that somebody else has written.
//!
//! May: read the files that the broker handed over, under their locks. Never: wait for a lock; it is tried again from
//! the loop.

mod berkeley;
mod files;
mod lmdb;
#[cfg(test)]
mod tests;

use crate::engine::{Engine, Import, Rescue};
use crate::tables::Tables;
use files::read_locked;
use mapkeep_name::Kind;
use mapkeep_proto::{Part, TableId};
use mapkeep_sys::deadline;
use mapkeep_table_store::StoreError;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How soon a locked file is tried again at first,
const SOON: Duration = Duration::from_millis(25);
/// for how long,
const PATIENCE: Duration = Duration::from_secs(5);
/// and after that, if it must be read.
const LATER: Duration = Duration::from_secs(1);

/// The files of a table, as the broker hands them over.
#[derive(Debug)]
pub(crate) enum Files {
    /// An lmdb file, for data and for meta pages.
    Lmdb { data: OwnedFd, meta: OwnedFd },
    /// A store, its log, and the Berkeley DB file beside it, if there is one.
    Store { store: OwnedFd, log: OwnedFd, beside: Option<OwnedFd> },
}

/// A table's store, open.
pub(crate) struct Fresh {
    pub(crate) engine: Box<dyn Engine>,
    /// The file with changes that the store does not have, which must be imported first.
    pub(crate) unread: Option<File>,
    /// What was taken over of a damaged store, in words.
    pub(crate) rescued: Option<String>,
    /// There is no good file: a checkpoint has to be written in any case.
    pub(crate) unsaved: bool,
}

/// Shows nothing of the store.
impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh")
            .field("unread", &self.unread)
            .field("unsaved", &self.unsaved)
            .finish_non_exhaustive()
    }
}

/// Why a table does not open.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Not because of its files: it can be tried again. What was left of an earlier store is still there.
    Later(StoreError, Option<Rescue>),
    /// This file is damaged.
    Damaged { part: Part, what: String, rescue: Option<Rescue> },
}

/// Makes stores of files.
pub(crate) trait Opener {
    /// Opens a table, and imports what is left of an earlier store into the new one. `pause` is called now and then.
    fn open(
        &mut self,
        kind: Kind,
        files: Files,
        rescue: Option<Rescue>,
        pause: &mut dyn FnMut(),
    ) -> Result<Fresh, Refused>;
}

/// The stores of mapkeep-store.
#[derive(Debug, Default)]
pub(crate) struct Stores;

impl Opener for Stores {
    fn open(
        &mut self,
        kind: Kind,
        files: Files,
        rescue: Option<Rescue>,
        pause: &mut dyn FnMut(),
    ) -> Result<Fresh, Refused> {
        match files {
            Files::Lmdb { data, meta } => lmdb::open(data, meta, rescue, pause),
            Files::Store { store, log, beside } => berkeley::open(kind, (store, log), beside, rescue, pause),
        }
    }
}

/// A task for a table.
enum Job {
    Open { id: TableId, kind: Kind, files: Files },
    TakeOver(TakeOver),
}

/// A file to be imported, by a store that serves already, or by a new one, which serves after that.
struct TakeOver {
    id: TableId,
    file: File,
    fresh: Option<Fresh>,
    since: Instant,
    at: Instant,
}

/// What has become of a table.
pub(crate) enum Event {
    /// It is open. If a file was taken over: what that came to.
    Opened { id: TableId, fresh: Fresh, import: Option<Import> },
    /// An open table has taken its file over.
    TakenOver { id: TableId, import: Import },
    /// It does not open now.
    Failed { id: TableId, error: StoreError },
    /// This file of it is damaged.
    Damaged { id: TableId, part: Part, what: String },
    /// The store of an open table is damaged.
    Broken { id: TableId, what: String },
}

/// All tasks.
pub(crate) struct Openings<O> {
    opener: O,
    jobs: VecDeque<Job>,
    rescues: BTreeMap<TableId, Rescue>,
}

impl<O: Opener> Openings<O> {
    pub(crate) fn new(opener: O) -> Openings<O> {
        Openings { opener, jobs: VecDeque::new(), rescues: BTreeMap::new() }
    }

    /// Adds a table to be opened.
    pub(crate) fn open(&mut self, id: TableId, kind: Kind, files: Files) {
        self.forget(id);
        self.jobs.push_back(Job::Open { id, kind, files });
    }

    /// Adds the file of an open table to be imported.
    pub(crate) fn take_over(&mut self, id: TableId, file: File, now: Instant) {
        self.forget(id);
        self.jobs.push_back(Job::TakeOver(TakeOver { id, file, fresh: None, since: now, at: now }));
    }

    /// Keeps what is left of a damaged store.
    pub(crate) fn keep(&mut self, id: TableId, rescue: Rescue) {
        self.rescues.insert(id, rescue);
    }

    /// Removes all tasks of this table.
    pub(crate) fn forget(&mut self, id: TableId) {
        self.jobs.retain(|job| job.id() != id);
    }

    /// When there is something to do.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.jobs.iter().map(|job| job.at().unwrap_or(now)).min()
    }

    /// Works on the first task that is due. `None` if nothing was due; `Some(None)` if the task is not complete.
    pub(crate) fn step(
        &mut self,
        tables: &Tables,
        now: Instant,
        pause: &mut dyn FnMut(),
    ) -> Option<Option<Event>> {
        let due = self.jobs.iter().position(|job| job.at().is_none_or(|at| at <= now))?;
        Some(match self.jobs.remove(due)? {
            Job::Open { id, kind, files } => self.open_now(id, kind, files, now, pause),
            Job::TakeOver(job) if job.fresh.is_some() => self.take_over_first(job, now, pause),
            Job::TakeOver(job) => self.take_over_now(job, tables, now, pause),
        })
    }

    fn open_now(
        &mut self,
        id: TableId,
        kind: Kind,
        files: Files,
        now: Instant,
        pause: &mut dyn FnMut(),
    ) -> Option<Event> {
        let rescue = self.rescues.remove(&id);
        match self.opener.open(kind, files, rescue, pause) {
            Ok(mut fresh) => match fresh.unread.take() {
                None => Some(Event::Opened { id, fresh, import: None }),
                Some(file) => {
                    let job = TakeOver { id, file, fresh: Some(fresh), since: now, at: now };
                    self.jobs.push_back(Job::TakeOver(job));
                    None
                }
            },
            Err(Refused::Later(error, rescue)) => {
                self.rescues.extend(rescue.map(|rescue| (id, rescue)));
                Some(Event::Failed { id, error })
            }
            Err(Refused::Damaged { part, what, rescue }) => {
                self.rescues.extend(rescue.map(|rescue| (id, rescue)));
                Some(Event::Damaged { id, part, what })
            }
        }
    }

    /// A table that is not open yet imports its file.
    fn take_over_first(&mut self, mut job: TakeOver, now: Instant, pause: &mut dyn FnMut()) -> Option<Event> {
        let id = job.id;
        let mut fresh = job.fresh.take()?;
        let taken = read_locked(&job.file, pause).and_then(|(bytes, stamp)| match fresh.engine.saver() {
            Some(saver) => saver.take_over(&bytes, stamp, pause),
            None => Err(StoreError::Io("it takes no file over".to_owned())),
        });
        match taken {
            Ok(import) => {
                fresh.unsaved |= import.damage.is_some();
                Some(Event::Opened { id, fresh, import: Some(import) })
            }
            Err(StoreError::Busy) if !deadline::has_passed(job.since, PATIENCE, now) => {
                job.at = now.checked_add(SOON)?;
                self.jobs.push_back(Job::TakeOver(TakeOver { fresh: Some(fresh), ..job }));
                None
            }
            Err(StoreError::Corrupt(what)) => match fresh.engine.rescue() {
                Some((part, rescue)) => {
                    self.rescues.extend(rescue.map(|rescue| (id, rescue)));
                    Some(Event::Damaged { id, part, what })
                }
                None => Some(Event::Failed { id, error: StoreError::Corrupt(what) }),
            },
            Err(error) => Some(Event::Failed { id, error }),
        }
    }

    /// An open table takes its file over. Until it has, no checkpoint may take the file's place: so there is no end to
    /// the attempts.
    fn take_over_now(
        &mut self,
        mut job: TakeOver,
        tables: &Tables,
        now: Instant,
        pause: &mut dyn FnMut(),
    ) -> Option<Event> {
        let id = job.id;
        let taken = read_locked(&job.file, pause).and_then(|(bytes, stamp)| {
            let take = |engine: &mut dyn Engine| Some(engine.saver()?.take_over(&bytes, stamp, pause));
            tables.with(id, take).flatten().transpose()
        });
        let error = match taken {
            Ok(Some(import)) => return Some(Event::TakenOver { id, import }),
            // The table has been closed meanwhile, and gets its files again.
            Ok(None) => return None,
            Err(StoreError::Corrupt(what)) => return Some(Event::Broken { id, what }),
            Err(error) => error,
        };
        let patient = !deadline::has_passed(job.since, PATIENCE, now);
        let waits = patient && error == StoreError::Busy;
        if !waits && tables.tell(id, &error.to_string()) {
            tracing::warn!(
                "table {}: another program has changed its file, and it cannot be read: {error} -- no checkpoint \
                 replaces it until it has been read",
                tables.shown(id)
            );
        }
        job.at = now.checked_add(if patient { SOON } else { LATER })?;
        self.jobs.push_back(Job::TakeOver(job));
        None
    }
}

impl Job {
    fn id(&self) -> TableId {
        match self {
            Job::Open { id, .. } | Job::TakeOver(TakeOver { id, .. }) => *id,
        }
    }

    /// Before when it is not due.
    fn at(&self) -> Option<Instant> {
        match self {
            Job::Open { .. } => None,
            Job::TakeOver(job) => Some(job.at),
        }
    }
}
