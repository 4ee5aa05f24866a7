//! One table: its file is looked at, opened, checked and copied, a bounded step at a time.

use super::pace::Pace;
use super::snapshots::{LoadFailure, Outcome, Snapshots};
use super::surroundings::Surroundings;
use mapkeep_broker_snapshot::redact;
use mapkeep_broker_snapshot::{Copy, Failure, Progress, Snapshot};
use mapkeep_broker_trust as trust;
use mapkeep_broker_trust::Refusal;
use mapkeep_name::{Kind, file_of};
use mapkeep_proto::{Duty, Listed, Unavailable};
use mapkeep_sys::deadline;
use nix::errno::Errno;
use std::time::{Duration, Instant};

/// How long a file must have been quiet before it is copied.
const SETTLE: Duration = Duration::from_millis(60);
/// How long a file may go on changing before it is copied anyway (its locks keep the copy consistent).
const LONGEST_SETTLE: Duration = Duration::from_secs(1);
/// How long the start waits for files that are being written; after that, lookups in their tables are temporary errors.
const GRACE: Duration = Duration::from_secs(1);
/// How soon a file that a writer has locked, or that changed during the copy, is tried again.
const RETRY: Duration = Duration::from_millis(25);
/// How soon a table whose last snapshot is still on its way to workers is checked again if they do not answer.
const ON_THE_WAY: Duration = Duration::from_millis(250);
/// Bytes copied in one step, and steps in one check: a small file is copied within one check, whose first step locks
/// the file and whose last finds its end.
const STEP: usize = 512 << 10;
const STEPS: usize = 4;
/// The fixed cost of a check, as the bytes that could be copied in that time.
const LOOK: usize = 128 << 10;

/// Why a table is not available yet when the start has stopped waiting for it.
const BEING_WRITTEN: &str = "its file is being written";

/// The result of a check.
pub(super) struct Looked {
    /// Whether workers must be told something.
    pub(super) changed: bool,
    /// Its share of the turn, in bytes.
    pub(super) cost: usize,
}

/// The state of a table between two checks of its file. The time of the next one is in [`Entry::due`].
#[derive(Default)]
enum State {
    /// Nothing has happened since the last check.
    #[default]
    Quiet,
    /// Something has happened to the file; the run of such events began at `since`.
    Touched { since: Instant },
    /// The check is deferred until workers have tried the last snapshot; `touched_since`: when events for the file
    /// began in the meantime.
    AwaitsTrial { touched_since: Option<Instant> },
    /// Its file is open and partly copied.
    Copying(Box<Copy>),
}

/// One table.
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// The duty of the workers that have the table.
    pub(crate) duty: Duty,
    /// The file to open; `None` for tables that need no snapshot.
    pub(crate) path: Option<Vec<u8>>,
    pub(super) snapshots: Snapshots,
    pub(crate) trouble: Option<Unavailable>,
    /// Whether inotify reports changes; otherwise the file is polled.
    pub(crate) watched: bool,
    state: State,
    pace: Pace,
    pub(super) due: Instant,
    start: Instant,
    /// The last problem that was logged, so that it is logged only once.
    pub(super) told: String,
}

impl Entry {
    pub(super) fn new(table: Listed, now: Instant) -> Entry {
        let kind = Kind::of(&table.name);
        let path = file_of(&table.name);
        let trouble = path.is_some().then_some(Unavailable::Loading);
        Entry {
            name: table.name,
            kind,
            duty: Duty::of(kind),
            path,
            snapshots: Snapshots::default(),
            trouble,
            watched: false,
            state: State::Quiet,
            pace: Pace::default(),
            due: now,
            start: now,
            told: String::new(),
        }
    }

    /// Whether a copy is in progress.
    pub(super) fn is_copying(&self) -> bool {
        matches!(self.state, State::Copying(_))
    }

    /// Something happened to the file: it is checked once it is quiet.
    pub(super) fn touched(&mut self, now: Instant) {
        self.give_up_copy(now);
        self.let_the_start_go(now);
        let since = match &mut self.state {
            State::Touched { since } => *since,
            State::AwaitsTrial { touched_since } => *touched_since.get_or_insert(now),
            State::Quiet | State::Copying(_) => {
                self.state = State::Touched { since: now };
                now
            }
        };
        let quiet = deadline::after(now, SETTLE);
        self.due = since.checked_add(LONGEST_SETTLE).map_or(quiet, |latest| latest.min(quiet));
    }

    /// A worker has switched to this snapshot. True if others must be told.
    pub(super) fn loaded(&mut self, generation: u32, now: Instant) -> bool {
        let outcome = self.snapshots.loaded(generation);
        self.tried(generation, now);
        if outcome != Outcome::Restored {
            return false;
        }
        self.trouble = None;
        self.told.clear();
        tracing::info!(
            "table {}: one worker has loaded the version that another could not load -- serving it",
            self.shown()
        );
        true
    }

