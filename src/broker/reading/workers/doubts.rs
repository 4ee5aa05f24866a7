//! Second opinions on contents that a worker has judged against.
//!
//! A worker that starts judges them anyway. Rules workers may live as long as the service, so that none would start; and a
//! worker may have refused a content for a reason of its own, such as memory. Hence one of those that are there is asked,
//! if that can cost no client its connection.

use super::{Tables, Workers};
use crate::tables::Against;
use mapkeep_proto::{Duty, TableId, WorkerId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// After so long the judge itself is asked again, or one alone has to risk its life.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tables of which a content is doubted: who doubts it, and since when.
#[derive(Debug, Default)]
pub(super) struct Doubts(BTreeMap<TableId, (WorkerId, Instant)>);

impl Workers {
    /// A worker has judged against a content of this table.
    pub(crate) fn note_doubt(&mut self, table: TableId, judge: WorkerId, now: Instant) {
        self.doubts.0.insert(table, (judge, now));
    }

    /// Has another worker judge each content that is doubted, where there is one that may.
    pub(crate) fn seek_opinions(&mut self, tables: &Tables, now: Instant) {
        self.doubts.0.retain(|table, _| tables.doubtful(*table, true).is_some());
        let doubts: Vec<_> = self.doubts.0.iter().map(|(table, doubt)| (*table, *doubt)).collect();
        for (table, (judge, since)) in doubts {
            let Some((duty, against)) = tables.duty(table).zip(tables.against(table)) else { continue };
            let waited = now.saturating_duration_since(since) >= PATIENCE;
            if let Some(other) = self.other_judge(table, duty, against, judge, waited)
                && let Some(worker) = self.list.get_mut(&other)
            {
                worker.supply.owe_trial(table);
            }
        }
    }

    fn other_judge(
        &self,
        table: TableId,
        duty: Duty,
        against: Against,
        judge: WorkerId,
        waited: bool,
    ) -> Option<WorkerId> {
        if self.of_duty(duty).any(|(_, worker)| worker.supply.is_to_judge(table)) {
            return None;
        }
        let ready: Vec<WorkerId> =
            self.of_duty(duty).filter(|(_, worker)| worker.is_ready()).map(|(id, _)| *id).collect();
        let others = || ready.iter().copied().filter(|id| *id != judge);
        match (against, duty) {
            // A gateway has no contents.
            (_, Duty::Gateway) => None,
            // Its clients would lose their connections; one that starts has none.
            (Against::Died, Duty::Clients) => None,
            (Against::Died, Duty::Rules) => others().next().filter(|_| waited || others().count() > 1),
            (Against::Refused, _) => others().next().or(ready.first().copied().filter(|_| waited)),
        }
    }
}
