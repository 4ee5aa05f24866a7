//! A limit on the rate of lines, so that a client or a worker cannot flood the log.

use mapkeep_sys::deadline;
use std::time::{Duration, Instant};

/// The default length of a window.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts the lines of one kind.
///
/// The caller must also call [`Limiter::left_out`] at the time of [`Limiter::due`]: the count of dropped lines must not
/// wait for a further line, which may never come.
#[derive(Debug)]
pub struct Limiter {
    each_window: u32,
    window: Duration,
    window_start: Instant,
    passed: u32,
    suppressed: u64,
}

impl Limiter {
    /// Lets `each_window` lines through in a second.
    #[must_use]
    pub fn new(each_window: u32, now: Instant) -> Limiter {
        Limiter { each_window, window: WINDOW, window_start: now, passed: 0, suppressed: 0 }
    }

    /// The same number of lines, in this time instead of a second.
    #[must_use]
    pub fn within(self, window: Duration) -> Limiter {
        Limiter { window, ..self }
    }

    /// Whether to write a line. Dropped lines are counted.
    pub fn passes(&mut self, now: Instant) -> bool {
        if self.has_ended(now) {
            self.window_start = now;
            self.passed = 0;
        }
        if self.passed >= self.each_window {
            self.suppressed = self.suppressed.saturating_add(1);
            return false;
        }
        self.passed = self.passed.saturating_add(1);
        true
    }

    /// The number of dropped lines, once their window has ended; each is reported once.
    pub fn left_out(&mut self, now: Instant) -> Option<u64> {
        let count = Some(self.suppressed).filter(|count| *count > 0 && self.has_ended(now))?;
        self.suppressed = 0;
        Some(count)
    }

    /// When to call [`Limiter::left_out`]; `None` while no line has been dropped.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        (self.suppressed > 0).then(|| self.window_start.checked_add(self.window)).flatten()
    }

    /// Whether it has no state: a new limiter would behave the same.
    #[must_use]
    pub fn is_idle(&self, now: Instant) -> bool {
        self.suppressed == 0 && self.has_ended(now)
    }

    fn has_ended(&self, now: Instant) -> bool {
        deadline::has_passed(self.window_start, self.window, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_is_cut_and_counted() {
        let start = Instant::now();
        let mut limiter = Limiter::new(10, start);
        let passed = (0..1000).filter(|_| limiter.passes(start)).count();
        assert_eq!(passed, 10);
        assert_eq!(limiter.left_out(start), None, "its second has not ended");
        let later = limiter.due().unwrap();
        assert_eq!(later, start + WINDOW);
        assert_eq!(limiter.left_out(later), Some(990));
        assert_eq!((limiter.left_out(later), limiter.due()), (None, None), "told once");
        assert!(limiter.passes(later));
    }

    #[test]
    fn window_may_be_longer() {
        let start = Instant::now();
        let mut limiter = Limiter::new(2, start).within(WINDOW * 10);
        assert_eq!((0..5).filter(|second| limiter.passes(start + WINDOW * *second)).count(), 2);
        assert_eq!(limiter.due(), Some(start + WINDOW * 10));
        assert!(!limiter.is_idle(start + WINDOW * 10), "three are to be told");
        assert_eq!(limiter.left_out(start + WINDOW * 10), Some(3));
        assert!(limiter.is_idle(start + WINDOW * 10) && limiter.passes(start + WINDOW * 10));
    }
}
