//! Scans as verify(8) and postscreen(8) make them: in small steps, while entries change around them.
//!
//! What must hold: an entry that is there from the beginning to the end of a scan is returned once, with the value that
//! it has at that moment; one that was removed before the scan came to it is not; one that was added may be. Where stock
//! promises less, the scenario leaves that out for stock.

use crate::common::postfix::Server;
use crate::common::process;
use crate::common::writing::{BAD, CACHE, Client, Content, NOKEY, OK, Place, Random, Request, Service};
use std::collections::BTreeSet;

const ENTRIES: usize = 300;

fn key(number: usize) -> Vec<u8> {
    format!("user{number:04}@example.org").into_bytes()
}

/// A table of numbered entries.
fn numbered(place: &Place, kind: &str, count: usize) -> (String, Content) {
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let content: Content = (0..count).map(|n| (key(n), format!("value {n}").into_bytes())).collect();
    if kind != "internal" {
        place.make(&table, &content);
    }
    (table, content)
}

/// Opens the table, and fills it if it is in memory only.
fn opened(service: &Service<'_>, table: &str, content: &Content) -> Client {
    let mut client = service.client();
    client.open_table(table);
    if table.starts_with("internal:") {
        for (key, value) in content {
            assert_eq!(client.update(table, key, value), OK);
        }
    }
    client
}

/// A scan on one connection, and changes on that and another: of the entry that the scan stands on, of the next, of
/// those behind and before it.
pub fn scan_among_changes(kind: &str, server: Server) {
    let place = Place::new();
    let (table, mut content) = numbered(&place, kind, ENTRIES);
    let service = place.start(server);
    let mut clients = [opened(&service, &table, &content), service.client()];
    // Stock ends a scan of lmdb when its current entry is deleted, and passes entries over in a hash that grows.
    let current_may_go = server == Server::Ours || kind != "lmdb";
    let may_grow = server == Server::Ours || kind != "hash";
    let request = Request { table: &table, flags: CACHE };
    for round in 0..3 {
        let mut random = Random(0x5ca0 + round);
        let mut returned: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut stable: BTreeSet<Vec<u8>> = content.keys().cloned().collect();
        let mut added = 0;
        let mut reply = clients[0].ask(&request.first());
        while reply.status() == OK {
            let current = reply.key().to_vec();
            assert!(returned.insert(current.clone()), "{table}: {reply:?} was returned twice");
            assert_eq!(content.get(&current).map(Vec::as_slice), Some(reply.value()), "{table}: {reply:?}");
            for _ in 0..random.below(3) {
                let client = &mut clients[random.below(2)];
                let after = content.range(current.clone()..).nth(1).map(|(key, _)| key.clone());
                let keys: Vec<&Vec<u8>> = content.keys().collect();
                let target = match random.below(4) {
                    0 => current.clone(),
                    1 => after.unwrap_or_else(|| current.clone()),
                    _ => (*random.pick(&keys)).clone(),
                };
                match random.below(10) {
                    0..5 => {
                        let value = format!("changed {} in round {round}", random.below(1000)).into_bytes();
                        assert_eq!(client.update(&table, &target, &value), OK);
                        if content.insert(target.clone(), value).is_none() {
                            stable.remove(&target);
                        }
                    }
                    5..7 if current_may_go || target != current => {
                        let there = content.remove(&target).is_some();
                        assert_eq!(client.delete(&table, &target), if there { OK } else { NOKEY });
                        stable.remove(&target);
                        // Should it come back, it may be returned again.
                        returned.remove(&target);
                    }
                    7 if may_grow => {
                        let new = key(10_000 + round as usize * 1000 + random.below(1000));
                        assert_eq!(client.update(&table, &new, b"added"), OK);
                        added += usize::from(content.insert(new, b"added".to_vec()).is_none());
                    }
                    _ => assert_eq!(client.value(&table, &target).as_ref(), content.get(&target)),
                }
            }
            reply = clients[0].ask(&request.next());
        }
        assert_eq!(reply.status(), NOKEY, "{table}: {reply:?}");
        let missed: Vec<String> =
            stable.difference(&returned).map(|key| key.escape_ascii().to_string()).collect();
        assert!(missed.is_empty(), "{table}, round {round}: {} missed: {missed:?}", missed.len());
        assert!(stable.len() > 50, "{} stayed: nothing was shown", stable.len());
        assert!(added > 0 || !may_grow, "nothing was added");
    }
    assert!(clients[1].content(&table) == content, "{table}: not what was acknowledged");
}

/// The clean-up of a cache: an expired entry is removed after the scan has passed it.
pub fn clean_up_behind_the_scan(kind: &str, server: Server) {
    let place = Place::new();
    let (table, mut content) = numbered(&place, kind, ENTRIES);
    let service = place.start(server);
    let mut client = opened(&service, &table, &content);
    let expired = |key: &[u8]| !key[7].is_multiple_of(3);
    let request = Request { table: &table, flags: CACHE };
    let mut seen = 0;
    let mut behind: Option<Vec<u8>> = None;
    let mut reply = client.ask(&request.first());
    loop {
        if let Some(key) = behind.take() {
            assert_eq!(client.delete(&table, &key), OK);
            content.remove(&key);
        }
        if reply.status() != OK {
            break;
        }
        seen += 1;
        behind = Some(reply.key().to_vec()).filter(|key| expired(key));
        reply = client.ask(&request.next());
    }
    assert_eq!((reply.status(), seen), (NOKEY, ENTRIES), "{table}: {reply:?}");
    assert!(content.keys().all(|key| !expired(key)), "expired entries are left");
    assert!(client.content(&table) == content, "{table}: not what was kept");
}

