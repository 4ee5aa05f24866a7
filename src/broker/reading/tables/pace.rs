//! How often a table may be copied: one whose file changes all the time gets a share of the time, no more.

use std::time::{Duration, Instant};

/// The average interval between copies of one table, as a multiple of the time that a copy takes until workers have it:
/// a table that is touched without end takes at most a quarter of the broker's time, or of a worker's. A change after a
/// quiet time is copied at once, and so is the next one.
const REST: u32 = 4;
/// The longest such interval.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The pace of one table.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the copy in progress, or the last one that no worker has tried yet, was begun.
    began: Option<Instant>,
    /// The next copy may not begin before this time, which follows from the copies before the last one.
    not_before: Option<Instant>,
    /// The same, including the last copy.
    earned: Option<Instant>,
}

impl Pace {
    /// A file has been opened for a copy; time in which it is locked or too young does not count.
    pub(crate) fn open(&mut self) {
        self.began = None;
        self.not_before = self.earned;
    }

    /// A part of it is being copied.
    pub(crate) fn copy(&mut self, now: Instant) {
        self.began.get_or_insert(now);
    }

    /// The copy has ended, complete or not.
    pub(crate) fn copied(&mut self, now: Instant) {
        let Some(began) = self.began else { return };
        let rest = now.saturating_duration_since(began).saturating_mul(REST).min(LONGEST_REST);
        self.earned = self.not_before.unwrap_or(began).max(began).checked_add(rest);
    }

    /// A worker has tried the copy: the time that took counts as well.
    pub(crate) fn tried(&mut self, now: Instant) {
        self.copied(now);
        self.began = None;
    }

    /// When the next copy may begin, if that is later than `now`.
    pub(crate) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|moment| *moment > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A copy that begins at `start`, is complete after `copied` and has been tried after `tried`.
    fn copy(pace: &mut Pace, start: Instant, copied: Duration, tried: Duration) {
        pace.open();
        pace.copy(start);
        pace.copied(start + copied);
        pace.tried(start + tried);
    }

    #[test]
    fn copies_of_a_table_that_always_changes_take_a_quarter_of_the_time() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let (mut now, mut copies) = (start, 0);
        while now < start + 40_000 * MS {
            now = pace.rests_until(now).unwrap_or(now);
            copy(&mut pace, now, 10 * MS, 100 * MS);
            now += 100 * MS;
            copies += 1;
        }
        assert!((98..=103).contains(&copies), "{copies} copies of 100 ms in 40 s");
    }

    #[test]
    fn change_after_a_quiet_time_and_the_next_one_wait_for_nothing() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        for begin in [start, start + 60_000 * MS] {
            copy(&mut pace, begin, 10 * MS, 100 * MS);
            assert_eq!(pace.rests_until(begin + 100 * MS), None);
            copy(&mut pace, begin + 100 * MS, 10 * MS, 100 * MS);
            assert_eq!(pace.rests_until(begin + 200 * MS), Some(begin + 400 * MS));
        }
    }

    #[test]
    fn abandoned_copies_count() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        for begin in [start, start + 30 * MS] {
            pace.open();
            pace.copy(begin);
            pace.copied(begin + 30 * MS);
        }
        assert_eq!(pace.rests_until(start + 60 * MS), Some(start + 120 * MS));
    }

    #[test]
    fn waiting_for_a_writer_counts_for_nothing() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        for begin in [start, start + 9000 * MS] {
            pace.open();
            pace.copied(begin + 9000 * MS);
        }
        assert_eq!(pace.rests_until(start + 18_000 * MS), None);
    }

    #[test]
    fn second_trial_of_a_copy_changes_nothing() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        copy(&mut pace, start, MS, 10 * MS);
        copy(&mut pace, start + 10 * MS, MS, 10 * MS);
        let rests = pace.rests_until(start + 20 * MS);
        pace.tried(start + 9000 * MS);
        assert_eq!((rests, pace.rests_until(start + 20 * MS)), (Some(start + 40 * MS), rests));
    }

    #[test]
    fn rest_has_a_limit() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        copy(&mut pace, start, MS, 20_000 * MS);
        copy(&mut pace, start + 20_000 * MS, MS, MS);
        assert_eq!(pace.rests_until(start + 20_001 * MS), Some(start + LONGEST_REST));
    }
}
