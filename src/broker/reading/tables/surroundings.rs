//! What every look at a table's file needs, and how often there is one.

use mapkeep_broker_trust::{Anchor, Owners};
use std::time::Duration;

/// How often a file is checked that inotify cannot watch; with very many tables, as often as [`LOOK_TIME`] allows.
const POLL: Duration = Duration::from_millis(400);
/// How often every file is checked even without an event (network file systems report none); likewise.
const SWEEP: Duration = Duration::from_secs(5);
/// The average interval between checks of unchanged files, so that they take a small share of the time.
const LOOK_TIME: Duration = Duration::from_micros(200);

/// What every check needs.
pub(super) struct Surroundings {
    pub(super) anchor: Anchor,
    pub(super) owners: Owners,
    /// The largest file, in bytes.
    pub(super) limit: u64,
    /// The shortest time in which all tables are checked once.
    pub(super) round: Duration,
}

impl Surroundings {
    /// `tables` is the number of tables with files.
    pub(super) fn new(anchor: Anchor, owners: Owners, limit: u64, tables: usize) -> Surroundings {
        let round = LOOK_TIME.saturating_mul(u32::try_from(tables).unwrap_or(u32::MAX));
        Surroundings { anchor, owners, limit, round }
    }

    /// How long until the next check of a file for which inotify reports nothing.
    pub(super) fn rest(&self, watched: bool) -> Duration {
        self.round.max(if watched { SWEEP } else { POLL })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_tables_are_checked_less_often() {
        let rests = |tables| {
            let around = Surroundings::new(Anchor::host().unwrap(), Owners::root(), 1, tables);
            (around.rest(false), around.rest(true))
        };
        assert_eq!(rests(2000), (POLL, SWEEP));
        assert_eq!(rests(10_000), (Duration::from_secs(2), SWEEP));
        assert_eq!(rests(60_000), (Duration::from_secs(12), Duration::from_secs(12)));
    }
}
