//! The event loop of both brokers: what they do alike, and what each has to say for itself ([`Broker`]).
//!
//! May: accept clients, tell the supervisor. Never: decide who serves a client.

use crate::listeners::{ACCEPTS, Listeners};
use crate::rhythm::{HEARTBEAT, LISTENERS, SUPERVISOR, sleep_until};
use crate::supervisor_channel::{SupervisorChannel, Told};
use mapkeep_process::outbox::Sent;
use mapkeep_proto::{BrokerToSupervisor, Duty, SupervisorToBroker, TrustClass, WorkerId};
use mapkeep_sandbox::Confined;
use mapkeep_sys::channel::Channel;
use mapkeep_sys::deadline;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// Where a broker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No client can be served yet.
    Starting,
    /// The supervisor has been told that clients are accepted.
    Serving,
    /// Another broker has taken over, or the service is stopping: no client is accepted any more.
    Finishing,
}

/// What every broker has: the channel to its supervisor and the listening sockets.
#[derive(Debug)]
pub struct Front {
    /// The channel to the supervisor.
    pub supervisor: SupervisorChannel,
    /// epoll, at its fixed descriptor number.
    pub epoll: Epoll,
    /// The listening sockets.
    pub listeners: Listeners,
    phase: Phase,
    clients_told: bool,
    next_heartbeat: Option<Instant>,
}

/// The state of a broker as far as new clients are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether everything is ready for the first client.
    pub complete: bool,
    /// Whether a worker can take one more client now.
    pub takes_clients: bool,
    /// Clients that are connected.
    pub clients: u32,
}

/// What differs between the two brokers.
pub trait Broker {
    /// Who takes a client.
    type Seat;

    /// What both brokers have.
    fn front(&mut self) -> &mut Front;

    /// Does what is due before the next wait. `now` is the same for all of it.
    fn work(&mut self, now: Instant) -> io::Result<()>;

    /// Its state after that.
    fn standing(&self) -> Standing;

    /// Whether the last worker has exited.
    fn is_deserted(&self) -> bool;

    /// When it next has something to do even if no event arrives.
    fn moments(&mut self, now: Instant) -> [Option<Instant>; 2];

    /// One of its own descriptors is ready.
    fn ready(&mut self, token: u64) -> io::Result<()>;

    /// Who takes the next client, if anybody does.
    fn seat(&mut self) -> Option<Self::Seat>;

    /// Hands a client over.
    fn hand_over(&mut self, seat: Self::Seat, client: OwnedFd);

    /// A worker has been started.
    fn started(&mut self, id: WorkerId, class: TrustClass, duty: Duty, channel: Channel) -> io::Result<()>;

    /// A worker has been checked from outside: it may get clients.
    fn admitted(&mut self, id: WorkerId);

    /// A worker's process has ended.
    fn gone(&mut self, id: WorkerId) -> io::Result<()>;

    /// Tells the workers to finish; no client is accepted any more.
    fn finish(&mut self) -> io::Result<()>;

    /// Asks for checkpoints: somebody wants to read the files of tables that can be changed.
    fn checkpoint(&mut self);
}

/// Serves until the supervisor closes its channel, or until the last worker has exited after the supervisor's `Finish`.
/// Requires the proof of lock-down.
///
/// # Errors
/// An error after which the broker must be replaced.
pub fn run(broker: &mut impl Broker, _confined: &Confined) -> io::Result<()> {
    serve(broker)
}

/// The same in a thread of a test.
#[cfg(feature = "testbed")]
pub fn run_in_test(broker: &mut impl Broker) -> io::Result<()> {
    serve(broker)
}

fn serve(broker: &mut impl Broker) -> io::Result<()> {
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let now = Instant::now();
        broker.work(now)?;
        let standing = broker.standing();
        broker.front().listen(standing, now)?;
        broker.front().supervisor.flush()?;
        if broker.front().is_finishing() && broker.is_deserted() {
            return Ok(());
        }
        let now = Instant::now();
        let own = broker.moments(now);
        let front = broker.front();
        let moments = own.into_iter().chain([front.listeners.paused_until(), mapkeep_log::settle(now)]);
        let timeout = sleep_until(moments, front.supervisor.is_quiet(), now);
        let count = match front.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in events.iter().take(count) {
            match event.data() {
                SUPERVISOR => {
                    if !receive_from_supervisor(broker)? {
                        return Ok(());
                    }
                }
                token if broker.front().listeners.has(token) => accept(broker, token)?,
                token => broker.ready(token)?,
            }
        }
    }
}

/// Accepts clients at this socket, as long as a worker can take them.
pub fn accept(broker: &mut impl Broker, token: u64) -> io::Result<()> {
    for _ in 0..ACCEPTS {
        let Some(seat) = broker.seat() else { return Ok(()) };
        let Some(client) = broker.front().listeners.accept(token)? else { return Ok(()) };
        broker.hand_over(seat, client);
    }
    Ok(())
}

