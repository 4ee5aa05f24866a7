use std::cell::Cell;

use super::super::{Flags, HEAP_LIMIT, MATCH_LIMIT, Regex};
use super::*;

const POSTFIX: Flags = Flags::POSTFIX;

const ENDLESS: Time<'_> = Time::ENDLESS;

fn compile(pattern: &str) -> Regex {
    Regex::compile(pattern.as_bytes(), POSTFIX).unwrap()
}

/// Runs a match with a clock that advances by `millis` each time it is read, starting with a second left. Returns the
/// result and the number of readings.
fn exec_by_clock(pattern: &str, subject: &[u8], millis: u64) -> (Result<Option<Groups>, MatchError>, u32) {
    let asked = Cell::new(0);
    let left = || {
        asked.set(asked.get() + 1);
        Duration::from_secs(1).saturating_sub(Duration::from_millis(millis) * asked.get())
    };
    let regex = compile(pattern);
    let mut matcher = Matcher::new(regex.groups()).unwrap();
    let found = matcher.exec(&regex, subject, true, Time { now: Duration::from_secs(1), left: &left });
    (found, asked.get())
}

#[test]
fn a_match_that_is_over_in_one_call_does_not_ask() {
    assert_eq!(exec_by_clock("b", b"abc", 1), (Ok(Some(vec![Some((1, 2))])), 0));
    assert_eq!(exec_by_clock("^x", &[b'a'; 100_000], 1), (Ok(None), 0));
    assert_eq!(exec_by_clock("x", &[b'a'; 100_000], 1), (Ok(None), 0), "no byte to begin with");
}

#[test]
fn the_time_ends_a_match_within_it() {
    // Each of 100,000 tries reads to the end: far below the limit of steps.
    let digits = vec![b'1'; 100_000];
    let (found, asked) = exec_by_clock("[0-9]+(?:@|x)", &digits, 100);
    assert_eq!((found, asked), (Err(MatchError::OutOfTime), 10));
    // One try that takes too many steps.
    let subject = [&[b'a'; 60][..], b"!"].concat();
    let (found, asked) = exec_by_clock("^(a+)+$", &subject, 300);
    assert_eq!((found, asked), (Err(MatchError::OutOfTime), 2));
    let (found, _) = exec_by_clock("x|(*PRUNE)(a+)+$", &subject, 300);
    assert_eq!(found, Err(MatchError::OutOfTime), "in one piece");
    // With time enough it is the limit.
    assert_eq!(exec_by_clock("^(a+)+$", &subject, 1).0, Err(MatchError::Limit));
}

#[test]
fn steps_are_limited_to_the_time_left() {
    let matcher = Matcher::with_limits(0, MATCH_LIMIT, HEAP_LIMIT).unwrap();
    let millis = Duration::from_millis;
    assert_eq!(matcher.more_steps(1000, millis(1), millis(900)), Ok(8000));
    assert_eq!(matcher.more_steps(1000, millis(100), millis(350)), Ok(3000));
    assert_eq!(matcher.more_steps(1000, millis(100), millis(199)), Err(MatchError::OutOfTime));
    assert_eq!(matcher.more_steps(1000, millis(0), millis(199)), Ok(8000));
    assert_eq!(matcher.more_steps(9_000_000, millis(1), millis(199)), Ok(MATCH_LIMIT));
    assert_eq!(matcher.more_steps(MATCH_LIMIT, millis(1), millis(199)), Err(MatchError::Limit));
}

#[test]
fn calls_are_bounded_whatever_the_subject() {
    let matcher = Matcher::with_limits(0, MATCH_LIMIT, HEAP_LIMIT).unwrap();
    for places in [1, 64, 1000, 300_000] {
        assert!(u64::from(matcher.steps_each(places)) * u64::try_from(places).unwrap() <= 1 << 20);
    }
}

/// The same match in one call, as Postfix runs it.
fn whole(pattern: &str, subject: &[u8]) -> Result<Option<Groups>, MatchError> {
    let mut regex = compile(pattern);
    regex.starts = Starts { utf: regex.starts.utf, ..Starts::in_one_piece() };
    Matcher::new(regex.groups()).unwrap().exec(&regex, subject, true, ENDLESS)
}

#[test]
fn parts_give_what_one_call_gives() {
    let long = "lorem ipsum dolor \u{e4}\u{1f600} sit\n10.2.3.4 amet@x.y\r\n".repeat(40);
    let mut subjects = vec![String::new(), "a".repeat(500), format!("{}b", "a".repeat(63)), long.clone()];
    for place in [62, 63, 64, 65, 127, 128, 129, 500, 1500] {
        let mut text = long.clone();
        let place = (0..=place).rev().find(|place| text.is_char_boundary(*place)).unwrap();
        text.insert_str(place, "Needle\nfoobarbar");
        subjects.push(text);
    }
    for pattern in [
        "needle",
        "(?<=e)foo",
        "foo(bar)+?",
        "(?m)^foo(.*)$",
        "(?-s).*foo",
        "(?-s).*needle$",
        "\\bfoo",
        "o*?b",
        "$",
        "\\z",
        "(?!lorem)b",
        "[^a]b",
        "(n)(e)\\2dle",
        "x?",
        "(?=foo)",
        "foo\\Kbar",
        "^",
        "(?m)^f",
        "(?m)$\\nfoo",
        "\\Afoo",
        "(?:a|b)b",
        "(foo|dolor)(?=.*bar)",
        "(?>a+)b",
        "a++b",
        "aab",
        "(*UTF)\u{e4}",
        "(*UTF)\u{1f600} s",
        "(*UTF)[^a]foo",
        "(*UTF)(?i)\u{c4}",
        "(*UTF).(?=foo)",
        "(*UTF)$",
        "\\Gfoo",
        "a(*SKIP)x|b",
        "foo(*COMMIT)x|bar",
        "(*CRLF)(?m)^foo",
        "(*ANYCRLF)(?m)^.",
        "(?m)\\n^f",
    ] {
        for subject in &subjects {
            let regex = compile(pattern);
            let mut matcher = Matcher::new(regex.groups()).unwrap();
            let parts = matcher.exec(&regex, subject.as_bytes(), true, ENDLESS);
            assert_eq!(parts, whole(pattern, subject.as_bytes()), "{pattern} {subject:?}");
        }
    }
}

#[test]
fn what_depends_on_where_a_search_begins_is_one_piece() {
    for pattern in ["\\Ga", "a(*SKIP)b", "(*COMMIT)a", "(*CRLF)a", "(*UTF)a(*F)"] {
        assert_eq!(compile(pattern).starts.extent, Extent::OnePiece, "{pattern}");
    }
    for pattern in ["a", "(*UTF)(*UCP)a", "a(b)*"] {
        assert_eq!(compile(pattern).starts.extent, Extent::Parts, "{pattern}");
    }
    assert_eq!(compile("^a").starts.extent, Extent::Beginning);
}

#[test]
fn first_byte_beyond_ascii_is_found_in_the_other_case() {
    // With UCP, letters of Latin-1 have two cases, also where nothing is UTF-8.
    let pattern = b"(*UCP)\xe9x";
    let subject = [&[b'.'; 100][..], b"\xc9x"].concat();
    let regex = Regex::compile(pattern, POSTFIX).unwrap();
    let parts = Matcher::new(0).unwrap().exec(&regex, &subject, true, ENDLESS);
    assert_eq!(parts, Ok(Some(vec![Some((100, 102))])));
}
