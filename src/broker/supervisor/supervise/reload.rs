//! A new configuration without a pause: a second broker on the same sockets, then the end of the first.
//!
//! At most one generation is coming; one serves; those that leave have earlier clients, who are answered from the
//! configuration that they know until they go or fall silent.

use super::generation::Generation;
use super::{Fatal, Start, Supervisor};
use crate::remarks::log_remarks;
use crate::socket::check;
use mapkeep_config_site::load_config::LoadedConfig;
use mapkeep_proto::{Duty, SupervisorToBroker};
use std::error::Error;
use std::time::{Duration, Instant};

/// How long a new broker may take to read its tables and to start a worker.
const COMING_TIME: Duration = Duration::from_secs(300);
/// How long a broker that is replaced may take to stop accepting.
const STOP_TIME: Duration = Duration::from_secs(10);
/// How long a broker that has closed its channel may take to write its reason to the log, and to exit.
const HANG_UP_TIME: Duration = Duration::from_secs(1);
/// Generations that may wait for their clients; each has its tables in memory.
const MAX_LEAVING: usize = 4;

/// What a reload cannot give.
const FIRST_SERVERS: &str = "the configuration has socketmap or tcp tables, and the service was started without any, so without \
                             the process that connects to their servers";

impl Supervisor {
    /// A signal asks for a reload: now, or after the one that is in progress.
    pub(super) fn reload(&mut self, now: Instant) {
        if self.state.reloading {
            tracing::info!("reload requested during a reload -- reloading again afterwards");
            self.state.again = true;
            return;
        }
        tracing::info!("reloading the configuration");
        self.notify.reloading();
        self.state.reloading = true;
        self.state.outcome.clear();
        match self.prepare(now) {
            Ok(next) if next.plan.writes() => {
                // Two writers cannot have the same tables: the old one finishes first, and clients wait in the queue
                // of the socket meanwhile.
                self.coming = Some(next);
                self.promote(now);
                self.state.waits_for_old = true;
            }
            Ok(next) => self.coming = Some(next),
            Err(problem) => self.keep_old(&problem.to_string()),
        }
    }

    /// Reads the configuration and starts a broker for it.
    fn prepare(&mut self, now: Instant) -> Result<Generation, Box<dyn Error>> {
        let LoadedConfig { plan, remarks, unreadable } = self.source.load_config()?;
        log_remarks(&remarks);
        if let Some(problem) = unreadable {
            return Err(problem.into());
        }
        let (plan, waiting) = plan.after(&self.serving.plan)?;
        for what in waiting {
            tracing::warn!("the configuration has changed {what} -- restart the service to apply that");
        }
        for path in &self.places {
            if let Err(problem) = check(&plan.place, path) {
                tracing::error!("{problem}");
            }
        }
        self.state.last_generation = self.state.last_generation.wrapping_add(1);
        let mut next = Generation::new(self.state.last_generation, plan)?;
        if !next.plan.writes() {
            if self.dialer.is_none() && next.plan.has_work_for(Duty::Gateway) {
                tracing::warn!(
                    "{FIRST_SERVERS} -- restart the service (\"systemctl restart\" of its unit, or \"postfix stop; postfix \
                     start\"); until then every lookup in these tables fails with a temporary error"
                );
            }
            let child = next.start(&self.spawner, self.dialer.as_mut(), &self.listeners, now)?;
            if let Some((_, logger)) = &self.state.logger {
                child.introduce(logger);
            }
        }
        Ok(next)
    }

    fn keep_old(&mut self, problem: &str) {
        tracing::error!("{problem} -- still serving the previous configuration");
        self.state.outcome =
            format!("The last reload failed: {}", problem.lines().next().unwrap_or_default());
    }

