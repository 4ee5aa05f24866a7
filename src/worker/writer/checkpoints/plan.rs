//! When one table's next checkpoint is due.

use mapkeep_sys::deadline;
use std::time::{Duration, Instant};

/// A table that has been left alone for so long is written.
const IDLE: Duration = Duration::from_secs(1);
/// One that is changed all the time is written at the latest after this,
const LATEST: Duration = Duration::from_secs(10);
/// or after this multiple of the time that the last checkpoint took: then checkpoints take a twentieth of the time.
const SHARE: u32 = 20;
/// The first pause after a failure, which doubles with each further one, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The schedule of one table.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Since when an unconditional checkpoint has been requested.
    wanted: Option<Instant>,
    /// The first and the last of the changes that no checkpoint has yet.
    changes: Option<(Instant, Instant)>,
    /// How long the last checkpoint took.
    took: Duration,
    /// Failures in a row, and the end of the pause after the last.
    failures: u32,
    not_before: Option<Instant>,
    /// Nothing needs to be written now.
    suspended: bool,
}

impl Plan {
    pub(super) fn changed(&mut self, now: Instant) {
        let first = self.changes.map_or(now, |(first, _)| first);
        self.changes = Some((first, now));
    }

    /// It must be written now.
    pub(super) fn want(&mut self, now: Instant) {
        self.wanted = Some(now);
        self.not_before = None;
    }

    /// The service ends: there is one more attempt, at once.
    pub(super) fn finish(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// It must not be written for now.
    pub(super) fn suspend(&mut self) {
        self.suspended = true;
    }

    /// It may and must be written again.
    pub(super) fn resume(&mut self, now: Instant) {
        self.suspended = false;
        self.want(now);
    }

    /// A checkpoint has begun. Changes from now on may not be in it.
    pub(super) fn begun(&mut self) {
        (self.changes, self.wanted) = (None, None);
    }

    /// It is in place. `unsaved`: entries have changed meanwhile.
    pub(super) fn saved(&mut self, unsaved: bool, took: Duration, now: Instant) {
        (self.took, self.failures, self.not_before) = (took, 0, None);
        match unsaved {
            false => self.changes = None,
            true if self.changes.is_none() => self.changed(now),
            true => {}
        }
    }

    /// It came to nothing.
    pub(super) fn failed(&mut self, now: Instant) {
        self.wanted = Some(now);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(deadline::after(now, self.pause()));
    }

    /// When the next checkpoint should begin. `finishing`: there will be no later one.
    pub(super) fn due(&self, finishing: bool) -> Option<Instant> {
        if self.suspended || (finishing && self.failures > 0) {
            return None;
        }
        let due = match (self.wanted, self.changes) {
            (Some(since), _) => since,
            (None, None) => return None,
            (None, Some((first, _))) if finishing => first,
            (None, Some((first, last))) => {
                let idle = last.checked_add(IDLE)?;
                idle.min(first.checked_add(LATEST.max(self.took.saturating_mul(SHARE)))?)
            }
        };
        Some(self.not_before.map_or(due, |moment| due.max(moment)))
    }

    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
    }

    /// The pause after the last failure, for the log.
    pub(super) fn pause_shown(&self) -> String {
        format!("retrying in {} s", self.pause().as_secs())
    }
}
