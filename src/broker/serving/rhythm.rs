//! What the event loops of both brokers go by: how often, how long, and the stages of whoever serves clients.

use crate::listeners::PAUSE;
use mapkeep_process::milliseconds;
use mapkeep_sys::deadline;
use nix::sys::epoll::EpollTimeout;
use std::time::{Duration, Instant};

/// How often workers with clients are pinged.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// The token of the channel to the supervisor.
pub const SUPERVISOR: u64 = 0;
/// The token of the first listening socket.
pub const LISTENERS: u64 = 2;
/// The longest sleep, in the unlikely case that nothing is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Started; has not reported its lock-down.
    Starting,
    /// Has reported its lock-down; the supervisor is checking.
    Checking,
    /// May have clients.
    Admitted,
    /// Keeps its clients and gets no new ones.
    Draining,
}

/// How long the loop of a broker may sleep: until the first of `moments`, and only briefly while a message waits to be
/// sent (`quiet` is false).
pub fn sleep_until(
    moments: impl IntoIterator<Item = Option<Instant>>,
    quiet: bool,
    now: Instant,
) -> EpollTimeout {
    let limit = if quiet { LONGEST_SLEEP } else { PAUSE };
    let wait = match deadline::earliest(moments) {
        None if quiet => return EpollTimeout::NONE,
        None => limit,
        Some(next) => deadline::left(next, now).min(limit),
    };
    milliseconds(wait).into()
}
