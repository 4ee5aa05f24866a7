//! Requests in every fragmentation, broken in every way.

mod glance;
mod replies;

use super::*;
use replies::encoded;

/// The bytes of a message; `|` in the tests' own notation is one NUL byte.
fn bytes(text: &str) -> Vec<u8> {
    text.bytes().map(|byte| if byte == b'|' { 0 } else { byte }).collect()
}

fn parse(buffer: &[u8]) -> Progress<'_> {
    Parser::new(Limits::SERVICE).parse(buffer)
}

/// The parts of a well-formed request that must take the whole of `text`.
fn request(buffer: &[u8]) -> Request<'_> {
    match parse(buffer) {
        Progress::Request { request, complaint: None, consumed } if consumed == buffer.len() => request,
        other => panic!("{other:?}"),
    }
}

const LOOKUP: &str = "request|lookup|table|hash:/m/rcpt|flags|524353|key|alice||";

#[test]
fn parse_each_request_in_the_old_dialect() {
    let old = |text: &str, flags: u32, call: Call<'_>| {
        let buffer = bytes(text);
        let expected = Request {
            dialect: Dialect::Old,
            table: b"hash:/m",
            instance_flags: Flags(flags),
            flags: Flags(flags),
            call,
        };
        assert_eq!(request(&buffer), expected, "{text}");
    };
    old("request|open|table|hash:/m|flags|0||", 0, Call::Open);
    old("request|lookup|table|hash:/m|flags|64|key|a||", 64, Call::Lookup { key: b"a" });
    let update = Call::Update { key: b"a", value: b"v w" };
    old("request|update|table|hash:/m|flags|64|key|a|value|v w||", 64, update);
    old("request|delete|table|hash:/m|flags|64|key|a||", 64, Call::Delete { key: b"a" });
    let first = Call::Sequence { function: Function::First };
    old("request|sequence|table|hash:/m|flags|64|function|0||", 64, first);
}

#[test]
fn parse_each_request_in_the_new_dialect() {
    let new = |text: &str, flags: u32, call: Call<'_>| {
        let buffer = bytes(text);
        let expected = Request {
            dialect: Dialect::New,
            table: b"T:",
            instance_flags: Flags(540_736),
            flags: Flags(flags),
            call,
        };
        assert_eq!(request(&buffer), expected, "{text}");
    };
    new("request|open|table|T:|instance_flags|540736||", 540_736, Call::Open);
    let head = "|table|T:|instance_flags|540736|flags|1589340|";
    new(&format!("request|lookup{head}key|A||"), 1_589_340, Call::Lookup { key: b"A" });
    let update = Call::Update { key: b"A", value: b"" };
    new(&format!("request|update{head}key|A|value|||"), 1_589_340, update);
    new(&format!("request|delete{head}key|A||"), 1_589_340, Call::Delete { key: b"A" });
    let next = Call::Sequence { function: Function::Next };
    new(&format!("request|sequence{head}function|1||"), 1_589_340, next);
}

#[test]
fn parse_empty_values_are_not_the_end_of_the_list() {
    let buffer = bytes("request|update|table||flags|0|key||value|||");
    let request = request(&buffer);
    assert_eq!(request.table, b"");
    assert_eq!(request.call, Call::Update { key: b"", value: b"" });
}

#[test]
fn parse_values_are_raw_bytes() {
    let mut buffer = bytes("request|lookup|table|static:x|flags|0|key|");
    let key: Vec<u8> = (1..=255).collect();
    buffer.extend_from_slice(&key);
    buffer.extend_from_slice(b"\0\0");
    assert_eq!(request(&buffer).call, Call::Lookup { key: &key });
}

#[test]
fn parse_every_fragment_size_gives_the_same_request() {
    let buffer = bytes(LOOKUP);
    let whole = request(&buffer);
    for size in 1..=buffer.len() {
        let mut parser = Parser::new(Limits::SERVICE);
        let mut end = size;
        while end < buffer.len() {
            assert_eq!(parser.parse(&buffer[..end]), Progress::NeedMore, "size {size}, {end} bytes");
            end += size;
        }
        match parser.parse(&buffer) {
            Progress::Request { request, consumed, .. } => {
                assert_eq!((request, consumed), (whole, buffer.len()), "size {size}");
            }
            other => panic!("size {size}: {other:?}"),
        }
    }
}

#[test]
fn parse_every_truncation_needs_more() {
    for text in [LOOKUP, "request|open|table|T:|instance_flags|0||", "request|nonsense||"] {
        let buffer = bytes(text);
        for length in 0..buffer.len() {
            assert_eq!(parse(&buffer[..length]), Progress::NeedMore, "{text} cut at {length}");
        }
    }
}

