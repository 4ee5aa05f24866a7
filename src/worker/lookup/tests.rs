mod gateways;
mod hostile;
mod later;
mod memory;
mod peers;
mod standin;

use super::*;
use mapkeep_proto::{Decode, Listed, TableId, encode_names};
use mapkeep_sys::channel::Received;
use nix::sys::epoll::EpollCreateFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

const FINE: &str = "static:fine";
const LARGE: TableId = TableId(1);

/// A worker, and its broker's end of the channel.
struct Service {
    worker: Lookup,
    broker: Channel,
    /// What the worker has said, and nobody has listened to yet.
    unread: VecDeque<LookupToBroker>,
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
        let worker = Lookup::new(channel, epoll, mapkeep_worker_session::Service::Read).unwrap();
        let listed =
            |name: &str| Listed { name: name.as_bytes().to_vec(), approved: true, incomplete: false };
        let names = [FINE, "texthash:/large"].into_iter().chain(standin::TABLES);
        let listed: Vec<Listed> = names.map(listed).collect();
        let block = encode_names(&listed).unwrap();
        let mut service = Service { worker, broker, unread: VecDeque::new() };
        let hello = BrokerToLookup::Names { size: block.len() as u64, smtputf8: true, approval_known: true };
        service.tell(hello, Some(&memory(&block)));
        assert_eq!(service.received(), LookupToBroker::Ready);
        service
    }

    fn tell(&mut self, message: BrokerToLookup, freight: Option<&File>) {
        let freight: Vec<_> = freight.iter().map(|file| file.as_fd()).collect();
        self.broker.send(&message.encode(), &freight).unwrap();
        assert!(self.worker.round().unwrap());
    }

    fn received(&mut self) -> LookupToBroker {
        self.unread.pop_front().unwrap_or_else(|| self.read())
    }

    fn read(&self) -> LookupToBroker {
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
fn nothing_is_done_for_disconnected_clients_and_everything_for_half_closed_ones() {
    let mut service = Service::new();
    let (mut gone, mut finished) = (service.client(), service.client());
    gone.write_all(&short(2000)).unwrap();
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
    assert_eq!(service.received(), LookupToBroker::Closed(1));
    assert_eq!(service.received(), LookupToBroker::Closed(1));
}

#[test]
fn nothing_is_stored_of_long_requests_of_disconnected_clients() {
    let mut service = Service::new();
    let key = "a".repeat(100_000);
    for _ in 0..20 {
        // More than is read in one go, and then the end.
        service.client().write_all(&lookups(FINE, [key.clone()].into_iter())).unwrap();
    }
    assert!(service.worker.round().unwrap());
    assert!(service.worker.clients.is_empty(), "{} clients", service.worker.clients.count());
}

#[test]
fn clients_are_served_between_the_steps_of_a_load() {
    let mut service = Service::new();
    let text: String = (0..100_000).map(|number| format!("key{number} v\n")).collect();
    let snapshot = BrokerToLookup::Snapshot {
        id: LARGE,
        generation: 1,
        kind: mapkeep_name::Kind::Texthash,
        size: text.len() as u64,
    };
    let mut client = service.client();
    service.tell(snapshot, Some(&memory(text.as_bytes())));
    let mut rounds = 0;
    while !service.worker.loading.is_empty() {
        client.write_all(&fine(1)).unwrap();
        service.tell(BrokerToLookup::Ping(rounds), None);
        assert_eq!(service.received(), LookupToBroker::Pong(rounds));
        assert_eq!(replies(&client), 1);
        rounds += 1;
    }
    assert_eq!(service.received(), LookupToBroker::Loaded { id: LARGE, generation: 1 });
    // However fast this machine is: some 25 MB of work, read and moved.
    assert!(rounds > 5, "{rounds} rounds");
}
