//! The wire protocol and the answers: the input is what a client sends.

use std::convert::Infallible;

use mapkeep_name::{Kind, split};
use mapkeep_proto::Answered;
use mapkeep_query::{Outcome, Step};
use mapkeep_table_format::Cursor;
use mapkeep_table_lookup::Table;
use mapkeep_worker_session as session;
use mapkeep_worker_session::wire::{Limits, Parser, Progress, Status};
use mapkeep_worker_session::{
    Cursors, Event, Failure, Got, LookupTable, Nature, Service, Settings, Sought, Tables,
};

/// Small limits, so that inputs of fuzzing size get past them.
const LIMITS: Limits = Limits { attribute_name: 16, table: 64, key: 128, value: 256, request: 512 };

/// The names of the tables that `session` may ask.
const NAMES: [&[u8]; 10] = [
    b"static:all",
    b"inline:{{key1=value 1}, {key2=2}, {\xc3\xa9=\xff}}",
    b"texthash:/t",
    b"unix:passwd.byname",
    b"fail:",
    b"hash:/damaged",
    b"other:/not-supported",
    b"regexp:{{/^key(.*)$/ $1}, {/(.)/ all}}",
    b"cidr:{{10.0.0.0/8 net}}",
    b"cdb:/missing",
];

/// One thing that came out of a stream, kept as text so that runs can be compared.
type Seen = Vec<String>;

/// A client's stream yields the same requests however it is cut into pieces.
pub fn wire_request(stream: &[u8]) {
    for limits in [LIMITS, Limits::SERVICE] {
        let whole = requests(stream, limits, |_| stream.len());
        let mut numbers = Numbers::from(stream);
        let pieces = requests(stream, limits, |_| numbers.below(40) + 1);
        assert_eq!(whole, pieces, "the pieces decide");
        if stream.len() <= 2048 {
            assert_eq!(whole, requests(stream, limits, |_| 1), "single bytes decide");
        }
    }
}

/// Everything that the parser finds when the stream arrives in pieces of the sizes that `size` returns.
fn requests(stream: &[u8], limits: Limits, mut size: impl FnMut(usize) -> usize) -> Seen {
    let (mut parser, mut seen) = (Parser::new(limits), Seen::new());
    let (mut start, mut end) = (0, 0);
    while end < stream.len() {
        end = stream.len().min(end + size(end));
        loop {
            match parser.parse(&stream[start..end]) {
                Progress::NeedMore => break,
                Progress::Request { request, complaint, consumed } => {
                    assert!(consumed > 0 && consumed <= limits.request && consumed <= end - start);
                    assert!(request.table.len() <= limits.table && !request.table.contains(&0));
                    printable(complaint.map(|text| text.to_string()));
                    seen.push(format!("{request:?} {complaint:?} {consumed}"));
                    start += consumed;
                }
                Progress::Malformed { reply, dialect, complaint, consumed } => {
                    assert!(consumed > 0 && consumed <= limits.request && consumed <= end - start);
                    printable(Some(complaint.to_string()));
                    seen.push(format!("{reply:?} {dialect:?} {complaint:?} {consumed}"));
                    start += consumed;
                }
                Progress::Violation(violation) => {
                    printable(Some(violation.to_string()));
                    seen.push("violation".to_string());
                    return seen;
                }
            }
        }
        assert!(end - start <= limits.request, "more is kept than a request may have");
    }
    seen
}

/// A client's stream, answered from a few tables: one whole reply to each request, DENY for all other tables.
pub fn session(stream: &[u8]) {
    thread_local!(static SET: Set = Set::new());
    SET.with(|set| ask_set(set, stream));
}

fn ask_set(set: &Set, stream: &[u8]) {
    for (service, smtputf8_enable) in [(Service::Read, true), (Service::Write, false)] {
        let settings = Settings { smtputf8_enable };
        let (mut cursors, mut out) = (Cursors::default(), Vec::new());
        let (mut parser, mut rest) = (Parser::new(LIMITS), stream);
        while let Progress::Request { request, consumed, .. } = parser.parse(rest) {
            out.clear();
            let mut log = |event: Event<'_>| printable(Some(event.to_string()));
            session::answer(&request, service, set, &settings, &mut cursors, &mut out, &mut log);
            let status = status_of(&out);
            let mut name = request.table;
            while let Some(shorter) = name.strip_prefix(b"proxy:") {
                name = shorter;
            }
            if !NAMES.contains(&name) {
                assert!(
                    [Status::Deny, Status::Bad].map(|s| s as u32).contains(&status),
                    "{status} for {name:?}"
                );
            }
            rest = &rest[consumed..];
        }
    }
}

