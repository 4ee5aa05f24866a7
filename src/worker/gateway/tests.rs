//! The loop of a gateway, with a stand-in for its broker, lookup workers that ask, and servers at the other ends of its
//! connections. The clock only goes on when it is told to.

mod asking;
mod bounds;
mod broker;
mod failing;

use crate::serve::Gateway;
use mapkeep_proto::{
    Answer, Answered, Asked, Asks, Backend, BackendTable, BrokerToGateway, Decode, Encoded, Frames,
    GatewayToBroker, Host, Manner, Protocol, Question, TableId,
};
use mapkeep_sys::channel::{Channel, Received};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// The table of a scene, whose questions may wait for this long.
const TABLE: TableId = TableId(7);
const PATIENCE: Duration = Duration::from_secs(5);
const MANNER: Manner =
    Manner { with_nul: false, bare: true, substitution: false, utf8: false, file_content: false };

thread_local! {
    static AHEAD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn clock() -> Instant {
    thread_local! {
        static START: Instant = Instant::now();
    }
    START.with(|start| *start) + AHEAD.get()
}

fn wait(time: Duration) {
    AHEAD.set(AHEAD.get() + time);
}

/// Keeps what is logged in this thread.
struct Log;

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        assert!(!text.0.contains("secret"), "a key or a value is in the log: {}", text.0);
        LINES.with_borrow_mut(|lines| lines.push(text.0));
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// What has been logged since the last look.
fn lines() -> Vec<String> {
    LINES.take()
}

/// Whether this, and nothing else, has been logged since the last look; each line as it begins.
#[track_caller]
fn assert_lines(expected: &[&str]) {
    let lines = lines();
    let agree = lines.len() == expected.len()
        && lines.iter().zip(expected).all(|(line, begin)| line.starts_with(&format!("backend{begin}")));
    assert!(agree, "{lines:#?} instead of {expected:?}");
}

fn memory(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

fn backend(protocol: Protocol, connections: u16) -> Backend {
    let hosts = vec![Host::Unix(b"/server".to_vec())];
    Backend { title: "backend".to_owned(), hosts, connections, protocol }
}

fn settings(asks: Asks) -> BackendTable {
    let milliseconds = u32::try_from(PATIENCE.as_millis()).unwrap();
    BackendTable { name: b"the table".to_vec(), milliseconds, asks }
}

/// A gateway, and its broker's end of the channel.
struct Scene {
    gateway: Gateway,
    broker: Channel,
    /// Until the end of the scene.
    _log: tracing::subscriber::DefaultGuard,
}

impl Scene {
    /// A gateway that knows nothing yet.
    fn empty() -> Scene {
        let (broker, channel) = Channel::pair().unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let mut gateway = Gateway::new(channel, epoll, 1).unwrap();
        gateway.clock = clock;
        Scene { gateway, broker, _log: tracing::subscriber::set_default(Log) }
    }

    fn new(protocol: Protocol, asks: Asks, connections: u16) -> Scene {
        let mut scene = Scene::empty();
        let bytes = backend(protocol, connections).encode();
        scene.tell(BrokerToGateway::Backend { size: bytes.len() as u64 }, Some(memory(&bytes).as_fd()));
        let bytes = settings(asks).encode();
        let table = BrokerToGateway::Table { id: TABLE, generation: 1, size: bytes.len() as u64 };
        scene.tell(table, Some(memory(&bytes).as_fd()));
        let loaded = GatewayToBroker::Loaded { id: TABLE, generation: 1 };
        assert_eq!(scene.heard(), [GatewayToBroker::Ready, loaded]);
        scene
    }

    fn socketmap(connections: u16) -> Scene {
        let protocol = Protocol::Socketmap { max_reply: 100_000, max_query: 100 };
        Scene::new(protocol, Asks::Socketmap { map: b"map".to_vec() }, connections)
    }

    fn tcp(connections: u16) -> Scene {
        Scene::new(Protocol::Tcp, Asks::Tcp, connections)
    }

    fn round(&mut self) {
        assert!(self.gateway.round(EpollTimeout::ZERO).unwrap());
    }

    /// Rounds for as long as it would not sleep.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let told = self.gateway.epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap();
            if told == 0 && self.gateway.sleep() != EpollTimeout::ZERO {
                return;
            }
            self.round();
        }
        panic!("it does not come to rest");
    }

    /// How long it would sleep for.
    fn sleep(&self) -> Option<Duration> {
        let timeout = Some(self.gateway.sleep()).filter(|timeout| *timeout != EpollTimeout::NONE)?;
        timeout.as_millis().map(|millis| Duration::from_millis(millis.into()))
    }

    fn tell(&mut self, message: BrokerToGateway, freight: Option<std::os::fd::BorrowedFd<'_>>) {
        let freight: Vec<_> = freight.into_iter().collect();
        self.broker.send(&message.encode(), &freight).unwrap();
        self.round();
    }

    /// What the gateway has told its broker since the last look.
    fn heard(&self) -> Vec<GatewayToBroker> {
        let (mut heard, mut buffer) = (Vec::new(), [0; 64]);
        while let Received::Message(length, _) = self.broker.receive_plain(&mut buffer).unwrap() {
            heard.push(GatewayToBroker::decode(&buffer[..length]).unwrap());
        }
        heard
    }

    /// The numbers of the connections that it has asked for since the last look; it says nothing else.
    fn wishes(&self) -> Vec<u32> {
        let number = |message| match message {
            GatewayToBroker::Connect { number, host: 0 } => number,
            other => panic!("{other:?}"),
        };
        self.heard().into_iter().map(number).collect()
    }

    /// Gives it the connection that it has asked for.
    fn connect(&mut self) -> Server {
        let wishes = self.wishes();
        let [number] = wishes[..] else { panic!("{wishes:?}") };
        self.connected(number)
    }

    fn connected(&mut self, number: u32) -> Server {
        let (ours, theirs) = pair();
        self.tell(BrokerToGateway::Connected { number }, Some(theirs.as_fd()));
        Server(ours)
    }

    fn refuse(&mut self, number: u32, reason: &str) {
        self.tell(BrokerToGateway::NotConnected { number, reason: reason.to_owned() }, None);
    }

    /// A lookup worker that asks.
    fn asker(&mut self) -> Asking {
        let (ours, theirs) = pair();
        self.tell(BrokerToGateway::Asker, Some(theirs.as_fd()));
        Asking { stream: ours, frames: Frames::default(), last: 0 }
    }

    /// The key `k` is looked up, for which the gateway connects. Gives the server's end.
    #[track_caller]
    fn asked(&mut self, asker: &mut Asking) -> Server {
        asker.look_up(1, "k");
        self.settle();
        self.connect()
    }

    /// The same, and the server answers this.
    #[track_caller]
    fn served(&mut self, asker: &mut Asking, answer: &[u8]) -> Server {
        let mut server = self.asked(asker);
        server.say(answer);
        self.settle();
        server
    }

    /// The answer to a question that needs no server.
    fn answer(&mut self, asker: &mut Asking, key: &str) -> String {
        asker.look_up(1, key);
        self.round();
        asker.answer()
    }
}

