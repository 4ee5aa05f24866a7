//! What the brokers say, and all that it can make the supervisor do.

use super::requests::Reply;
use super::{Fatal, Start, Supervisor};
use mapkeep_proto::{BrokerToSupervisor, Decode, SupervisorToBroker, WorkerId};
use mapkeep_sys::channel::Received;
use nix::sys::signal::{Signal, kill};
use std::time::Instant;

/// Messages that are read from a broker at a time.
const MESSAGES: usize = 64;

impl Supervisor {
    pub(super) fn receive_from_broker(&mut self, number: u32) -> Result<(), Fatal> {
        // A few at a time, so that signals and master(8) are not kept waiting.
        for _ in 0..MESSAGES {
            let mut buffer = [0; 64];
            let Some(generation) = self.generation(number) else { return Ok(()) };
            if !generation.requests.is_read(Instant::now()) {
                return Ok(());
            }
            let Some((_, channel)) = &generation.broker else { return Ok(()) };
            let length = match channel.receive_plain(&mut buffer) {
                Ok(Received::Message(length, _)) => length,
                Ok(Received::Empty) => return Ok(()),
                Ok(Received::Closed) => {
                    self.hang_up(number);
                    return Ok(());
                }
                Ok(Received::Oversized) | Err(_) => {
                    self.dismiss(number, "sent a message that cannot be read");
                    return Ok(());
                }
            };
            match BrokerToSupervisor::decode(buffer.get(..length).unwrap_or_default()) {
                Ok(message) => self.obey(number, message)?,
                Err(error) => {
                    self.dismiss(number, &format!("sent a malformed message ({error})"));
                    return Ok(());
                }
            }
        }
        if let Some(generation) = self.generation_mut(number) {
            generation.requests.said_much(Instant::now());
        }
        Ok(())
    }

    /// Ends a broker that has done what none of ours does. Its exit is reaped like any other, and it is replaced.
    fn dismiss(&mut self, number: u32, what: &str) {
        let Some(generation) = self.generation_mut(number) else { return };
        tracing::error!("the broker {what} -- replacing it");
        generation.requests.went_wrong();
        generation.kill_broker();
    }

    /// What the broker may have of what it says. `None`: nothing; it may have been dismissed for it.
    fn permit(&mut self, number: u32, message: BrokerToSupervisor, now: Instant) -> Option<Instant> {
        let pending = self.state.starts.iter().filter(|start| start.is_worker() && start.number == number);
        let pending = |duty| pending.filter(|start| start.duty == duty).count();
        let told_to_finish = self.leaving.iter().any(|old| old.number == number);
        let pending = match message {
            BrokerToSupervisor::Need(_, duty) => pending(duty),
            _ => 0,
        };
        let requests = &mut self.generation_mut(number)?.requests;
        let reply = match message {
            BrokerToSupervisor::Ready => requests.ready(),
            BrokerToSupervisor::Need(_, duty) => requests.need(duty, pending, now),
            BrokerToSupervisor::WorkerReady(id) => requests.worker_ready(id),
            BrokerToSupervisor::Kill(id) => requests.kill(id),
            BrokerToSupervisor::Clients(_) => Reply::Now,
            BrokerToSupervisor::Finishing => requests.finishing(told_to_finish),
            BrokerToSupervisor::DialerWrong => requests.dialer_wrong(),
        };
        match reply {
            Reply::Now => Some(now),
            Reply::At(moment) => Some(moment),
            Reply::Ignore => None,
            Reply::Wrong(what) => {
                self.dismiss(number, what);
                None
            }
        }
    }

    /// A broker has closed its channel: it is about to end, and its log may still get the reason. One that does not end in
    /// time is ended.
    fn hang_up(&mut self, number: u32) {
        if let Some(generation) = self.generation_mut(number) {
            generation.hung_up = true;
            generation.since = Instant::now();
        }
    }

    fn obey(&mut self, number: u32, message: BrokerToSupervisor) -> Result<(), Fatal> {
        let now = Instant::now();
        let serving = number == self.serving.number;
        let Some(granted) = self.permit(number, message, now) else { return Ok(()) };
        match message {
            BrokerToSupervisor::Ready => self.broker_ready(number, now)?,
            BrokerToSupervisor::Need(_, duty) => {
                let role = self.serving.worker_role(duty);
                let earliest = self.state.no_worker_before.get(&role);
                let at = earliest.map_or(granted, |moment| granted.max(*moment));
                let start = Start { role, duty, number, at };
                match at > now {
                    false => self.start(start, now)?,
                    true => self.state.starts.push(start),
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
            // Its end is reaped, and ends the service.
            BrokerToSupervisor::DialerWrong => {
                if let Some(dialer) = &self.dialer {
                    dialer.kill();
                }
            }
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
            && let Err(difference) = self.spawner.check(broker)
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
        match self.spawner.check(child) {
            Ok(found) => {
                if !std::mem::replace(&mut child.checked, true) {
                    tracing::debug!("{} {} is locked down: {found}", child.role.title(), id.0);
                    child.brief = found.brief();
                }
            }
            Err(difference) => {
                let role = child.role;
                return self.fail(number, Fatal::Lock(role, difference));
            }
        }
        if let Some(generation) = self.generation_mut(number) {
            generation.tell(SupervisorToBroker::Admit(id), None);
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
