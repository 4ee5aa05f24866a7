//! What only mapkeepd is asked: requests of which stock dies, spins, or loses some, and the new dialect.

use super::both::opens;
use super::fixture::*;
use crate::common::postfix::Server;
use crate::common::stopwatch::Stopwatch;
use crate::common::wire::{Received, Wire, bytes, number};
use crate::common::{PATIENCE, poll, process};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// mapkeepd only: after max_use clients another worker serves, while the service and its older clients continue.
pub fn workers_are_replaced_after_max_use(server: Server) {
    let (home, tables) = service_with(server, &[("max_use", "5")]);
    let mut old = home.wire();
    let ask = |wire: &mut Wire| assert_eq!(wire.ask(&lookup(&tables.hash, OLD_LOOKUP, "alice")), found("x"));
    ask(&mut old);
    let services: BTreeSet<u32> = home.daemons("mapkeepd").iter().map(|p| p.pid).collect();
    let workers = || home.lookup_workers().iter().map(|p| p.pid).collect::<BTreeSet<u32>>();
    let first = workers();
    assert!(!first.is_empty(), "a process whose title says `lookup`");
    // Clients connect and disconnect, and all workers that served first exit, except the one whose client stays.
    let left = || workers().intersection(&first).count();
    let replaced = poll(PATIENCE, || {
        ask(&mut home.wire());
        ask(&mut old);
        (left() <= 1 && workers().len() > left()).then_some(())
    });
    assert!(replaced.is_some(), "still {first:?}");
    assert_eq!(
        services,
        home.daemons("mapkeepd").iter().map(|p| p.pid).collect(),
        "the service itself goes on"
    );
    drop(old);
    let gone = poll(PATIENCE, || {
        ask(&mut home.wire());
        (left() == 0).then_some(())
    });
    assert!(gone.is_some(), "workers of {first:?} stay after their last client has left");
}

/// mapkeepd only: the replies that a client of Postfix 3.11 or later needs, lest it abort or lose partial lookups.
pub fn new_dialect_has_the_known_bytes(server: Server) {
    let (home, tables) = service(server);
    let mut wire = home.wire();
    for (table, implemented) in opens(&tables) {
        let reply = wire.ask(&format!("request|open|table|{table}|instance_flags|{NEW_OPEN}||"));
        let flags = number(&reply, "flags");
        assert_eq!(reply, format!("status|0|flags|{flags}||"), "open {table}");
        assert_eq!(
            flags & NEW_OPEN,
            NEW_OPEN,
            "open {table}: a client aborts when a flag it asked for is missing"
        );
        assert_eq!(flags & IMPLEMENTED, implemented, "open {table}");
        assert_eq!(flags & OPEN_LOCK, 0, "open {table}: LOCK together with OPEN_LOCK aborts the client");
    }
    let new_lookup = |table: &str, flags: u32, key: &str| {
        format!("request|lookup|table|{table}|instance_flags|{NEW_OPEN}|flags|{flags}|key|{key}||")
    };
    for (key, status, value) in
        [("alice", 0, "x"), ("ALICE", 0, "x"), ("bob", 0, "two words"), ("carol", 1, "")]
    {
        for table in tables.indexed() {
            // With both TRY bits, with the one in which postmap stores keys, and with none, of which stock dies.
            let folded = if key == "ALICE" { NEW_LOOKUP } else { NEW_LOOKUP_FOLDED };
            let stored = if table.starts_with("cdb:") { 4 } else { 8 };
            for flags in [folded, NEW_LOOKUP, (NEW_LOOKUP & !TRY_BITS) | stored, NEW_LOOKUP & !TRY_BITS] {
                let reply = wire.ask(&new_lookup(table, flags, key));
                let told = number(&reply, "flags");
                assert_eq!(
                    reply,
                    format!("status|{status}|flags|{told}|value|{value}||"),
                    "{table} {key} {flags}"
                );
                let kept = flags & !TRY_BITS & !MULTI_WRITER;
                assert_eq!(told & kept, kept, "{table} {key}: the client takes these flags over");
                assert_eq!(told & FIXED, FIXED, "{table} {key}: without FIXED partial lookups vanish");
            }
        }
    }
    let denied = wire.ask(&new_lookup("hash:/etc/aliases", NEW_LOOKUP, "root"));
    assert_eq!(denied, "status|4|flags|0|value|||");
    assert_eq!(
        wire.ask(&format!("request|open|table|hash:/etc/aliases|instance_flags|{NEW_OPEN}||")),
        "status|4|flags|0||"
    );
    let part = format!("table|{}|instance_flags|{NEW_OPEN}|flags|{NEW_LOOKUP}|key|alice", tables.hash);
    assert_eq!(wire.ask(&format!("request|update|{part}|value|y||")), "status|4|flags|0||");
    assert_eq!(wire.ask(&format!("request|delete|{part}||")), "status|4|flags|0||");
    let first = wire.ask(&format!(
        "request|sequence|table|{}|instance_flags|{NEW_OPEN}|flags|{NEW_LOOKUP}|function|0||",
        tables.btree
    ));
    assert_eq!(first, format!("status|0|flags|{}|key|alice|value|x||", number(&first, "flags")));
    let missing = wire.ask(&new_lookup(&tables.missing, NEW_LOOKUP, "alice"));
    assert_eq!(missing, format!("status|2|flags|{}|value|||", number(&missing, "flags")));
    assert_eq!(wire.ask("request|frobnicate||"), "status|3||");
}

