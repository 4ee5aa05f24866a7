//! What the supervisor waits for: signals, brokers, master(8), and the next moment at which it has something to do.

use super::*;

impl Supervisor {
    fn sleep(&self, now: Instant) -> PollTimeout {
        let max_idle = self.serving.plan.max_idle;
        let idle = self.state.idle_since.filter(|_| !max_idle.is_zero());
        let moments = self.state.starts.iter().map(|start| start.at);
        let moments = moments.chain(idle.and_then(|since| since.checked_add(max_idle)));
        let moments = moments.chain(self.notify.next_beat()).chain(self.next_limit());
        let served = self.generations().filter(|one| one.broker.is_some());
        let moments =
            moments.chain(served.filter_map(|one| one.requests.read_again_at()).filter(|at| *at > now));
        let moments = moments.chain(self.next_orphan()).chain(self.state.ends_at);
        let quiet =
            self.generations().all(Generation::is_quiet) && self.dialer.as_ref().is_none_or(Dialer::is_quiet);
        let moments = moments.chain(now.checked_add(PAUSE).filter(|_| !quiet));
        let moments = moments.chain(mapkeep_log::settle(now));
        let look = self.unchecked().then(|| now.checked_add(LOOK)).flatten();
        let Some(next) = moments.chain(look).min() else { return PollTimeout::NONE };
        milliseconds(left(next, now)).into()
    }

    pub(super) fn wait(&mut self, now: Instant) -> Result<Option<Ending>, Fatal> {
        let timeout = self.sleep(now);
        let (signalled, speaking, gone) = {
            let readable = PollFlags::POLLIN;
            let mut watched = vec![PollFd::new(self.signals.as_fd(), readable)];
            let mut numbers = Vec::new();
            for generation in self.generations().filter(|one| !one.hung_up && one.requests.is_read(now)) {
                if let Some((_, broker)) = &generation.broker {
                    watched.push(PollFd::new(broker.as_fd(), readable));
                    numbers.push(generation.number);
                }
            }
            if let Some(status) = &self.status {
                watched.push(PollFd::new(status.as_fd(), readable));
            }
            match poll(&mut watched, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(Fatal::Io("poll", error.into())),
            }
            let mut ready = watched.iter().map(|one| one.any().unwrap_or_default());
            let signalled = ready.next().unwrap_or_default();
            numbers.retain(|_| ready.next().unwrap_or_default());
            (signalled, numbers, ready.next().unwrap_or_default())
        };
        if gone {
            return Ok(Some(Ending::MasterGone));
        }
        for number in speaking {
            self.receive_from_broker(number)?;
        }
        if signalled {
            return self.read_signals();
        }
        Ok(None)
    }

    /// Somebody wants to read the files of the tables that can be changed: have them written now.
    pub(super) fn checkpoint(&mut self) {
        // A broker that does not read from us now is not told more than once.
        if self.serving.plan.writes() && self.serving.is_quiet() {
            self.serving.tell(SupervisorToBroker::Checkpoint, None);
        }
    }

    fn read_signals(&mut self) -> Result<Option<Ending>, Fatal> {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGCHLD) => self.reap()?,
                Ok(Signal::SIGHUP) if self.serving.plan.mode == Mode::Standalone => {
                    self.reload(Instant::now())
                }
                Ok(Signal::SIGUSR1) => self.checkpoint(),
                Ok(signal) => return Ok(Some(Ending::Signal(signal))),
                Err(_) => {}
            }
        }
        Ok(None)
    }
}
