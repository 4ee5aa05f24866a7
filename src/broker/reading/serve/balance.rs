//! What the broker does about the number of its workers: it asks for those that are missing, replaces those that have served
//! enough, makes the ways between them, and lets them go at the end.

use super::Broker;
use crate::workers::Change;
use mapkeep_broker_serving::rhythm::Stage;
use mapkeep_proto::{BrokerToSupervisor, Duty, TrustClass, WorkerId};
use std::io;

impl Broker {
    /// Makes the missing streams between workers.
    pub(super) fn introduce(&mut self) {
        let Broker { workers, gateways, .. } = self;
        if let Err(error) = workers.introduce().and_then(|()| gateways.introduce(workers)) {
            // Descriptors in flight are released soon. Clients wait until then.
            tracing::warn!("cannot connect two workers: {error} -- retrying");
            self.front.listeners.pause();
        }
    }

    /// Requests missing workers, and retires those that have been replaced.
    pub(super) fn balance(&mut self) -> io::Result<()> {
        if self.front.is_finishing() {
            return self.let_go();
        }
        for duty in self.workers.duties() {
            let asked = self.asked.get(&duty).copied().unwrap_or_default();
            let Change { ask, retire } = self.workers.change(duty, asked, self.bounds.max_use);
            if let Some(id) = retire {
                self.workers.retire(id);
            }
            for _ in 0..ask {
                self.say(BrokerToSupervisor::Need(TrustClass::EVERYONE, duty))?;
            }
            self.asked.insert(duty, asked.saturating_add(ask));
        }
        Ok(())
    }

    /// Tells each lookup worker to exit when its clients have disconnected. Their tables stay up to date until then.
    pub(super) fn let_clients_go(&mut self) -> io::Result<()> {
        for (id, stage) in self.stages(Duty::Clients) {
            match stage {
                // It has had no client.
                Stage::Starting | Stage::Checking => self.lose(id)?,
                Stage::Admitted => self.workers.retire(id),
                Stage::Draining => {}
            }
        }
        Ok(())
    }

    /// Rules workers and gateways exit when no lookup worker is left. If one is missing that lookup workers ask, the lookup
    /// workers exit as well: their clients connect to those of the newer broker, which can answer everything.
    fn let_go(&mut self) -> io::Result<()> {
        let (askers, answerers) = (self.stages(Duty::Clients), self.stages(Duty::Rules));
        if askers.is_empty() {
            self.gateways.finish();
            for (id, stage) in answerers {
                match stage {
                    Stage::Starting | Stage::Checking => self.lose(id)?,
                    Stage::Admitted => self.workers.retire(id),
                    Stage::Draining => {}
                }
            }
        } else if self.gateways.is_short()
            || (answerers.is_empty() && self.workers.duties().contains(&Duty::Rules))
        {
            // They answer what has arrived, then exit.
            for (id, _) in askers {
                self.forget(id)?;
            }
        }
        Ok(())
    }

    fn stages(&self, duty: Duty) -> Vec<(WorkerId, Stage)> {
        let of_duty = self.workers.list.iter().filter(|(_, worker)| worker.duty == duty);
        of_duty.map(|(id, worker)| (*id, worker.stage)).collect()
    }
}
