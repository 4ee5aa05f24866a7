//! What is understood at a glance is what the long way makes of the same bytes.

use super::{LOOKUP, SMALL, bytes};
use crate::wire::{Limits, Parser, Progress};

/// Requests of every kind, whole and with a second one behind.
const REQUESTS: [&str; 8] = [
    LOOKUP,
    "request|open|table|T:|flags|64||",
    "request|open|table|T:|instance_flags|00000064||",
    "request|lookup|table|T:|instance_flags|64|flags|64|key|||",
    "request|update|table|T:|flags|64|key|k|value|v||",
    "request|delete|table|T:|instance_flags|1|flags|2|key|k||",
    "request|sequence|table|T:|flags|64|function|0||request|lookup|table|T:|flags|64|key|k||",
    "request|sequence|table|T:|instance_flags|64|flags|64|function|1||",
];

/// The parser's result if everything arrives at once, and if it has seen one byte before.
fn both_ways(buffer: &[u8], limits: Limits) -> [Progress<'_>; 2] {
    let mut slow = Parser::new(limits);
    let first = slow.parse(buffer.get(..1).unwrap_or_default());
    let after_one_byte = if first == Progress::NeedMore { slow.parse(buffer) } else { first };
    [Parser::new(limits).parse(buffer), after_one_byte]
}

#[test]
fn whole_requests_are_the_same_both_ways() {
    for text in REQUESTS {
        let buffer = bytes(text);
        let [glance, long] = both_ways(&buffer, Limits::SERVICE);
        assert!(matches!(glance, Progress::Request { complaint: None, .. }), "{text}");
        assert_eq!(glance, long, "{text}");
    }
}

#[test]
fn damaged_requests_are_the_same_both_ways() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut requests, mut others) = (0, 0);
    for _ in 0..200_000 {
        let mut buffer = bytes(REQUESTS[random(REQUESTS.len())]);
        for _ in 0..random(4) {
            let at = random(buffer.len());
            match random(5) {
                0 if buffer.len() > 1 => drop(buffer.remove(at)),
                1 => buffer.insert(at, 0),
                2 => buffer[at] = b"0123456789\0k-"[random(13)],
                3 => drop(buffer.splice(at..at, b"0".repeat(random(30)))),
                _ => buffer.truncate(at + 1),
            }
        }
        let limits = if random(2) == 0 { SMALL } else { Limits::SERVICE };
        let [glance, long] = both_ways(&buffer, limits);
        assert_eq!(glance, long, "{}", buffer.escape_ascii());
        match glance {
            Progress::Request { .. } => requests += 1,
            _ => others += 1,
        }
    }
    assert!(requests > 20_000 && others > 20_000, "{requests} requests, {others} others");
}
