//! What both servers are asked.

use crate::common::wire::{Received, bytes};
use crate::compare::Pair;
use crate::differences;
use crate::stock::is_later;
use crate::tables::{Table, Trait};
use std::time::Duration;

/// The state in which stock is asked; see the head of tests/compliance.rs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Whatever the process is asked has the same flags.
    SameFlags,
    /// Each table is opened first, with the bits that an old client sends with `open`.
    AsClients,
}

/// The bits that an old client sends with `open`, and by which stock distinguishes the instances of a table.
pub const OLD_INSTANCE: u32 = 0xFFF3_060C;

pub const OPEN_LOCK: u32 = 0x1_0000;
pub const BULK_UPDATE: u32 = 0x2_0000;
pub const LOCK: u32 = 0x40;
pub const RHS_IS_FILE: u32 = 0x20_0000;
pub const UTF8_REQUEST: u32 = 0x8_0000;

/// Flags as Postfix's own programs send them, then hostile ones.
pub const FLAGS: &[u32] = &[
    // Nothing; LOCK; smtpd, cleanup and trivial-rewrite: LOCK, FOLD_FIX, UTF8_REQUEST; the same without UTF-8.
    0,
    LOCK,
    0x8_4040,
    0x4040,
    // postmap -q; local(8): without substitution; without proxies and strangers; lists with FOLD_MUL.
    0x8_4041,
    0x8_4840,
    0x8_7840,
    0x8_C040,
    // verify(8) and postscreen(8), which share a cache; tlsmgr(8).
    0x9_0180,
    0x8_0180,
    // Keys with and without a NUL byte; both ways at once.
    0x8_4044,
    0x8_4048,
    0x8_404C,
    // Hostile: claims of class, DEBUG, OPEN_LOCK alone and with LOCK, BULK_UPDATE, MULTI_WRITER, UTF8_ACTIVE, values
    // that name files, bits that mean nothing, all bits but OPEN_LOCK.
    0x10,
    0x20,
    0x30,
    0x240,
    OPEN_LOCK,
    OPEN_LOCK | LOCK,
    BULK_UPDATE,
    0x4_0040,
    0x10_0040,
    RHS_IS_FILE,
    RHS_IS_FILE | 0x8_4040,
    0x40_0000,
    0x8000_0000,
    // The first ones are without, and before, the claim that UTF-8 is checked already.
    0xFFCC_FFFF,
    0xFFDC_FFFF,
    u32::MAX,
];

/// Flags of clients in [`Mode::AsClients`]. Every key is asked with each of them in [`Mode::SameFlags`], too, so that
/// stock's answer is known for the case that a table was opened with the flags of the request.
const CLIENTS: [u32; 4] = [0, 0x8_4040, 0x4040, 0x8_4041];

/// Keys that are there in some table, and keys that are odd.
pub fn keys() -> Vec<Vec<u8>> {
    let texts = [
        "",
        "a",
        "A",
        "z",
        ".",
        "%",
        "%s",
        "%u@%d",
        "'",
        "\"quoted\"@example.org",
        "key with spaces",
        " ",
        "#",
        "alice",
        "ALICE",
        "Alice",
        " alice",
        "alice ",
        "bob",
        "bob@example.com",
        "BOB@Example.Com",
        "mixedcase",
        "anna@example.org",
        "Anna@Example.ORG",
        "@example.org",
        "user+ext@example.org",
        "user17@example.org",
        "USER17@EXAMPLE.ORG",
        "nobody@example.org",
        "10.1.2.3",
        "root",
        "mail",
        "raw",
        "list",
        "proxy:alice",
        "m\u{fc}ller",
        "M\u{dc}LLER",
        "stra\u{df}e",
        "STRASSE",
        "\u{130}stanbul",
        "key\nline",
        "\t",
        "../../etc/passwd",
        "@",
        "c",
        "d",
        "2001:db8::1",
    ];
    let mut keys: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    keys.extend([b"\xff".to_vec(), b"\xff\xfe".to_vec(), b"alice\xff".to_vec(), b"ALICE\xc3".to_vec()]);
    keys.extend([vec![b'k'; 4096], vec![0xff; 4096], vec![b'K'; 600], "\u{e4}".repeat(2048).into_bytes()]);
    keys.push(format!("longkey{}", "k".repeat(400)).into_bytes());
    keys
}

