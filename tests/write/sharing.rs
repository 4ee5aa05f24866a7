//! Who else reads and writes the files: stock before and after mapkeepd, postmap(1) beside it, the read service.

use crate::common::master::Master;
use crate::common::poll;
use crate::common::postfix::{Server, account};
use crate::common::writing::{
    CACHE, Client, Content, NOKEY, OK, Place, Random, Request, SHARED, Service, beside, file_of, listing,
};
use crate::common::{PATIENCE, wire::Wire};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

fn opened(service: &Service<'_>, table: &str) -> Client {
    let mut client = service.client();
    client.flags = SHARED;
    client.open_table(table);
    client
}

/// This number of random updates and deletes; `content` follows them.
fn change(client: &mut Client, table: &str, content: &mut Content, random: &mut Random, count: usize) {
    let request = Request { table, flags: SHARED };
    for _ in 0..count {
        let key = format!("user{}@example.org", random.below(80)).into_bytes();
        if random.percent(70) {
            let value = vec![b'a' + (random.below(26) as u8); random.below(3000)];
            assert_eq!(client.ask(&request.update(&key, &value)).status(), OK);
            content.insert(key, value);
        } else {
            let there = content.remove(&key).is_some();
            assert_eq!(client.ask(&request.delete(&key)).status(), if there { OK } else { NOKEY });
        }
    }
}

/// One table, made by stock, then served by the other server, by stock and by the other server again: each finds all
/// that those before it left.
pub fn handed_to_and_fro(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let mut content = Content::new();
    let mut random = Random(17);
    for turn in [Server::Stock, server, Server::Stock, server] {
        let service = place.start(turn);
        let mut client = opened(&service, &table);
        assert!(client.content(&table) == content, "{turn:?} does not find what was left to it");
        change(&mut client, &table, &mut content, &mut random, 60);
        assert!(client.content(&table) == content, "{turn:?} does not list what it acknowledged");
        drop(client);
        service.stop();
        assert_eq!(place.listed(&table), listing(&content), "{turn:?}");
        // Stock leaves what was deleted under a scan in a btree, marked, and the verifier takes exception to that.
        if turn == Server::Ours {
            place.assert_sound(&table);
        }
    }
}

/// Killed before anything was written to the file that stock reads; then stock changes the table; then it is served
/// again: the changes of both are there.
pub fn killed_before_the_file_was_written(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let old: Content = (0..50).map(|n| (format!("old{n}").into_bytes(), b"old".to_vec())).collect();
    place.make(&table, &old);
    let mut content = old;
    let service = place.start(server);
    let mut client = opened(&service, &table);
    for n in 0..40 {
        let (key, value) = (format!("ours{n}").into_bytes(), b"ours".to_vec());
        assert_eq!(client.update(&table, &key, &value), OK);
        content.insert(key, value);
    }
    for n in 0..10 {
        let key = format!("old{n}").into_bytes();
        assert_eq!(client.delete(&table, &key), OK);
        content.remove(&key);
    }
    assert_eq!(client.update(&table, b"old10", b"changed by ours"), OK);
    content.insert(b"old10".to_vec(), b"changed by ours".to_vec());
    service.kill();

    let service = place.start(Server::Stock);
    let mut client = opened(&service, &table);
    for n in 0..20 {
        let (key, value) = (format!("stock{n}").into_bytes(), b"stock".to_vec());
        assert_eq!(client.update(&table, &key, &value), OK);
        content.insert(key, value);
    }
    for key in [&b"old20"[..], b"old21"] {
        assert_eq!(client.delete(&table, key), OK);
        content.remove(key);
    }
    assert_eq!(client.update(&table, b"old22", b"changed by stock"), OK);
    content.insert(b"old22".to_vec(), b"changed by stock".to_vec());
    drop(client);
    service.stop();

    let service = place.start(server);
    let mut client = opened(&service, &table);
    let found = client.content(&table);
    let differing: Vec<String> = found
        .iter()
        .filter(|(key, value)| content.get(*key) != Some(*value))
        .chain(content.iter().filter(|(key, _)| !found.contains_key(*key)))
        .map(|(key, _)| key.escape_ascii().to_string())
        .collect();
    assert!(differing.is_empty(), "{table}: lost or false: {differing:?}");
    drop(client);
    service.stop();
    place.assert_file(&table, &content);
}

/// Stock ends while a scan stands on an entry that was deleted: the entry stays in the file, marked. It is not taken
/// over.
pub fn entry_deleted_under_a_scan_stays_away(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let mut content: Content = (0..30).map(|n| (format!("k{n}").into_bytes(), b"v".to_vec())).collect();
    place.make(&table, &content);
    let service = place.start(Server::Stock);
    let mut client = opened(&service, &table);
    let request = Request { table: &table, flags: SHARED };
    client.ask(&request.first());
    let current = client.ask(&request.next()).key().to_vec();
    assert_eq!(client.ask(&request.delete(&current)).status(), OK);
    content.remove(&current);
    service.stop();
    let service = place.start(server);
    let mut client = opened(&service, &table);
    assert!(client.content(&table) == content);
    assert_eq!(client.value(&table, &current), None);
    drop(client);
    service.stop();
    assert_eq!(place.listed(&table), listing(&content));
}