/// The status of exactly one reply: a list of attributes, then nothing.
fn status_of(reply: &[u8]) -> u32 {
    let mut parts = reply.split(|byte| *byte == 0);
    assert_eq!(parts.next(), Some(&b"status"[..]));
    let status = std::str::from_utf8(parts.next().unwrap()).unwrap().parse().unwrap();
    assert!(status <= 5);
    // The rest of the list: names and values until the empty name, which ends the bytes.
    loop {
        let name = parts.next().expect("the list ends");
        if name.is_empty() {
            break;
        }
        assert!(matches!(name, b"flags" | b"value" | b"key" | b"instance_flags"), "{name:?}");
        parts.next().expect("each name has a value");
    }
    assert_eq!((parts.next(), parts.next()), (Some(&b""[..]), None), "bytes after the reply");
    status
}

/// What goes to the log is one line of printable ASCII.
fn printable(line: Option<String>) {
    if let Some(line) = line {
        assert!(line.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{line:?}");
        assert!(line.len() < 600, "{line:?}");
    }
}

/// A fixed set of tables.
struct Set(Vec<Result<Table<&'static [u8]>, &'static str>>);

impl Set {
    fn new() -> Set {
        let open = |name: &'static [u8]| {
            let (_, rest) = split(name);
            let kind = Kind::of(name);
            let table = match kind {
                Kind::Texthash => {
                    Table::from_snapshot(kind, &b"Key1 one\nkey17 two\xff\n"[..], &mut Vec::new())
                }
                Kind::Passwd => Table::from_snapshot(kind, &b"root:x:0:0:::\n"[..], &mut Vec::new()),
                Kind::Hash | Kind::Cdb | Kind::Unknown => return Err("not there"),
                _ => Table::from_name(kind, rest),
            };
            Ok(table.unwrap())
        };
        Set(NAMES.into_iter().map(open).collect())
    }
}

struct Handle<'t>(Nature, &'t Result<Table<&'static [u8]>, &'static str>);

impl Handle<'_> {
    fn table(&self) -> Result<&Table<&'static [u8]>, Failure> {
        self.1.as_ref().map_err(|reason| Failure::Unavailable((*reason).into()))
    }
}

impl LookupTable for Handle<'_> {
    type Cursor = Cursor;
    type Search = Infallible;

    fn nature(&self) -> Nature {
        self.0
    }

    fn lookup(&self, sought: Sought<'_>, value: &mut Vec<u8>) -> Result<Got<Outcome, Infallible>, Failure> {
        let query = sought.query(0, &|| std::time::Duration::MAX);
        Ok(Got::Now(self.table()?.lookup_with(&query, value)?))
    }

    fn step(&self, cursor: &mut Cursor, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Step, Failure> {
        Ok(self.table()?.step(cursor, key, value)?)
    }
}

impl Tables for Set {
    type Id = usize;
    type Cursor = Cursor;
    type Search = Infallible;
    type Table<'t> = Handle<'t>;

    fn find(&self, name: &[u8]) -> Option<(usize, Handle<'_>)> {
        let id = NAMES.iter().position(|known| *known == name)?;
        Some((id, Handle(Nature::of(name), &self.0[id])))
    }

    fn name(&self, search: &Infallible) -> &[u8] {
        match *search {}
    }

    fn resume(
        &self,
        search: Infallible,
        _: Answered<'_>,
        _: &mut Vec<u8>,
    ) -> Result<Got<Outcome, Infallible>, Failure> {
        match search {}
    }
}

/// xorshift64*, begun from the input itself: the same bytes, the same pieces.
struct Numbers(u64);

impl Numbers {
    fn from(bytes: &[u8]) -> Numbers {
        Numbers(bytes.iter().fold(0x9E37_79B9_7F4A_7C15, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3) | 1
        }))
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % limit
    }
}
