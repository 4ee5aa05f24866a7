//! The event loop of the writing service's broker: accept clients, hand tables to the one writer, and do for it what
//! needs a name.
//!
//! May: everything that policy/seccomp.json lists for `write_broker`. Never: read from a client's connection, look into
//! a table, start a process, or use a string that came from the writer.

use super::tables::Tables;
use super::writer::{Incoming, Writer};
use mapkeep_broker_serving::listeners::{ACCEPTS, Listeners};
use mapkeep_broker_serving::rhythm::{HEARTBEAT, Stage, sleep_until};
use mapkeep_broker_serving::supervisor_channel::{SupervisorChannel, Told};
use mapkeep_process::outbox::Sent;
use mapkeep_proto::{BrokerToSupervisor, BrokerToWriter, Duty, SupervisorToBroker, TrustClass, WorkerId};
use mapkeep_sandbox::Confined;
use mapkeep_sys::channel::Channel;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

const SUPERVISOR: u64 = 0;
const WRITER: u64 = 1;

/// Numbers from the configuration that the loop goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Clients that the writer has descriptors for.
    pub(super) room: u32,
    /// How long the writer may be silent at most (`daemon_timeout`).
    pub(super) daemon_timeout: Duration,
}

/// All that the broker holds.
pub(super) struct WriteBroker {
    pub(super) supervisor: SupervisorChannel,
    pub(super) epoll: Epoll,
    pub(super) listeners: Listeners,
    pub(super) tables: Tables,
    /// What every writer gets first: the message, and the sealed list of names.
    pub(super) hello: (BrokerToWriter, Rc<OwnedFd>),
    pub(super) bounds: Bounds,
    pub(super) writer: Option<Writer>,
    pub(super) state: State,
}

/// What changes while it runs.
#[derive(Debug, Default)]
pub(super) struct State {
    /// A writer has been asked for.
    wanted: bool,
    /// A writer that is lost, and whose process may still be there. Two must never have the same files.
    ending: Option<WorkerId>,
    /// Clients that a writer was to have, and that it did not take before it was lost.
    waiting: VecDeque<Rc<OwnedFd>>,
    clients_told: bool,
    next_heartbeat: Option<Instant>,
    said_ready: bool,
    /// Nobody is accepted any more.
    finishing: bool,
}

impl WriteBroker {
    /// Registers the fixed descriptors. To be called before lock-down.
    pub(super) fn register(&self) -> io::Result<()> {
        self.epoll.add(&self.supervisor, EpollEvent::new(EpollFlags::EPOLLIN, SUPERVISOR))?;
        self.listeners.register(&self.epoll)
    }

    /// Serves until the supervisor closes its channel, or until the writer has gone after the supervisor has said that
    /// it is over. Demands the proof of lock-down.
    pub(super) fn run(self, _confined: &Confined) -> io::Result<()> {
        self.serve()
    }

