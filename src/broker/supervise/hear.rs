//! What the brokers say, and all that it can make the supervisor do.

use super::{Fatal, Supervisor, called};
use mapkeep_proto::{BrokerToSupervisor, Decode, SupervisorToBroker, WorkerId};
use mapkeep_sys::channel::Received;
use nix::sys::signal::{Signal, kill};
use std::time::Instant;

impl Supervisor {
    pub(super) fn hear_broker(&mut self, number: u32) -> Result<(), Fatal> {
        // A few at a time, so that signals and master(8) are not kept waiting.
        for _ in 0..64 {
            let mut buffer = [0; 64];
            let Some(generation) = self.generation(number) else { return Ok(()) };
            let Some((_, channel)) = &generation.broker else { return Ok(()) };
            let length = match channel.receive_plain(&mut buffer) {
                Ok(Received::Message(length, _)) => length,
                Ok(Received::Empty) => return Ok(()),
                Ok(Received::Closed) => {
                    self.hang_up(number);
                    return Ok(());
                }
                Ok(Received::Oversized) | Err(_) => {
                    generation.kill_broker();
                    return Ok(());
                }
            };
            match BrokerToSupervisor::decode(buffer.get(..length).unwrap_or_default()) {
                Ok(message) => self.obey(number, message)?,
                Err(error) => {
                    tracing::error!("the broker sent a wrong message ({error}) -- replacing it");
                    generation.kill_broker();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A broker has closed its channel. One that was told to finish is about to end; any other must.
    fn hang_up(&mut self, number: u32) {
        match self.leaving.iter_mut().find(|old| old.number == number && old.stopped && !old.ended) {
            Some(old) => {
                old.hung_up = true;
                old.since = Instant::now();
            }
            None => {
                if let Some(generation) = self.generation(number) {
                    generation.kill_broker();
                }
            }
        }
    }

    fn obey(&mut self, number: u32, message: BrokerToSupervisor) -> Result<(), Fatal> {
        let now = Instant::now();
        let serving = number == self.serving.number;
        match message {
            BrokerToSupervisor::Ready => self.broker_ready(number, now)?,
            BrokerToSupervisor::Need(_) => {
                let at = self.state.no_worker_before.filter(|moment| *moment > now);
                let role = self.serving.plan.worker_role();
                match at {
                    None => self.start(role, number, now)?,
                    Some(at) => self.state.starts.push((role, number, at)),
                }
            }
            BrokerToSupervisor::WorkerReady(id) => self.worker_ready(number, id)?,
            BrokerToSupervisor::Kill(id) => {
                if let Some((child, _)) = self.state.workers.get(&id).filter(|(_, of)| *of == number) {
                    let _ = kill(child.pid, Signal::SIGKILL);
                }
            }
            BrokerToSupervisor::Clients(count) if serving => {
                self.state.idle_since = (count == 0).then_some(now);
                if count > 0 && !std::mem::replace(&mut self.state.reported, true) {
                    self.report_progress();
                }
            }
            BrokerToSupervisor::Clients(_) => {}
            BrokerToSupervisor::Finishing => {
                if let Some(old) = self.leaving.iter_mut().find(|old| old.number == number) {
                    old.stopped = true;
                }
            }
        }
        Ok(())
    }

    fn broker_ready(&mut self, number: u32, now: Instant) -> Result<(), Fatal> {
        let Some(generation) = self.generation(number) else { return Ok(()) };
        if let Some((broker, _)) = &generation.broker
            && let Err(difference) = self.nursery.check(broker)
        {
            let role = broker.role;
            return self.fail(number, Fatal::Lock(role, difference));
        }
        if self.coming.as_ref().is_some_and(|next| next.number == number) {
            self.promote(now);
        }
        if number == self.serving.number {
            if !std::mem::replace(&mut self.serving.was_ready, true) && !self.state.reloading {
                self.notify.ready(&self.status_line());
            }
            // Only now can it take clients. A service that left before that, with a client waiting, would be
            // started again and again.
            self.state.idle_since = Some(now);
        }
        Ok(())
    }

    /// A worker says that it is locked down: it has clients only if that is true.
    fn worker_ready(&mut self, number: u32, id: WorkerId) -> Result<(), Fatal> {
        let Some((child, _)) = self.state.workers.get_mut(&id).filter(|(_, of)| *of == number) else {
            return Ok(());
        };
        match self.nursery.check(child) {
            Ok(found) => {
                if !std::mem::replace(&mut child.checked, true) {
                    tracing::debug!("{} {} is locked down: {found}", called(child.role), id.0);
                    child.brief = found.brief();
                }
            }
            Err(difference) => {
                let role = child.role;
                return self.fail(number, Fatal::Lock(role, difference));
            }
        }
        if let Some(generation) = self.generation(number) {
            generation.tell(&SupervisorToBroker::Admit(id), None);
        }
        Ok(())
    }

    /// One pair of records once a client has been accepted: it tells master(8) that the start succeeded, so
    /// that a later crash is no reason to throttle the service.
    fn report_progress(&self) {
        if let Some(status) = &self.status {
            status.report_client();
        }
    }
}