/// What may stand around the name of a table; the last three make it another name.
const AROUND: [(&str, &str); 6] =
    [("", ""), ("proxy:", ""), ("proxy:proxy:", ""), ("", "x"), ("x", ""), ("Proxy:", "")];

/// The operation.
#[derive(Clone, Debug)]
pub enum What {
    Open,
    Lookup(Vec<u8>),
    Sequence(u32),
    Update(Vec<u8>),
    Delete(Vec<u8>),
    /// Whole bytes of a request.
    Raw(Vec<u8>),
}

/// One question about one table.
pub struct Question<'t> {
    pub table: &'t Table,
    /// Put around the table's name.
    pub around: (&'static str, &'static str),
    pub flags: u32,
    pub what: What,
    /// Asked right after FIRST, or after a NEXT that gave an entry.
    pub in_sequence: bool,
}

impl<'t> Question<'t> {
    pub fn new(table: &'t Table, flags: u32, what: What) -> Self {
        Question { table, around: ("", ""), flags, what, in_sequence: false }
    }

    pub fn table_name(&self) -> &str {
        &self.table.name
    }

    /// The request on the wire. In the new dialect a client sends the flags of the table's instance and, except for
    /// `open`, those that it got in the reply to `open`.
    pub fn bytes(&self, told: Option<u32>) -> Vec<u8> {
        let ((before, after), flags) = (self.around, self.flags);
        let words = match told {
            _ if !is_later() => format!("flags|{flags}"),
            _ if matches!(self.what, What::Open) => format!("instance_flags|{flags}"),
            told => format!("instance_flags|{flags}|flags|{}", told.unwrap_or(flags)),
        };
        let part = format!("table|{before}{}{after}|{words}|", self.table.name);
        let with = |verb: &str, rest: &[&[u8]]| {
            let mut all = bytes(&format!("request|{verb}|{part}"));
            for text in rest {
                all.extend_from_slice(text);
                all.push(0);
            }
            all.push(0);
            all
        };
        match &self.what {
            What::Open => with("open", &[]),
            What::Lookup(key) => with("lookup", &[b"key", key]),
            What::Sequence(function) => with("sequence", &[b"function", function.to_string().as_bytes()]),
            What::Update(key) => with("update", &[b"key", key, b"value", b"y"]),
            What::Delete(key) => with("delete", &[b"key", key]),
            What::Raw(all) => all.clone(),
        }
    }

    /// Whether the name is approved, and the request of a kind that asks the table.
    pub fn reaches_table(&self) -> bool {
        let named = self.around.1.is_empty() && matches!(self.around.0, "" | "proxy:" | "proxy:proxy:");
        named && !matches!(self.what, What::Update(_) | What::Delete(_) | What::Raw(_))
    }

    /// What an old client sends before it asks this.
    pub fn open_of_a_client(&self) -> Option<Vec<u8>> {
        let asks = matches!(self.what, What::Lookup(_) | What::Sequence(_));
        asks.then(|| Question::new(self.table, self.flags & OLD_INSTANCE, What::Open).bytes(None))
    }

    /// What a client of the new dialect sends in order to get the flags of a table.
    pub fn open_of_a_later_client(&self) -> Option<Vec<u8>> {
        let asks = is_later() && !matches!(self.what, What::Open | What::Raw(_));
        let open = Question { around: self.around, ..Question::new(self.table, self.flags, What::Open) };
        asks.then(|| open.bytes(None))
    }
}

