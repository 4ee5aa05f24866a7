//! The ways between lookup workers and rules workers: a stream for each two of them, made here and held by them.
//!
//! A rules worker is introduced once it is admitted and has its tables, so that no question waits for that, and no key goes
//! to a process of which nobody knows whether it is locked down. A lookup worker has no client before it knows all rules
//! workers that are there.

use super::{Freight, Stage, Worker, Workers};
use mapkeep_proto::{BrokerToLookup, Duty, GatewayId, Group, WorkerId};
use mapkeep_sys::stream;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

impl Workers {
    /// Makes the missing streams, and lets the workers serve that have all of theirs.
    ///
    /// # Errors
    /// Those of socketpair(2): too many descriptors. What is missing is made later.
    pub(crate) fn introduce(&mut self) -> io::Result<()> {
        let known = |stage| matches!(stage, Stage::Admitted | Stage::Draining);
        let ready = |workers: &Workers, duty| -> Vec<WorkerId> {
            let all = workers.of_duty(duty).filter(|(_, worker)| worker.settled && known(worker.stage));
            all.map(|(id, _)| *id).collect()
        };
        let answerers = ready(self, Duty::Rules);
        for id in &answerers {
            if let Some(worker) = self.list.get_mut(id) {
                worker.introduced = true;
            }
        }
        for asker in ready(self, Duty::Clients) {
            // Usually nothing is missing.
            if self.list.get(&asker).is_none_or(|one| one.introduced && one.peers.len() == answerers.len()) {
                continue;
            }
            for answerer in &answerers {
                self.pair(asker, *answerer)?;
            }
            if let Some(worker) = self.list.get_mut(&asker) {
                worker.introduced = true;
            }
        }
        Ok(())
    }

    /// The lookup workers that may ask gateways: nobody is told a key before the process is checked.
    pub(crate) fn askers(&self) -> BTreeSet<WorkerId> {
        let known = |worker: &Worker| matches!(worker.stage, Stage::Admitted | Stage::Draining);
        self.of_duty(Duty::Clients).filter(|(_, worker)| known(worker)).map(|(id, _)| *id).collect()
    }

    /// Gives a lookup worker a way to a gateway.
    pub(crate) fn meet(&mut self, asker: WorkerId, gateway: GatewayId, way: OwnedFd) {
        if let Some(worker) = self.list.get_mut(&asker) {
            worker.outbox.push(BrokerToLookup::Answerer(Group::Gateway(gateway)), Freight::Peer(way));
        }
    }

    fn pair(&mut self, asker: WorkerId, answerer: WorkerId) -> io::Result<()> {
        if self.list.get(&asker).is_none_or(|worker| worker.peers.contains(&answerer)) {
            return Ok(());
        }
        let (near, far) = stream::pair()?;
        if let Some(worker) = self.list.get_mut(&answerer) {
            worker.outbox.push(BrokerToLookup::Asker, Freight::Peer(near));
        }
        if let Some(worker) = self.list.get_mut(&asker) {
            worker.outbox.push(BrokerToLookup::Answerer(Group::Rules), Freight::Peer(far));
            worker.peers.insert(answerer);
        }
        Ok(())
    }

    /// A worker is about to exit: the others no longer count on it.
    pub(super) fn part(&mut self, id: WorkerId) {
        for worker in self.list.values_mut() {
            worker.peers.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests;
