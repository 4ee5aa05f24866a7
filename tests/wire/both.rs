//! What both servers are asked, and must answer alike but for the differences named in each scenario.

use super::fixture::*;
use crate::common::postfix::{Instance, Server};
use crate::common::wire::{Received, Wire, attribute, bytes, number};
use crate::common::{PATIENCE, process};
use std::collections::BTreeSet;
use std::time::Duration;

/// Requests and the replies that both servers give, byte for byte; asked in this order on one connection.
pub fn cases(t: &Tables) -> Vec<(String, String)> {
    let mut cases = Vec::new();
    let mut case = |request: String, reply: &str| cases.push((request, reply.to_string()));
    for table in t.indexed() {
        case(lookup(table, OLD_LOOKUP, "alice"), &found("x"));
        case(lookup(table, OLD_LOOKUP, "bob"), &found("two words"));
        case(lookup(table, OLD_LOOKUP, "carol"), ABSENT);
        case(lookup(table, OLD_LOOKUP, "ALICE"), &found("x"));
        case(lookup(table, 0, "ALICE"), ABSENT);
        case(lookup(table, 0, "alice"), &found("x"));
        // LOCK, DUP_WARN, UTF8_REQUEST: what `postmap -q` sends.
        case(lookup(table, 524_353, "alice"), &found("x"));
        case(lookup(table, OLD_LOOKUP, "anna@example.org"), &found("folded"));
        case(lookup(table, OLD_LOOKUP, "Anna@Example.Org"), &found("folded"));
        case(lookup(table, OLD_LOOKUP, "long"), &found(&long_value()));
        case(lookup(table, OLD_LOOKUP, "alic"), ABSENT);
        case(lookup(table, OLD_LOOKUP, "alicee"), ABSENT);
        case(lookup(table, OLD_LOOKUP, &"k".repeat(2000)), ABSENT);
        case(lookup(&format!("proxy:{table}"), OLD_LOOKUP, "alice"), &found("x"));
        case(lookup(&format!("proxy:proxy:{table}"), OLD_LOOKUP, "alice"), &found("x"));
        case(lookup(&format!("{table}x"), OLD_LOOKUP, "alice"), DENIED);
        case(lookup(&table[..table.len() - 1], OLD_LOOKUP, "alice"), DENIED);
    }
    for table in [&t.hash, &t.btree, &t.cdb, &t.texthash] {
        // Stock exits on an empty key in lmdb.
        case(lookup(table, OLD_LOOKUP, ""), ABSENT);
    }
    for table in [t.texthash.as_str(), INLINE] {
        case(lookup(table, OLD_LOOKUP, "alice"), &found("x"));
        case(lookup(table, OLD_LOOKUP, "ALICE"), &found("x"));
        case(lookup(table, 0, "ALICE"), ABSENT);
        case(lookup(table, OLD_LOOKUP, "bob"), &found("two words"));
        case(lookup(table, OLD_LOOKUP, "carol"), ABSENT);
    }
    case(lookup(STATIC, OLD_LOOKUP, "whatever"), &found("anything goes"));
    case(lookup(STATIC, OLD_LOOKUP, ""), &found("anything goes"));
    case(lookup("fail:why", OLD_LOOKUP, "alice"), RETRY);
    case(lookup(&t.missing, OLD_LOOKUP, "alice"), RETRY);
    case(lookup("unix:passwd.byname", OLD_LOOKUP, "no-such-user"), ABSENT);
    case(lookup("unix:group.byname", OLD_LOOKUP, "no-such-group"), ABSENT);
    // Names that are not approved, and some that are not table names at all.
    for table in
        ["hash:/etc/aliases", "unix:passwd.byuid", "static:{anything  goes}", "static:anything goes", ":x"]
    {
        case(open(table), "status|4|flags|0||");
        case(lookup(table, OLD_LOOKUP, "alice"), DENIED);
        case(sequence(table, 0), "status|4|key||value|||");
    }
    for table in ["", "proxy:", "nocolon"] {
        case(open(table), "status|3|flags|0||");
        case(lookup(table, OLD_LOOKUP, "alice"), BAD);
    }
    // Updates are refused on the read service before anything else is asked.
    for table in [t.hash.as_str(), "hash:/etc/aliases"] {
        case(format!("request|update|table|{table}|flags|{OLD_LOOKUP}|key|alice|value|y||"), "status|4||");
        case(format!("request|delete|table|{table}|flags|{OLD_LOOKUP}|key|alice||"), "status|4||");
    }
    case(lookup(&t.hash, OLD_LOOKUP, "alice"), &found("x"));
    case("request|frobnicate||".to_string(), "status|3||");
    case(lookup(&t.hash, OLD_LOOKUP, "alice"), &found("x"));
    case(sequence(&t.btree, 2), "status|3|key||value|||");
    cases
}

