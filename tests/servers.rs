//! Tables that a server answers for (socketmap, tcp): stock proxymap(8) and mapkeepd ask servers of the same kind, and what
//! they tell clients must be the same bytes, but for the differences that docs/COMPATIBILITY.md lists.
//!
//! Each side has a server of its own (servers/standin.rs), whose replies follow from the key; any other key comes back as
//! it reached the server, byte for byte. What stock makes of each reply is on record in servers/cases.rs, and is compared
//! with the installed stock first, then with ours, in both dialects. Stock is asked as tests/compliance.rs does it: a fresh
//! process for each set of flags, since the first request for a table decides for all.
#![cfg(test)]

#[path = "servers/cases.rs"]
mod cases;
mod common;
#[path = "servers/standin.rs"]
mod standin;
// What tests/compliance.rs needs besides.
#[allow(dead_code)]
#[path = "compliance/stock.rs"]
mod stock;

use cases::{Case, Table};
use common::master::Site;
use common::wire::{Received, Wire, bytes, number, text};
use standin::Servers;
use std::collections::BTreeMap;
use stock::Stock;

/// Nothing; LOCK; smtpd and cleanup; the same without UTF-8; FOLD_MUL without and with UTF-8.
const FLAGS: [u32; 6] = [0, 0x40, 0x8_4040, 0x4040, 0x8040, 0x8_8040];
/// NO_UNAUTH, and local(8), which has it among others.
const REFUSED: [u32; 2] = [0x2040, 0x8_7840];
const UTF8_REQUEST: u32 = 0x8_0000;
const FOLD_MUL: u32 = 0x8000;
const PATTERN: u32 = 0x20;
/// What the installed proxymap is called in complaints.
const STOCK: &str = "stock";
const UTF8_ACTIVE: u32 = 0x10_0000;

/// Whoever is asked, in whichever dialect.
trait Asked {
    /// The reply to a request, without its flags in the new dialect; these must be the client's and the table's class.
    fn ask(&mut self, verb: &str, table: &str, flags: u32, rest: &[&[u8]]) -> Received;
}

fn request(verb: &str, table: &str, words: &str, rest: &[&[u8]]) -> Vec<u8> {
    let mut all = bytes(&format!("request|{verb}|table|{table}|{words}|"));
    for part in rest {
        all.extend_from_slice(part);
        all.push(0);
    }
    all.push(0);
    all
}

/// A request in the old dialect.
fn old_request(verb: &str, table: &str, flags: u32, rest: &[&[u8]]) -> Vec<u8> {
    request(verb, table, &format!("flags|{flags}"), rest)
}

/// The new dialect: each request carries the flags that the reply to `open` had, as those of clients do.
#[derive(Default)]
struct NewDialect(BTreeMap<(String, u32), u32>);

impl NewDialect {
    fn request(&self, verb: &str, table: &str, flags: u32, rest: &[&[u8]]) -> Vec<u8> {
        let words = match verb {
            "open" => format!("instance_flags|{flags}"),
            _ => format!("instance_flags|{flags}|flags|{}", self.told(table, flags)),
        };
        request(verb, table, &words, rest)
    }

    fn told(&self, table: &str, flags: u32) -> u32 {
        self.0.get(&(table.to_owned(), flags)).copied().unwrap_or(flags)
    }

    /// A reply as it would be in the old dialect. Lookups change no flags of these tables.
    fn old(&mut self, verb: &str, table: &str, flags: u32, heard: Received) -> Received {
        let Received::Reply(reply) = heard else { return heard };
        if verb == "open" {
            self.0.insert((table.to_owned(), flags), number(&reply, "flags"));
            return Received::Reply(reply);
        }
        if reply.starts_with("status|4|") {
            return Received::Reply(reply);
        }
        let told = format!("flags|{}|", self.told(table, flags));
        assert!(reply.contains(&told), "{verb} {table}, flags {flags:#x}: {reply} after {told}");
        Received::Reply(reply.replacen(&told, "", 1))
    }
}

/// The installed stock, or the later one that is to be asked in its place, in its dialect.
struct StockDialect<'s>(Stock<'s>, NewDialect);

impl Asked for StockDialect<'_> {
    fn ask(&mut self, verb: &str, table: &str, flags: u32, rest: &[&[u8]]) -> Received {
        if !stock::is_later() {
            return self.0.ask(&old_request(verb, table, flags, rest));
        }
        let heard = self.0.ask(&self.1.request(verb, table, flags, rest));
        self.1.old(verb, table, flags, heard)
    }
}

/// Ours, in the old dialect.
struct Old(Wire);

impl Asked for Old {
    fn ask(&mut self, verb: &str, table: &str, flags: u32, rest: &[&[u8]]) -> Received {
        self.0.send(&old_request(verb, table, flags, rest)).unwrap();
        self.0.receive(common::PATIENCE)
    }
}