    /// The coming generation's broker is ready: it serves, and the previous one finishes.
    pub(super) fn promote(&mut self, now: Instant) {
        let Some(next) = self.coming.take() else { return };
        let mut old = std::mem::replace(&mut self.serving, next);
        old.since = now;
        if old.broker.is_some() {
            old.tell(SupervisorToBroker::Finish, None);
            self.leaving.push_back(old);
        }
        let surplus = self.leaving.len().saturating_sub(MAX_LEAVING);
        for oldest in self.leaving.iter_mut().filter(|generation| !generation.ended).take(surplus) {
            tracing::warn!(
                "more than {MAX_LEAVING} previous configurations still have clients -- disconnecting those of the oldest"
            );
            oldest.kill();
        }
    }

    /// Gives up the coming generation.
    pub(super) fn abandon(&mut self, problem: &str) {
        let Some(mut next) = self.coming.take() else { return };
        self.keep_old(problem);
        next.kill();
        next.stopped = true;
        if next.broker.is_some() {
            self.leaving.push_back(next);
        }
    }

    /// A generation cannot go on. For the one that serves that is the end of the service.
    pub(super) fn fail(&mut self, number: u32, fatal: Fatal) -> Result<(), Fatal> {
        if number == self.serving.number {
            return Err(fatal);
        }
        if self.coming.as_ref().is_some_and(|next| next.number == number) {
            self.abandon(&fatal.to_string());
        } else if let Some(old) = self.leaving.iter_mut().find(|old| old.number == number) {
            tracing::error!("{fatal}");
            old.kill();
        }
        Ok(())
    }

    /// Whether every previous broker has stopped accepting, and the new one serves.
    fn is_settled(&self) -> bool {
        self.coming.is_none()
            && (self.serving.was_ready || !self.serving.plan.writes())
            && self.leaving.iter().all(|old| old.stopped || old.ended)
    }

    /// Ends what takes too long, and a reload that is complete.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.state.waits_for_old && self.leaving.is_empty() {
            self.state.waits_for_old = false;
            self.state.starts.push(Start::of(self.serving.plan.broker_role(), self.serving.number, now));
        }
        if self.coming.as_ref().is_some_and(|next| next.age(now) >= COMING_TIME) {
            self.abandon("the new broker is not ready after 5 minutes");
        }
        for old in self.leaving.iter_mut().filter(|old| old.lingers()) {
            if old.age(now) >= STOP_TIME {
                tracing::error!("the previous broker does not respond -- killing it");
                old.kill();
            }
        }
        let hanging =
            std::iter::once(&mut self.serving).chain(&mut self.coming).filter(|one| one.is_leaving());
        for one in hanging.filter(|one| one.age(now) >= HANG_UP_TIME) {
            tracing::error!("the broker has closed its channel and does not exit -- killing it");
            one.kill_broker();
            one.since = now;
        }
        if self.state.reloading && self.is_settled() {
            self.state.reloading = false;
            if self.state.outcome.is_empty() {
                tracing::info!("serving the new configuration: {} tables", self.serving.plan.approved());
            }
            self.notify.ready(&self.status_line());
            if std::mem::take(&mut self.state.again) {
                self.reload(now);
            }
        }
    }

    /// When `settle` has something to do.
    pub(super) fn next_limit(&self) -> Option<Instant> {
        let coming = self.coming.iter().filter_map(|next| next.since.checked_add(COMING_TIME));
        let old = self.leaving.iter().filter(|old| old.lingers());
        let hanging = std::iter::once(&self.serving).chain(&self.coming).filter(|one| one.is_leaving());
        let hanging = hanging.filter_map(|one| one.since.checked_add(HANG_UP_TIME));
        coming.chain(old.filter_map(|old| old.since.checked_add(STOP_TIME))).chain(hanging).min()
    }

    /// What `systemctl status` shows.
    pub(super) fn status_line(&self) -> String {
        match self.state.outcome.as_str() {
            "" => format!("Serving {} tables.", self.serving.plan.approved()),
            outcome => format!("{outcome}; still serving the previous configuration."),
        }
    }
}