/// The flags of each table in the reply to `open`, as far as an old client uses them.
pub fn opens(t: &Tables) -> Vec<(&str, u32)> {
    vec![
        (&t.hash, FIXED),
        (&t.btree, FIXED),
        (&t.lmdb, FIXED | MULTI_WRITER),
        (&t.cdb, FIXED),
        (&t.texthash, FIXED),
        (STATIC, FIXED),
        (INLINE, FIXED),
        ("unix:passwd.byname", FIXED),
        ("unix:group.byname", FIXED),
        ("fail:why", PATTERN),
    ]
}

/// Open, lookup, refusals: the old dialect has the same bytes from both servers.
pub fn old_dialect_has_the_known_bytes(server: Server) {
    let (home, tables) = service(server);
    let mut wire = home.wire();
    for (table, flags) in opens(&tables) {
        let reply = wire.ask(&open(table));
        assert_eq!(reply, format!("status|0|flags|{}||", number(&reply, "flags")), "open {table}");
        assert_eq!(number(&reply, "flags") & IMPLEMENTED, flags, "open {table}");
    }
    for (request, reply) in cases(&tables) {
        assert_eq!(wire.ask(&request), reply, "{request}");
    }
    assert!(wire.left_over().is_empty(), "a byte too many makes clients reconnect");
}

/// The same requests to stock and to this server, and every key of every indexed table: the same bytes come back.
pub fn same_bytes_as_stock(server: Server) {
    let (stock, tables) = service(Server::Stock);
    let other = serving(Instance::new(server), &tables, &[]);
    let (mut left, mut right) = (stock.wire(), other.wire());
    for (table, _) in opens(&tables) {
        let (asked, answered) = (left.ask(&open(table)), right.ask(&open(table)));
        // The other bits differ with what stock's other clients asked before; no client looks at them.
        assert_eq!(
            number(&asked, "flags") & IMPLEMENTED,
            number(&answered, "flags") & IMPLEMENTED,
            "open {table}"
        );
    }
    let mut requests: Vec<String> = cases(&tables).into_iter().map(|(request, _)| request).collect();
    for table in tables.indexed() {
        for i in 0..ENTRIES {
            requests.push(lookup(table, OLD_LOOKUP, &format!("user{i}@example.org")));
            requests.push(lookup(table, OLD_LOOKUP, &format!("USER{i}@example.org")));
            requests.push(lookup(table, 64, &format!("user{i}@example.orG")));
        }
    }
    for request in requests {
        let asked = left.ask(&request);
        assert_eq!(asked, right.ask(&request), "{request}");
    }
    // Tables with an order of their own are walked in that order; hash order is an accident of the library.
    for table in [&tables.btree, &tables.lmdb] {
        assert_eq!(walk(&mut left, table), walk(&mut right, table), "order of {table}");
    }
}

/// All entries of a table, by sequence requests, in the order in which they come.
pub fn walk(wire: &mut Wire, table: &str) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    let mut reply = wire.ask(&sequence(table, 0));
    while attribute(&reply, "status") == Some("0") {
        let part = |name: &str| attribute(&reply, name).expect("a key and a value").to_string();
        let entry = (part("key"), part("value"));
        assert_eq!(reply, format!("status|0|key|{}|value|{}||", entry.0, entry.1), "shape of the reply");
        entries.push(entry);
        assert!(entries.len() < 10_000, "{table} has no end");
        reply = wire.ask(&sequence(table, 1));
    }
    assert_eq!(reply, "status|1|key||value|||", "the end of {table}");
    entries
}

