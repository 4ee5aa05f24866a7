mod askers;
mod turns;

use super::*;
use mapkeep_name::Kind;
use mapkeep_proto::{Answered, Asked, Decode, Frames, Listed, Manner, Question, TableId};
use mapkeep_proto::{Unavailable, encode_names};
use mapkeep_sys::channel::Received;
use nix::sys::epoll::EpollCreateFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{MsgFlags, recv};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

const MS: Duration = Duration::from_millis(1);

thread_local! {
    static TIME: Cell<Option<Instant>> = const { Cell::new(None) };
    static TICK: Cell<Duration> = const { Cell::new(MS) };
    /// A stream, and when something was seen in it first.
    static WATCHED: RefCell<Option<UnixStream>> = const { RefCell::new(None) };
    static SEEN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A clock that goes on by a tick whenever it is read, and never else. Tables of patterns read it before each rule.
fn ticking() -> Instant {
    let now = TIME.get().unwrap_or_else(Instant::now) + TICK.get();
    TIME.set(Some(now));
    WATCHED.with_borrow(|stream| {
        let peeked = stream.as_ref().map(|stream| recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK));
        if peeked.is_some_and(|peeked| peeked.is_ok()) && SEEN.get().is_none() {
            SEEN.set(Some(now));
        }
    });
    now
}

const NOT_OURS: TableId = TableId(0);
/// An answer takes one reading of the clock.
const QUICK: TableId = TableId(1);
/// One takes more than 20, and is not interrupted;
const SLOW: TableId = TableId(2);
/// or takes 400, and is interrupted again and again.
const MANY: TableId = TableId(3);
const PARTS: TableId = TableId(4);
const FILE: TableId = TableId(5);
const BROKEN: TableId = TableId(6);

const MANNER: Manner =
    Manner { with_nul: true, bare: true, substitution: true, utf8: false, file_content: false };

fn names() -> Vec<Listed> {
    let rules = |count| "{/^nobody$/ x} ".repeat(count);
    let (slow, many) = (rules(20), rules(400));
    let names = [
        "static:fine".to_owned(),
        "regexp:{{/^10[.]/ ten}}".to_owned(),
        format!("pcre:{{{slow}{{/^a/ slow}}}}"),
        format!("regexp:{{{many}{{/^a/ many}}}}"),
        "regexp:{{/^(.*)@b$/ $1} {/^long$/ LONG} {/^bytes$/ \u{ff}}}"
            .to_owned()
            .replace("LONG", &"v".repeat(40_000)),
        "regexp:/file".to_owned(),
        "pcre:{no braces}".to_owned(),
    ];
    names
        .map(|name| {
            // A value that is not UTF-8.
            let name: Vec<u8> = name.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
            Listed { name, approved: true, incomplete: false }
        })
        .to_vec()
}

fn memory(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file
}

/// A worker, and its broker's end of the channel.
struct Service {
    worker: RulesWorker,
    broker: Channel,
}

impl Service {
    fn new() -> Service {
        let (broker, channel) = Channel::pair().unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let mut worker = RulesWorker::new(channel, epoll).unwrap();
        worker.clock = ticking;
        let block = encode_names(&names()).unwrap();
        let mut service = Service { worker, broker };
        let hello = BrokerToLookup::Names { size: block.len() as u64, smtputf8: true, approval_known: true };
        service.tell(hello, Some(&memory(&block)));
        assert_eq!(service.received(), LookupToBroker::Ready);
        service
    }

    fn round(&mut self) -> bool {
        self.worker.round(EpollTimeout::ZERO).unwrap()
    }

    fn tell(&mut self, message: BrokerToLookup, freight: Option<&File>) {
        let freight: Vec<_> = freight.iter().map(|file| file.as_fd()).collect();
        self.broker.send(&message.encode(), &freight).unwrap();
        assert!(self.round());
    }

    fn load(&mut self, id: TableId, generation: u32, text: &str) {
        let (size, kind) = (text.len() as u64, Kind::Regexp);
        self.tell(BrokerToLookup::Snapshot { id, generation, kind, size }, Some(&memory(text.as_bytes())));
    }