/// The other end of a connection.
struct Server(UnixStream);

impl Server {
    /// What it has been asked since the last look.
    fn asked(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn is_closed(&mut self) -> bool {
        self.0.read_to_end(&mut Vec::new()).map_err(|error| error.kind())
            != Err(std::io::ErrorKind::WouldBlock)
    }
}

/// The other end of an asker's stream.
struct Asking {
    stream: UnixStream,
    frames: Frames,
    last: u32,
}

impl Asking {
    fn look_up(&mut self, client: u64, key: &str) -> u32 {
        self.ask(TABLE, client, Asked::Lookup { key: key.as_bytes(), manner: MANNER })
    }

    fn ask(&mut self, table: TableId, client: u64, asked: Asked<'_>) -> u32 {
        self.last += 1;
        self.send(&Question { ticket: self.last, table, client, asked });
        self.last
    }

    fn withdraw(&mut self, ticket: u32) {
        self.send(&Question { ticket, table: TABLE, client: 1, asked: Asked::Withdrawn });
    }

    fn send(&mut self, question: &Question<'_>) {
        let mut bytes = Vec::new();
        question.encode(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The answers that have come since the last look.
    fn answers(&mut self) -> Vec<(u32, String)> {
        let mut bytes = Vec::new();
        let _ = self.stream.read_to_end(&mut bytes);
        self.frames.add(&bytes);
        let mut answers = Vec::new();
        while let Some(body) = self.frames.next(Answer::LONGEST).unwrap() {
            let Answer { ticket, answered } = Answer::decode(body).unwrap();
            answers.push((ticket, text(answered)));
        }
        answers
    }

    fn tickets(&mut self) -> Vec<u32> {
        self.answers().into_iter().map(|(ticket, _)| ticket).collect()
    }

    /// The answer to the last question; there is no other.
    #[track_caller]
    fn answer(&mut self) -> String {
        let answers = self.answers();
        assert!(matches!(&answers[..], [(ticket, _)] if *ticket == self.last), "{answers:?}");
        answers[0].1.clone()
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }
}

fn text(answered: Answered<'_>) -> String {
    match answered {
        Answered::Found { with_nul: false, value } => format!("={}", String::from_utf8_lossy(value)),
        Answered::Found { with_nul: true, .. } => panic!("no such table"),
        Answered::Absent => "absent".to_owned(),
        Answered::Failed { why, reason } => {
            assert!(!reason.contains("secret"), "a key or a value is in a reason: {reason}");
            format!("{why:?} {reason}")
        }
    }
}
