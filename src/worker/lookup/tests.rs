use super::*;
use mapkeep_proto::{Listed, encode_names};
use nix::sys::epoll::EpollCreateFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

const FINE: &str = "static:fine";
/// Takes millions of steps for a key of 22 letters, and as many again for each further one.
const SLOW: &str = "pcre:{{/^(a+)+$/ x}}";
/// Has hundreds of ordinary rules.
const MANY: &str = "regexp:/many";
const OTHER: &str = "pcre:{{/^quick$/ found}}";

/// A worker, and its broker's end of the channel.
struct Service {
    worker: Lookup,
    broker: Channel,
}

fn memory(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file
}

impl Service {
    fn new() -> Service {
        let (broker, channel) = Channel::pair().unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let worker = Lookup::new(channel, epoll, crate::session::Service::Read).unwrap();
        let names = [FINE, SLOW, OTHER, "texthash:/large", MANY];
        let listed =
            names.map(|name| Listed { name: name.as_bytes().to_vec(), approved: true, incomplete: false });
        let block = encode_names(&listed).unwrap();
        let mut service = Service { worker, broker };
        let hello = BrokerToLookup::Names { size: block.len() as u64, smtputf8: true, approval_known: true };
        service.tell(hello, Some(&memory(&block)));
        assert_eq!(service.heard(), LookupToBroker::Ready);
        service
    }

    fn tell(&mut self, message: BrokerToLookup, freight: Option<&File>) {
        let freight: Vec<_> = freight.iter().map(|file| file.as_fd()).collect();
        self.broker.send(&message.encode(), &freight).unwrap();
        assert!(self.worker.round().unwrap());
    }

    /// Sends the content of a table.
    fn send(&mut self, id: u16, text: &str) {
        let (id, size, kind) = (TableId(id), text.len() as u64, mapkeep_proto::Kind::Texthash);
        let snapshot = BrokerToLookup::Snapshot { id, generation: 1, kind, size };
        self.tell(snapshot, Some(&memory(text.as_bytes())));
    }