/// Entries that stock stored without NUL bytes are found, and deleted, by clients that try both ways, and replaced by
/// clients that store them so.
pub fn entries_without_nul(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let mut content = Content::new();
    let service = place.start(Server::Stock);
    let mut client = service.client();
    let bare = Request { table: &table, flags: 0x184 };
    for n in 0..20 {
        let (key, value) = (format!("k{n}").into_bytes(), format!("v{n}").into_bytes());
        assert_eq!(client.ask(&bare.update(&key, &value)).status(), OK);
        content.insert(key, value);
    }
    drop(client);
    service.stop();
    // Stock has a copy of the table for each way of storing keys: each is asked by a process of its own.
    let service = place.start(server);
    let mut client = service.client();
    client.flags = 0x18c;
    for (key, value) in &content {
        assert_eq!(client.value(&table, key).as_ref(), Some(value), "{}", key.escape_ascii());
    }
    drop(client);
    service.stop();
    let service = place.start(server);
    assert_eq!(service.client().ask(&bare.update(b"k3", b"changed")).status(), OK);
    content.insert(b"k3".to_vec(), b"changed".to_vec());
    service.stop();
    let service = place.start(server);
    let mut client = service.client();
    client.flags = 0x18c;
    assert_eq!(client.value(&table, b"k3").as_deref(), Some(&b"changed"[..]));
    for key in [&b"k4"[..], b"k5"] {
        assert_eq!(client.delete(&table, key), OK);
        assert_eq!(client.value(&table, key), None, "{} was deleted", key.escape_ascii());
        content.remove(key);
    }
    assert!(client.content(&table) == content);
    drop(client);
    service.stop();
    place.assert_file(&table, &content);
}

/// What was acknowledged is in the file for everybody to read, without an end of the service. New files are the mail
/// owner's alone.
pub fn file_is_written_while_the_service_runs(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let service = place.start(server);
    let mut client = opened(&service, &table);
    let mut content = Content::new();
    let mut random = Random(4);
    for _ in 0..3 {
        change(&mut client, &table, &mut content, &mut random, 40);
        place.wait_listed(&table, &content);
        place.assert_sound(&table);
    }
    let files = beside(&place.data("t"));
    assert!(!files.is_empty());
    for path in files {
        let status = path.symlink_metadata().unwrap();
        let (uid, gid) = account("postfix");
        let seen = (status.uid(), status.gid(), status.mode() & 0o7777, status.nlink());
        assert_eq!(seen, (uid, gid, 0o600, 1), "{}", path.display());
    }
}

/// An endless stream of updates does not keep the file from being written.
pub fn file_is_written_under_constant_updates(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let service = place.start(server);
    let mut client = opened(&service, &table);
    assert_eq!(client.update(&table, b"first", b"v"), OK);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !ends.load(Ordering::Relaxed) {
                number += 1;
                assert_eq!(client.update(&table, b"counter", format!("{number}").as_bytes()), OK);
            }
        });
        let first = || file_of(&table).exists() && place.listed(&table).contains(&b"first\tv".to_vec());
        let seen = poll(PATIENCE, || first().then_some(()));
        ends.store(true, Ordering::Relaxed);
        assert!(seen.is_some(), "{table} was not written in {PATIENCE:?} of updates");
    });
}

/// lmdb: programs that open the file themselves see changes at once, and theirs are seen. With another service that
/// locks the file for each operation this also holds for both at a time, while the file grows. (`postmap -i` of Postfix
/// 3.7 takes no lock: two at a time corrupt a file. So it only runs while no other program writes.)
pub fn lmdb_is_shared_with_programs(server: Server) {
    let place = Place::new();
    let table = place.name("lmdb", "t");
    place.approve(&[&table], "lmdb_map_size = 1048576\n");
    let service = place.start(server);
    let mut client = opened(&service, &table);
    assert_eq!(client.update(&table, b"ours", b"value"), OK);
    let query = |key: &str| place.postmap(&["-q", key, &table]).stdout;
    assert_eq!(query("ours"), b"value\n");
    place.put(&table, &[(b"theirs".to_vec(), b"value too".to_vec())].into());
    assert_eq!(client.value(&table, b"theirs").as_deref(), Some(&b"value too"[..]));
    assert!(place.postmap(&["-d", "ours", &table]).status.success());
    assert_eq!(client.value(&table, b"ours"), None);
    let mut content = client.content(&table);
    assert_eq!(content.len(), 1);

    let elsewhere = Place::new();
    elsewhere.approve(&[&table], "lmdb_map_size = 1048576\n");
    let stock = elsewhere.start(Server::Stock);
    let write = |mut client: Client, who: &str| {
        let mut written = Content::new();
        for number in 0..150 {
            let key = format!("{who}{number}").into_bytes();
            let value = vec![b'v'; 10_000 + number];
            assert_eq!(client.update(&table, &key, &value), OK);
            assert_eq!(client.value(&table, &key).as_ref(), Some(&value), "{who}{number}");
            written.insert(key, value);
            if number % 3 == 2 {
                let old = format!("{who}{}", number - 2).into_bytes();
                assert_eq!(client.delete(&table, &old), OK);
                written.remove(&old);
            }
        }
        written
    };
    std::thread::scope(|scope| {
        let others = [opened(&service, &table), opened(&stock, &table)];
        let writers: Vec<_> = others
            .into_iter()
            .zip(["one", "two"])
            .map(|(client, who)| scope.spawn(|| write(client, who)))
            .collect();
        writers.into_iter().for_each(|writer| content.extend(writer.join().unwrap()));
    });
    for service in [&service, &stock] {
        assert!(opened(service, &table).content(&table) == content);
    }
    drop(client);
    service.stop();
    stock.stop();
    place.assert_file(&table, &content);
}

