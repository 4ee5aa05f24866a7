//! The event loop with the test as its supervisor, its writer and its clients.

use super::super::tables::tests::{bed, list, owned};
use super::*;
use mapkeep_broker_serving::event_loop::Broker;
use mapkeep_broker_serving::supervisor_channel::SupervisorChannel;
use mapkeep_broker_trust::Anchor;
use mapkeep_broker_trust::testbed::{Bed, OWNER, as_owner};
use mapkeep_proto::{
    Decode, Listed, MAX_MESSAGE, Part, SupervisorToBroker, TableId, Unavailable, WriterToBroker,
};
use mapkeep_sys::channel::Received;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

/// A broker for these tables, and the supervisor's end of its channel.
fn broker(list: Vec<Listed>, listener: UnixListener, bounds: Bounds, supervisor: Channel) -> WriteBroker {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let broker = WriteBroker {
        front: Front::new(SupervisorChannel::new(supervisor), epoll, vec![listener.into()]),
        tables: Tables::new(list, Anchor::host().unwrap(), OWNER),
        hello: (
            BrokerToWriter::Names { size: 3, smtputf8: true, approval_known: true },
            Rc::new(fs::File::open("/dev/null").unwrap().into()),
        ),
        bounds,
        writer: WriterState::Absent,
        waiting: VecDeque::new(),
    };
    broker.front.register().unwrap();
    broker
}

/// How long to wait for an event that must come, in milliseconds.
const PATIENCE: u16 = 20_000;
/// How long to check that an event does not come, in milliseconds.
const MOMENT: u16 = 150;
const ID: TableId = TableId(0);

/// A broker in a thread of its own, with the rights of the tables' owner.
struct Scene {
    /// Our end of its channel to the supervisor.
    supervisor: Channel,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Kept open, as the supervisor does.
    _listener: UnixListener,
    bed: Bed,
}

/// Receives a message within `limit` milliseconds.
fn receive<M: Decode>(channel: &Channel, limit: u16) -> Option<(M, Vec<OwnedFd>)> {
    let mut watched = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::from(limit)).unwrap();
    let mut buffer = [0; MAX_MESSAGE];
    match channel.receive(&mut buffer).unwrap() {
        Received::Message(length, descriptors) => {
            let message = M::decode(&buffer[..length]).unwrap();
            assert_eq!(descriptors.len(), message.descriptors());
            Some((message, descriptors))
        }
        _ => None,
    }
}

impl Scene {
    fn new(names: &[&str], room: u32, prepare: impl FnOnce(&Bed)) -> Option<Scene> {
        Scene::with_timeout(names, room, Duration::from_secs(18_000), prepare)
    }

    fn with_timeout(
        names: &[&str],
        room: u32,
        daemon_timeout: Duration,
        prepare: impl FnOnce(&Bed),
    ) -> Option<Scene> {
        let bed = bed()?;
        prepare(&bed);
        let (supervisor, far) = Channel::pair().unwrap();
        let listener = UnixListener::bind(bed.path("socket")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let kept = listener.try_clone().unwrap();
        let list = list(&bed, names);
        let thread = std::thread::spawn(move || {
            let mut broker = broker(list, listener, Bounds { room, daemon_timeout }, far);
            as_owner(|| event_loop::run_in_test(&mut broker))
        });
        Some(Scene { supervisor, thread: Some(thread), _listener: kept, bed })
    }

    fn tell(&self, message: SupervisorToBroker) {
        self.supervisor.send(&message.encode(), &[]).unwrap();
    }

    #[track_caller]
    fn expect(&self, message: BrokerToSupervisor) {
        let received = receive::<BrokerToSupervisor>(&self.supervisor, PATIENCE);
        assert_eq!(received.map(|(message, _)| message), Some(message));
    }

    #[track_caller]
    fn expect_silence(&self) {
        assert!(receive::<BrokerToSupervisor>(&self.supervisor, MOMENT).is_none());
    }

    /// Starts a writer; returns our end of its channel.
    fn start(&self, id: u32) -> Channel {
        let (near, far) = Channel::pair().unwrap();
        let message =
            SupervisorToBroker::Worker { id: WorkerId(id), class: TrustClass::EVERYONE, duty: Duty::Clients };
        self.supervisor.send(&message.encode(), &[far.as_fd()]).unwrap();
        near
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.bed.path("socket")).unwrap()
    }