/// A scan returns each entry once, in order if the format is sorted.
pub fn sequence_gives_every_entry_once(server: Server) {
    let (home, tables) = service(server);
    let mut wire = home.wire();
    let mut wanted: BTreeSet<(String, String)> = (0..ENTRIES)
        .map(|i| (format!("user{i}@example.org"), format!("value {i}{}", "+".repeat(i % 90))))
        .collect();
    for (key, value) in
        [("alice", "x"), ("bob", "two words"), ("anna@example.org", "folded"), ("long", &long_value())]
    {
        wanted.insert((key.to_string(), value.to_string()));
    }
    // Stock 3.7 exits on a sequence request for cdb.
    let can_walk = |table: &&str| server == Server::Ours || *table != tables.cdb;
    for table in tables.indexed().into_iter().filter(can_walk) {
        let entries = walk(&mut wire, table);
        assert_eq!(entries.len(), wanted.len(), "entries of {table}");
        assert_eq!(entries.iter().cloned().collect::<BTreeSet<_>>(), wanted, "entries of {table}");
        if table == tables.btree || table == tables.lmdb {
            assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "{table} is sorted by key");
        }
        assert_eq!(walk(&mut wire, table), entries, "{table} walked again from the first entry");
    }
    let inline = walk(&mut wire, INLINE);
    let wanted = [("alice", "x"), ("bob", "two words")].map(|(k, v)| (k.to_string(), v.to_string()));
    assert_eq!(inline.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(wanted));
    let texthash = walk(&mut wire, &tables.texthash);
    assert_eq!(texthash.len(), 3, "{texthash:?}");
}

/// Account tables: stock returns the whole line; mapkeepd only that the account exists.
pub fn accounts_are_answered_as_promised(server: Server) {
    let (home, _tables) = service(server);
    let mut wire = home.wire();
    let file = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).expect("the account file");
        text.lines().find(|l| l.split(':').next() == Some(name)).expect("the account").to_string()
    };
    let wanted = match server {
        Server::Stock => [file("/etc/passwd", "root"), file("/etc/group", "mail")],
        Server::Ours => ["root:x:::::".to_string(), "mail:x::".to_string()],
    };
    assert_eq!(wire.ask(&lookup("unix:passwd.byname", OLD_LOOKUP, "root")), found(&wanted[0]));
    assert_eq!(wire.ask(&lookup("unix:group.byname", OLD_LOOKUP, "mail")), found(&wanted[1]));
}

/// Keys of text tables are stored as written; stock then never finds one with a capital, mapkeepd folds them.
pub fn capitals_in_text_tables(server: Server) {
    let (home, tables) = service(server);
    let mut wire = home.wire();
    // As a client does: it opens first, and then stock reads the text without folding its keys.
    wire.ask(&open(&tables.texthash));
    let wanted = if server == Server::Ours { found("found by mapkeep") } else { ABSENT.to_string() };
    for key in ["capital", "Capital", "CAPITAL"] {
        assert_eq!(wire.ask(&lookup(&tables.texthash, OLD_LOOKUP, key)), wanted, "{key}");
    }
}

/// A request that breaks the protocol is refused and never carried out. Stock answers BAD; closing the connection is
/// also correct, and neither may affect other clients.
pub fn malformed_requests_are_refused(server: Server) {
    let (home, tables) = service(server);
    let hash = &tables.hash;
    let mut other = home.wire();
    let refused = [
        (format!("request|lookup|table|{hash}|flags|0||"), BAD),
        (format!("request|lookup|table|{hash}||"), BAD),
        ("request|lookup||".to_string(), BAD),
        (format!("request|lookup|table|{hash}|key|alice|flags|0||"), BAD),
        (format!("request|lookup|flags|0|table|{hash}|key|alice||"), BAD),
        (format!("request|lookup|table|{hash}|flags|abc|key|alice||"), BAD),
        (format!("request|lookup|table|{hash}|flags||key|alice||"), BAD),
        (format!("request|lookup|table|{hash}|flags|0x40|key|alice||"), BAD),
        (format!("request|lookup|table|{hash}|flags|12x|key|alice||"), BAD),
        (format!("request|lookup|table|{hash}|flags|0|keys|alice||"), BAD),
        (format!("request|open|table|{hash}||"), "status|3|flags|0||"),
        (format!("request|sequence|table|{hash}|flags|0|function|first||"), "status|3|key||value|||"),
        (format!("request|sequence|table|{hash}|flags|0|function|7||"), "status|3|key||value|||"),
        ("request|lookupx||".to_string(), "status|3||"),
        ("request|||".to_string(), "status|3||"),
    ];
    for (request, reply) in refused {
        let mut wire = home.wire();
        let heard = wire.try_ask(&request);
        let as_stock = heard == Received::Reply(reply.to_string());
        let closed = server == Server::Ours && heard == Received::Closed;
        assert!(as_stock || closed, "{request}: {heard:?}");
        assert_eq!(other.ask(&lookup(hash, OLD_LOOKUP, "alice")), found("x"), "after {request}");
    }
}

