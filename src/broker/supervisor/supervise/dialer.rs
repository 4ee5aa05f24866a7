//! The process that connects to the servers of tables: it is started before our lock, once, and cannot be replaced.

use super::{Start, Supervisor};
use crate::children::Child;
use mapkeep_process::outbox::Outbox;
use mapkeep_proto::{Duty, SupervisorToDialer};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::deadline::after;
use nix::sys::signal::{Signal, kill};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// How soon another attempt is made to start a gateway.
const LATER: Duration = Duration::from_secs(10);
/// The service lives at least so long, whatever becomes of the dialer: it must not be started again and again at once.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);

/// The dialer, and the brokers that it is still to be told of.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) child: Child,
    channel: Channel,
    unsaid: Outbox<SupervisorToDialer, Option<OwnedFd>>,
}

impl Dialer {
    /// One that has just been started, and the channel on which it learns of brokers.
    pub(crate) fn new((child, channel): (Child, Channel)) -> Dialer {
        Dialer { child, channel, unsaid: Outbox::default() }
    }

    /// What is open for it before the first broker.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.child.log_end().into_iter().chain([self.channel.as_fd().as_raw_fd()])
    }

    /// Makes a channel between it and a broker; gives that of the broker.
    ///
    /// # Errors
    /// Those of socketpair(2): too many descriptors.
    pub(super) fn meet(&mut self) -> io::Result<OwnedFd> {
        let (near, far) = Channel::pair()?;
        self.unsaid.push(SupervisorToDialer::Broker, Some(near.into_descriptor()));
        self.introduce();
        Ok(far.into_descriptor())
    }

    /// Tells it of brokers, once it is known to be locked down.
    pub(super) fn introduce(&mut self) {
        if self.child.checked {
            // One that has gone is about to be reaped. What has no room waits for the next turn.
            let _ = self.unsaid.flush(&self.channel);
        }
    }

    /// Whether it has been told of every broker.
    pub(super) fn is_quiet(&self) -> bool {
        self.unsaid.is_empty() || !self.child.checked
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        let _ = kill(self.child.pid, Signal::SIGKILL);
    }
}

impl Supervisor {
    /// Says what tables lack that need a dialer, where there is none.
    pub(super) fn note_dialer(&self) {
        if self.dialer.is_some() || !self.serving.plan.has_work_for(Duty::Gateway) {
            return;
        }
        let why = match self.spawner.programs.lacking() {
            [] => {
                "mail_owner in main.cf is not a user in /etc/passwd, so nobody can connect to their servers"
                    .to_owned()
            }
            lacking => lacking.join("; "),
        };
        tracing::error!(
            "socketmap and tcp tables: {why}: every lookup in them fails with a temporary error -- correct that, then \
             restart the service"
        );
    }

    /// A gateway cannot be started: other tables are answered without it. Another attempt is made later, unless there is no
    /// program, which the start has said.
    pub(super) fn cannot_start_gateway(&mut self, start: Start, error: &io::Error, now: Instant) {
        if self.spawner.programs.of(start.role).is_some() {
            tracing::error!("cannot start a gateway: {error} -- trying again in {} s", LATER.as_secs());
            let at = after(now, LATER);
            self.state.starts.push(Start { at, ..start });
        }
    }

    /// It has died. Nobody can start another, so the service ends, to be started anew: whoever starts it does so at once.
    pub(super) fn lose_dialer(&mut self, end: &str, now: Instant) {
        let Some(dialer) = self.dialer.take() else { return };
        let at = dialer.child.started.checked_add(SHORTEST_LIFE).map_or(now, |moment| moment.max(now));
        tracing::error!(
            "dialer {} exited: {end} -- the service restarts, since no other can be started: {}",
            dialer.child.pid,
            "until then lookups in socketmap and tcp tables fail with a temporary error"
        );
        self.state.ends_at = Some(at);
    }
}
