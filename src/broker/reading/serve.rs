//! The broker's event loop: accept clients, keep the tables fresh, read from the workers and the supervisor.
//! `serve/balance.rs` has what it does about the number of workers, and how it ends.
//!
//! May: everything that policy/seccomp.json lists for `broker`. Never: read from a client's connection, look
//! into a table, start a process, or use a string that came from a worker.

mod balance;

use crate::tables::{Against, Tables};
use crate::watch::{Notice, Watch};
use crate::workers::{Incoming, Load, Workers};
use mapkeep_broker_serving::listeners::{ACCEPTS, Listeners};
use mapkeep_broker_serving::rhythm::{HEARTBEAT, Stage, sleep_until};
use mapkeep_broker_serving::supervisor_channel::{SupervisorChannel, Told};
use mapkeep_process::outbox::Sent;
use mapkeep_proto::{BrokerToSupervisor, Duty, SupervisorToBroker, TableId, TrustClass, WorkerId};
use mapkeep_sandbox::Confined;
use mapkeep_sys::channel::Channel;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

const SUPERVISOR: u64 = 0;
const WATCH: u64 = 1;
const WORKERS: u64 = 1 << 32;

/// Numbers from the configuration that the loop goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Clients after which a worker is replaced (`max_use`).
    pub(crate) max_use: u32,
    /// Clients that one worker has descriptors for.
    pub(crate) room: u32,
    /// How long a worker may be silent at most (`daemon_timeout`).
    pub(crate) daemon_timeout: Duration,
}

/// All that the broker holds.
pub(crate) struct Broker {
    pub(crate) supervisor: SupervisorChannel,
    pub(crate) epoll: Epoll,
    pub(crate) listeners: Listeners,
    pub(crate) tables: Tables,
    pub(crate) watch: Watch,
    pub(crate) workers: Workers,
    pub(crate) bounds: Bounds,
    pub(crate) state: State,
}

/// What changes while it runs.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Workers that have been asked for and have not been started.
    asked: BTreeMap<Duty, u32>,
    clients_told: bool,
    next_heartbeat: Option<Instant>,
    said_ready: bool,
    /// Another broker has taken over: nobody is accepted any more.
    finishing: bool,
}

impl Broker {
    /// Registers the fixed descriptors. To be called before lock-down.
    pub(crate) fn register(&self) -> io::Result<()> {
        let readable = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
        self.epoll.add(&self.supervisor, readable(SUPERVISOR))?;
        self.epoll.add(&self.watch, readable(WATCH))?;
        self.listeners.register(&self.epoll)
    }

