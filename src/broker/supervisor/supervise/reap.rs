//! The ends of children: what is logged, who is replaced, and the end of all of them.

use super::{CHECKPOINTS, FAREWELL, Fatal, Start, Supervisor};
use crate::children::Child;
use mapkeep_proto::SupervisorToBroker;
use mapkeep_sandbox::{LOCK_FAILED, Role};
use mapkeep_sys::deadline::{self, after};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

impl Supervisor {
    pub(super) fn reap(&mut self) -> Result<(), Fatal> {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..))) => {
                    self.reap_one(pid, status)?;
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return Ok(()),
                Ok(_) => {}
            }
        }
    }

    /// Logs the end of a child and starts another, at once or later.
    fn reap_one(&mut self, pid: Pid, status: WaitStatus) -> Result<(), Fatal> {
        let end = match status {
            WaitStatus::Exited(_, code) => format!("exit status {code}"),
            WaitStatus::Signaled(_, signal, _) => format!("killed by {}", signal.as_str()),
            _ => String::new(),
        };
        let refused = matches!(status, WaitStatus::Exited(_, code) if code == i32::from(LOCK_FAILED));
        let lock =
            |role| Fatal::Lock(role, "it refused to start; its own log line above gives the reason".into());
        let well = matches!(status, WaitStatus::Exited(_, 0));
        let of_broker =
            self.generations().find(|one| one.broker.as_ref().is_some_and(|(child, _)| child.pid == pid));
        if let Some(number) = of_broker.map(|one| one.number) {
            let leaving = self.leaving.iter().any(|old| old.number == number);
            if refused && !leaving {
                self.forget_broker(number);
                return self.fail(number, lock(self.serving.plan.broker_role()));
            }
            return self.reap_broker(number, pid, &end, well);
        }
        if self.state.logger.as_ref().is_some_and(|(child, _)| child.pid == pid) {
            self.state.logger = None;
            if refused {
                return Err(lock(Role::Logger));
            }
            tracing::warn!("{} {pid} exited: {end}", Role::Logger.name());
            self.replace(Role::Logger);
            return Ok(());
        }
        if self.dialer.as_ref().is_some_and(|dialer| dialer.child.pid == pid) {
            if refused {
                return Err(lock(Role::Dialer));
            }
            self.lose_dialer(&end, Instant::now());
            return Ok(());
        }
        let found = self.state.workers.iter().find(|(_, (child, _))| child.pid == pid);
        let Some(id) = found.map(|(id, _)| *id) else { return Ok(()) };
        let Some((child, number)) = self.state.workers.remove(&id) else { return Ok(()) };
        if let Some(generation) = self.generation_mut(number) {
            generation.requests.ended(id);
            generation.tell(SupervisorToBroker::Gone(id), None);
        }
        if refused {
            return self.fail(number, lock(child.role));
        }
        if child.checked && well {
            // It was replaced after max_use clients, or its broker has gone.
            return Ok(());
        }
        tracing::warn!("{} {pid} exited: {end}", child.role.title());
        if number == self.serving.number || self.is_coming(number) {
            self.replace(child.role);
        }
        Ok(())
    }

    /// Its workers have lost their channel and leave by themselves.
    pub(super) fn reap_broker(&mut self, number: u32, pid: Pid, end: &str, well: bool) -> Result<(), Fatal> {
        let orphans = self.state.workers.values_mut().filter(|(_, of)| *of == number);
        for (worker, _) in orphans {
            worker.orphaned.get_or_insert(Instant::now());
        }
        if let Some(position) = self.leaving.iter().position(|old| old.number == number) {
            let old = self.leaving.remove(position);
            if old.is_none_or(|old| old.ended) || well {
                tracing::info!("broker {pid} (previous configuration) exited: {end}");
            } else {
                tracing::warn!("broker {pid} (previous configuration) exited: {end}");
            }
            return Ok(());
        }
        let role = self.serving.plan.broker_role();
        tracing::warn!("{} {pid} exited: {end}", role.name());
        if self.is_coming(number) {
            self.forget_broker(number);
            self.abandon(&format!("the new broker exited before it was ready: {end}"));
            return Ok(());
        }
        self.forget_broker(number);
        // What it asked for is not for the next one, which asks for its own.
        self.state.starts.retain(|start| !start.is_worker() || start.number != number);
        self.state.idle_since = None;
        if !self.serving.was_ready {
            return Err(Fatal::Lock(role, format!("it exited before it was ready: {end}")));
        }
        self.replace(role);
        Ok(())
    }

    /// Its process number may soon be somebody else's.
    fn forget_broker(&mut self, number: u32) {
        for generation in self.generations_mut().filter(|one| one.number == number) {
            generation.broker = None;
        }
    }

    /// Ends the workers that have not left long after their broker.
    pub(super) fn end_orphans(&mut self, now: Instant) {
        for (child, _) in self.state.workers.values_mut() {
            if child.overstays().is_some_and(|moment| moment <= now) {
                let (name, pid) = (child.role.title(), child.pid);
                tracing::error!("{name} {pid} is still running long after its broker exited -- killing it");
                let _ = kill(pid, Signal::SIGKILL);
                child.orphaned = Some(now);
            }
        }
    }

    /// When the first of them is ended.
    pub(super) fn next_orphan(&self) -> Option<Instant> {
        self.state.workers.values().filter_map(|(child, _)| child.overstays()).min()
    }

    fn is_coming(&self, number: u32) -> bool {
        self.coming.as_ref().is_some_and(|next| next.number == number)
    }

    /// Starts another process in place of one that died, at once or later.
    fn replace(&mut self, role: Role) {
        let now = Instant::now();
        let pause = self.state.back_off.entry(role).or_default().death(now);
        let at = after(now, pause);
        let start = Start::of(role, self.serving.number, at);
        match start.is_worker() {
            // The broker waits longer and longer for each gateway; the death of one is nothing to the others.
            true if role == Role::Gateway => {}
            // It is the broker that asks for the next one, possibly before we know of this exit.
            true => drop(self.state.no_worker_before.insert(role, at)),
            false => self.state.starts.push(start),
        }
    }

    /// Lets the children finish what they are at, then ends them.
    pub(super) fn finish(&mut self) {
        if self.serving.plan.writes() {
            self.finish_writing();
        }
        // The end of its channel tells the broker to leave, and the end of theirs the workers.
        let mut brokers = Vec::new();
        for generation in self.generations_mut() {
            brokers.extend(generation.broker.take().map(|(child, _)| child));
        }
        let workers = std::mem::take(&mut self.state.workers).into_values().map(|(child, _)| child);
        self.await_ends(brokers.into_iter().chain(workers));
        // What it has begun is of no use to anybody.
        let dialer = self.dialer.take().map(|dialer| dialer.child);
        self.await_ends(dialer.into_iter());
        // The logger is last, so that it writes what the others had to say.
        let logger = self.state.logger.take().map(|(child, _)| child);
        self.await_ends(logger.into_iter());
    }

    /// Has the writers answer what they have been asked, and write their checkpoints, while their brokers still serve
    /// them.
    fn finish_writing(&mut self) {
        for generation in self.generations_mut() {
            generation.tell(SupervisorToBroker::Finish, None);
        }
        let writers: Vec<Child> =
            std::mem::take(&mut self.state.workers).into_values().map(|(child, _)| child).collect();
        self.await_ends_for(writers.into_iter(), CHECKPOINTS);
    }

    /// Waits for the ends of these children, whose channels are closed; kills those that take too long.
    fn await_ends(&self, children: impl Iterator<Item = Child>) {
        self.await_ends_for(children, FAREWELL);
    }

    fn await_ends_for(&self, children: impl Iterator<Item = Child>, limit: Duration) {
        let mut left: Vec<Pid> = children.map(|child| child.pid).collect();
        let until = Instant::now().checked_add(limit);
        while !left.is_empty() {
            left.retain(|pid| {
                matches!(waitpid(*pid, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive))
            });
            let now = Instant::now();
            let Some(time) = until.map(|until| deadline::left(until, now)) else { break };
            if left.is_empty() || time.is_zero() {
                break;
            }
            let millis = u16::try_from(time.as_millis()).unwrap_or(u16::MAX).max(1);
            let mut watched = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut watched, PollTimeout::from(millis));
            while let Ok(Some(_)) = self.signals.read_signal() {}
        }
        for pid in left {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}

impl Child {
    /// When a worker whose broker has gone should long have left.
    fn overstays(&self) -> Option<Instant> {
        self.orphaned?.checked_add(self.role.row().outlives_broker?)
    }
}