    fn heard(&self) -> LookupToBroker {
        let mut buffer = [0; 64];
        match self.broker.receive_plain(&mut buffer).unwrap() {
            Received::Message(length, _) => LookupToBroker::decode(&buffer[..length]).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// A client that has been announced the protocol.
    fn client(&mut self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        self.broker.send(&BrokerToLookup::Client.encode(), &[theirs.as_fd()]).unwrap();
        assert!(self.worker.round().unwrap());
        ours.set_nonblocking(true).unwrap();
        assert_eq!(replies(&ours), 1);
        ours
    }
}

fn lookups(table: &str, keys: impl Iterator<Item = String>) -> Vec<u8> {
    let request = |key| format!("request\0lookup\0table\0{table}\0flags\x0064\0key\0{key}\0\0");
    keys.map(request).collect::<String>().into_bytes()
}

/// How many replies have come since the last look.
fn replies(mut client: &UnixStream) -> usize {
    let mut text = Vec::new();
    let _ = client.read_to_end(&mut text);
    text.windows(7).filter(|word| word == b"status\0" || word == b"roxymap").count()
}

fn slow(count: usize) -> Vec<u8> {
    lookups(SLOW, (0..count).map(|_| format!("{}!", "a".repeat(22))))
}

fn fine(count: usize) -> Vec<u8> {
    lookups(FINE, (0..count).map(|number| number.to_string()))
}

/// Requests of which more fit into what is read in one go than are answered in one turn.
fn short(count: usize) -> Vec<u8> {
    b"request\0open\0table\0static:fine\0flags\x000\0\0".repeat(count)
}

#[test]
fn a_client_has_so_many_requests_in_a_turn_and_others_are_served_in_between() {
    let mut service = Service::new();
    let (mut busy, mut other) = (service.client(), service.client());
    busy.write_all(&short(600)).unwrap();
    // 409 of them are read in one go.
    for expected in [256, 153, 191] {
        other.write_all(&fine(1)).unwrap();
        assert!(service.worker.round().unwrap());
        assert_eq!((replies(&busy), replies(&other)), (expected, 1));
        if expected == 256 {
            let clock = service.worker.clients.next_deadline();
            assert_eq!(clock, None, "a client that waits for us has no clock");
        }
    }
    assert!(service.worker.carried.is_empty());
    // What came while it waited is read afterwards.
    busy.write_all(&short(280)).unwrap();
    assert!(service.worker.round().unwrap());
    busy.write_all(&fine(7)).unwrap();
    for _ in 0..3 {
        other.write_all(&fine(1)).unwrap();
        assert!(service.worker.round().unwrap());
    }
    assert_eq!(replies(&busy), 287);
}

#[test]
fn a_slow_table_is_asked_once_a_round_while_others_and_the_broker_are_answered() {
    let mut service = Service::new();
    let (mut attacker, mut second) = (service.client(), service.client());
    let (mut indexed, mut patterns) = (service.client(), service.client());
    attacker.write_all(&slow(5)).unwrap();
    second.write_all(&slow(5)).unwrap();
    let slow_ones = || u32::try_from(replies(&attacker) + replies(&second)).unwrap();
    let mut answered = 0;
    for number in 0..3_u32 {
        indexed.write_all(&fine(1)).unwrap();
        patterns.write_all(&lookups(OTHER, ["quick".to_owned()].into_iter())).unwrap();
        service.tell(BrokerToLookup::Ping(number), None);
        assert_eq!(service.heard(), LookupToBroker::Pong(number));
        assert_eq!(replies(&indexed), 1, "round {number}");
        // Other tables of patterns come first in line, if they have to stand there at all.
        if service.worker.pressed {
            assert!(service.worker.round().unwrap());
        }
        assert_eq!(replies(&patterns), 1, "round {number} {:?}", service.worker.catalogue.pace);
        answered += slow_ones();
        assert!(answered <= 2 + 2 * number, "one in a round at most: {answered} after {number}");
    }
    assert!(answered > 0);
    // Both get all their answers in the end.
    drop((indexed, patterns));
    while answered < 10 {
        assert!(service.worker.round().unwrap());
        answered += slow_ones();
    }
    assert_eq!(answered, 10);
}

#[test]
fn a_lookup_of_many_rules_is_gone_on_with_between_the_requests_of_others() {
    let mut service = Service::new();
    let rules = (0..300).map(|number| format!("/buy (cheap|{number}) .*pills/ REJECT\n"));
    service.send(4, &(rules.collect::<String>() + "/jumps over/ found\n"));
    while !service.worker.loading.is_empty() {
        assert!(service.worker.round().unwrap());
    }
    assert_eq!(service.heard(), LookupToBroker::Loaded { id: TableId(4), generation: 1 });
    let (mut header, mut other) = (service.client(), service.client());
    let key: String = "the quick brown fox jumps over the lazy dog; ".chars().cycle().take(102_400).collect();
    let requests = [lookups(MANY, [key].into_iter()), fine(1)].concat();
    let mut unsent = &requests[..];
    let (mut rounds, mut text) = (0, Vec::new());
    while !text.ends_with(b"fine\0\0") {
        unsent = &unsent[header.write(unsent).unwrap_or_default()..];
        other.write_all(&fine(1)).unwrap();
        assert!(service.worker.round().unwrap());
        assert_eq!(replies(&other), 1, "round {rounds}");
        let _ = header.read_to_end(&mut text);
        rounds += 1;
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(text.matches("status").count(), 2, "{text:?}");
    assert!(text.contains("found\0\0status"), "in the order of the requests: {text:?}");
    // Seven parts are read before it is whole.
    assert!(rounds > 7 + 2, "{rounds} rounds");
}

#[test]
fn everybody_is_heard_before_the_line_however_many_have_come() {
    let mut service = Service::new();
    let mut other = service.client();
    let crowd: Vec<UnixStream> = (0..EVENTS + 10).map(|_| service.client()).collect();
    let (leaving, staying) = crowd.split_at(EVENTS);
    for mut client in leaving.iter().chain(staying) {
        client.write_all(&slow(1)).unwrap();
    }
    other.write_all(&fine(1)).unwrap();
    drop(leaving.iter().map(|client| client.shutdown(Shutdown::Both)).collect::<Vec<_>>());
    assert!(service.worker.round().unwrap());
    assert_eq!(replies(&other), 1);
    // Nothing is kept for those who have gone.
    assert!(
        service.worker.clients.count() <= 1 + staying.len(),
        "{} clients",
        service.worker.clients.count()
    );
}

#[test]
fn nothing_is_done_for_who_has_gone_and_all_for_who_still_listens() {
    let mut service = Service::new();
    let (mut gone, mut finished) = (service.client(), service.client());
    gone.write_all(&slow(9)).unwrap();
    finished.write_all(&short(280)).unwrap();
    finished.shutdown(Shutdown::Write).unwrap();
    assert!(service.worker.round().unwrap());
    drop(gone);
    let mut rounds = 0;
    while !service.worker.clients.is_empty() {
        assert!(service.worker.round().unwrap());
        rounds += 1;
    }
    assert!(rounds <= 4, "{rounds} rounds: what nobody will read was worked out");
    assert_eq!(replies(&finished), 280);
    assert_eq!(service.heard(), LookupToBroker::Closed(1));
    assert_eq!(service.heard(), LookupToBroker::Closed(1));
}

#[test]
fn nothing_is_kept_of_long_requests_of_who_has_gone() {
    let mut service = Service::new();
    let key = "a".repeat(100_000);
    for _ in 0..20 {
        // More than is read in one go, and then the end.
        service.client().write_all(&lookups(SLOW, [key.clone()].into_iter())).unwrap();
    }
    assert!(service.worker.round().unwrap());
    assert!(service.worker.clients.is_empty(), "{} clients", service.worker.clients.count());
}

#[test]
fn clients_are_served_between_the_steps_of_a_load() {
    let mut service = Service::new();
    let text: String = (0..100_000).map(|number| format!("key{number} v\n")).collect();
    let mut client = service.client();
    service.send(3, &text);
    let mut rounds = 0;
    while !service.worker.loading.is_empty() {
        client.write_all(&fine(1)).unwrap();
        service.tell(BrokerToLookup::Ping(rounds), None);
        assert_eq!(service.heard(), LookupToBroker::Pong(rounds));
        assert_eq!(replies(&client), 1);
        rounds += 1;
    }
    assert_eq!(service.heard(), LookupToBroker::Loaded { id: TableId(3), generation: 1 });
    // However fast this machine is: some 25 MB of work, read and moved.
    assert!(rounds > 5, "{rounds} rounds");
}
