//! The approved tables as the broker keeps them: which content is current, and what to look at next.
//!
//! May: open approved files through `trust`, copy them through `snapshot`. Never: look into the content.
//! Called by: the broker's event loop, with the time as an argument.

use crate::redact;
use crate::snapshot::{Copy, Failure, Identity, Progress, Snapshot};
use crate::trust::{self, Anchor, Owners, Refusal};
use mapkeep_proto::{Kind, Listed, TableId, Unavailable, file_of};
use nix::errno::Errno;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a file must have been quiet before it is copied.
const SETTLE: Duration = Duration::from_millis(60);
/// How long a file may go on changing before it is copied all the same (its locks keep the copy whole).
const LONGEST_SETTLE: Duration = Duration::from_secs(1);
/// How long the start waits for files that are being written; then their tables are temporary errors.
const GRACE: Duration = Duration::from_secs(1);
/// How soon a file that a writer has locked, or that changed under the copy, is tried again.
const RETRY: Duration = Duration::from_millis(25);
/// How often a file that inotify cannot watch for us is looked at.
const POLL: Duration = Duration::from_millis(400);
/// How often every file is looked at, whatever inotify says (network file systems say nothing).
const SWEEP: Duration = Duration::from_secs(5);
/// Bytes copied in one turn of the event loop: some milliseconds.
const TURN: usize = 8 << 20;

/// One content of a table, handed to every worker that needs it.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) snapshot: Snapshot,
    pub(crate) generation: u32,
}

/// What a worker has to be told.
#[derive(Debug)]
pub(crate) enum Change {
    Content(TableId),
    Unavailable(TableId, Unavailable),
}

pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// The file to open; `None` for tables that are their own content.
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) content: Option<Rc<Content>>,
    /// The content before that, until a worker has said that the new one parses.
    previous: Option<Rc<Content>>,
    /// A version of the file that does not parse: not copied again.
    rejected: Option<Identity>,
    pub(crate) trouble: Option<Unavailable>,
    /// Whether inotify tells us of changes; else the file is polled.
    pub(crate) watched: bool,
    copy: Option<Copy>,
    due: Instant,
    /// When the present run of changes began.
    touched_since: Option<Instant>,
    start: Instant,
    /// The last trouble as it was logged, so that it is logged once.
    told: String,
    generation: u32,
}

/// All approved tables, by id.
pub(crate) struct Tables {
    pub(crate) entries: Vec<Entry>,
    anchor: Anchor,
    owners: Owners,
    limit: u64,
}

impl Tables {
    pub(crate) fn new(
        list: impl IntoIterator<Item = Listed>,
        anchor: Anchor,
        owners: Owners,
        limit: u64,
        now: Instant,
    ) -> Tables {
        let entry = |Listed { name, .. }: Listed| {
            let kind = Kind::of(&name);
            let path = file_of(&name);
            let trouble = path.is_some().then_some(Unavailable::Loading);
            Entry {
                name,
                kind,
                path,
                content: None,
                previous: None,
                rejected: None,
                trouble,
                watched: false,
                copy: None,
                due: now,
                touched_since: None,
                start: now,
                told: String::new(),
                generation: 0,
            }
        };
        Tables { entries: list.into_iter().map(entry).collect(), anchor, owners, limit }
    }

    /// The descriptors of the anchor directories.
    pub(crate) fn anchor_descriptors(&self) -> [RawFd; 2] {
        self.anchor.descriptors()
    }

    /// Entries with their ids.
    pub(crate) fn with_ids(&self) -> impl Iterator<Item = (TableId, &Entry)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| u16::try_from(index).ok().map(|index| (TableId(index), entry)))
    }

    pub(crate) fn get(&self, id: TableId) -> Option<&Entry> {
        self.entries.get(usize::from(id.0))
    }

    /// Something happened to the file of this table: look at it once it is quiet.
    pub(crate) fn touched(&mut self, id: TableId, now: Instant) {
        if let Some(entry) = self.entries.get_mut(usize::from(id.0)) {
            entry.copy = None;
            let since = *entry.touched_since.get_or_insert(now);
            let quiet = now.checked_add(SETTLE).unwrap_or(now);
            entry.due = since.checked_add(LONGEST_SETTLE).map_or(quiet, |latest| latest.min(quiet));
        }
    }

    /// A worker has taken this content into use: the one before it is no longer needed.
    pub(crate) fn loaded(&mut self, id: TableId, generation: u32) {
        let entry = self.entries.get_mut(usize::from(id.0));
        if let Some(entry) = entry.filter(|entry| entry.is_at(generation)) {
            entry.previous = None;
        }
    }

    /// This content does not parse: workers to come get the one before it, if there is one.
    pub(crate) fn rejected(&mut self, id: TableId, generation: u32) {
        let entry = self.entries.get_mut(usize::from(id.0));
        if let Some(entry) = entry.filter(|entry| entry.is_at(generation)) {
            entry.rejected = entry.content.as_ref().map(|content| content.snapshot.identity);
            entry.content = entry.previous.take();
            if entry.content.is_none() {
                entry.trouble = Some(Unavailable::Unreadable);
            }
        }
    }

    /// inotify has lost this table's directory.
    pub(crate) fn unwatch(&mut self, id: TableId, now: Instant) {
        if let Some(entry) = self.entries.get_mut(usize::from(id.0)) {
            entry.watched = false;
        }
        self.touched(id, now);
    }

    /// When the next look is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.entries.iter().filter(|entry| entry.path.is_some()).map(|entry| entry.due).min()
    }

    /// Whether every table has been looked at once, except those that a writer holds locked.
    pub(crate) fn first_pass_done(&self) -> bool {
        !self.entries.iter().any(|entry| entry.trouble == Some(Unavailable::Loading) && entry.told.is_empty())
    }

    /// Does what is due, for a bounded time, and says what changed.
    pub(crate) fn work(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for index in 0..self.entries.len() {
            let due = |entry: &Entry| entry.path.is_some() && entry.due <= now;
            let Some(entry) = self.entries.get_mut(index).filter(|entry| due(entry)) else { continue };
            let Ok(id) = u16::try_from(index).map(TableId) else { continue };
            if let Some(change) = entry.look(id, &self.anchor, &self.owners, self.limit, now) {
                changes.push(change);
            }
        }
        changes
    }
}