/// Every request about one table with one set of flags.
pub fn ask_all(pair: &mut Pair<'_>, table: &Table, flags: u32) {
    let question = |what| Question::new(table, flags, what);
    // Before any hit, which narrows the ways of storing keys that stock tries, and its reply to `open`.
    for around in AROUND {
        pair.ask(&Question { around, ..question(What::Open) });
    }
    // All keys for some flags; every fifth, and the odd ones at the end, for the others.
    let thorough = FLAGS.iter().position(|one| *one == flags).is_some_and(|place| place % 4 == 2);
    let thorough = thorough || CLIENTS.contains(&flags);
    for (place, key) in keys().into_iter().enumerate() {
        if thorough || place % 5 == 3 || !key.is_ascii() {
            pair.ask(&question(What::Lookup(key)));
        }
    }
    pair.ask(&question(What::Lookup(b"".to_vec())));
    walk(pair, table, flags, 5);
    pair.ask(&question(What::Sequence(2)));
    pair.ask(&question(What::Update(b"alice".to_vec())));
    pair.ask(&question(What::Delete(b"\xff".to_vec())));
    for around in AROUND {
        for what in [What::Lookup(b"alice".to_vec()), What::Sequence(0)] {
            pair.ask(&Question { around, ..question(what) });
        }
    }
}

/// Lookups as clients of Postfix 3.7 send them, and whole tables.
pub fn ask_as_clients(pair: &mut Pair<'_>, table: &Table) {
    for flags in CLIENTS {
        for key in keys() {
            pair.ask(&Question::new(table, flags, What::Lookup(key)));
        }
    }
    walk(pair, table, LOCK, 1000);
}

/// The entries of a table in turn, `count` at most.
fn walk(pair: &mut Pair<'_>, table: &Table, flags: u32, count: usize) {
    // NEXT without FIRST, in a state that only this process has.
    pair.ask(&Question::new(table, flags, What::Sequence(1)));
    let mut last = pair.ask(&Question::new(table, flags, What::Sequence(0)));
    let mut entries = [Vec::new(), Vec::new()];
    for _ in 0..count {
        let Some([Received::Reply(stock), Received::Reply(ours)]) = &last else { return };
        if !stock.starts_with("status|0|") {
            // Whatever the order, the entries are the same ones. What came at the end has been compared by itself.
            entries.iter_mut().for_each(|entries| entries.sort());
            let names_files = flags & RHS_IS_FILE != 0 && table.kind.is_source_text();
            if table.trait_ == Trait::Plain && !names_files && entries[0] != entries[1] {
                pair.tally.wrong.push(format!("{}: entries of stock and ours: {entries:?}", table.name));
            }
            return;
        }
        for (entries, reply) in entries.iter_mut().zip([stock, ours]) {
            entries.push(reply.clone());
        }
        last = pair.ask(&Question { in_sequence: true, ..Question::new(table, flags, What::Sequence(1)) });
    }
}