/// mapkeepd only: the dialect belongs to the request, not to the connection.
pub fn dialects_may_alternate(server: Server) {
    let (home, tables) = service(server);
    let mut wire = home.wire();
    for _ in 0..3 {
        assert_eq!(wire.ask(&lookup(&tables.hash, OLD_LOOKUP, "alice")), found("x"));
        let new = format!(
            "request|lookup|table|{}|instance_flags|{NEW_OPEN}|flags|{NEW_LOOKUP}|key|bob||",
            tables.hash
        );
        let reply = wire.ask(&new);
        assert_eq!(reply, format!("status|0|flags|{}|value|two words||", number(&reply, "flags")));
    }
}

/// mapkeepd only: requests sent at once are all answered, in their order. Stock loses all but the first.
pub fn pipelined_requests_are_answered_in_order(server: Server) {
    let (home, tables) = service(server);
    let mut wire = home.wire();
    let all: Vec<u8> = (0..ENTRIES)
        .flat_map(|i| bytes(&lookup(&tables.hash, OLD_LOOKUP, &format!("user{i}@example.org"))))
        .collect();
    wire.send(&all).expect("sent");
    for i in 0..ENTRIES {
        assert_eq!(
            wire.receive(PATIENCE),
            Received::Reply(found(&format!("value {i}{}", "+".repeat(i % 90)))),
            "reply {i}"
        );
    }
    assert!(wire.left_over().is_empty());
}

/// mapkeepd only: a client that stops in the middle of a request loses its connection; others never wait for it. Stock
/// neither answers nor closes, and then spins.
pub fn stalled_request_is_closed(server: Server) {
    let (home, tables) = service(server);
    let (mut other, mut idle, mut stalled) = (home.wire(), home.wire(), home.wire());
    let request = bytes(&lookup(&tables.hash, OLD_LOOKUP, "alice"));
    let (start, watch) = (Instant::now(), Stopwatch::start());
    stalled.send(&request[..request.len() - 3]).expect("the connection is open");
    loop {
        match stalled.receive(Duration::from_millis(50)) {
            Received::Closed => break,
            Received::Silence => {
                assert!(watch.elapsed() < Duration::from_secs(10), "the stalled connection stays open")
            }
            Received::Reply(reply) => panic!("{reply:?} to half a request"),
        }
        let asked = Stopwatch::start();
        assert_eq!(other.ask(&lookup(&tables.hash, OLD_LOOKUP, "alice")), found("x"));
        assert!(asked.elapsed() < Duration::from_secs(1), "others waited {:?} for it", asked.elapsed());
    }
    assert!(start.elapsed() > Duration::from_millis(500), "a request may take a moment to arrive");
    assert_eq!(
        idle.ask(&lookup(&tables.hash, OLD_LOOKUP, "alice")),
        found("x"),
        "an idle client is not a stalled one"
    );
}

