//! Time as far as the machine gives any, for the promises of the service that name a time.
//!
//! A thread adds a tick whenever it has slept for one, however late it wakes up. So the time in which everybody has to
//! wait for a processor is not counted: on a machine that keeps up this is the time of day, and on one that is busy with
//! other work a promise is not called broken because of that.

use super::{BEAT, PATIENCE};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(5);

/// Ticks since the first stopwatch of this process.
static TICKS: AtomicU32 = AtomicU32::new(0);

/// A running stopwatch.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(u32);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        static TICKING: Once = Once::new();
        TICKING.call_once(|| {
            std::thread::spawn(|| {
                loop {
                    std::thread::sleep(TICK);
                    TICKS.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        Stopwatch(TICKS.load(Ordering::Relaxed))
    }

    /// The time since the start, without the time in which the machine ran other things; exact to a tick or two.
    pub fn elapsed(&self) -> Duration {
        TICK * TICKS.load(Ordering::Relaxed).wrapping_sub(self.0)
    }
}

/// As `poll`, for an event that is promised `within` a time, which is measured with a stopwatch.
pub fn poll_promise<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let (watch, start) = (Stopwatch::start(), Instant::now());
    loop {
        let last = watch.elapsed() > within || start.elapsed() > within + PATIENCE;
        let found = look();
        if found.is_some() || last {
            return found;
        }
        std::thread::sleep(BEAT);
    }
}
