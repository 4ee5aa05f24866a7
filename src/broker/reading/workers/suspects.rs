//! Second trials of snapshots that a worker has failed to load.
//!
//! A worker that starts tries them anyway. But rules workers may live as long as the service, so that none would start;
//! and a worker may have refused a snapshot for a reason of its own, such as lack of memory. So a running worker tries
//! it, if that cannot cost a client its connection.

use super::{Tables, Workers};
use crate::tables::LoadFailure;
use mapkeep_proto::{Duty, TableId, WorkerId};
use mapkeep_sys::deadline;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// After this time, the worker that failed tries again if there is no other, or the only other rules worker tries one
/// that may crash it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tables with a suspect snapshot: the worker that failed to load it, and when.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeMap<TableId, (WorkerId, Instant)>);

impl Workers {
    /// A worker has failed to load a snapshot of this table.
    pub(crate) fn note_suspect(&mut self, table: TableId, failed: WorkerId, now: Instant) {
        self.suspects.0.insert(table, (failed, now));
    }

    /// Has another worker try each suspect snapshot, if there is one that may.
    pub(crate) fn seek_opinions(&mut self, tables: &Tables, now: Instant) {
        self.suspects.0.retain(|table, _| tables.suspect(*table, true).is_some());
        let suspects: Vec<_> = self.suspects.0.iter().map(|(table, suspect)| (*table, *suspect)).collect();
        for (table, (failed, since)) in suspects {
            let Some((duty, failure)) = tables.duty(table).zip(tables.failure(table)) else { continue };
            let waited = deadline::has_passed(since, PATIENCE, now);
            if let Some(other) = self.other_worker(table, duty, failure, failed, waited)
                && let Some(worker) = self.list.get_mut(&other)
            {
                worker.supply.owe_trial(table);
            }
        }
    }

    fn other_worker(
        &self,
        table: TableId,
        duty: Duty,
        failure: LoadFailure,
        failed: WorkerId,
        waited: bool,
    ) -> Option<WorkerId> {
        if self.of_duty(duty).any(|(_, worker)| worker.supply.is_to_try(table)) {
            return None;
        }
        let ready: Vec<WorkerId> =
            self.of_duty(duty).filter(|(_, worker)| worker.is_ready()).map(|(id, _)| *id).collect();
        let others = || ready.iter().copied().filter(|id| *id != failed);
        match (failure, duty) {
            // A gateway has no snapshots.
            (_, Duty::Gateway) => None,
            // Its clients would lose their connections; a starting worker has none.
            (LoadFailure::Died, Duty::Clients) => None,
            (LoadFailure::Died, Duty::Rules) => others().next().filter(|_| waited || others().count() > 1),
            (LoadFailure::Refused, _) => others().next().or(ready.first().copied().filter(|_| waited)),
        }
    }
}