/// hash and btree: what postmap(1) writes into the file while the service runs is taken over with the next change.
pub fn file_changed_beside_the_service(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let service = place.start(server);
    let mut client = opened(&service, &table);
    let mut content = Content::new();
    change(&mut client, &table, &mut content, &mut Random(5), 40);
    place.wait_listed(&table, &content);
    place.put(&table, &[(b"theirs".to_vec(), b"put by postmap".to_vec())].into());
    content.insert(b"theirs".to_vec(), b"put by postmap".to_vec());
    assert_eq!(client.update(&table, b"ours", b"after that"), OK);
    content.insert(b"ours".to_vec(), b"after that".to_vec());
    place.wait_listed(&table, &content);
    let found = poll(PATIENCE, || client.value(&table, b"theirs"));
    assert_eq!(found.as_deref(), Some(&b"put by postmap"[..]));
    assert!(client.content(&table) == content);
    // And so is a file that is put in its place.
    let other: Content = [(b"new".to_vec(), b"table".to_vec())].into();
    let replaced = place.name(kind, "other");
    place.make(&replaced, &other);
    std::fs::rename(file_of(&replaced), file_of(&table)).unwrap();
    assert_eq!(client.update(&table, b"ours", b"and this"), OK);
    let content: Content =
        [(b"new".to_vec(), b"table".to_vec()), (b"ours".to_vec(), b"and this".to_vec())].into();
    place.wait_listed(&table, &content);
    assert!(client.content(&table) == content);
}

/// A table that is approved for reading too: readers get what was written, without any restart.
pub fn readers_get_what_was_written(kind: &str, server: Server) {
    assert_eq!(server, Server::Ours);
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], &format!("proxy_read_maps = proxy:{table}\n"));
    let service = place.start(server);
    let mut client = opened(&service, &table);
    assert_eq!(client.update(&table, b"k", b"one"), OK);
    let reader: Master<'_> = place.site.start();
    let mut wire: Wire = reader.wire();
    for value in ["one", "two", "three"] {
        assert_eq!(client.update(&table, b"k", value.as_bytes()), OK);
        let wanted = format!("status|0|value|{value}||");
        let ask = format!("request|lookup|table|{table}|flags|524352|key|k||");
        let seen = poll(PATIENCE, || (wire.ask(&ask) == wanted).then_some(()));
        assert!(seen.is_some(), "readers do not get {value}: {}", wire.ask(&ask));
    }
}

/// A second service on the same tables is no reason to write into each other's files: at most one of them serves, and
/// what was acknowledged is there.
pub fn two_services_at_once(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let first = place.start(server);
    let mut client = first.client();
    client.open_table(&table);
    let mut content = Content::new();
    for n in 0..20 {
        let (key, value) = (format!("k{n}").into_bytes(), b"first".to_vec());
        assert_eq!(client.update(&table, &key, &value), OK);
        content.insert(key, value);
    }
    // The second takes the socket's name; the first keeps its connection.
    let second = place.start(server);
    let mut other = second.client();
    let request = Request { table: &table, flags: CACHE };
    let late = other.ask(&request.update(b"late", b"second"));
    if late.status() == OK {
        content.insert(b"late".to_vec(), b"second".to_vec());
    }
    // Wherever the first service is by now, what it acknowledges counts.
    if let Ok(reply) = client.try_ask(&request.update(b"k0", b"first again"))
        && reply.status() == OK
    {
        content.insert(b"k0".to_vec(), b"first again".to_vec());
    }
    drop((client, other));
    first.stop();
    let mut other = second.client();
    let served =
        poll(PATIENCE, || (other.ask(&request.update(b"end", b"second")).status() == OK).then_some(()));
    assert!(served.is_some(), "the service that is left does not serve");
    content.insert(b"end".to_vec(), b"second".to_vec());
    assert!(other.content(&table) == content, "{table}: not what was acknowledged");
    drop(other);
    second.stop();
    place.assert_file(&table, &content);
}
