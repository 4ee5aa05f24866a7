//! The arithmetic of deadlines, without overflow and without negative times.

use std::time::{Duration, Instant};

/// Stands for a time that the clock cannot represent: 30 years from now.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The moment `time` after `now`; at most about 30 years after it if the clock cannot represent the moment.
#[must_use]
pub fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).or_else(|| now.checked_add(FAR)).unwrap_or(now)
}

/// Whether at least `time` has passed between `since` and `now`. False, except for a zero `time`, if `since` is later.
#[must_use]
pub fn has_passed(since: Instant, time: Duration, now: Instant) -> bool {
    now.saturating_duration_since(since) >= time
}

/// The time left at `now` until `end`; zero if that has passed.
#[must_use]
pub fn left(end: Instant, now: Instant) -> Duration {
    end.saturating_duration_since(now)
}

/// The first of these moments.
#[must_use]
pub fn earliest(moments: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    moments.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_and_left_do_not_overflow_and_agree() {
        let now = Instant::now();
        assert_eq!(left(after(now, SECOND), now), SECOND);
        assert_eq!(left(now, after(now, SECOND)), Duration::ZERO);
        assert_eq!(left(after(now, Duration::MAX), now), FAR);
    }

    #[test]
    fn has_passed_at_its_moment_and_not_before() {
        let now = Instant::now();
        let end = after(now, SECOND);
        assert!(has_passed(now, SECOND, end));
        assert!(!has_passed(now, SECOND + Duration::from_nanos(1), end));
        assert!(!has_passed(end, SECOND, now));
    }

    #[test]
    fn earliest_of_none_is_none() {
        let now = Instant::now();
        assert_eq!(earliest([None, Some(after(now, SECOND)), Some(now)]), Some(now));
        assert_eq!(earliest([None]), None);
    }
}
