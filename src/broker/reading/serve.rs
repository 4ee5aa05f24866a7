//! What the broker does in the event loop of both (broker/serving): accept clients, keep the tables fresh, read from the workers and the supervisor.
//! `serve/balance.rs` has what it does about the number of workers, and how it ends.
//!
//! May: everything that policy/seccomp.json lists for `broker`. Never: read from a client's connection, look
//! into a table, start a process, or use a string that came from a worker.

mod balance;
mod gateways;

use crate::gateways::Gateways;
use crate::tables::{LoadFailure, Tables};
use crate::watch::{Notice, Watch};
use crate::workers::{Incoming, Load, Workers};
use gateways::DIALER;
use mapkeep_broker_serving::event_loop::{self, Front, Standing};
use mapkeep_broker_serving::rhythm::Stage;
use mapkeep_proto::{BrokerToSupervisor, Duty, TableId, TrustClass, WorkerId};
use mapkeep_sys::channel::Channel;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

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

/// The state of the broker.
pub(crate) struct Broker {
    pub(crate) front: Front,
    pub(crate) tables: Tables,
    pub(crate) watch: Watch,
    pub(crate) workers: Workers,
    pub(crate) gateways: Gateways,
    /// The first client need not wait for them any more.
    pub(crate) gateways_are_settled: bool,
    pub(crate) bounds: Bounds,
    /// Workers that have been requested and not yet started.
    pub(crate) asked: BTreeMap<Duty, u32>,
}

impl event_loop::Broker for Broker {
    type Seat = WorkerId;

    fn front(&mut self) -> &mut Front {
        &mut self.front
    }

    fn work(&mut self, now: Instant) -> io::Result<()> {
        self.refresh(now);
        self.beat(now)?;
        self.introduce();
        self.balance()?;
        self.tend_gateways(now)?;
        self.flush_gateways()?;
        self.flush(now)
    }

    /// The first client waits for a worker of each duty.
    fn standing(&self) -> Standing {
        Standing {
            complete: self.tables.first_pass_is_done()
                && self.workers.are_complete()
                && self.gateways_are_settled,
            takes_clients: self.workers.next(TrustClass::EVERYONE, self.bounds.room).is_some(),
            clients: self.workers.clients(),
        }
    }

    fn is_deserted(&self) -> bool {
        self.workers.list.is_empty() && self.gateways.ids().is_empty()
    }

    fn moments(&mut self, now: Instant) -> [Option<Instant>; 2] {
        match self.workers.take_news() {
            true => [Some(now), None],
            false => {
                let gateways = self.gateways.next_moment();
                let due = self.tables.next_due(now).into_iter().chain(gateways).min();
                [due, self.front.next_beat()]
            }
        }
    }

    fn ready(&mut self, token: u64) -> io::Result<()> {
        match token {
            WATCH => self.read_watch(),
            DIALER => self.receive_from_dialer(),
            token if token >= WORKERS => self.receive_from_worker(token),
            // A listening socket that has been closed.
            _ => Ok(()),
        }
    }

    /// All callers are of one class until there is a policy that distinguishes them.
    fn seat(&mut self) -> Option<WorkerId> {
        self.workers.next(TrustClass::EVERYONE, self.bounds.room)
    }

    fn hand_over(&mut self, seat: WorkerId, client: OwnedFd) {
        self.workers.hand_over(seat, client);
    }

    fn started(&mut self, id: WorkerId, class: TrustClass, duty: Duty, channel: Channel) -> io::Result<()> {
        if duty == Duty::Gateway {
            self.front.watch(&channel, WORKERS | u64::from(id.0))?;
            // The supervisor starts what it was asked for.
            return match self.gateways.add(id, channel) {
                true => Ok(()),
                false => self.say(BrokerToSupervisor::Kill(id)),
            };
        }
        self.front.watch(&channel, WORKERS | u64::from(id.0))?;
        let asked = self.asked.entry(duty).or_default();
        *asked = asked.saturating_sub(1);
        self.workers.add(id, class, duty, channel, &self.tables);
        Ok(())
    }

    fn admitted(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.list.get_mut(&id) {
            worker.stage = Stage::Admitted;
        }
        self.gateways.admitted(id, Instant::now());
    }

    fn gone(&mut self, id: WorkerId) -> io::Result<()> {
        // Nothing more can come from it, but messages that it has sent may still be unread.
        self.receive_from_worker(WORKERS | u64::from(id.0))?;
        self.forget(id)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.let_clients_go()
    }