    /// Serves until the supervisor closes its channel, or until the last client has gone after the supervisor has
    /// said that another broker has taken over. Demands the proof of lock-down.
    pub(crate) fn run(mut self, _confined: &Confined) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let now = Instant::now();
            self.refresh(now);
            self.beat(now)?;
            self.introduce();
            self.balance()?;
            self.flush(now)?;
            self.listen(now)?;
            self.supervisor.flush()?;
            if self.state.finishing && self.workers.list.is_empty() {
                return Ok(());
            }
            let timeout =
                if self.workers.take_news() { EpollTimeout::ZERO } else { self.sleep(Instant::now()) };
            let count = match self.epoll.wait(&mut events, timeout) {
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
                    WATCH => self.read_watch()?,
                    token if token >= WORKERS => self.receive_from_worker(token)?,
                    token => self.accept(token)?,
                }
            }
        }
    }

    /// How long nothing has to be done.
    fn sleep(&self, now: Instant) -> EpollTimeout {
        let log = mapkeep_log::settle(now);
        let moments =
            [self.tables.next_due(now), self.state.next_heartbeat, self.listeners.paused_until(), log];
        sleep_until(moments, self.supervisor.is_quiet(), now)
    }

    /// Tells the supervisor something, now or when it has room.
    fn say(&mut self, message: BrokerToSupervisor) -> io::Result<()> {
        self.supervisor.say(message)
    }

    fn refresh(&mut self, now: Instant) {
        let Broker { tables, workers, .. } = self;
        for id in tables.work(now, |id| workers.awaits(id)) {
            owe(workers, tables, id);
        }
    }

    fn beat(&mut self, now: Instant) -> io::Result<()> {
        if self.state.next_heartbeat.is_some_and(|moment| now < moment) {
            return Ok(());
        }
        for id in self.workers.heartbeat(now, self.bounds.daemon_timeout) {
            // What it has said before may clear it of what it would be blamed for.
            self.receive_from_worker(WORKERS | u64::from(id.0))?;
            tracing::error!("{} {} does not respond -- replacing it", self.workers.title(id), id.0);
            self.lose_loading(id)?;
        }
        self.workers.seek_opinions(&self.tables, now);
        self.state.next_heartbeat = now.checked_add(HEARTBEAT);
        Ok(())
    }

    fn flush(&mut self, now: Instant) -> io::Result<()> {
        let ids: Vec<WorkerId> = self.workers.list.keys().copied().collect();
        for id in ids {
            let more = match self.workers.flush(id, &self.tables, now) {
                Ok(Sent::All) => false,
                Ok(Sent::Part) => true,
                Ok(Sent::Crowded) => {
                    self.listeners.pause();
                    false
                }
                // Its end is closed, but what it said before that still counts; the end follows.
                Err(_) => {
                    self.receive_from_worker(WORKERS | u64::from(id.0))?;
                    continue;
                }
            };
            let Some(worker) = self.workers.list.get_mut(&id) else { continue };
            if worker.waits_for_room != more {
                worker.waits_for_room = more;
                let room = if more { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
                let wanted = EpollFlags::EPOLLIN | room;
                let mut event = EpollEvent::new(wanted, WORKERS | u64::from(id.0));
                self.epoll.modify(&worker.channel, &mut event)?;
            }
        }
        Ok(())
    }

    /// Listens only while there is a worker to take clients; until then they wait in the socket's queue. The first of them
    /// wait for a worker of each duty.
    fn listen(&mut self, now: Instant) -> io::Result<()> {
        let first = self.tables.first_pass_is_done();
        let worker = self.workers.next(TrustClass::EVERYONE, self.bounds.room).is_some();
        if first && worker && !self.state.said_ready && self.workers.are_complete() {
            self.say(BrokerToSupervisor::Ready)?;
            self.state.said_ready = true;
        }
        self.listeners.set(&self.epoll, self.state.said_ready && worker, now)?;
        let connected = self.workers.clients() > 0;
        // Only the latest state matters, so a supervisor that is busy is not sent every change.
        if connected != self.state.clients_told && self.supervisor.is_quiet() {
            self.say(BrokerToSupervisor::Clients(self.workers.clients()))?;
            self.state.clients_told = connected;
        }
        Ok(())
    }

    fn accept(&mut self, token: u64) -> io::Result<()> {
        for _ in 0..ACCEPTS {
            // Every caller is of one class until a policy tells them apart.
            let Some(id) = self.workers.next(TrustClass::EVERYONE, self.bounds.room) else { return Ok(()) };
            let Some(client) = self.listeners.accept(token)? else { return Ok(()) };
            self.workers.hand_over(id, client);
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
                (SupervisorToBroker::Worker { id, .. }, Some(_)) if self.state.finishing => {
                    self.say(BrokerToSupervisor::Kill(id))?;
                }
                (SupervisorToBroker::Worker { id, class, duty }, Some(channel)) => {
                    let channel = Channel::from_descriptor(channel);
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, WORKERS | u64::from(id.0));
                    self.epoll.add(&channel, event)?;
                    let asked = self.state.asked.entry(duty).or_default();
                    *asked = asked.saturating_sub(1);
                    self.workers.add(id, class, duty, channel, &self.tables);
                }
                (SupervisorToBroker::Admit(id), _) => {
                    if let Some(worker) = self.workers.list.get_mut(&id) {
                        worker.stage = Stage::Admitted;
                    }
                }
                (SupervisorToBroker::Gone(id), _) => {
                    // Nothing more can come from it, but what it has said may still be unheard.
                    self.receive_from_worker(WORKERS | u64::from(id.0))?;
                    self.forget(id)?;
                }
                (SupervisorToBroker::Finish, _) => self.finish()?,
                // Nothing is written here; the supervisor says this to the broker of the writing service only.
                (SupervisorToBroker::Checkpoint, _) => {}
                (SupervisorToBroker::Worker { .. }, None) => {}
            }
        }
    }

    fn read_watch(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for notice in self.watch.notices()? {
            match notice {
                Notice::Touched(id) => self.tables.touched(id, now),
                Notice::Lost(id) => self.tables.unwatch(id, now),
                Notice::Everything => {
                    self.tables.ids().for_each(|id| self.tables.touched(id, now));
                }
            }
        }
        Ok(())
    }

    fn receive_from_worker(&mut self, token: u64) -> io::Result<()> {
        let Ok(id) = u32::try_from(token & !WORKERS).map(WorkerId) else { return Ok(()) };
        let now = Instant::now();
        // A worker that talks without end must not keep the others waiting.
        for _ in 0..256 {
            match self.workers.receive(id, now) {
                None => return Ok(()),
                Some(Incoming::Nothing | Incoming::Closed(_)) => {}
                Some(Incoming::Loaded(table, generation)) => {
                    if self.tables.loaded(table, generation, now) {
                        owe(&mut self.workers, &self.tables, table);
                    }
                }
                Some(Incoming::Rejected(table, generation)) => {
                    self.judged_against(id, (table, generation), Against::Refused, now);
                }
                Some(Incoming::Ready) => self.say(BrokerToSupervisor::WorkerReady(id))?,
                // The process may live on: an empty message looks like the end, too.
                Some(Incoming::Gone) => return self.lose_loading(id),
                Some(Incoming::Violation(what)) => {
                    tracing::error!("{} {} sent {what} -- replacing it", self.workers.title(id), id.0);
                    return self.lose(id);
                }
            }
        }
        Ok(())
    }

    fn judged_against(
        &mut self,
        judge: WorkerId,
        (table, generation): (TableId, u32),
        against: Against,
        now: Instant,
    ) {
        if self.tables.judged_against(table, generation, against, now) {
            self.workers.note_doubt(table, judge, now);
            owe(&mut self.workers, &self.tables, table);
        }
    }

    /// Ends a worker that does not answer or has closed its channel. The content that it was loading, if there is one,
    /// counts as the cause.
    fn lose_loading(&mut self, id: WorkerId) -> io::Result<()> {
        let blamed = self.workers.blame(id);
        self.lose(id)?;
        if let Some(Load { table, generation, .. }) = blamed {
            self.judged_against(id, (table, generation), Against::Died, Instant::now());
        }
        Ok(())
    }

    /// Ends a worker that is not to be trusted any more.
    fn lose(&mut self, id: WorkerId) -> io::Result<()> {
        if self.workers.list.contains_key(&id) {
            self.say(BrokerToSupervisor::Kill(id))?;
        }
        self.forget(id)
    }

    fn forget(&mut self, id: WorkerId) -> io::Result<()> {
        if let Some(worker) = self.workers.remove(id) {
            self.epoll.delete(&worker.channel)?;
        }
        Ok(())
    }
}

/// There is something new of a table, for the workers that hold it.
fn owe(workers: &mut Workers, tables: &Tables, table: TableId) {
    if let Some(duty) = tables.duty(table) {
        workers.owe(table, duty);
    }
}