/// Carries out the supervisor's messages. False when the broker must exit.
fn receive_from_supervisor(broker: &mut impl Broker) -> io::Result<bool> {
    loop {
        let (message, descriptor) = match broker.front().supervisor.receive()? {
            Told::Message(message, descriptor) => (message, descriptor),
            Told::Nothing => return Ok(true),
            Told::Closed => return Ok(false),
        };
        match (message, descriptor) {
            (SupervisorToBroker::Worker { id, .. }, Some(_)) if broker.front().is_finishing() => {
                broker.front().say(BrokerToSupervisor::Kill(id))?;
            }
            (SupervisorToBroker::Worker { id, class, duty }, Some(channel)) => {
                broker.started(id, class, duty, Channel::from_descriptor(channel))?;
            }
            (SupervisorToBroker::Admit(id), _) => broker.admitted(id),
            (SupervisorToBroker::Gone(id), _) => broker.gone(id)?,
            (SupervisorToBroker::Finish, _) => {
                broker.front().close()?;
                broker.finish()?;
                broker.front().say(BrokerToSupervisor::Finishing)?;
            }
            (SupervisorToBroker::Checkpoint, _) => broker.checkpoint(),
            // `receive` refuses one without its channel.
            (SupervisorToBroker::Worker { .. }, None) => {}
        }
    }
}

impl Front {
    /// For a broker that has sent and received nothing yet.
    pub fn new(supervisor: SupervisorChannel, epoll: Epoll, sockets: Vec<OwnedFd>) -> Front {
        let listeners = Listeners::new(sockets, LISTENERS);
        let (phase, clients_told, next_heartbeat) = (Phase::Starting, false, None);
        Front { supervisor, epoll, listeners, phase, clients_told, next_heartbeat }
    }

    /// Registers the fixed descriptors. Must be called before lock-down.
    pub fn register(&self) -> io::Result<()> {
        self.watch(&self.supervisor, SUPERVISOR)?;
        self.listeners.register(&self.epoll)
    }

    /// Adds a descriptor to epoll, for reading.
    pub fn watch(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        Ok(self.epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// Sends a message to the supervisor, now or when the channel has room.
    pub fn say(&mut self, message: BrokerToSupervisor) -> io::Result<()> {
        self.supervisor.say(message)
    }

    /// Whether no client is accepted any more.
    pub fn is_finishing(&self) -> bool {
        self.phase == Phase::Finishing
    }

    /// Whether a heartbeat is due; if so, the next one is due in [`HEARTBEAT`].
    pub fn takes_beat(&mut self, now: Instant) -> bool {
        let due = self.next_heartbeat.is_none_or(|moment| now >= moment);
        if due {
            self.next_heartbeat = Some(deadline::after(now, HEARTBEAT));
        }
        due
    }

    /// When the next one is due.
    pub fn next_beat(&self) -> Option<Instant> {
        self.next_heartbeat
    }

    /// Acts on the result of sending an outbox to `channel`: waits for room if there is more to send, and leaves
    /// clients in the socket's queue while the kernel has no room for descriptors in flight. `waits`: whether it waits
    /// for room already. False if the other end is closed; messages received before that still count.
    pub fn sent(
        &mut self,
        sent: &io::Result<Sent>,
        channel: &Channel,
        token: u64,
        waits: &mut bool,
    ) -> io::Result<bool> {
        let more = match sent {
            Ok(Sent::All) => false,
            Ok(Sent::Part) => true,
            Ok(Sent::Crowded) => {
                self.listeners.pause();
                false
            }
            Err(_) => return Ok(false),
        };
        if *waits != more {
            *waits = more;
            let room = if more { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            self.epoll.modify(channel, &mut EpollEvent::new(EpollFlags::EPOLLIN | room, token))?;
        }
        Ok(true)
    }

    /// Listens only while a worker can take clients; until then they wait in the socket's queue.
    fn listen(&mut self, standing: Standing, now: Instant) -> io::Result<()> {
        if self.phase == Phase::Starting && standing.complete && standing.takes_clients {
            self.say(BrokerToSupervisor::Ready)?;
            self.phase = Phase::Serving;
        }
        let wanted = self.phase == Phase::Serving && standing.takes_clients;
        self.listeners.set(&self.epoll, wanted, now)?;
        let connected = standing.clients > 0;
        // Only the latest state matters, so a supervisor that is busy is not sent every change.
        if connected != self.clients_told && self.supervisor.is_quiet() {
            self.say(BrokerToSupervisor::Clients(standing.clients))?;
            self.clients_told = connected;
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.phase = Phase::Finishing;
        self.listeners.close(&self.epoll)
    }
}
