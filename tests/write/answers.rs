//! Answers that are errors: what is not approved, not writable, not possible, malformed; and flags that no client sends.

use crate::common::master::set_mode;
use crate::common::postfix::Server;
use crate::common::wire;
use crate::common::writing::{CACHE, CONFIG, Client, NOKEY, OK, Place, Reply, Request, file_of};
use std::fs;

/// Sends a request written with `|` for NUL and expects exactly this reply.
fn expect(client: &mut Client, request: &str, reply: &str) {
    let heard = client.ask(&wire::bytes(request));
    assert_eq!(heard, Reply(wire::bytes(reply)), "{request}: {heard:?} instead of {reply}");
}

/// Every operation on a table that is not approved for writing is denied, also when it is approved for reading.
pub fn unapproved_tables_are_denied(server: Server) {
    let place = Place::new();
    let approved = place.name("btree", "approved");
    let readable = place.name("btree", "readable");
    let read = format!("proxy_read_maps = proxy:{readable}\n");
    place.approve(&[&approved], &read);
    let service = place.start(server);
    let mut client = service.client();
    for table in [readable.as_str(), "hash:/etc/aliases", &approved[..approved.len() - 1]] {
        expect(&mut client, &format!("request|open|table|{table}|flags|0||"), "status|4|flags|0||");
        expect(&mut client, &format!("request|lookup|table|{table}|flags|0|key|k||"), "status|4|value|||");
        expect(&mut client, &format!("request|update|table|{table}|flags|0|key|k|value|v||"), "status|4||");
        expect(&mut client, &format!("request|delete|table|{table}|flags|0|key|k||"), "status|4||");
        let sequence = format!("request|sequence|table|{table}|flags|0|function|0||");
        expect(&mut client, &sequence, "status|4|key||value|||");
        assert!(!file_of(table).exists() || table == "hash:/etc/aliases", "{table} was made");
    }
    expect(
        &mut client,
        &format!("request|open|table|proxy:proxy:{approved}|flags|0||"),
        "status|0|flags|28||",
    );
    assert_eq!(client.update(&approved, b"k", b"v"), OK);
}

/// Malformed requests get an error, and the connection stays usable.
pub fn malformed_requests_are_bad(server: Server) {
    let place = Place::new();
    let table = place.name("btree", "t");
    place.approve(&[&table], "");
    let service = place.start(server);
    let mut client = service.client();
    let cases = [
        ("request|open|table|plain|flags|0||", "status|3|flags|0||"),
        ("request|lookup|table|proxy:|flags|0|key|k||", "status|3|value|||"),
        ("request|update|table|plain|flags|0|key|k|value|v||", "status|3||"),
        ("request|delete|table||flags|0|key|k||", "status|3||"),
        ("request|sequence|table|plain|flags|0|function|0||", "status|3|key||value|||"),
        ("request|remove|table|plain|flags|0|key|k||", "status|3||"),
    ];
    for (request, reply) in cases {
        expect(&mut client, request, reply);
    }
    let parts = [
        ("update", "flags|0|key|k", "status|3||"),
        ("update", "flags|0|value|v|key|k", "status|3||"),
        ("delete", "flags|0", "status|3||"),
        ("delete", "flags|x|key|k", "status|3||"),
        ("sequence", "flags|0|key|k", "status|3|key||value|||"),
    ];
    for (verb, rest, reply) in parts {
        expect(&mut client, &format!("request|{verb}|table|{table}|{rest}||"), reply);
    }
    assert_eq!(client.update(&table, b"k", b"v"), OK);
}

/// Types that cannot be written are unavailable for everything, as are tables whose directory is missing.
pub fn read_only_types_are_unavailable(server: Server) {
    let place = Place::new();
    for name in ["text", "regexp", "pcre", "cidr"] {
        fs::write(place.data(name), "/a/ b\n").unwrap();
        set_mode(&place.data(name), 0o644);
    }
    let file = |kind: &str, name: &str| format!("{kind}:{}", place.data(name).display());
    let mut tables = vec![
        file("texthash", "text"),
        file("regexp", "regexp"),
        file("pcre", "pcre"),
        file("cidr", "cidr"),
        "inline:{k=v}".to_string(),
        "unix:passwd.byname".to_string(),
        "randmap:{k}".to_string(),
        "fail:x".to_string(),
        file("btree", "missing/t"),
        file("nosuchtype", "t"),
    ];
    if server == Server::Ours {
        // Stock exits on it.
        tables.push(file("cdb", "t"));
    }
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    place.approve(&names, "");
    let service = place.start(server);
    let mut client = service.client();
    for table in names {
        let open = client.ask(&Request { table, flags: 0 }.open());
        assert_eq!(open.status(), OK, "{table}: {open:?}");
        expect(&mut client, &format!("request|lookup|table|{table}|flags|0|key|k||"), "status|2|value|||");
        expect(&mut client, &format!("request|update|table|{table}|flags|0|key|k|value|v||"), "status|2||");
        expect(&mut client, &format!("request|delete|table|{table}|flags|0|key|k||"), "status|2||");
        let sequence = format!("request|sequence|table|{table}|flags|0|function|0||");
        expect(&mut client, &sequence, "status|2|key||value|||");
        if table != "fail:x" {
            place.wait_for_log(0, &[table]);
        }
    }
}