/// Ours, in the new one.
struct New(Wire, NewDialect);

impl Asked for New {
    fn ask(&mut self, verb: &str, table: &str, flags: u32, rest: &[&[u8]]) -> Received {
        self.0.send(&self.1.request(verb, table, flags, rest)).unwrap();
        let heard = self.0.receive(common::PATIENCE);
        self.1.old(verb, table, flags, heard)
    }
}

/// The reply to a lookup.
fn reply(status: u8, value: &[u8]) -> Received {
    Received::Reply(format!("status|{status}|value|{}||", text(value)))
}

/// The reply to a lookup of this case, with these flags; `newer`: by ours, or by stock since April 2026.
fn expected(case: &Case, newer: bool, flags: u32) -> Received {
    let utf8 = flags & UTF8_REQUEST != 0;
    let outcome = case.since_2026.as_ref().filter(|_| newer).unwrap_or(&case.stock);
    match outcome {
        Ok(value) if utf8 && std::str::from_utf8(value).is_err() => reply(5, b""),
        Ok(value) => reply(0, value),
        Err(status) => reply(*status, b""),
    }
}

/// What the server is asked for a key that stands for no case, as the value that comes of it.
fn echo(table: Table, key: &[u8], flags: u32) -> Received {
    let utf8 = flags & UTF8_REQUEST != 0;
    let folded = match (flags & FOLD_MUL != 0, std::str::from_utf8(key)) {
        (_, Err(_)) if utf8 => return reply(1, b""),
        (false, _) => key.to_vec(),
        // Those of the keys that are not ASCII have no letter of which the case is more than that of a lower one.
        (true, Ok(text)) if utf8 => text.to_lowercase().into_bytes(),
        (true, _) => key.to_ascii_lowercase(),
    };
    let asked = match table {
        Table::Socketmap => [b"map ", folded.as_slice()].concat(),
        Table::Tcp => [b"get ", quoted(&folded).as_slice()].concat(),
    };
    reply(0, standin::hex(&asked).as_bytes())
}

/// As tcp_table(5) has it.
fn quoted(key: &[u8]) -> Vec<u8> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    key.iter()
        .flat_map(|byte| if plain(*byte) { vec![*byte] } else { format!("%{byte:02X}").into_bytes() })
        .collect()
}

/// Asks all that there is to ask with these flags, and compares with what is on record.
fn compare(who: &mut dyn Asked, name: &str, servers: &Servers, flags: u32) -> Vec<String> {
    let mut wrong = Vec::new();
    let newer = name != STOCK || stock::is_later();
    let mut check = |what: String, expected: Received, heard: Received| {
        if expected != heard {
            wrong.push(format!("{name}, flags {flags:#x}, {what}: {expected:?} expected, {heard:?} heard"));
        }
    };
    for (table, place) in servers.tables() {
        let utf8 = if flags & UTF8_REQUEST == 0 { 0 } else { UTF8_ACTIVE };
        let opened = format!("status|0|flags|{}||", flags | PATTERN | utf8);
        check(format!("open {place}"), Received::Reply(opened), who.ask("open", &place, flags, &[]));
        for key in cases::keys() {
            let heard = who.ask("lookup", &place, flags, &[b"key", &key]);
            check(format!("{place} key {}", key.escape_ascii()), echo(table, &key, flags), heard);
        }
        for case in cases::of(table) {
            if (case.takes_time() && (flags != FLAGS[2] || place.contains('['))) || case.leaves_unread() {
                continue;
            }
            let mut ask = || who.ask("lookup", &place, flags, &[b"key", case.key.as_bytes()]);
            let heard = match name != STOCK && case.follows_a_loss() {
                true => {
                    common::poll(common::PATIENCE, || Some(ask()).filter(|heard| *heard != reply(2, b"")))
                }
                false => Some(ask()),
            };
            check(
                format!("{place} {}", case.key),
                expected(case, newer, flags),
                heard.unwrap_or(Received::Silence),
            );
        }
        for (verb, rest) in
            [("update", &[&b"key"[..], b"k", b"value", b"v"][..]), ("delete", &[b"key", b"k"])]
        {
            let heard = who.ask(verb, &place, 0, rest);
            let denied = Received::Reply("status|4|...".to_owned());
            let is_denied = matches!(&heard, Received::Reply(reply) if reply.starts_with("status|4|"));
            check(format!("{place} {verb}"), if is_denied { heard.clone() } else { denied }, heard);
        }
    }
    for (place, key, value) in servers.composites() {
        who.ask("open", &place, flags, &[]);
        let heard = who.ask("lookup", &place, flags, &[b"key", key.as_bytes()]);
        let expected = match value {
            Ok(value) => reply(0, value.as_bytes()),
            Err(status) => reply(status, b""),
        };
        check(format!("{place} {key}"), expected, heard);
    }
    // Each on a connection of its own, that is, of a table that is asked nothing afterwards.
    let unread = cases::of(Table::Socketmap).iter().filter(|case| case.leaves_unread());
    for (case, (_, place)) in unread.zip(servers.tables()) {
        let heard = who.ask("lookup", &place, flags, &[b"key", case.key.as_bytes()]);
        check(format!("{place} {}", case.key), expected(case, newer, flags), heard);
    }
    wrong
}