    /// Nothing is written here; the supervisor says this to the broker of the writing service only.
    fn checkpoint(&mut self) {}
}

impl Broker {
    /// Registers the fixed descriptors. Must be called before lock-down.
    pub(crate) fn register(&self) -> io::Result<()> {
        self.front.register()?;
        if let Some(dialer) = self.gateways.dialer.channel() {
            self.front.watch(dialer, DIALER)?;
        }
        self.front.watch(&self.watch, WATCH)
    }

    /// Sends a message to the supervisor, now or when the channel has room.
    fn say(&mut self, message: BrokerToSupervisor) -> io::Result<()> {
        self.front.say(message)
    }

    fn refresh(&mut self, now: Instant) {
        let Broker { tables, workers, .. } = self;
        for id in tables.work(now, |id| workers.awaits(id)) {
            owe(workers, tables, id);
        }
    }

    fn beat(&mut self, now: Instant) -> io::Result<()> {
        if !self.front.takes_beat(now) {
            return Ok(());
        }
        for id in self.workers.heartbeat(now, self.bounds.daemon_timeout) {
            // Messages that it has sent may show that the snapshot is not the cause.
            self.receive_from_worker(WORKERS | u64::from(id.0))?;
            tracing::error!("{} {} does not respond -- replacing it", self.workers.title(id), id.0);
            self.lose_loading(id)?;
        }
        self.workers.seek_opinions(&self.tables, now);
        self.beat_gateways(now)
    }

    fn flush(&mut self, now: Instant) -> io::Result<()> {
        let ids: Vec<WorkerId> = self.workers.list.keys().copied().collect();
        for id in ids {
            let sent = self.workers.flush(id, &self.tables, now);
            let Some(worker) = self.workers.list.get_mut(&id) else { continue };
            let token = WORKERS | u64::from(id.0);
            if !self.front.sent(&sent, &worker.channel, token, &mut worker.waits_for_room)? {
                self.receive_from_worker(token)?;
            }
        }
        Ok(())
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
        if self.gateways.get_mut(id).is_some() {
            return self.receive_from_gateway(id);
        }
        let now = Instant::now();
        // A worker that sends messages without end must not keep the others waiting.
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
                    self.load_failed(id, (table, generation), LoadFailure::Refused, now);
                }
                Some(Incoming::Ready) => self.say(BrokerToSupervisor::WorkerReady(id))?,
                // The process may still be running: an empty message looks like the end of the channel.
                Some(Incoming::Gone) => return self.lose_loading(id),
                Some(Incoming::Violation(what)) => {
                    tracing::error!("{} {} sent {what} -- replacing it", self.workers.title(id), id.0);
                    return self.lose(id);
                }
            }
        }
        Ok(())
    }

    fn load_failed(
        &mut self,
        failed: WorkerId,
        (table, generation): (TableId, u32),
        failure: LoadFailure,
        now: Instant,
    ) {
        if self.tables.load_failed(table, generation, failure, now) {
            self.workers.note_suspect(table, failed, now);
            owe(&mut self.workers, &self.tables, table);
        }
    }

    /// Kills a worker that does not answer or has closed its channel. The snapshot that it was loading, if any, counts
    /// as the cause.
    fn lose_loading(&mut self, id: WorkerId) -> io::Result<()> {
        let blamed = self.workers.blame(id);
        self.lose(id)?;
        if let Some(Load { table, generation, .. }) = blamed {
            self.load_failed(id, (table, generation), LoadFailure::Died, Instant::now());
        }
        Ok(())
    }

    /// Kills a worker that is no longer trusted.
    fn lose(&mut self, id: WorkerId) -> io::Result<()> {
        if self.workers.list.contains_key(&id) {
            self.say(BrokerToSupervisor::Kill(id))?;
        }
        self.forget(id)
    }

    fn forget(&mut self, id: WorkerId) -> io::Result<()> {
        if let Some(worker) = self.workers.remove(id) {
            self.front.epoll.delete(&worker.channel)?;
        }
        self.forget_gateway(id)
    }
}

/// Something about a table has changed: the workers that have it must be told.
fn owe(workers: &mut Workers, tables: &Tables, table: TableId) {
    if let Some(duty) = tables.duty(table) {
        workers.owe(table, duty);
    }
}