/// A request that comes byte by byte is a request like any other.
pub fn fragments_of_one_byte(server: Server) {
    let (home, tables) = service(server);
    let mut wire = home.wire();
    let (request, reply) = (lookup(&tables.hash, OLD_LOOKUP, "bob"), found("two words"));
    for _ in 0..3 {
        for byte in bytes(&request) {
            wire.send(&[byte]).expect("the connection is open");
        }
        assert_eq!(wire.receive(PATIENCE), Received::Reply(reply.clone()));
    }
}

/// Clients that disconnect in the middle, and master's wake-up byte, do no harm.
pub fn abandoned_requests_do_no_harm(server: Server) {
    let (home, tables) = service(server);
    let mut other = home.wire();
    let request = bytes(&lookup(&tables.hash, OLD_LOOKUP, "alice"));
    for cut in [1, 7, 8, 20, request.len() - 1, request.len()] {
        let mut wire = home.wire();
        wire.send(&request[..cut]).expect("the connection is open");
        drop(wire);
        assert_eq!(other.ask(&lookup(&tables.hash, OLD_LOOKUP, "alice")), found("x"), "after {cut} bytes");
    }
    let mut wake = Wire::connect(&home.socket());
    wake.send(b"W").expect("the connection is open");
    drop(wake);
    assert_eq!(other.ask(&lookup(&tables.hash, OLD_LOOKUP, "alice")), found("x"), "after a wake-up");
}

/// A hundred clients at once are all answered, and an idle one keeps its connection.
pub fn many_clients_at_once(server: Server) {
    let (home, tables) = service(server);
    let mut idle = home.wire();
    let mut wires: Vec<Wire> = (0..100).map(|_| home.wire()).collect();
    for round in 0..3 {
        for wire in &mut wires {
            wire.send(&bytes(&lookup(&tables.btree, OLD_LOOKUP, &format!("user{round}@example.org"))))
                .expect("sent");
        }
        let wanted = found(&format!("value {round}{}", "+".repeat(round)));
        for wire in &mut wires {
            assert_eq!(wire.receive(PATIENCE), Received::Reply(wanted.clone()));
        }
    }
    drop(wires);
    assert_eq!(
        idle.receive(Duration::from_millis(1500)),
        Received::Silence,
        "nobody speaks to an idle client"
    );
    assert_eq!(idle.ask(&lookup(&tables.hash, OLD_LOOKUP, "alice")), found("x"));
}

/// Without clients for max_idle the service leaves, and master brings it back for the next client.
pub fn idle_service_exits_and_is_started_again(server: Server) {
    let (home, tables) = service_with(server, &[("max_idle", "1s")]);
    let program = if server == Server::Ours { "mapkeepd" } else { "proxymap" };
    for _ in 0..2 {
        let mut wire = home.wire();
        assert_eq!(wire.ask(&lookup(&tables.hash, OLD_LOOKUP, "alice")), found("x"));
        let mut family: Vec<u32> = home.daemons(program).iter().map(|p| p.pid).collect();
        assert!(!family.is_empty(), "{program} serves");
        family.extend(family.clone().iter().flat_map(|&pid| process::descendants(pid)).map(|p| p.pid));
        assert_eq!(
            wire.receive(Duration::from_millis(1500)),
            Received::Silence,
            "a client keeps the service busy"
        );
        drop(wire);
        let left = process::wait_gone(&family, PATIENCE);
        assert!(left.is_empty(), "{left:?} stay, though nobody asks");
    }
    assert!(!home.log_contains("throttling") && !home.log_contains("exit status"));
}