/// What a client gets that wants no unauthenticated data: the same reply to `open`, then temporary errors.
fn compare_refusals(who: &mut dyn Asked, name: &str, servers: &Servers, flags: u32) -> Vec<String> {
    let mut wrong = Vec::new();
    for (_, place) in servers.tables() {
        let utf8 = if flags & UTF8_REQUEST == 0 { 0 } else { UTF8_ACTIVE };
        let opened = format!("status|0|flags|{}||", flags | PATTERN | utf8);
        for (verb, rest, expected) in [
            ("open", &[][..], opened.as_str()),
            ("lookup", &[&b"key"[..], b"ok"][..], "status|2|value|||"),
            ("lookup", &[b"key", b""], "status|2|value|||"),
            ("sequence", &[b"function", b"0"], "status|2|key||value|||"),
        ] {
            let heard = who.ask(verb, &place, flags, rest);
            if heard != Received::Reply(expected.to_owned()) {
                wrong.push(format!(
                    "{name}, flags {flags:#x}, {verb} {place}: {expected} expected, {heard:?} heard"
                ));
            }
        }
    }
    wrong
}

fn approve(site: &Site, servers: &Servers, more: &[&str]) {
    let mut names: Vec<String> = servers.tables().map(|(_, place)| place).collect();
    names.extend(servers.composites().map(|(place, ..)| place));
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.extend(more);
    site.approve(&names, "smtputf8_enable = yes\nmax_use = 1000000\nmax_idle = 3600s\n");
}

#[test]
fn stock_answers_as_on_record() {
    if !common::can_run("what stock makes of servers") {
        return;
    }
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = FLAGS
            .into_iter()
            .chain(REFUSED)
            .map(|flags| {
                scope.spawn(move || {
                    let site = Site::new();
                    let servers = Servers::start(&site.path("spool/private"));
                    approve(&site, &servers, &[]);
                    let mut stock = StockDialect(Stock::new(&site), NewDialect::default());
                    match REFUSED.contains(&flags) {
                        true => compare_refusals(&mut stock, STOCK, &servers, flags),
                        false => compare(&mut stock, STOCK, &servers, flags),
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// Names that stock dies of, or cannot open, each with words of the log line.
const BAD: [(&str, &str); 5] = [
    ("socketmap:x", "no server or no map is there"),
    ("socketmap:inet:127.0.0.1::m", "the server's port is missing"),
    ("socketmap:INET:127.0.0.1:1:m", "the server's transport is none of inet, unix and local"),
    ("tcp:127.0.0.1:1x", "the server's port begins with a digit and is no number"),
    ("tcp:[::1", "a closing bracket is missing"),
];

#[test]
fn mapkeepd_answers_as_stock_but_for_the_listed_differences() {
    if !common::can_run("servers of tables") {
        return;
    }
    let site = Site::new();
    let servers = Servers::start(&site.path("spool/private"));
    approve(&site, &servers, &BAD.map(|(name, _)| name));
    let ours = site.start();
    let (mut old, mut new) = (Old(ours.wire()), New(ours.wire(), NewDialect::default()));
    let mut wrong = Vec::new();
    for flags in FLAGS {
        wrong.extend(compare(&mut old, "old dialect", &servers, flags));
        wrong.extend(compare(&mut new, "new dialect", &servers, flags));
    }
    for flags in REFUSED {
        wrong.extend(compare_refusals(&mut old, "old dialect", &servers, flags));
        wrong.extend(compare_refusals(&mut new, "new dialect", &servers, flags));
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    for (name, why) in BAD {
        let heard = old.ask("lookup", name, 0x40, &[b"key", b"k"]);
        assert_eq!(heard, reply(2, b""), "{name}: stock dies");
        let line = site.wait_for_log(0, &[name, why]);
        assert!(line.text.contains("correct the name where it is written"), "{line:?}");
    }
    for (table, place) in servers.tables() {
        let heard = old.ask("sequence", &place, 0x40, &[b"function", b"0"]);
        assert_eq!(heard, Received::Reply("status|5|key||value|||".to_owned()), "{place}: stock dies");
        // What a server sends besides the reply is never the answer to the next question.
        for case in cases::of(table).iter().filter(|case| case.leaves_unread()) {
            for (key, expected) in
                [(case.key.as_str(), expected(case, true, 0x40)), ("ok", reply(0, b"value"))]
            {
                assert_eq!(
                    old.ask("lookup", &place, 0x40, &[b"key", key.as_bytes()]),
                    expected,
                    "{place} {key}"
                );
            }
        }
    }
}