    fn serve(mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let now = Instant::now();
            self.hand_out(now);
            self.beat(now)?;
            self.want_writer()?;
            self.seat();
            self.flush()?;
            self.listen(now)?;
            self.supervisor.flush()?;
            if self.state.finishing && self.writer.is_none() {
                return Ok(());
            }
            let count = match self.epoll.wait(&mut events, self.sleep(Instant::now())) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in events.iter().take(count) {
                match event.data() {
                    SUPERVISOR => {
                        if !self.receive_from_supervisor()? {
                            return Ok(());
                        }
                    }
                    WRITER => self.receive_from_writer()?,
                    token => self.accept(token)?,
                }
            }
        }
    }

    /// How long nothing has to be done.
    fn sleep(&self, now: Instant) -> EpollTimeout {
        let tables = self.writer.as_ref().and_then(|_| self.tables.next_due());
        let owes = self.writer.as_ref().is_some_and(|writer| !writer.is_resting());
        let heartbeat = self.state.next_heartbeat.filter(|_| owes);
        let log = mapkeep_log::settle(now);
        sleep_until([tables, heartbeat, self.listeners.paused_until(), log], self.supervisor.is_quiet(), now)
    }

    /// Hands the writer the tables that it lacks, as far as they can be had.
    fn hand_out(&mut self, now: Instant) {
        let Some(writer) = &mut self.writer else { return };
        for id in self.tables.due(now) {
            if !writer.lacks(id) {
                continue;
            }
            match self.tables.open(id, now) {
                Ok(files) => writer.hand_out(id, files),
                Err(reason) => writer.unavailable(id, reason),
            }
        }
    }

    fn beat(&mut self, now: Instant) -> io::Result<()> {
        let Some(writer) = self.writer.as_mut().filter(|writer| !writer.is_resting()) else { return Ok(()) };
        if self.state.next_heartbeat.is_some_and(|moment| now < moment) {
            return Ok(());
        }
        self.state.next_heartbeat = now.checked_add(HEARTBEAT);
        if writer.is_silent(now, self.bounds.daemon_timeout) {
            tracing::error!("writer {} does not respond -- replacing it", writer.id.0);
            self.lose()?;
        }
        Ok(())
    }

    /// Asks for a writer where there is none, not even one that is about to end.
    fn want_writer(&mut self) -> io::Result<()> {
        let State { wanted, ending, finishing, .. } = &self.state;
        if self.writer.is_none() && !wanted && ending.is_none() && !finishing {
            self.supervisor.say(BrokerToSupervisor::Need(TrustClass::EVERYONE, Duty::Clients))?;
            self.state.wanted = true;
        }
        Ok(())
    }

    /// Hands over the clients that are left from before.
    fn seat(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        while writer.takes_clients(self.bounds.room)
            && let Some(client) = self.state.waiting.pop_front()
        {
            writer.client(client);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let more = match writer.flush() {
            Ok(Sent::All) => false,
            Ok(Sent::Part) => true,
            Ok(Sent::Crowded) => {
                self.listeners.pause();
                false
            }
            // Its end is closed, but what it said before that still counts; the end follows.
            Err(_) => return self.receive_from_writer(),
        };
        if writer.waits_for_room != more {
            writer.waits_for_room = more;
            let room = if more { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN | room, WRITER);
            self.epoll.modify(&writer.channel, &mut event)?;
        }
        Ok(())
    }

    /// Listens only while the writer takes clients; until then they wait in the socket's queue.
    fn listen(&mut self, now: Instant) -> io::Result<()> {
        let takes = self.writer.as_ref().is_some_and(|writer| writer.takes_clients(self.bounds.room));
        if takes && !self.state.said_ready {
            self.supervisor.say(BrokerToSupervisor::Ready)?;
            self.state.said_ready = true;
        }
        self.listeners.set(&self.epoll, takes, now)?;
        let clients = self.writer.as_ref().map_or(0, |writer| writer.clients);
        // Only the latest state matters, so a supervisor that is busy is not sent every change.
        if (clients > 0) != self.state.clients_told && self.supervisor.is_quiet() {
            self.supervisor.say(BrokerToSupervisor::Clients(clients))?;
            self.state.clients_told = clients > 0;
        }
        Ok(())
    }

    fn accept(&mut self, token: u64) -> io::Result<()> {
        for _ in 0..ACCEPTS {
            let Some(writer) = self.writer.as_mut().filter(|one| one.takes_clients(self.bounds.room)) else {
                return Ok(());
            };
            let Some(client) = self.listeners.accept(token)? else { return Ok(()) };
            writer.client(Rc::new(client));
        }
        Ok(())
    }

    fn receive_from_supervisor(&mut self) -> io::Result<bool> {
        loop {
            let (message, descriptor) = match self.supervisor.receive()? {
                Told::Message(message, descriptor) => (message, descriptor),
                Told::Nothing => return Ok(true),
                Told::Closed => return Ok(false),
            };
            match (message, descriptor) {
                (SupervisorToBroker::Worker { id, .. }, Some(channel)) => {
                    self.greet(id, Channel::from_descriptor(channel))?;
                }
                (SupervisorToBroker::Admit(id), _) => {
                    if let Some(writer) = self.writer.as_mut().filter(|writer| writer.id == id)
                        && writer.stage == Stage::Checking
                    {
                        writer.stage = Stage::Admitted;
                    }
                }
                (SupervisorToBroker::Gone(id), _) => {
                    self.forget(id)?;
                    self.state.ending.take_if(|ending| *ending == id);
                }
                (SupervisorToBroker::Finish, _) => self.finish()?,
                (SupervisorToBroker::Checkpoint, _) => {
                    if let Some(writer) = self.writer.as_mut().filter(|one| one.stage != Stage::Draining) {
                        writer.say(BrokerToWriter::Checkpoint);
                    }
                }
                (SupervisorToBroker::Worker { .. }, None) => {}
            }
        }
    }

    /// A writer has been started. There is one at a time.
    fn greet(&mut self, id: WorkerId, channel: Channel) -> io::Result<()> {
        self.state.wanted = false;
        if self.state.finishing || self.writer.is_some() {
            return self.supervisor.say(BrokerToSupervisor::Kill(id));
        }
        let now = Instant::now();
        self.epoll.add(&channel, EpollEvent::new(EpollFlags::EPOLLIN, WRITER))?;
        let hello = (self.hello.0, Rc::clone(&self.hello.1));
        self.writer = Some(Writer::new(id, channel, self.tables.count(), hello, now));
        self.tables.reset(now);
        Ok(())
    }

    /// Takes no more clients, and lets the writer go when it has done what it was asked. It is still served until then:
    /// its checkpoints need us.
    fn finish(&mut self) -> io::Result<()> {
        self.state.finishing = true;
        self.state.waiting.clear();
        self.listeners.close(&self.epoll)?;
        match self.writer.as_mut().map(|writer| (writer.stage, writer)) {
            // It has done nothing yet.
            Some((Stage::Starting, _)) => self.lose()?,
            Some((Stage::Checking | Stage::Admitted, writer)) => writer.finish(),
            Some((Stage::Draining, _)) | None => {}
        }
        self.supervisor.say(BrokerToSupervisor::Finishing)
    }

    fn receive_from_writer(&mut self) -> io::Result<()> {
        let now = Instant::now();
        // A writer that talks without end must not keep clients waiting.
        for _ in 0..256 {
            let Some(writer) = &mut self.writer else { return Ok(()) };
            match writer.receive() {
                None => return Ok(()),
                Some(Incoming::Nothing) => {}
                Some(Incoming::Ready) => self.supervisor.say(BrokerToSupervisor::WorkerReady(writer.id))?,
                Some(Incoming::Opened(id)) => self.tables.opened(id),
                Some(Incoming::Failed(id)) => self.tables.failed(id, now),
                Some(Incoming::Corrupt(id, part)) => self.tables.corrupt(id, part, now),
                Some(Incoming::WantNew(id)) => {
                    let (message, file) = self.tables.want_new(id);
                    writer.answer(id, message, file);
                }
                Some(Incoming::Replace(id)) => {
                    let (message, file) = self.tables.replace(id, now);
                    writer.answer(id, message, file);
                }
                Some(Incoming::Discard(id)) => self.tables.discard(id),
                // The process may live on: an empty message looks like the end, too.
                Some(Incoming::Gone) => return self.lose(),
                Some(Incoming::Violation(what)) => {
                    tracing::error!("writer {} sent {what} -- replacing it", writer.id.0);
                    return self.lose();
                }
            }
        }
        Ok(())
    }

    /// Ends a writer that is not to be trusted any more, or has closed its channel.
    fn lose(&mut self) -> io::Result<()> {
        let Some(id) = self.writer.as_ref().map(|writer| writer.id) else { return Ok(()) };
        self.state.ending = Some(id);
        self.supervisor.say(BrokerToSupervisor::Kill(id))?;
        self.forget(id)
    }

    fn forget(&mut self, id: WorkerId) -> io::Result<()> {
        if let Some(writer) = self.writer.take_if(|writer| writer.id == id) {
            self.epoll.delete(&writer.channel)?;
            if !self.state.finishing {
                self.state.waiting.extend(writer.into_clients());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
