//! Random operations, the same to stock proxywrite and to another server: the replies are the same bytes, and the files
//! hold the same entries afterwards.
//!
//! Both servers are asked one operation at a time, on one of four connections, so that the order is defined. The
//! sequence of a table is asked on its first connection only: in stock all clients share one place in a table, in
//! mapkeepd each has its own (docs/COMPATIBILITY.md). Where the order of entries has no meaning (hash, internal), whole
//! scans are compared as sets.

use crate::common::postfix::Server;
use crate::common::writing::{
    Client, Content, NOKEY, OK, Place, Random, Reply, Request, Service, compared, how_many, listing,
};
use crate::questions::{self, HABITS, Habit};
use std::time::Instant;

/// Operations for each type of table.
const OPERATIONS: usize = 2000;
/// Stock beside stock: enough to show that the questions have one answer.
const REHEARSAL: usize = 400;
const CONNECTIONS: usize = 4;
/// The flags that a client of Postfix up to 3.10 takes from the reply to `open`: FIXED, PATTERN, MULTI_WRITER.
const IMPLEMENTATION: u32 = 0x4_0030;
const SEED: u64 = 0x6d61_706b_6565_7001;

/// Compares stock with a server.
pub fn compare(kind: &str, server: Server) {
    let usual = if server == Server::Ours { OPERATIONS } else { REHEARSAL };
    let operations = how_many("MAPKEEP_WRITE_OPERATIONS", usual);
    let begun = Instant::now();
    let places = [Place::new(), Place::new()];
    for place in &places {
        let names: Vec<String> = HABITS.iter().map(|habit| place.name(kind, habit.name)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        place.approve(&names, "smtputf8_enable = yes\n");
    }
    let services = [places[0].start(Server::Stock), places[1].start(server)];
    let mut tables: Vec<Table> = HABITS.iter().map(|habit| Table::new(habit, kind, &places)).collect();
    let mut pair = Pair::new(&services, SEED);
    for table in &tables {
        let open = pair.ask(table, 0, |request| request.open(), table.habit.open);
        assert_eq!(open.status(), OK, "{open:?}");
    }
    while pair.asked < operations {
        let at = pair.random.below(tables.len());
        step(&mut pair, &mut tables[at]);
    }
    let contents: Vec<Content> = tables.iter().map(|table| pair.whole(table)).collect();
    drop(pair);
    for service in services {
        service.stop();
    }
    if kind != "internal" {
        for (table, content) in tables.iter().zip(&contents) {
            compare_files(&places, table, content);
            // Stock leaves an entry marked as deleted in a btree when it ends while a scan stands on it; the verifier
            // takes exception to that.
            if server == Server::Ours {
                places[1].assert_sound(&table.names[1]);
            }
        }
    }
    let entries: usize = contents.iter().map(Content::len).sum();
    eprintln!(
        "{kind}: stock and {server:?} agree on {operations} operations in {} tables, {entries} entries at the end, {:.1} s",
        tables.len(),
        begun.elapsed().as_secs_f32()
    );
    assert!(entries > 20, "the tables are nearly empty: {entries} entries");
}

/// A table, under its name at each of the two places.
struct Table {
    habit: &'static Habit,
    kind: String,
    names: [String; 2],
    keys: Vec<Vec<u8>>,
    /// The entry that the scan in progress stands on.
    current: Option<Vec<u8>>,
}

impl Table {
    fn new(habit: &'static Habit, kind: &str, places: &[Place; 2]) -> Self {
        let names = places.each_ref().map(|place| place.name(kind, habit.name));
        let keys = questions::keys(habit, kind);
        Table { habit, kind: kind.to_string(), names, keys, current: None }
    }

    fn ordered(&self) -> bool {
        matches!(self.kind.as_str(), "btree" | "lmdb")
    }

    /// Stock ends a scan of lmdb whose current entry is deleted. Whether a key is that of the current entry depends on
    /// folding, so this returns true too often.
    fn may_end_scan(&self, key: &[u8]) -> bool {
        let Some(current) = &self.current else { return false };
        self.kind == "lmdb" && (!key.is_ascii() || !current.is_ascii() || key.eq_ignore_ascii_case(current))
    }
}

/// Both servers, with their connections.
struct Pair {
    clients: [Vec<Client>; 2],
    random: Random,
    asked: usize,
}

impl Pair {
    fn new(services: &[Service<'_>; 2], seed: u64) -> Self {
        let clients = services.each_ref().map(|service| (0..CONNECTIONS).map(|_| service.client()).collect());
        Pair { clients, random: Random(seed), asked: 0 }
    }

    /// Asks both. The replies must be the same bytes.
    fn ask(
        &mut self,
        table: &Table,
        connection: usize,
        what: impl Fn(Request<'_>) -> Vec<u8>,
        flags: u32,
    ) -> Reply {
        let [stock, other] = self.ask_apart(table, connection, &what, flags);
        assert!(
            stock == other,
            "{} {}: {:?}\n  stock: {stock:?}\n  other: {other:?}",
            table.kind,
            table.habit.name,
            Reply(what(Request { table: &table.names[0], flags })),
        );
        stock
    }

    /// Asks both at the same time.
    fn ask_apart(
        &mut self,
        table: &Table,
        connection: usize,
        what: impl Fn(Request<'_>) -> Vec<u8>,
        flags: u32,
    ) -> [Reply; 2] {
        self.asked += 1;
        let requests = table.names.each_ref().map(|name| what(Request { table: name, flags }));
        for (client, request) in self.clients.iter_mut().zip(&requests) {
            client[connection].send(request).unwrap();
        }
        let [request, _] = requests;
        self.clients.each_mut().map(|client| {
            client[connection].receive().unwrap_or_else(|e| panic!("{e} after {:?}", Reply(request.clone())))
        })
    }

    /// Lists a table from the beginning to the end on both, which must hold the same.
    fn whole(&mut self, table: &Table) -> Content {
        let flags = table.habit.later[0];
        let mut contents = [Content::new(), Content::new()];
        let mut count = 0;
        let mut replies = self.ask_apart(table, 0, |request| request.first(), flags);
        while replies[0].status() == OK {
            count += 1;
            for (content, reply) in contents.iter_mut().zip(&replies) {
                assert_eq!(reply.status(), OK, "{}: one table ends before the other", table.names[0]);
                let old = content.insert(reply.key().to_vec(), reply.value().to_vec());
                assert!(old.is_none(), "{}: an entry came twice: {reply:?}", table.names[0]);
            }
            replies = self.ask_apart(table, 0, |request| request.next(), flags);
        }
        let [stock, other] = replies;
        assert_eq!(stock, other, "{}: the end after {count} entries", table.names[0]);
        assert_eq!(stock.status(), NOKEY);
        let [stock, other] = contents;
        assert!(stock == other, "{} {}: the contents differ", table.kind, table.habit.name);
        stock
    }
}

/// One random operation.
fn step(pair: &mut Pair, table: &mut Table) {
    let connection = pair.random.below(CONNECTIONS);
    let flags = *pair.random.pick(table.habit.later);
    let key = pair.random.pick(&table.keys).clone();
    match pair.random.below(100) {
        0..3 => {
            // Stock's replies to each client have flags changed by the requests of others. Clients use only a few of
            // those.
            let replies = pair.ask_apart(table, connection, |request| request.open(), table.habit.open);
            let used = replies.each_ref().map(|reply| (reply.status(), reply.flags() & IMPLEMENTATION));
            assert_eq!(used[0], used[1], "{}: {replies:?}", table.names[0]);
        }
        3..35 => drop(pair.ask(table, connection, |request| request.lookup(&key), flags)),
        35..65 => {
            let value = questions::value(&mut pair.random, table.habit);
            let reply = pair.ask(table, connection, |request| request.update(&key, &value), flags);
            assert_eq!(reply.status(), OK, "{reply:?}");
        }
        65..80 => {
            if !table.may_end_scan(&key) {
                pair.ask(table, connection, |request| request.delete(&key), flags);
            }
        }
        _ if table.ordered() => walk(pair, table, flags),
        80..82 => drop(pair.whole(table)),
        _ => drop(pair.ask(table, connection, |request| request.lookup(&key), flags)),
    }
}

/// One step of the scan of an ordered table. What happens after its end, stock does not define: it is not asked.
fn walk(pair: &mut Pair, table: &mut Table, flags: u32) {
    let reply = if table.current.is_none() || pair.random.percent(4) {
        pair.ask(table, 0, |request| request.first(), flags)
    } else {
        pair.ask(table, 0, |request| request.next(), flags)
    };
    table.current = (reply.status() == OK).then(|| reply.key().to_vec());
}

/// The files at both places say the same to postmap(1), and the same as the servers did.
fn compare_files(places: &[Place; 2], table: &Table, content: &Content) {
    let [stock, other] = [0, 1].map(|at| places[at].listed(&table.names[at]));
    assert!(stock == other, "{} {}: {}", table.kind, table.habit.name, compared(&stock, &other));
    assert!(stock == listing(content), "{}: the file is not what was listed", table.names[0]);
    if table.kind != "lmdb" {
        let [stock, other] = [0, 1].map(|at| places[at].stored(&table.names[at]));
        assert!(stock == other, "{} {}: stored in another form", table.kind, table.habit.name);
    }
}
