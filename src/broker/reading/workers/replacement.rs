//! The number of workers: how many to request, and which one to replace.
//!
//! Pure functions: they take counts and return what to request.

use super::{Stage, Workers};
use mapkeep_proto::{Duty, WorkerId, max_draining};

/// What to do about the workers of one duty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// How many to request.
    pub(crate) ask: u32,
    /// This one gets no new clients.
    pub(crate) retire: Option<WorkerId>,
}

impl Workers {
    /// The duties that there are workers for.
    pub(crate) fn duties(&self) -> Vec<Duty> {
        self.wanted.keys().copied().collect()
    }

    /// What to do about the workers of `duty`, of which `asked` have been requested and not yet started. `max_use`:
    /// clients after which a worker is replaced.
    ///
    /// One that has served `max_use` clients gets no new ones once another serves in its place; one is replaced at a
    /// time. No more are starting than serve already (but at least one), because those that start are still loading
    /// their tables.
    pub(crate) fn change(&self, duty: Duty, asked: u32, max_use: u32) -> Change {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let wanted = self.wanted.get(&duty).copied().unwrap_or_default();
        let all = || self.of_duty(duty).map(|(_, worker)| worker);
        let serving = number(all().filter(|worker| worker.is_ready()).count());
        let draining = number(all().filter(|worker| worker.stage == Stage::Draining).count());
        let coming = number(all().count()).saturating_sub(serving).saturating_sub(draining);
        let coming = coming.saturating_add(asked);
        let worn = self.of_duty(duty).filter(|(_, worker)| worker.is_ready() && worker.served >= max_use);
        // The one with the fewest clients exits soonest.
        let worn = worn.min_by_key(|(_, worker)| worker.clients).map(|(id, _)| *id);
        let another = u32::from(worn.is_some() && draining < max_draining(wanted));
        let missing = wanted.saturating_add(another).saturating_sub(serving).saturating_sub(coming);
        let ask = missing.min(serving.max(1).saturating_sub(coming));
        Change { ask, retire: worn.filter(|_| serving > wanted) }
    }
}

#[cfg(test)]
mod tests;
