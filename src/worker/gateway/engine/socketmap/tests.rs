use super::super::tests::{answers, found, reply};
use super::*;
use crate::engine;

const MAX_REPLY: u32 = 100_000;

fn template(max_query: u32) -> engine::Template {
    engine::Template::Socketmap(Template::new(b"map", max_query))
}

/// An engine that has been asked.
fn asked(max_reply: u32) -> Box<dyn Engine> {
    let mut engine = Socketmap::new(max_reply);
    assert_eq!(engine.room(), 1);
    engine.ask(&template(0), b"key", &mut Vec::new());
    assert_eq!(engine.room(), 0);
    Box::new(engine)
}

fn said(bytes: &[u8]) -> Result<Answer, Garbage> {
    reply(|| asked(MAX_REPLY), bytes)
}

fn netstring(payload: &[u8]) -> Vec<u8> {
    [format!("{}:", payload.len()).as_bytes(), payload, b","].concat()
}

fn failed(why: NoAnswer, text: &str) -> Result<Answer, Garbage> {
    Ok(goes_on(Reply::Failed(why, text.to_owned())))
}

#[test]
fn question_is_a_netstring_of_map_and_key() {
    for (key, expected) in
        [(&b"a b"[..], &b"7:map a b,"[..]), (b"", b"4:map ,"), (b"\xff:,", b"7:map \xff:,,")]
    {
        let mut out = Vec::new();
        Socketmap::new(MAX_REPLY).ask(&template(0), key, &mut out);
        assert_eq!(out, expected);
    }
}

/// Each as `postmap -q` of Postfix takes it, but for a value that is empty: `OK` alone is absent in releases before April
/// 2026.
#[test]
fn every_status_is_what_postfix_takes_it_for() {
    for (payload, value) in [
        (&b"OK value"[..], &b"value"[..]),
        (b"OK ", b""),
        (b"OK", b""),
        (b"OK  two  ", b" two  "),
        (b"OK a\0b", b"a"),
        (b"OK\0 x", b""),
        (b"OK \r\n", b"\r\n"),
        (b"OK \xff", b"\xff"),
    ] {
        assert_eq!(said(&netstring(payload)), found(value), "{}", payload.escape_ascii());
    }
    for payload in [&b"NOTFOUND"[..], b"NOTFOUND ", b"NOTFOUND no such user", b"NOTFOUND\0x"] {
        assert_eq!(said(&netstring(payload)), Ok(goes_on(Reply::Absent)));
    }
    let (later, permanent) = (NoAnswer::Later, NoAnswer::Permanent);
    for (payload, why, text) in [
        (&b"TEMP"[..], later, "the server has a temporary error"),
        (b"TEMP  try \x1bagain", later, "the server has a temporary error: try ?again"),
        (b"TIMEOUT db", later, "the server has run out of time: db"),
        (b"PERM no such map", permanent, "the server has a permanent error: no such map"),
        (b"PERM", permanent, "the server has a permanent error"),
    ] {
        assert_eq!(said(&netstring(payload)), failed(why, text));
    }
    for payload in [&b""[..], b"ok value", b"OKvalue", b"OK\tvalue", b"NOT FOUND", b" OK value", b"\0OK"] {
        assert_eq!(said(&netstring(payload)), failed(later, "the server answers with an unknown status"));
    }
}

#[test]
fn length_may_have_zeros_before_it_or_no_digit() {
    assert_eq!(said(b"0004:OK v,"), found(b"v"));
    let unknown = failed(NoAnswer::Later, "the server answers with an unknown status");
    assert_eq!(said(b":,"), unknown);
    assert_eq!(said(b"0:,"), unknown);
}

#[test]
fn what_is_no_netstring_is_garbage() {
    for bytes in [
        &b"x"[..],
        b" 4:OK v,",
        b"-4:OK v,",
        b"4 :OK v,",
        b"4:OK v;",
        b"4:OK vv,",
        b"OK v\n",
        b",",
        b"4,OK v:",
    ] {
        assert_eq!(said(bytes), Err(Garbage("not a netstring")), "{}", bytes.escape_ascii());
    }
}

#[test]
fn reply_has_a_longest_length_and_an_endless_one_is_seen_at_its_first_digits() {
    let longest = [b"OK ".to_vec(), vec![b'v'; MAX_REPLY as usize - 3]].concat();
    assert_eq!(said(&netstring(&longest)), found(&longest[3..]));
    let too_long = Err(Garbage("a reply longer than is allowed"));
    assert_eq!(said(b"100001:"), too_long);
    assert_eq!(said(b"99999999999999999999999999999999"), too_long);
    // Without a limit of the administrator's, a value is as long as an answer may be.
    for max_reply in [0, u32::MAX] {
        let longest = [b"OK ".to_vec(), vec![b'v'; MAX_VALUE]].concat();
        let mut engine = asked(max_reply);
        assert_eq!(answers(&mut *engine, &netstring(&longest), 1 << 16).unwrap().len(), 1);
        assert_eq!(reply(|| asked(max_reply), format!("{}:", MAX_VALUE + 4).as_bytes()), too_long);
    }
    assert_eq!(reply(|| asked(3), b"4:OK v,"), too_long);
}

#[test]
fn answers_without_a_question_are_garbage() {
    let nothing_asked = Err(Garbage("bytes that belong to no answer"));
    assert_eq!(answers(&mut Socketmap::new(MAX_REPLY), b"4:OK v,", 7), nothing_asked);
    // The answer before them stands.
    let mut engine = asked(MAX_REPLY);
    let mut input = &b"4:OK v,junk"[..];
    assert_eq!(engine.receive(&mut input, &mut Vec::new()).map(Option::unwrap), found(b"v"));
    assert_eq!(input, b"junk");
    assert_eq!(engine.receive(&mut input, &mut Vec::new()), Err(Garbage("bytes that belong to no answer")));
}

#[test]
fn one_connection_answers_many_questions() {
    let mut engine = Socketmap::new(MAX_REPLY);
    for _ in 0..3 {
        for (bytes, expected) in
            [(&b"4:OK v,"[..], Reply::Found(b"v".to_vec())), (b"8:NOTFOUND,", Reply::Absent)]
        {
            engine.ask(&template(0), b"key", &mut Vec::new());
            assert_eq!(answers(&mut engine, bytes, 2), Ok(vec![goes_on(expected)]));
        }
    }
}

#[test]
fn key_that_is_too_long_is_absent_and_its_length_is_told() {
    let limited = template(10);
    assert_eq!(limited.absent(b"0123456789"), None);
    let remark = limited.absent(b"0123456789a").unwrap();
    assert!(remark.contains("11 bytes") && remark.contains("(10)") && !remark.contains("9a"), "{remark}");
    assert_eq!(template(0).absent(&[b'k'; 100_000]), None);
}
