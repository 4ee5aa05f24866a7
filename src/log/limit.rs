//! A limit on the rate of lines, so that a client or a worker cannot flood the log.

use std::time::{Duration, Instant};

/// Lines of one kind in each window.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts the lines of one kind.
#[derive(Debug)]
pub struct Limiter {
    each_window: u32,
    window_start: Instant,
    passed: u32,
    suppressed: u64,
}

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    Pass,
    /// Write it, and say first that so many lines were left out.
    PassAfter(u64),
    /// Leave it out.
    Suppress,
}

impl Limiter {
    /// Lets `each_window` lines through in a second.
    #[must_use]
    pub fn new(each_window: u32, now: Instant) -> Limiter {
        Limiter { each_window, window_start: now, passed: 0, suppressed: 0 }
    }

    /// Judges one line.
    pub fn judge(&mut self, now: Instant) -> Verdict {
        let mut left_out = 0;
        if now.saturating_duration_since(self.window_start) >= WINDOW {
            self.window_start = now;
            self.passed = 0;
            left_out = std::mem::take(&mut self.suppressed);
        }
        if self.passed >= self.each_window {
            self.suppressed = self.suppressed.saturating_add(1);
            return Verdict::Suppress;
        }
        self.passed = self.passed.saturating_add(1);
        if left_out == 0 { Verdict::Pass } else { Verdict::PassAfter(left_out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_is_cut_and_counted() {
        let start = Instant::now();
        let mut limiter = Limiter::new(10, start);
        let passed = (0..1000).filter(|_| limiter.judge(start) == Verdict::Pass).count();
        assert_eq!(passed, 10);
        let later = start + Duration::from_secs(2);
        assert_eq!(limiter.judge(later), Verdict::PassAfter(990));
        assert_eq!(limiter.judge(later), Verdict::Pass);
    }
}