impl Entry {
    fn look(
        &mut self,
        id: TableId,
        anchor: &Anchor,
        owners: &Owners,
        limit: u64,
        now: Instant,
    ) -> Option<Change> {
        let path = self.path.clone()?;
        let after = |delay: Duration| now.checked_add(delay).unwrap_or(now);
        if self.copy.is_none() {
            self.touched_since = None;
            self.due = after(if self.watched { SWEEP } else { POLL });
            match trust::identity_by_name(anchor, &path, owners, limit) {
                Ok(identity) if self.is_current(&identity) => {
                    if self.content.is_some() {
                        self.trouble = None;
                        self.told.clear();
                    }
                    return None;
                }
                Ok(_) => {}
                Err(Refusal::Retry { .. }) => {
                    self.retry(now);
                    return None;
                }
                Err(refusal) => return self.refuse(id, &refusal),
            }
            match trust::open_table(anchor, &path, owners, limit) {
                Ok(trusted) => {
                    if trusted.through_link {
                        // A link may be switched in a directory that is not the file's own.
                        self.watched = false;
                    }
                    match Copy::begin(trusted, self.kind, limit, redact::of(self.kind)) {
                        Ok(copy) => self.copy = Some(copy),
                        Err(failure) => return self.fail(id, failure, now),
                    }
                }
                Err(Refusal::Retry { .. }) => {
                    self.retry(now);
                    return None;
                }
                Err(refusal) => return self.refuse(id, &refusal),
            }
        }
        let step = self.copy.as_mut()?.step(TURN);
        match step {
            Ok(Progress::More) => {
                self.due = now;
                None
            }
            Ok(Progress::Busy) => {
                self.retry(now);
                None
            }
            Ok(Progress::Done(snapshot)) => {
                self.copy = None;
                self.due = after(if self.watched { SWEEP } else { POLL });
                self.accept(id, snapshot)
            }
            Err(failure) => self.fail(id, failure, now),
        }
    }

    /// The file is being written: look again soon, and after a while do not keep the start waiting for it.
    fn retry(&mut self, now: Instant) {
        self.due = now.checked_add(RETRY).unwrap_or(now);
        if self.told.is_empty() && now.saturating_duration_since(self.start) > GRACE {
            "its file is being written".clone_into(&mut self.told);
        }
    }

    fn is_current(&self, identity: &Identity) -> bool {
        let current = self.content.as_ref().map(|content| content.snapshot.identity);
        current == Some(*identity) || self.rejected == Some(*identity)
    }

    fn is_at(&self, generation: u32) -> bool {
        self.content.as_ref().is_some_and(|content| content.generation == generation)
    }

    fn accept(&mut self, id: TableId, snapshot: Snapshot) -> Option<Change> {
        let name = String::from_utf8_lossy(&self.name).into_owned();
        if self.trouble.take().is_some_and(|trouble| trouble != Unavailable::Loading) {
            tracing::info!("table {name} is available");
        } else if self.generation > 0 {
            tracing::info!("table {name} has changed -- refreshing");
        }
        self.told.clear();
        self.generation = self.generation.wrapping_add(1);
        self.rejected = None;
        // A content that no worker has judged yet does not push out one that is known to be good.
        self.previous = self.previous.take().or(self.content.take());
        self.content = Some(Rc::new(Content { snapshot, generation: self.generation }));
        Some(Change::Content(id))
    }

    fn refuse(&mut self, id: TableId, refusal: &Refusal) -> Option<Change> {
        self.copy = None;
        let reason = match refusal {
            Refusal::Missing { .. } => Unavailable::Missing,
            Refusal::Io { .. } => Unavailable::Unreadable,
            _ => Unavailable::Refused,
        };
        let mut text = refusal.to_string();
        if matches!(refusal, Refusal::Io { errno: Errno::EACCES, .. }) {
            text.push_str("; if its directory was made or replaced after the start, run \"postfix reload\"");
        }
        self.trouble(id, reason, &text)
    }

    fn fail(&mut self, id: TableId, failure: Failure, now: Instant) -> Option<Change> {
        self.copy = None;
        match failure {
            Failure::Changed => {
                self.retry(now);
                None
            }
            Failure::TooLarge { .. } => self.trouble(id, Unavailable::TooLarge, &failure.to_string()),
            _ => self.trouble(id, Unavailable::Unreadable, &failure.to_string()),
        }
    }

    /// Notes and logs a trouble. Present content goes on answering.
    fn trouble(&mut self, id: TableId, reason: Unavailable, text: &str) -> Option<Change> {
        let changed = self.trouble.replace(reason) != Some(reason);
        if self.told != text {
            text.clone_into(&mut self.told);
            let name = String::from_utf8_lossy(&self.name);
            match &self.content {
                None => tracing::error!("open table {name}: {text}"),
                Some(_) => {
                    tracing::warn!("table {name} cannot be refreshed, keeping its last content: {text}");
                }
            }
        }
        (changed && self.content.is_none()).then_some(Change::Unavailable(id, reason))
    }
}