    /// The loop has ended without an error.
    fn end(mut self) {
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Closing its channel ends the loop.
            let (other, _) = Channel::pair().unwrap();
            drop(std::mem::replace(&mut self.supervisor, other));
            let _ = thread.join();
        }
    }
}

fn say(writer: &Channel, message: WriterToBroker) {
    writer.send(&message.encode(), &[]).unwrap();
}

#[track_caller]
fn gets(writer: &Channel) -> (BrokerToWriter, Vec<OwnedFd>) {
    loop {
        match receive(writer, PATIENCE).expect("a message for the writer") {
            (BrokerToWriter::Ping(number), _) => say(writer, WriterToBroker::Pong(number)),
            message => return message,
        }
    }
}

/// A writer that has been admitted, but has yet to answer about its one table.
fn admitted(scene: &Scene, id: u32, generation: u32) -> Channel {
    scene.expect(BrokerToSupervisor::Need(TrustClass::EVERYONE, Duty::Clients));
    let writer = scene.start(id);
    assert!(matches!(gets(&writer).0, BrokerToWriter::Names { size: 3, .. }));
    assert_eq!(gets(&writer).0, BrokerToWriter::Store { id: ID, generation });
    say(&writer, WriterToBroker::Ready);
    scene.expect(BrokerToSupervisor::WorkerReady(WorkerId(id)));
    scene.tell(SupervisorToBroker::Admit(WorkerId(id)));
    writer
}

fn serving(scene: &Scene) -> Channel {
    let writer = admitted(scene, 1, 1);
    say(&writer, WriterToBroker::Opened { id: ID, generation: 1 });
    scene.expect(BrokerToSupervisor::Ready);
    writer
}

#[test]
fn clients_are_handed_over_once_the_tables_are_open() {
    let Some(scene) = Scene::new(&["hash:d/x"], 1, |_| ()) else { return };
    let writer = admitted(&scene, 1, 1);
    let _first = scene.connect();
    scene.expect_silence();
    say(&writer, WriterToBroker::Opened { id: ID, generation: 1 });
    scene.expect(BrokerToSupervisor::Ready);
    let (message, descriptors) = gets(&writer);
    assert_eq!((message, descriptors.len()), (BrokerToWriter::Client, 1));
    scene.expect(BrokerToSupervisor::Clients(1));
    // There is room for one; the next waits in the queue.
    let _second = scene.connect();
    scene.expect_silence();
    say(&writer, WriterToBroker::Closed(1));
    assert_eq!(gets(&writer).0, BrokerToWriter::Client);
    scene.tell(SupervisorToBroker::Checkpoint);
    assert_eq!(gets(&writer).0, BrokerToWriter::Checkpoint);
}

#[test]
fn next_writer_starts_only_after_the_last_has_exited() {
    let Some(scene) = Scene::new(&["hash:d/x"], 9, |_| ()) else { return };
    let writer = serving(&scene);
    let _client = scene.connect();
    assert_eq!(gets(&writer).0, BrokerToWriter::Client);
    scene.expect(BrokerToSupervisor::Clients(1));
    drop(writer);
    scene.expect(BrokerToSupervisor::Kill(WorkerId(1)));
    scene.expect(BrokerToSupervisor::Clients(0));
    scene.expect_silence();
    scene.tell(SupervisorToBroker::Gone(WorkerId(1)));
    // Its clients are gone with it; the tables are handed out again.
    let writer = admitted(&scene, 2, 2);
    say(&writer, WriterToBroker::Opened { id: ID, generation: 2 });
    let _client = scene.connect();
    assert_eq!(gets(&writer).0, BrokerToWriter::Client);
    // There is only one at a time.
    let third = scene.start(3);
    scene.expect(BrokerToSupervisor::Clients(1));
    scene.expect(BrokerToSupervisor::Kill(WorkerId(3)));
    assert!(receive::<BrokerToWriter>(&third, MOMENT).is_none());
}