    fn received(&self) -> LookupToBroker {
        let mut buffer = [0; 64];
        match self.broker.receive_plain(&mut buffer).unwrap() {
            Received::Message(length, _) => LookupToBroker::decode(&buffer[..length]).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// A lookup worker that asks.
    fn asker(&mut self) -> Asking {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        ours.set_nonblocking(true).unwrap();
        self.broker.send(&BrokerToLookup::Asker.encode(), &[theirs.as_fd()]).unwrap();
        assert!(self.round());
        Asking { stream: ours, frames: Frames::default(), last: 0 }
    }

    /// Rounds until nobody waits whose time has come.
    fn settle(&mut self) {
        while self.worker.sleep() == EpollTimeout::ZERO {
            self.round();
        }
    }
}

/// The other end of an asker's stream.
struct Asking {
    stream: UnixStream,
    frames: Frames,
    last: u32,
}

impl Asking {
    fn ask(&mut self, table: TableId, client: u64, asked: Asked<'_>) -> u32 {
        self.last += 1;
        self.send(&Question { ticket: self.last, table, client, asked });
        self.last
    }

    fn look_up(&mut self, table: TableId, client: u64, key: &str) -> u32 {
        self.ask(table, client, Asked::Lookup { key: key.as_bytes(), manner: MANNER })
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

    fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }
}

fn text(answered: Answered<'_>) -> String {
    match answered {
        Answered::Found { with_nul: false, value } => format!("={}", String::from_utf8_lossy(value)),
        Answered::Found { with_nul: true, .. } => panic!("no such table"),
        Answered::Absent => "absent".to_owned(),
        Answered::Failed { why, reason } => format!("{why:?} {reason}"),
    }
}

/// The answer to one question.
fn answer(service: &mut Service, asker: &mut Asking, table: TableId, asked: Asked<'_>) -> String {
    let ticket = asker.ask(table, 1, asked);
    service.round();
    service.settle();
    let answers = asker.answers();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, ticket);
    answers[0].1.clone()
}

#[test]
fn questions_are_answered_as_they_are_asked() {
    let mut service = Service::new();
    let mut asker = service.asker();
    let mut ask = |table, key: &str, manner| {
        answer(&mut service, &mut asker, table, Asked::Lookup { key: key.as_bytes(), manner })
    };
    assert_eq!(ask(QUICK, "10.1.2.3", MANNER), "=ten");
    assert_eq!(ask(QUICK, "11.1.2.3", MANNER), "absent");
    assert_eq!(ask(SLOW, "alice", MANNER), "=slow");
    assert_eq!(ask(PARTS, "a@b", MANNER), "=a");
    assert_eq!(ask(PARTS, "long", MANNER).len(), 40_001);
    let refused = Manner { substitution: false, ..MANNER };
    assert_eq!(ask(PARTS, "a@b", refused), "absent");
    let utf8 = Manner { utf8: true, ..MANNER };
    assert_eq!(ask(PARTS, "bytes", utf8), "NotUtf8 ");
    assert_eq!(ask(PARTS, "a@b", utf8), "=a");
    let files = Manner { file_content: true, ..MANNER };
    let reason = mapkeep_query::TableError::ValueNamesFiles;
    assert_eq!(ask(PARTS, "a@b", files), format!("Later {reason}"));
}

/// By the real clock, since that is what decides whether mail with such a header is taken.
#[test]
fn tables_become_available_and_unavailable_with_the_reason() {
    let mut service = Service::new();
    let mut asker = service.asker();
    let key = Asked::Lookup { key: b"key", manner: MANNER };
    let mut ask = |service: &mut Service, table, asked| answer(service, &mut asker, table, asked);
    assert_eq!(ask(&mut service, FILE, key), "Unavailable its file is being written");
    service.tell(BrokerToLookup::Unavailable { id: FILE, reason: Unavailable::Missing }, None);
    assert_eq!(ask(&mut service, FILE, key), "Unavailable its file does not exist");
    assert_eq!(ask(&mut service, FILE, Asked::Usable), "Unavailable its file does not exist");
    service.load(FILE, 1, "/^key$/ first\n");
    assert_eq!(service.received(), LookupToBroker::Loaded { id: FILE, generation: 1 });
    assert_eq!(ask(&mut service, FILE, key), "=first");
    assert_eq!(ask(&mut service, FILE, Asked::Usable), "absent");
    service.tell(BrokerToLookup::Unavailable { id: FILE, reason: Unavailable::Missing }, None);
    assert_eq!(ask(&mut service, FILE, key), "=first", "what is there goes on answering");
    service.load(FILE, 2, "/^key$/ second\n");
    assert_eq!(service.received(), LookupToBroker::Loaded { id: FILE, generation: 2 });
    assert_eq!(ask(&mut service, FILE, key), "=second");
    let reason = mapkeep_query::TableError::BadName("expected {rule} inside the braces");
    assert_eq!(ask(&mut service, BROKEN, key), format!("Unavailable {reason}"));
    // The content of a table that is not ours is loaded by nobody here.
    service.load(NOT_OURS, 1, "/^key$/ third\n");
    assert_eq!(service.received(), LookupToBroker::Rejected { id: NOT_OURS, generation: 1 });
    service.tell(BrokerToLookup::Ping(7), None);
    assert_eq!(service.received(), LookupToBroker::Pong(7));
}

#[test]
fn snapshots_are_loaded_between_questions() {
    let mut service = Service::new();
    let mut asker = service.asker();
    let lines: String = (0..20_000).map(|number| format!("/^key{number}$/ value\n")).collect();
    let first = asker.look_up(QUICK, 1, "10.0.0.1");
    service.load(FILE, 1, &lines);
    assert_eq!(asker.tickets(), [first], "it was answered before a step was made");
    let mut rounds = 0;
    while !service.worker.loading.is_empty() {
        let ticket = asker.look_up(QUICK, 1, "10.0.0.1");
        assert!(service.round());
        assert_eq!(asker.tickets(), [ticket]);
        rounds += 1;
        assert!(rounds < 1000);
    }
    assert_eq!(service.received(), LookupToBroker::Loaded { id: FILE, generation: 1 });
}