#[test]
fn parse_pipelined_requests_come_one_by_one() {
    let mut buffer = bytes(LOOKUP);
    buffer.extend(bytes("request|nonsense||"));
    buffer.extend(bytes("request|open|table|T:|instance_flags|1||"));
    buffer.extend(bytes("request|lo"));
    let mut parser = Parser::new(Limits::SERVICE);
    let mut rest = &buffer[..];
    match parser.parse(rest) {
        Progress::Request { request, consumed, .. } => {
            assert_eq!(request.call, Call::Lookup { key: b"alice" });
            rest = &rest[consumed..];
        }
        other => panic!("{other:?}"),
    }
    match parser.parse(rest) {
        Progress::Malformed { reply: Reply::Unrecognized, consumed, .. } => rest = &rest[consumed..],
        other => panic!("{other:?}"),
    }
    match parser.parse(rest) {
        Progress::Request { request, consumed, .. } => {
            assert_eq!((request.call, request.dialect), (Call::Open, Dialect::New));
            rest = &rest[consumed..];
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(parser.parse(rest), Progress::NeedMore);
}

#[test]
fn parse_largest_request_byte_by_byte_is_linear() {
    // A scan from the start for each byte would look at 5 * 10^11 bytes here: hours, not seconds.
    let mut buffer = bytes("request|update|table|T:|flags|0|key|");
    buffer.resize(buffer.len() + 200_000, b'k');
    buffer.extend(bytes("|value|"));
    buffer.resize(buffer.len() + 800_000, b'v');
    buffer.extend(bytes("||"));
    let mut parser = Parser::new(Limits::SERVICE);
    for length in 1..buffer.len() {
        assert_eq!(parser.parse(&buffer[..length]), Progress::NeedMore);
    }
    assert!(matches!(parser.parse(&buffer), Progress::Request { .. }));
}

/// Small limits, to test their edges.
const SMALL: Limits = Limits { attribute_name: 15, table: 20, key: 10, value: 12, request: 140 };

/// What `SMALL` makes of an update with values of these lengths and this much in a foreign attribute.
fn with_lengths(table: usize, key: usize, value: usize, extra: usize) -> Result<usize, Violation<'static>> {
    let text = format!(
        "request|update|table|{}|flags|0|key|{}|value|{}|x|{}||",
        "t".repeat(table),
        "k".repeat(key),
        "v".repeat(value),
        "e".repeat(extra)
    );
    let buffer = bytes(&text);
    match Parser::new(SMALL).parse(&buffer) {
        Progress::Request { consumed, .. } => Ok(consumed),
        Progress::Violation(Violation::TooLong { what, limit }) => Err(Violation::TooLong { what, limit }),
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_at_the_edge_pass_and_one_above_violates() {
    assert!(with_lengths(20, 10, 12, 0).is_ok());
    let too_long = |what, limit| Err(Violation::TooLong { what, limit });
    assert_eq!(with_lengths(21, 10, 12, 0), too_long("table name", 20));
    assert_eq!(with_lengths(20, 11, 12, 0), too_long("key", 10));
    assert_eq!(with_lengths(20, 10, 13, 0), too_long("value", 12));
    let without_extra = with_lengths(20, 10, 12, 0).unwrap();
    let room = SMALL.request - without_extra;
    assert_eq!(with_lengths(20, 10, 12, room), Ok(SMALL.request));
    assert_eq!(with_lengths(20, 10, 12, room + 1), too_long("request", SMALL.request));
}

#[test]
fn limits_hold_before_the_token_ends() {
    let endless = vec![b'a'; SMALL.attribute_name + 1];
    let violation = Violation::TooLong { what: "attribute name", limit: SMALL.attribute_name };
    assert_eq!(Parser::new(SMALL).parse(&endless), Progress::Violation(violation));
    assert_eq!(Parser::new(SMALL).parse(&endless[1..]), Progress::NeedMore);
    let word = bytes("request|lookuplookuplookup");
    let violation = Violation::TooLong { what: "attribute value", limit: SMALL.attribute_name };
    assert_eq!(Parser::new(SMALL).parse(&word), Progress::Violation(violation));
}

#[test]
fn parse_list_that_is_not_a_request_is_a_violation() {
    for text in ["|", "foo|bar||", "table|hash:/m|request|lookup||", "Request|open||"] {
        let buffer = bytes(text);
        assert!(
            matches!(parse(&buffer), Progress::Violation(Violation::NotARequest(_))),
            "{text}: {:?}",
            parse(&buffer)
        );
    }
    let empty = parse(b"\0");
    let Progress::Violation(violation) = empty else { panic!("{empty:?}") };
    assert_eq!(violation.to_string(), "missing attribute request in input from client");
}

#[test]
fn parse_unknown_request_name_is_answered_with_the_status_alone() {
    let buffer = bytes("request|foo\u{1}|table|hash:/m|flags|64||");
    let Progress::Malformed { reply, complaint, consumed, .. } = parse(&buffer) else {
        panic!("{:?}", parse(&buffer));
    };
    assert_eq!((reply, consumed), (Reply::Unrecognized, buffer.len()));
    assert_eq!(complaint.to_string(), "unrecognized request: \"foo?\", ignored");
}

/// The bytes of the BAD reply to `text`, and the complaint.
fn refused(text: &str) -> (String, String) {
    let buffer = bytes(text);
    match parse(&buffer) {
        Progress::Malformed { reply, dialect, complaint, consumed } => {
            assert_eq!(consumed, buffer.len(), "{text}");
            (encoded(&reply, dialect), complaint.to_string())
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn parse_malformed_after_the_dialect_is_known_gets_bad_in_its_shape() {
    for (text, reply, complaint) in [
        (
            "request|lookup|table|T:|flags|64||",
            "status|3|value|||",
            "missing attribute key in input from client",
        ),
        (
            "request|lookup|table|T:|instance_flags|64|flags|64|kee|k||",
            "status|3|flags|0|value|||",
            "unexpected attribute kee from client (expecting: key)",
        ),
        (
            "request|lookup|table|T:|instance_flags|64|key|k||",
            "status|3|flags|0|value|||",
            "unexpected attribute key from client (expecting: flags)",
        ),
        (
            "request|update|table|T:|flags|64|key|k||",
            "status|3||",
            "missing attribute value in input from client",
        ),
        (
            "request|delete|table|T:|instance_flags|64|flags|64||",
            "status|3|flags|0||",
            "missing attribute key in input from client",
        ),
        (
            "request|sequence|table|T:|flags|64|function|2||",
            "status|3|key||value|||",
            "unexpected sequence function 2 from client (expecting: 0 or 1)",
        ),
        (
            "request|sequence|table|T:|instance_flags|64|flags|64|function|||",
            "status|3|flags|0|key||value|||",
            "malformed numerical data from client while reading input attribute value: ",
        ),
    ] {
        assert_eq!(refused(text), (reply.to_owned(), complaint.to_owned()), "{text}");
    }
}

#[test]
fn parse_malformed_open_gets_bad_whatever_the_dialect() {
    // Its reply has the same shape in both.
    for text in ["request|open||", "request|open|table|T:||", "request|open|table|T:|falgs|0||"] {
        assert_eq!(refused(text).0, "status|3|flags|0||", "{text}");
    }
}

#[test]
fn parse_malformed_before_the_dialect_is_known_is_a_violation() {
    for text in [
        "request|lookup||",
        "request|lookup|table|T:||",
        "request|lookup|flags|64||",
        "request|lookup|table|T:|key|k||",
        "request|delete|table|T:|FLAGS|0|key|k||",
    ] {
        let buffer = bytes(text);
        let progress = parse(&buffer);
        assert!(
            matches!(progress, Progress::Violation(Violation::UnknownDialect(_))),
            "{text}: {progress:?}"
        );
    }
}

#[test]
fn parse_numbers_are_digits_that_fit_32_bits() {
    for good in ["0", "00", "64", "4294967295", "0000000000000000000000064"] {
        let buffer = bytes(&format!("request|open|table|T:|flags|{good}||"));
        assert_eq!(request(&buffer).flags.0, good.parse::<u32>().unwrap(), "{good}");
    }
    // Stock takes some of these; `-1` then makes it panic.
    for bad in ["", "-1", "+1", " 1", "1 ", "0x10", "12x", "4294967296", "99999999999999999999", "\u{661}"] {
        let (reply, complaint) = refused(&format!("request|open|table|T:|flags|{bad}||"));
        assert_eq!(reply, "status|3|flags|0||", "{bad}");
        assert!(complaint.starts_with("malformed numerical data"), "{bad}: {complaint}");
    }
}

#[test]
fn parse_extra_attributes_are_tolerated_with_a_complaint() {
    let buffer = bytes("request|lookup|table|T:|flags|64|key|alice|foo|bar|zip|zap||");
    match parse(&buffer) {
        Progress::Request { request, complaint: Some(complaint), consumed } => {
            assert_eq!(request.call, Call::Lookup { key: b"alice" });
            assert_eq!(consumed, buffer.len());
            assert_eq!(
                complaint.to_string(),
                "unexpected attribute foo from client (expecting: (list terminator))"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn parse_random_bytes_never_panic_and_never_consume_too_much() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words: [&[u8]; 12] = [
        b"request",
        b"open",
        b"lookup",
        b"table",
        b"flags",
        b"instance_flags",
        b"key",
        b"value",
        b"1",
        b"-1",
        b"function",
        b"",
    ];
    for _ in 0..20_000 {
        let mut buffer = Vec::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let choice = (state >> 33) as usize;
            buffer.extend_from_slice(words[choice % words.len()]);
            if choice.is_multiple_of(7) {
                buffer.push((choice >> 8) as u8);
            }
            buffer.push(0);
        }
        match parse(&buffer) {
            Progress::Request { consumed, .. } | Progress::Malformed { consumed, .. } => {
                assert!(consumed > 0 && consumed <= buffer.len());
                assert_eq!(buffer[consumed - 1], 0);
            }
            Progress::NeedMore | Progress::Violation(_) => {}
        }
    }
}