#[test]
fn client_that_a_crashed_writer_did_not_get_goes_to_the_next() {
    let Some(bed) = bed() else { return };
    let listener = UnixListener::bind(bed.path("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let bounds = Bounds { room: 9, daemon_timeout: Duration::from_secs(9) };
    let (_supervisor, far) = Channel::pair().unwrap();
    let mut broker = broker(Vec::new(), listener, bounds, far);
    let admit = |broker: &mut WriteBroker, id| {
        let (near, far) = Channel::pair().unwrap();
        broker.started(WorkerId(id), TrustClass::EVERYONE, Duty::Clients, far).unwrap();
        broker.writer.get_mut().unwrap().stage = Stage::Admitted;
        near
    };
    drop(admit(&mut broker, 1));
    // It has crashed, and the broker does not know yet.
    let _client = UnixStream::connect(bed.path("socket")).unwrap();
    event_loop::accept(&mut broker, mapkeep_broker_serving::rhythm::LISTENERS).unwrap();
    assert_eq!(broker.writer.get().unwrap().clients, 1);
    broker.flush().unwrap();
    assert!(matches!(broker.writer, WriterState::Ending(WorkerId(1))));
    let early = {
        let (near, far) = Channel::pair().unwrap();
        broker.started(WorkerId(3), TrustClass::EVERYONE, Duty::Clients, far).unwrap();
        near
    };
    assert!(receive::<BrokerToWriter>(&early, MOMENT).is_none(), "the first may still have the files");
    broker.gone(WorkerId(1)).unwrap();
    let writer = admit(&mut broker, 2);
    broker.seat_waiting();
    broker.flush().unwrap();
    assert!(matches!(gets(&writer).0, BrokerToWriter::Names { .. }));
    assert_eq!(gets(&writer).0, BrokerToWriter::Client);
    assert_eq!(broker.writer.get().unwrap().clients, 1);
}

#[test]
fn writer_that_breaks_the_protocol_is_replaced() {
    let wrong: [&[u8]; 4] = [
        &WriterToBroker::Opened { id: ID, generation: 2 }.encode(),
        &WriterToBroker::Opened { id: TableId(7), generation: 1 }.encode(),
        &[77],
        &[1; 100],
    ];
    for packet in wrong {
        let Some(scene) = Scene::new(&["hash:d/x"], 9, |_| ()) else { return };
        let writer = admitted(&scene, 1, 1);
        writer.send(packet, &[]).unwrap();
        scene.expect(BrokerToSupervisor::Kill(WorkerId(1)));
        scene.expect_silence();
        scene.tell(SupervisorToBroker::Gone(WorkerId(1)));
        scene.expect(BrokerToSupervisor::Need(TrustClass::EVERYONE, Duty::Clients));
    }
}

#[test]
fn silent_writer_is_replaced() {
    let prepared = Scene::with_timeout(&["hash:d/x"], 9, Duration::ZERO, |_| ());
    let Some(scene) = prepared else { return };
    scene.expect(BrokerToSupervisor::Need(TrustClass::EVERYONE, Duty::Clients));
    let _writer = scene.start(1);
    scene.expect(BrokerToSupervisor::Kill(WorkerId(1)));
}

#[test]
fn finish_waits_for_the_writers_checkpoint() {
    let Some(scene) = Scene::new(&["hash:d/x"], 9, |_| ()) else { return };
    let writer = serving(&scene);
    scene.tell(SupervisorToBroker::Finish);
    scene.expect(BrokerToSupervisor::Finishing);
    assert_eq!(gets(&writer).0, BrokerToWriter::Finish);
    let _late = scene.connect();
    say(&writer, WriterToBroker::WantNew(ID));
    let (message, mut descriptors) = gets(&writer);
    assert_eq!(message, BrokerToWriter::New(ID));
    fs::write(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&descriptors[0])), "whole")
        .unwrap();
    descriptors.clear();
    say(&writer, WriterToBroker::Replace(ID));
    assert_eq!(gets(&writer).0, BrokerToWriter::Replaced(ID));
    assert_eq!(fs::read(scene.bed.path("d/x.db")).unwrap(), b"whole");
    assert!(receive::<BrokerToWriter>(&writer, MOMENT).is_none(), "nobody is accepted any more");
    drop(writer);
    scene.expect(BrokerToSupervisor::Kill(WorkerId(1)));
    scene.end();
}

