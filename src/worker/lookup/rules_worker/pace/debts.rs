//! What clients owe.

use super::Who;
use mapkeep_sys::deadline;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Clients of one asker whose debts are remembered. An asker may say any number of clients, and what it has no room for
/// here costs its own clients their order, nobody else's.
pub(super) const DEBTORS: usize = 4096;
/// How often debts that are over are forgotten.
const TIDY: Duration = Duration::from_secs(1);

/// Until when each client owes, for those that do.
#[derive(Debug, Default)]
pub(super) struct Debts {
    /// By asker, then by client.
    askers: BTreeMap<u64, BTreeMap<u64, Instant>>,
    tidied: Option<Instant>,
}

impl Debts {
    /// Until when somebody owes, or owed.
    pub(super) fn of(&self, who: Who) -> Option<Instant> {
        self.askers.get(&who.asker)?.get(&who.client).copied()
    }

    /// Notes until when somebody owes.
    pub(super) fn set(&mut self, who: Who, owes: Option<Instant>, now: Instant) {
        let Some(owes) = owes.filter(|owes| *owes > now) else { return };
        let clients = self.askers.entry(who.asker).or_default();
        if clients.len() < DEBTORS || clients.contains_key(&who.client) {
            clients.insert(who.client, owes);
        }
    }

    /// An asker has gone.
    pub(super) fn forget(&mut self, asker: u64) {
        self.askers.remove(&asker);
    }

    /// Forgets debts that are over.
    pub(super) fn tidy(&mut self, now: Instant) {
        let early = |tidied: Instant| !deadline::has_passed(tidied, TIDY, now);
        if self.askers.is_empty() || self.tidied.is_some_and(early) {
            return;
        }
        self.tidied = Some(now);
        self.askers.retain(|_, clients| {
            clients.retain(|_, owes| *owes > now);
            !clients.is_empty()
        });
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.askers.values().map(BTreeMap::len).sum()
    }
}
