//! One table: its file is looked at, opened, checked and copied, a bounded step at a time.

use super::contents::{Against, Contents, Verdict};
use super::pace::Pace;
use super::surroundings::Surroundings;
use mapkeep_broker_snapshot::redact;
use mapkeep_broker_snapshot::{Copy, Failure, Progress, Snapshot};
use mapkeep_broker_trust as trust;
use mapkeep_broker_trust::Refusal;
use mapkeep_name::{Kind, file_of};
use mapkeep_proto::{Duty, Listed, Unavailable};
use nix::errno::Errno;
use std::time::{Duration, Instant};

/// How long a file must have been quiet before it is copied.
const SETTLE: Duration = Duration::from_millis(60);
/// How long a file may go on changing before it is copied all the same (its locks keep the copy whole).
const LONGEST_SETTLE: Duration = Duration::from_secs(1);
/// How long the start waits for files that are being written; then their tables are temporary errors.
const GRACE: Duration = Duration::from_secs(1);
/// How soon a file that a writer has locked, or that changed under the copy, is tried again.
const RETRY: Duration = Duration::from_millis(25);
/// How soon a table whose last content is still on its way to workers is looked at again, if they say nothing.
const ON_THE_WAY: Duration = Duration::from_millis(250);
/// Bytes copied in one step, and steps in one look: a small file is copied in one look, which takes its first step to
/// lock the file and its last to find the end.
const STEP: usize = 512 << 10;
const STEPS: usize = 4;
/// What a look costs besides bytes, as bytes that could be copied in the time.
const LOOK: usize = 128 << 10;

/// Why a table is not there yet, once the start has not waited for it.
const BEING_WRITTEN: &str = "its file is being written";

/// What a look came to.
pub(super) struct Looked {
    /// Whether workers have to be told something.
    pub(super) changed: bool,
    /// How much of a turn it took, in bytes.
    pub(super) cost: usize,
}

/// Where a table is between two looks at its file. When the next one is due is in [`Entry::due`].
#[derive(Default)]
enum State {
    /// Nothing has happened since the last look.
    #[default]
    Quiet,
    /// Something has happened to the file; a run of such events began then.
    Touched { since: Instant },
    /// A look is deferred until workers have judged the last content; what happens to the file meanwhile, from when on.
    AwaitsJudgement { touched_since: Option<Instant> },
    /// Its file is open, and a part of it is copied.
    Copying(Box<Copy>),
}