/// Each entry is removed while the scan stands on it, by another client.
pub fn every_current_entry_is_removed(kind: &str, server: Server) {
    let place = Place::new();
    let (table, content) = numbered(&place, kind, 60);
    let service = place.start(server);
    let mut clients = [opened(&service, &table, &content), service.client()];
    let request = Request { table: &table, flags: CACHE };
    let mut seen = 0;
    let mut reply = clients[0].ask(&request.first());
    while reply.status() == OK {
        seen += 1;
        assert_eq!(clients[1].delete(&table, reply.key()), OK);
        reply = clients[0].ask(&request.next());
    }
    assert_eq!((reply.status(), seen), (NOKEY, content.len()), "{table}: {reply:?}");
    assert!(clients[0].content(&table).is_empty());
}

/// A table without entries has no first one; function codes other than first and next are malformed.
pub fn empty_table_and_odd_functions(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let service = place.start(server);
    let mut client = opened(&service, &table, &Content::new());
    let request = Request { table: &table, flags: CACHE };
    for _ in 0..2 {
        assert_eq!(format!("{:?}", client.ask(&request.first())), "status|1|key||value|||");
    }
    for function in ["2", "4294967295", "x", ""] {
        let text = format!("request\0sequence\0table\0{table}\0flags\0{CACHE}\0function\0{function}\0\0")
            .into_bytes();
        let reply = client.ask(&text);
        assert_eq!(reply.status(), BAD, "function {function:?}: {reply:?}");
    }
    assert_eq!(client.update(&table, b"k", b"v"), OK);
    assert_eq!(format!("{:?}", client.ask(&request.first())), "status|0|key|k|value|v||");
}

/// NEXT without a scan to continue, on which stock exits or starts again, gets NOKEY: before any FIRST, after the end,
/// after the end once more, on a new connection.
pub fn next_from_nowhere(kind: &str, server: Server) {
    let place = Place::new();
    let (table, content) = numbered(&place, kind, 3);
    let service = place.start(server);
    let mut client = opened(&service, &table, &content);
    let request = Request { table: &table, flags: CACHE };
    let expect_end = |client: &mut Client| {
        assert_eq!(format!("{:?}", client.ask(&request.next())), "status|1|key||value|||");
    };
    expect_end(&mut client);
    assert_eq!(client.content(&table), content);
    expect_end(&mut client);
    expect_end(&mut client);
    assert_eq!(client.ask(&request.first()).status(), OK);
    expect_end(&mut service.client());
    assert_eq!(client.ask(&request.next()).status(), OK, "the scan of the first connection goes on");
}

/// Each client has its own place in a table: two scans at a time see everything.
pub fn two_scans_at_a_time(kind: &str, server: Server) {
    let place = Place::new();
    let (table, content) = numbered(&place, kind, 40);
    let service = place.start(server);
    let mut clients = [opened(&service, &table, &content), service.client()];
    let request = Request { table: &table, flags: CACHE };
    let mut seen = [Content::new(), Content::new()];
    for number in 0..=content.len() {
        for (client, seen) in clients.iter_mut().zip(&mut seen) {
            let reply = client.ask(&if number == 0 { request.first() } else { request.next() });
            if number == content.len() {
                assert_eq!(reply.status(), NOKEY, "{reply:?}");
            } else {
                seen.insert(reply.key().to_vec(), reply.value().to_vec());
            }
        }
    }
    assert_eq!(seen, [content.clone(), content]);
}

/// The writer is killed, then the whole service restarted, in the middle of a scan: the client's connection ends, the
/// next step finds no scan to continue, and a new scan sees everything.
pub fn restart_in_the_middle_of_a_scan(kind: &str, server: Server) {
    let place = Place::new();
    let (table, content) = numbered(&place, kind, 20);
    let service = place.start(server);
    let request = Request { table: &table, flags: CACHE };
    let begin = |service: &Service<'_>| {
        let mut client = service.client();
        client.open_table(&table);
        assert_eq!(client.ask(&request.first()).status(), OK);
        assert_eq!(client.ask(&request.next()).status(), OK);
        client
    };
    let goes_on = |service: &Service<'_>| {
        let mut client = service.client();
        assert_eq!(format!("{:?}", client.ask(&request.next())), "status|1|key||value|||");
        assert_eq!(client.content(&table), content);
    };
    let mut client = begin(&service);
    let writer = service.master.only("writer");
    process::signal("KILL", writer);
    client.wait_closed();
    // The kernel closes the connections of a killed process before its parent can learn of its end: a client that
    // connects in between may be handed to it, and must connect again.
    assert_ne!(service.master.wait_for_other("writer", writer), writer);
    goes_on(&service);
    let mut client = begin(&service);
    service.stop();
    client.wait_closed();
    goes_on(&place.start(server));
}

/// All sequences of a reply's shape: an empty value stays an empty value, and long ones come whole.
pub fn values_of_all_sizes(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let service = place.start(server);
    let mut client = opened(&service, &table, &Content::new());
    let sizes = [0, 1, 255, 256, 1023, 1024, 2000, 4095, 4096, 8192, 65_535, 65_536];
    let content: Content =
        sizes.iter().map(|size| (format!("size {size}").into_bytes(), vec![b'v'; *size])).collect();
    for (key, value) in &content {
        assert_eq!(client.update(&table, key, value), OK);
        assert_eq!(client.value(&table, key).as_ref(), Some(value));
    }
    assert!(client.content(&table) == content);
    drop(client);
    service.stop();
    if kind != "internal" {
        place.assert_file(&table, &content);
    }
}