#[test]
fn finish_without_a_writer_ends_at_once() {
    let Some(scene) = Scene::new(&["hash:d/x"], 9, |_| ()) else { return };
    scene.expect(BrokerToSupervisor::Need(TrustClass::EVERYONE, Duty::Clients));
    scene.tell(SupervisorToBroker::Finish);
    scene.expect(BrokerToSupervisor::Finishing);
    scene.end();
}

#[test]
fn refused_table_is_handed_out_when_corrected() {
    let Some(scene) = Scene::new(&["hash:d/x"], 9, |bed| bed.mode("d", 0o777)) else { return };
    scene.expect(BrokerToSupervisor::Need(TrustClass::EVERYONE, Duty::Clients));
    let writer = scene.start(1);
    assert!(matches!(gets(&writer).0, BrokerToWriter::Names { .. }));
    assert_eq!(gets(&writer).0, BrokerToWriter::Unavailable { id: ID, reason: Unavailable::Refused });
    scene.bed.mode("d", 0o755);
    assert_eq!(gets(&writer).0, BrokerToWriter::Store { id: ID, generation: 1 });
}

#[test]
fn failed_and_damaged_tables_are_handed_out_again() {
    let Some(scene) = Scene::new(&["hash:d/x"], 9, |_| ()) else { return };
    let writer = serving(&scene);
    say(&writer, WriterToBroker::Failed { id: ID, generation: 1 });
    assert_eq!(gets(&writer).0, BrokerToWriter::Store { id: ID, generation: 2 });
    owned(&scene.bed, "d/x.mapkeep", b"damaged");
    say(&writer, WriterToBroker::Corrupt { id: ID, generation: 2, part: Part::Store });
    assert_eq!(gets(&writer).0, BrokerToWriter::Store { id: ID, generation: 3 });
    assert_eq!(fs::metadata(scene.bed.path("d/x.mapkeep")).unwrap().len(), 0);
    scene.expect_silence();
}

#[test]
fn hijacked_writer_cannot_fill_the_directory() {
    let Some(scene) = Scene::new(&["hash:d/x"], 9, |_| ()) else { return };
    let writer = serving(&scene);
    let corrupt = |generation| {
        say(&writer, WriterToBroker::Corrupt { id: ID, generation, part: Part::Store });
    };
    for generation in 1..=3 {
        corrupt(generation);
        assert_eq!(gets(&writer).0, BrokerToWriter::Store { id: ID, generation: generation + 1 });
    }
    corrupt(4);
    assert_eq!(gets(&writer).0, BrokerToWriter::Unavailable { id: ID, reason: Unavailable::Unreadable });
    // Repeated requests for a checkpoint use one name.
    corrupt(4);
    scene.expect(BrokerToSupervisor::Kill(WorkerId(1)));
    let names = fs::read_dir(scene.bed.path("d")).unwrap().count();
    assert_eq!(names, 2 + 2 * 3);
}