/// mapkeepd only: no flag that a client may send ends a process. Stock aborts on several of these.
pub fn hostile_flags_end_no_process(server: Server) {
    let (home, tables) = service(server);
    let mut witness = home.wire();
    let family =
        || home.daemons("mapkeepd").iter().flat_map(|p| process::descendants(p.pid)).map(|p| p.pid).collect();
    let before: BTreeSet<u32> = family();
    assert!(!before.is_empty(), "the service has workers");
    let mut flags: Vec<String> = (0..32).map(|bit| (1u32 << bit).to_string()).collect();
    flags.extend(
        ["-1", "4294967295", "65600", "2097152", "0", "4294967296", "99999999999999999999", "-", "+1", " 1"]
            .map(String::from),
    );
    let mut all: Vec<&str> = tables.indexed().to_vec();
    all.extend([&tables.texthash, &tables.missing, STATIC, INLINE, "unix:passwd.byname", "fail:why"]);
    let mut wire = home.wire();
    for table in all {
        for f in &flags {
            for request in [
                format!("request|open|table|{table}|flags|{f}||"),
                format!("request|lookup|table|{table}|flags|{f}|key|alice||"),
                format!("request|sequence|table|{table}|flags|{f}|function|0||"),
                format!("request|open|table|{table}|instance_flags|{f}||"),
                format!("request|lookup|table|{table}|instance_flags|{f}|flags|{f}|key|alice||"),
                format!("request|lookup|table|{table}|instance_flags|0|flags|{f}|key|||"),
                format!("request|sequence|table|{table}|instance_flags|{f}|flags|{f}|function|1||"),
            ] {
                match wire.try_ask(&request) {
                    Received::Reply(_) => {}
                    Received::Closed => wire = home.wire(),
                    Received::Silence => panic!("{request}: a client would wait for an hour"),
                }
            }
        }
        assert_eq!(witness.ask(&lookup(&tables.hash, OLD_LOOKUP, "alice")), found("x"), "after {table}");
    }
    assert_eq!(before, family(), "no process was replaced");
}

/// mapkeepd only: walking a table that cannot be walked is answered CONFIG. Stock dies.
pub fn sequence_of_a_type_without_one_is_answered(server: Server) {
    let (home, tables) = service(server);
    let mut wire = home.wire();
    for table in [STATIC, "unix:passwd.byname", "unix:group.byname"] {
        assert_eq!(wire.ask(&sequence(table, 0)), "status|5|key||value|||", "{table}");
    }
    assert_eq!(
        wire.ask(&lookup(&tables.lmdb, OLD_LOOKUP, "")),
        ABSENT,
        "an empty key in lmdb, of which stock dies"
    );
    assert_eq!(wire.ask(&lookup(&tables.lmdb, OLD_LOOKUP, "alice")), found("x"));
}

/// mapkeepd only: more bytes than any honest request has close that connection, and only that one.
pub fn requests_over_the_limits_are_closed(server: Server) {
    let (home, tables) = service(server);
    let mut other = home.wire();
    let hash = &tables.hash;
    let starts = [
        String::new(),
        "request|".to_string(),
        "request|lookup|table|".to_string(),
        format!("request|lookup|table|{hash}|flags|"),
        format!("request|lookup|table|{hash}|flags|0|key|"),
        format!("request|lookup|table|{hash}|flags|0|key|alice|"),
    ];
    for start in starts {
        let mut wire = home.wire();
        wire.send(&bytes(&start)).expect("the connection is open");
        let flood = vec![b'a'; 65_536];
        let refused = (0..256).any(|_| wire.send(&flood).is_err());
        let heard = wire.receive(PATIENCE);
        assert!(refused || heard == Received::Closed, "16 MiB after {start:?}: {heard:?}");
        assert_eq!(other.ask(&lookup(hash, OLD_LOOKUP, "alice")), found("x"), "after {start:?}");
    }
    // Many small attributes instead of one large.
    let mut wire = home.wire();
    let many = bytes("name|value|").repeat(4096);
    let refused = (0..400).any(|_| wire.send(&many).is_err());
    assert!(refused || wire.receive(PATIENCE) == Received::Closed, "endless attributes");
    assert_eq!(other.ask(&lookup(hash, OLD_LOOKUP, "alice")), found("x"));
}

/// mapkeepd only: what does not begin as a request, and empty lists, close the connection instead of leaving the client
/// to wait, as stock does.
pub fn connection_without_a_request_is_closed(server: Server) {
    let (home, tables) = service(server);
    let mut other = home.wire();
    for bytes_sent in ["|", "||", "table|x||", "GET / HTTP/1.0|||", "protocol|proxymap_protocol||"] {
        let mut wire = home.wire();
        let heard = wire.try_ask(bytes_sent);
        assert_eq!(heard, Received::Closed, "{bytes_sent:?}");
        assert_eq!(other.ask(&lookup(&tables.hash, OLD_LOOKUP, "alice")), found("x"), "after {bytes_sent:?}");
    }
}