    /// A worker has failed to load this snapshot. True if others must be told. `room`: whether there is room for one
    /// more suspect snapshot.
    pub(super) fn load_failed(
        &mut self,
        generation: u32,
        failure: LoadFailure,
        room: bool,
        now: Instant,
    ) -> bool {
        let outcome = self.snapshots.load_failed(generation, failure, room);
        self.tried(generation, now);
        match outcome {
            Outcome::Stays | Outcome::Restored => return false,
            Outcome::Disputed => {
                tracing::warn!(
                    "table {}: one worker could not load the version that another has loaded -- still serving it",
                    self.shown()
                );
                return false;
            }
            Outcome::Suspect | Outcome::Deferred | Outcome::Rejected => {}
        }
        if self.snapshots.current().is_none() {
            self.trouble = Some(Unavailable::Unloadable);
        }
        if failure == LoadFailure::Died {
            self.say_deadly(outcome);
        }
        true
    }

    /// Logs the table, its file and the remedy. (A worker that refuses a snapshot logs that itself.)
    fn say_deadly(&self, outcome: Outcome) {
        let name = self.shown();
        let path = String::from_utf8_lossy(self.path.as_deref().unwrap_or_default());
        let serving = match self.snapshots.current() {
            Some(_) => "still serving the previous version",
            None => "lookups in this table fail with a temporary error, other tables are not affected",
        };
        let next = match outcome {
            Outcome::Suspect => "one more worker will try it",
            _ => "this version of the file will not be tried again",
        };
        tracing::error!(
            "table {name}: a worker exited while loading {path} -- {serving}; {next}. \
             Correct the file: remove what was added last, or split it if it is very large"
        );
    }

    fn tried(&mut self, generation: u32, now: Instant) {
        if !self.snapshots.is_newest(generation) {
            return;
        }
        self.pace.tried(now);
        if let State::AwaitsTrial { touched_since } = self.state {
            self.state = touched_since.map_or(State::Quiet, |since| State::Touched { since });
            self.due = self.pace.rests_until(now).unwrap_or(now);
        }
    }

    /// Checks the file by name, and continues its copy if it has changed. `on_the_way`: a worker has yet to answer for
    /// the last snapshot. `room`: whether there is room for one more suspect snapshot.
    pub(super) fn look(
        &mut self,
        around: &Surroundings,
        on_the_way: bool,
        room: bool,
        now: Instant,
    ) -> Looked {
        if !self.is_copying() {
            if on_the_way {
                let touched_since = match self.state {
                    State::Touched { since } => Some(since),
                    State::AwaitsTrial { touched_since } => touched_since,
                    State::Quiet | State::Copying(_) => None,
                };
                self.state = State::AwaitsTrial { touched_since };
                self.due = deadline::after(now, ON_THE_WAY);
                return Looked { changed: false, cost: LOOK / 16 };
            }
            if let Some(moment) = self.pace.rests_until(now) {
                self.due = moment;
                return Looked { changed: false, cost: LOOK / 16 };
            }
            if let Some(changed) = self.open(around, room, now) {
                return Looked { changed, cost: LOOK };
            }
        }
        let size = if let State::Copying(copy) = &self.state { copy.size() } else { 0 };
        let cost = usize::try_from(size).unwrap_or(usize::MAX).min(STEP.saturating_mul(STEPS));
        Looked { changed: self.go_on(around, now), cost: cost.saturating_add(LOOK) }
    }

    /// Opens the file for a copy, if it is not the version that is served. `None` if there is something to copy;
    /// otherwise whether workers must be told something.
    fn open(&mut self, around: &Surroundings, room: bool, now: Instant) -> Option<bool> {
        let Some(path) = self.path.clone() else { return Some(false) };
        let Surroundings { anchor, owners, limit, .. } = around;
        self.state = State::Quiet;
        self.rest(around, now);
        match trust::identity_by_name(anchor, &path, owners, *limit) {
            Ok(identity) if self.snapshots.knows(&identity, room) => return Some(self.is_known()),
            Ok(_) => {}
            Err(Refusal::Retry { .. }) => return Some(self.retry(now)),
            Err(refusal) => return Some(self.refuse(&refusal)),
        }
        match trust::open_table(anchor, &path, owners, *limit) {
            Ok(trusted) => {
                if trusted.elsewhere {
                    // A link may be changed in a directory other than the file's, and so may a mounted file.
                    self.watched = false;
                }
                match Copy::begin(trusted, self.kind, *limit, redact::of(self.kind)) {
                    Ok(copy) => self.state = State::Copying(Box::new(copy)),
                    Err(failure) => return Some(self.fail(&failure, now)),
                }
                self.pace.open();
                None
            }
            Err(Refusal::Retry { .. }) => Some(self.retry(now)),
            Err(refusal) => Some(self.refuse(&refusal)),
        }
    }