/// An operation that the type does not have, on which stock exits, is a configuration error.
pub fn impossible_operations_are_configuration_errors(server: Server) {
    let place = Place::new();
    place.approve(&["static:x", "static:{two words}"], "");
    let service = place.start(server);
    let mut client = service.client();
    for (table, value) in [("static:x", "x"), ("static:{two words}", "two words")] {
        let found = format!("status|0|value|{value}||");
        expect(&mut client, &format!("request|lookup|table|{table}|flags|0|key|k||"), &found);
        expect(&mut client, &format!("request|update|table|{table}|flags|0|key|k|value|v||"), "status|5||");
        expect(&mut client, &format!("request|delete|table|{table}|flags|0|key|k||"), "status|5||");
        for function in [0, 1] {
            let sequence = format!("request|sequence|table|{table}|flags|0|function|{function}||");
            expect(&mut client, &sequence, "status|5|key||value|||");
        }
        expect(&mut client, &format!("request|lookup|table|{table}|flags|0|key|k||"), &found);
        place.wait_for_log(0, &["warning: ", table, "update"]);
    }
}

/// lmdb has keys of 1 to 511 bytes, the NUL included; stock exits on others.
pub fn keys_that_lmdb_cannot_hold(server: Server) {
    let place = Place::new();
    let table = place.name("lmdb", "t");
    place.approve(&[&table], "");
    let service = place.start(server);
    let mut client = service.client();
    client.open_table(&table);
    let longest = vec![b'k'; 510];
    assert_eq!(client.update(&table, &longest, b"fits"), OK);
    for length in [511, 512, 600, 5000, 100_000] {
        let long = vec![b'k'; length];
        assert_eq!(client.update(&table, &long, b"too long"), CONFIG, "update of {length} bytes");
        // What cannot be stored is not there.
        assert_eq!(client.value(&table, &long), None, "lookup of {length} bytes");
        assert_eq!(client.delete(&table, &long), NOKEY, "delete of {length} bytes");
    }
    place.wait_for_log(0, &["warning: ", &table, "511"]);
    let bare = Request { table: &table, flags: 0x4 };
    assert_eq!(client.ask(&bare.update(b"", b"v")).status(), CONFIG, "update of an empty key");
    assert_eq!(client.ask(&bare.lookup(b"")).status(), NOKEY);
    assert_eq!(client.ask(&bare.delete(b"")).status(), NOKEY);
    assert_eq!(client.value(&table, &longest).as_deref(), Some(&b"fits"[..]));
    assert_eq!(client.content(&table).len(), 1);
}

/// Flags are hints: whatever they claim, an update is stored and found again, and the service continues.
pub fn hostile_flags_change_nothing(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let service = place.start(server);
    let mut client = service.client();
    let hostile = [
        0x1_0040,
        0x2_0000,
        0x2_0180,
        0x10,
        0x20,
        0x30,
        0x240,
        0x4_0040,
        0x10_0040,
        0x20_0000,
        0x40_0000,
        0x8000_0000,
        u32::MAX,
    ];
    for flags in hostile {
        let request = Request { table: &table, flags };
        let key = format!("key{flags}").into_bytes();
        let open = client.ask(&request.open());
        assert_eq!(open.status(), OK, "{flags:#x}: {open:?}");
        assert_eq!(client.ask(&request.update(&key, b"value")).status(), OK, "{flags:#x}");
        assert_eq!(client.ask(&request.lookup(&key)).value(), b"value", "{flags:#x}");
        assert_eq!(client.ask(&request.first()).status(), OK, "{flags:#x}");
        // And again, like a client whose reply was lost.
        assert_eq!(client.ask(&request.update(&key, b"value")).status(), OK, "{flags:#x}");
        assert_eq!(client.ask(&request.delete(&key)).status(), OK, "{flags:#x}");
        assert_eq!(client.ask(&request.delete(&key)).status(), NOKEY, "{flags:#x}");
    }
}

/// Clients of Postfix 3.11 and later. Source of the flags: replies of stock 3.12 (408 is FIXED, TRY1NULL, DUP_REPLACE and
/// SYNC_UPDATE, which proxywrite adds; TRY0NULL goes when an update has settled how keys are stored).
pub fn new_dialect_has_its_own_replies(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let service = place.start(server);
    let mut client = service.client();
    let head = |verb: &str| format!("request|{verb}|table|{table}|instance_flags|0|flags|28");
    let open = client.ask(&wire::bytes(&format!("request|open|table|{table}|instance_flags|0||")));
    assert_eq!(open.status(), OK);
    expect(&mut client, &format!("{}|key|k|value|v||", head("update")), "status|0|flags|408||");
    expect(&mut client, &format!("{}|key|k||", head("lookup")), "status|0|flags|24|value|v||");
    expect(&mut client, &format!("{}|key|none||", head("lookup")), "status|1|flags|28|value|||");
    let (first, next) =
        (format!("{}|function|0||", head("sequence")), format!("{}|function|1||", head("sequence")));
    let heard = client.ask(&wire::bytes(&first));
    assert_eq!((heard.status(), heard.key(), heard.value()), (OK, &b"k"[..], &b"v"[..]), "{heard:?}");
    assert!(wire::text(&heard.0).starts_with("status|0|flags|"), "{heard:?}");
    let heard = client.ask(&wire::bytes(&next));
    assert_eq!((heard.status(), heard.key()), (NOKEY, &b""[..]), "{heard:?}");
    let delete = wire::bytes(&format!("{}|key|k||", head("delete")));
    for status in [OK, NOKEY] {
        let heard = client.ask(&delete);
        assert_eq!(heard.status(), status, "{heard:?}");
        assert!(wire::text(&heard.0).starts_with(&format!("status|{status}|flags|")), "{heard:?}");
    }
    let denied = "table|hash:/etc/aliases|instance_flags|0";
    expect(&mut client, &format!("request|open|{denied}||"), "status|4|flags|0||");
    expect(&mut client, &format!("request|update|{denied}|flags|0|key|k|value|v||"), "status|4|flags|0||");
    // The same connection may speak the old dialect.
    expect(&mut client, &format!("request|delete|table|{table}|flags|{CACHE}|key|k||"), "status|1||");
}