/// One table.
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// Whose table it is.
    pub(crate) duty: Duty,
    /// The file to open; `None` for tables that are their own content.
    pub(crate) path: Option<Vec<u8>>,
    pub(super) contents: Contents,
    pub(crate) trouble: Option<Unavailable>,
    /// Whether inotify tells us of changes; else the file is polled.
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
            contents: Contents::default(),
            trouble,
            watched: false,
            state: State::Quiet,
            pace: Pace::default(),
            due: now,
            start: now,
            told: String::new(),
        }
    }

    /// Whether a copy is under way.
    pub(super) fn is_copying(&self) -> bool {
        matches!(self.state, State::Copying(_))
    }

    /// Something happened to the file: it is looked at once it is quiet.
    pub(super) fn touched(&mut self, now: Instant) {
        self.give_up_copy(now);
        self.let_the_start_go(now);
        let since = match &mut self.state {
            State::Touched { since } => *since,
            State::AwaitsJudgement { touched_since } => *touched_since.get_or_insert(now),
            State::Quiet | State::Copying(_) => {
                self.state = State::Touched { since: now };
                now
            }
        };
        let quiet = now.checked_add(SETTLE).unwrap_or(now);
        self.due = since.checked_add(LONGEST_SETTLE).map_or(quiet, |latest| latest.min(quiet));
    }

    /// A worker has switched to this content. True if others must be told.
    pub(super) fn loaded(&mut self, generation: u32, now: Instant) -> bool {
        let verdict = self.contents.loaded(generation);
        self.judged(generation, now);
        if verdict != Verdict::Restored {
            return false;
        }
        self.trouble = None;
        self.told.clear();
        tracing::info!(
            "table {}: one worker has loaded the content that another could not load -- serving it",
            self.shown()
        );
        true
    }

    /// A worker has judged against this content. True if others must be told. `room`: whether there is room for one
    /// more doubtful content.
    pub(super) fn judged_against(
        &mut self,
        generation: u32,
        against: Against,
        room: bool,
        now: Instant,
    ) -> bool {
        let verdict = self.contents.judged_against(generation, against, room);
        self.judged(generation, now);
        match verdict {
            Verdict::Stays | Verdict::Restored => return false,
            Verdict::Disputed => {
                tracing::warn!(
                    "table {}: one worker could not load the content that another has loaded -- still serving it",
                    self.shown()
                );
                return false;
            }
            Verdict::Doubted | Verdict::PutOff | Verdict::Rejected => {}
        }
        if self.contents.current().is_none() {
            self.trouble = Some(Unavailable::Unloadable);
        }
        if against == Against::Died {
            self.say_deadly(verdict);
        }
        true
    }

    /// Names the table, its file and the remedy. What a worker refuses, it has said itself.
    fn say_deadly(&self, verdict: Verdict) {
        let name = self.shown();
        let path = String::from_utf8_lossy(self.path.as_deref().unwrap_or_default());
        let serving = match self.contents.current() {
            Some(_) => "still serving the previous content",
            None => "lookups in this table fail with a temporary error, other tables are not affected",
        };
        let next = match verdict {
            Verdict::Doubted => "one more worker will try it",
            _ => "this version of the file will not be tried again",
        };
        tracing::error!(
            "table {name}: a worker exited while loading {path} -- {serving}; {next}. \
             Correct the file: remove what was added last, or split it if it is very large"
        );
    }

    fn judged(&mut self, generation: u32, now: Instant) {
        if !self.contents.is_newest(generation) {
            return;
        }
        self.pace.judged(now);
        if let State::AwaitsJudgement { touched_since } = self.state {
            self.state = touched_since.map_or(State::Quiet, |since| State::Touched { since });
            self.due = self.pace.rests_until(now).unwrap_or(now);
        }
    }

    /// Looks at the file by name, and goes on with its copy if it has changed. `on_the_way`: a worker has not yet
    /// answered for the last content. `room`: whether there is room for one more doubtful content.
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
                    State::AwaitsJudgement { touched_since } => touched_since,
                    State::Quiet | State::Copying(_) => None,
                };
                self.state = State::AwaitsJudgement { touched_since };
                self.due = now.checked_add(ON_THE_WAY).unwrap_or(now);
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

    /// Opens the file for a copy, if it is not the one that is served. `None` when there is something to copy; else
    /// whether workers have to be told something.
    fn open(&mut self, around: &Surroundings, room: bool, now: Instant) -> Option<bool> {
        let Some(path) = self.path.clone() else { return Some(false) };
        let Surroundings { anchor, owners, limit, .. } = around;
        self.state = State::Quiet;
        self.rest(around, now);
        match trust::identity_by_name(anchor, &path, owners, *limit) {
            Ok(identity) if self.contents.knows(&identity, room) => return Some(self.is_known()),
            Ok(_) => {}
            Err(Refusal::Retry { .. }) => return Some(self.retry(now)),
            Err(refusal) => return Some(self.refuse(&refusal)),
        }
        match trust::open_table(anchor, &path, owners, *limit) {
            Ok(trusted) => {
                if trusted.elsewhere {
                    // A link may be switched in a directory that is not the file's own, and a mounted file changes in
                    // another.
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

    /// The file can be read, and is one that we know: what kept it away meanwhile is over. True if workers have to be told
    /// something.
    fn is_known(&mut self) -> bool {
        match (self.contents.current(), self.trouble) {
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

    /// Takes some steps of the copy. True if workers have to be told something.
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

    /// There is no descriptor for a content of this table.
    pub(super) fn leave_out(&mut self, around: &Surroundings, now: Instant) -> Looked {
        self.rest(around, now);
        let text = "there are more tables than the broker may have open files; raise the hard limit of open files \
                    for the service (ulimit -Hn, LimitNOFILE= of systemd)";
        Looked { changed: self.trouble(Unavailable::Unreadable, text), cost: LOOK }
    }

    /// Until something happens.
    fn rest(&mut self, around: &Surroundings, now: Instant) {
        self.due = now.checked_add(around.rest(self.watched)).unwrap_or(now);
    }

    /// The file is being written: look again soon. True if workers have to be told something.
    fn retry(&mut self, now: Instant) -> bool {
        self.due = now.checked_add(RETRY).unwrap_or(now);
        self.let_the_start_go(now);
        if self.contents.current().is_some() || matches!(self.trouble, None | Some(Unavailable::Loading)) {
            return false;
        }
        // What kept it away before is over. Not worth a line: it is about to be available.
        self.trouble = Some(Unavailable::Loading);
        BEING_WRITTEN.clone_into(&mut self.told);
        true
    }

    /// After a while the start does not wait any longer for a file that is being written, or touched again and again.
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
        } else if self.contents.any_before() {
            tracing::info!("table {name} has changed -- refreshing");
        }
        self.contents.accept(snapshot);
    }

    fn refuse(&mut self, refusal: &Refusal) -> bool {
        let reason = match refusal {
            Refusal::Missing { .. } => Unavailable::Missing,
            Refusal::Io { .. } => Unavailable::Unreadable,
            _ => Unavailable::Refused,
        };
        let mut text = refusal.to_string();
        if matches!(refusal, Refusal::Io { errno: Errno::EACCES, .. }) {
            // Landlock lets through what was there, and sound but for its own mode, at the start.
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

    /// Records and logs a problem. The present content stays in use.
    pub(super) fn trouble(&mut self, reason: Unavailable, text: &str) -> bool {
        let changed = self.trouble.replace(reason) != Some(reason);
        if self.told != text {
            text.clone_into(&mut self.told);
            let name = self.shown();
            match self.contents.current() {
                None => tracing::error!("open table {name}: {text}"),
                Some(_) => {
                    tracing::warn!("table {name} cannot be refreshed, keeping its last content: {text}");
                }
            }
        }
        changed && self.contents.current().is_none()
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}
