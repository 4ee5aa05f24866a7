//! Setting damaged files aside: renamed, never removed, never over something.
//!
//! A writer that an attacker has taken over could call sound files damaged again and again, and fill the directory with
//! them: so each table has a [`Budget`].

use super::change;
use mapkeep_broker_trust::Place;
use mapkeep_sys::deadline;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The number of files of one table that may be set aside within a minute, and within a day.
const MINUTELY: usize = 3;
const DAILY: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// The number of names that are tried for one second.
const NAMES: u32 = 100;
/// The last second that a stamp can show.
const END_OF_9999: u64 = 253_402_300_799;

/// The times at which files of one table were set aside within the last day.
#[derive(Debug, Default)]
pub(super) struct Budget(VecDeque<Instant>);

impl Budget {
    /// Whether one more may be set aside now; the error is the time from which it may.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while self.0.front().is_some_and(|first| deadline::has_passed(*first, DAY, now)) {
            self.0.pop_front();
        }
        for (count, time) in [(MINUTELY, MINUTE), (DAILY, DAY)] {
            let oldest = self.0.len().checked_sub(count).and_then(|index| self.0.get(index));
            if let Some(again) = oldest.and_then(|oldest| oldest.checked_add(time)).filter(|at| *at > now) {
                return Err(again);
            }
        }
        self.0.push_back(now);
        Ok(())
    }
}

/// Renames the file `name`, and `log` if it exists, to names that show when they were found damaged. Returns the new
/// name of the first: `NAME.corrupt-YYYYMMDDTHHMMSSZ`. The log's ends in `-wal`, so that SQLite's own tools find the
/// two together.
///
/// # Errors
/// Those of renameat2(2); `ENOENT` if `name` does not exist.
pub(super) fn set_aside(
    place: &Place<'_>,
    name: &[u8],
    log: Option<&[u8]>,
    now: SystemTime,
) -> Result<Vec<u8>, Errno> {
    let base = [name, b".corrupt-", stamp(now).as_bytes()].concat();
    let aside = rename_to_unused(place, name, &base, b"")?;
    if let Some(log) = log {
        match rename_to_unused(place, log, &aside, b"-wal") {
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(aside)
}

/// Renames to `base` and `suffix`, or with a number between them.
fn rename_to_unused(place: &Place<'_>, from: &[u8], base: &[u8], suffix: &[u8]) -> Result<Vec<u8>, Errno> {
    for number in 1..=NAMES {
        let counter = if number == 1 { String::new() } else { format!(".{number}") };
        let to = [base, counter.as_bytes(), suffix].concat();
        match change::rename_to_free(place, from, &to) {
            Ok(()) => return Ok(to),
            Err(Errno::EEXIST) => {}
            // The file system cannot refuse an existing name. Nobody else creates names here, so a check before is as
            // good.
            Err(Errno::EINVAL) => match place.status(&to) {
                Ok(None) => return change::rename_over(place, from, &to).map(|()| to),
                Ok(Some(_)) => {}
                Err(_) => return Err(Errno::EINVAL),
            },
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EEXIST)
}

/// A time as `YYYYMMDDTHHMMSSZ`, in UTC.
fn stamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(END_OF_9999);
    let (year, month, day) = date(since / 86_400);
    let (hour, minute, second) = (since / 3600 % 24, since / 60 % 60, since % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of the day with this number of days after 1970-01-01, in the Gregorian calendar.
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_known_moments() {
        // As date -u +%Y%m%dT%H%M%SZ prints them.
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_709_164_800, "20240229T000000Z"),
            (1_735_689_599, "20241231T235959Z"),
            (1_735_689_600, "20250101T000000Z"),
            (4_102_444_799, "20991231T235959Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
            (u64::from(u32::MAX), "21060207T062815Z"),
            (1 << 50, "99991231T235959Z"),
        ] {
            assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(stamp(UNIX_EPOCH - Duration::from_secs(5)), "19700101T000000Z");
    }

    #[test]
    fn budget_allows_three_a_minute_and_more_a_day() {
        let mut budget = Budget::default();
        let start = Instant::now();
        for _ in 0..MINUTELY {
            assert_eq!(budget.take(start), Ok(()));
        }
        assert_eq!(budget.take(start), Err(start + MINUTE));
        assert_eq!(budget.take(start + MINUTE - Duration::from_millis(1)), Err(start + MINUTE));
        let (mut now, mut taken) = (start, MINUTELY);
        while taken < DAILY {
            now += MINUTE;
            for _ in 0..MINUTELY.min(DAILY - taken) {
                assert_eq!(budget.take(now), Ok(()));
                taken += 1;
            }
        }
        now += MINUTE;
        assert_eq!(budget.take(now), Err(start + DAY));
        assert_eq!(budget.take(start + DAY), Ok(()));
    }
}