/// Requests of odd form: spelling of numbers, sizes, order and number of attributes, the other dialect. Nothing is found,
/// so that nothing narrows the ways of storing keys that stock tries.
pub fn ask_odd_forms(pair: &mut Pair<'_>, tables: &[Table]) {
    let find = |kind: &str| {
        tables
            .iter()
            .find(|t| t.trait_ == Trait::Plain && t.name.starts_with(kind))
            .expect("a table of each kind")
    };
    let tables = [find("hash:"), find("texthash:"), find("static:x"), find("inline:")];
    for table in tables {
        let name = &table.name;
        let mut raw = |request: String| {
            pair.ask(&Question::new(table, 0, What::Raw(bytes(&request))));
        };
        for number in
            ["+64", " 64", "4294967296", "0064", "64 ", "", "0x40", "12x", "x", "1.5", "99999999999999999999"]
        {
            raw(format!("request|lookup|table|{name}|flags|{number}|key|nobody||"));
            raw(format!("request|open|table|{name}|flags|{number}||"));
        }
        raw(format!("request|lookup|table|{name}|flags|0||"));
        raw(format!("request|lookup|table|{name}||"));
        raw("request|lookup||".to_string());
        raw("request|open||".to_string());
        raw("request|update||".to_string());
        raw("request|sequence||".to_string());
        raw("request|frobnicate||".to_string());
        raw("request|||".to_string());
        raw("request|LOOKUP||".to_string());
        raw(format!("request|lookup|table|{name}|flags|0|key|nobody|more|things||"));
        raw(format!("request|open|table|{name}|flags|0|more|things||"));
        raw(format!("request|lookup|table|{name}|key|nobody|flags|0||"));
        raw(format!("request|lookup|table|{name}|flags|0|keys|nobody||"));
        raw(format!("request|lookup|flags|0|table|{name}|key|nobody||"));
        raw(format!("request|sequence|table|{name}|flags|0|function|first||"));
        raw(format!("request|lookup|table|{name}|instance_flags|0|flags|0|key|nobody||"));
        raw(format!("request|open|table|{name}|instance_flags|540736||"));
        raw(format!("request|lookup|table|{name}|flags|0|key|{}||", "k".repeat(300_000)));
        raw(format!("request|lookup|table|{}|flags|0|key|nobody||", "t".repeat(70_000)));
        raw(format!("request|lookup|{}|{name}|flags|0|key|nobody||", "t".repeat(100)));
        for text in ["", "proxy:", "nocolon", ":x", "proxy:proxy:x"] {
            raw(format!("request|open|table|{text}|flags|0||"));
            raw(format!("request|lookup|table|{text}|flags|0|key|nobody||"));
            raw(format!("request|sequence|table|{text}|flags|0|function|0||"));
        }
    }
    ask_what_is_no_request(pair);
    walk_two_at_once(pair, find("btree:"));
    if !is_later() {
        open_after_another(pair, find("cdb:"));
    }
    // Last, because stock exits on it: a number that wraps around to all flags at once.
    let minus = format!("request|open|table|{}|flags|-1||", tables[0].name);
    pair.ask(&Question::new(tables[0], 0, What::Raw(bytes(&minus))));
}

/// Lists that do not begin as a request does.
fn ask_what_is_no_request(pair: &mut Pair<'_>) {
    for list in ["|", "protocol|proxymap_protocol||", "REQUEST|open|table|static:x|flags|0||"] {
        let replies = pair.ask_apart(&bytes(list), Duration::from_millis(500));
        match replies {
            [Received::Silence, Received::Closed] => pair.tally.allow(differences::NO_REQUEST),
            other => pair.tally.wrong.push(format!("{list}: {other:?}")),
        }
    }
}

/// Two clients that walk one table in turn.
fn walk_two_at_once(pair: &mut Pair<'_>, table: &Table) {
    let request = |function| Question::new(table, LOCK, What::Sequence(function)).bytes(Some(LOCK | 0x1C));
    let [stock, ours] = pair.walk_in_turn(&request(0), &request(1));
    let as_promised = ours[0] == ours[1] && ours[2] == ours[3] && ours[0] != ours[2];
    let shared = stock[..3] == ours[..3] && stock[3] != ours[3];
    match as_promised && shared {
        true => pair.tally.allow(differences::OWN_PLACE),
        false => pair.tally.wrong.push(format!("walked in turn: stock {stock:?}, ours {ours:?}")),
    }
}

/// Two clients that open one table with flags that do not distinguish instances: the second gets those of the first.
fn open_after_another(pair: &mut Pair<'_>, table: &Table) {
    pair.fresh(Mode::SameFlags);
    let [first, second] = [0x8_4040, LOCK].map(|flags| Question::new(table, flags, What::Open).bytes(None));
    let [stock, ours] = pair.ask_in_turn([&first, &second]);
    let flags = |heard: &[Received]| [0, 1].map(|client: usize| differences::flags_of(&heard[client]));
    // FIXED and both ways of storing keys go with the type, UTF8_ACTIVE with what the request asks for.
    let (all, second) = (0x18_4040 | 0x1C, LOCK | 0x1C);
    match (flags(&stock), flags(&ours)) {
        ([Some(one), Some(other)], [Some(mine), Some(then)])
            if one == all && mine == all && then == second && other == all =>
        {
            pair.tally.allow(differences::FIRST_OPENER);
        }
        other => pair.tally.wrong.push(format!("{}, opened twice: {other:x?}", table.name)),
    }
}