    /// The file can be read, and is a known version: any trouble with it is over. True if workers must be told
    /// something.
    fn is_known(&mut self) -> bool {
        match (self.snapshots.current(), self.trouble) {
            (Some(_), _) => {
                self.trouble = None;
                self.told.clear();
                false
            }
            (None, Some(Unavailable::Unloadable)) => false,
            (None, _) => self
                .trouble(Unavailable::Unloadable, "its file is again the version that could not be loaded"),
        }
    }

    /// Takes some steps of the copy. True if workers must be told something.
    fn go_on(&mut self, around: &Surroundings, now: Instant) -> bool {
        for _ in 0..STEPS {
            let State::Copying(copy) = &mut self.state else { return false };
            match copy.step(STEP) {
                Ok(Progress::More) => self.pace.copy(now),
                Ok(Progress::Busy) => return self.retry(now),
                Ok(Progress::Done(snapshot)) => {
                    self.give_up_copy(now);
                    self.rest(around, now);
                    self.accept(snapshot);
                    return true;
                }
                Err(failure) => return self.fail(&failure, now),
            }
        }
        self.due = now;
        false
    }

    fn give_up_copy(&mut self, now: Instant) {
        if self.is_copying() {
            self.state = State::Quiet;
            self.pace.copied(now);
        }
    }

    /// There is no descriptor for a snapshot of this table.
    pub(super) fn leave_out(&mut self, around: &Surroundings, now: Instant) -> Looked {
        self.rest(around, now);
        let text = "there are more tables than the broker may have open files; raise the hard limit of open files \
                    for the service (ulimit -Hn, LimitNOFILE= of systemd)";
        Looked { changed: self.trouble(Unavailable::Unreadable, text), cost: LOOK }
    }

    /// Waits for the next event, or the next regular check.
    fn rest(&mut self, around: &Surroundings, now: Instant) {
        self.due = deadline::after(now, around.rest(self.watched));
    }

    /// The file is being written: check again soon. True if workers must be told something.
    fn retry(&mut self, now: Instant) -> bool {
        self.due = deadline::after(now, RETRY);
        self.let_the_start_go(now);
        if self.snapshots.current().is_some() || matches!(self.trouble, None | Some(Unavailable::Loading)) {
            return false;
        }
        // The earlier trouble is over. Not logged: the table is about to be available.
        self.trouble = Some(Unavailable::Loading);
        BEING_WRITTEN.clone_into(&mut self.told);
        true
    }

    /// Ends the start's wait for a file that has been written, or touched again and again, for too long.
    fn let_the_start_go(&mut self, now: Instant) {
        if self.told.is_empty() && now.saturating_duration_since(self.start) > GRACE {
            BEING_WRITTEN.clone_into(&mut self.told);
        }
    }

    fn accept(&mut self, snapshot: Snapshot) {
        let name = self.shown();
        let told = std::mem::take(&mut self.told);
        if self.trouble.take().is_some_and(|trouble| trouble != Unavailable::Loading || !told.is_empty()) {
            tracing::info!("table {name} is available");
        } else if self.snapshots.any_before() {
            tracing::info!("table {name} has changed -- refreshing");
        }
        self.snapshots.accept(snapshot);
    }

    fn refuse(&mut self, refusal: &Refusal) -> bool {
        let reason = match refusal {
            Refusal::Missing { .. } => Unavailable::Missing,
            Refusal::Io { .. } => Unavailable::Unreadable,
            _ => Unavailable::Refused,
        };
        let mut text = refusal.to_string();
        if matches!(refusal, Refusal::Io { errno: Errno::EACCES, .. }) {
            // Landlock allows the directories that existed at the start and met the rules, apart from their own mode.
            text.push_str(
                "; if its directory, or a link to it, was created, replaced or corrected after the start, reload \
                 the service (\"postfix reload\", or \"systemctl reload\" of its own unit)",
            );
        }
        self.trouble(reason, &text)
    }

    fn fail(&mut self, failure: &Failure, now: Instant) -> bool {
        self.give_up_copy(now);
        match failure {
            Failure::Changed => self.retry(now),
            Failure::TooLarge { .. } => self.trouble(Unavailable::TooLarge, &failure.to_string()),
            _ => self.trouble(Unavailable::Unreadable, &failure.to_string()),
        }
    }

    /// Records and logs a problem. The current snapshot stays in use.
    pub(super) fn trouble(&mut self, reason: Unavailable, text: &str) -> bool {
        let changed = self.trouble.replace(reason) != Some(reason);
        if self.told != text {
            text.clone_into(&mut self.told);
            let name = self.shown();
            match self.snapshots.current() {
                None => tracing::error!("open table {name}: {text}"),
                Some(_) => {
                    tracing::warn!("table {name} cannot be refreshed, keeping its last version: {text}");
                }
            }
        }
        changed && self.snapshots.current().is_none()
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}
