use super::super::tests::{answers, found, reply};
use super::*;

fn asked() -> Box<dyn Engine> {
    let mut engine = Tcp::default();
    assert_eq!(engine.room(), 1);
    engine.ask(&Template::Tcp, b"key", &mut Vec::new());
    assert_eq!(engine.room(), 0);
    Box::new(engine)
}

fn said(line: &[u8]) -> Result<Answer, Garbage> {
    reply(asked, line)
}

const MALFORMED: Result<Answer, Garbage> = Err(Garbage("a malformed reply"));

#[test]
fn key_is_encoded_as_postfix_does() {
    let mut out = Vec::new();
    Tcp::default().ask(&Template::Tcp, "a b%\t\n\r\x7fä~!\0".as_bytes(), &mut out);
    assert_eq!(out, b"get a%20b%25%09%0A%0D%7F%C3%A4~!%00\n");
    let every: Vec<u8> = (0..=u8::MAX).collect();
    out.clear();
    Tcp::default().ask(&Template::Tcp, &every, &mut out);
    assert_eq!(decoded(&out[4..out.len() - 1]), Some(every));
    assert!(out[4..out.len() - 1].iter().all(u8::is_ascii_graphic));
}

/// Each as `postmap -q` of Postfix takes it.
#[test]
fn every_status_is_what_postfix_takes_it_for() {
    for (line, value) in [
        (&b"200 value\n"[..], &b"value"[..]),
        (b"200 \n", b""),
        (b"200\r\n", b""),
        (b"200\tv\n", b"v"),
        (b"200\x0bv\n", b"v"),
        (b"200  v \n", b" v "),
        (b"200 v\r\n", b"v\r"),
        (b"299 v\n", b"v"),
        (b"200 a%2f%2Fb%20%c3%A4\n", "a//b ä".as_bytes()),
        (b"200 a%00b\n", b"a"),
        (b"200 a\0%zz\n", b"a"),
        (b"200 \xff\n", b"\xff"),
        (b"200 a+b\n", b"a+b"),
    ] {
        assert_eq!(said(line), found(value), "{}", line.escape_ascii());
    }
    for line in [&b"500 x\n"[..], b"500 \n", b"500\r\n", b"599 no%20such%20user\n"] {
        assert_eq!(said(line), Ok(goes_on(Reply::Absent)));
    }
    let text = "the server has a temporary error: try again?";
    for line in [&b"400 try again\x1b\n"[..], b"450  try%20again%07\r\n"] {
        let Ok(Answer { reply: Reply::Failed(NoAnswer::Later, said), ends: true }) = said(line) else {
            panic!()
        };
        assert_eq!(said.trim_end_matches('?'), text.trim_end_matches('?'));
    }
}

#[test]
fn what_is_malformed_is_garbage() {
    for line in [
        &b"\n"[..],
        b"200\n",
        b"500\n",
        b"400\n",
        b"20\n",
        b"20 v\n",
        b"2000 v\n",
        b"2x0 v\n",
        b"x00 v\n",
        b" 200 v\n",
        b"200:v\n",
        b"200 %\n",
        b"200 %4\n",
        b"200 a%zz\n",
        b"200 %4g\n",
        b"200 %g4\n",
        b"200 % 41\n",
        b"200 %+1\n",
        b"200\0 v\n",
        b"20\xb20 v\n",
        // The text of an error counts, too.
        b"500 100% no\n",
        b"400 100%\n",
    ] {
        assert_eq!(said(line), MALFORMED, "{}", line.escape_ascii());
    }
    for line in [&b"300 x\n"[..], b"000 x\n", b"100 x\n", b"600 x\n", b"999 x\n"] {
        assert_eq!(said(line), Err(Garbage("a reply with an unknown status")));
    }
}

#[test]
fn line_has_4096_bytes_with_its_end() {
    let line = |length: usize| [b"200 ".to_vec(), vec![b'v'; length - 5], b"\n".to_vec()].concat();
    assert_eq!(said(&line(4096)), found(&[b'v'; 4091]));
    let too_long = Err(Garbage("a reply longer than 4096 bytes"));
    assert_eq!(said(&line(4097)), too_long);
    assert_eq!(said(&[b'2'; 4096]), too_long);
}

#[test]
fn answers_without_a_question_are_garbage() {
    let nothing_asked = Garbage("bytes that belong to no answer");
    assert_eq!(answers(&mut Tcp::default(), b"200 v\n", 7), Err(nothing_asked));
    let (mut engine, mut input) = (asked(), &b"200 v\n500 x\n"[..]);
    assert_eq!(engine.receive(&mut input, &mut Vec::new()).map(Option::unwrap), found(b"v"));
    assert_eq!(engine.receive(&mut input, &mut Vec::new()), Err(nothing_asked));
}

#[test]
fn one_connection_answers_many_questions() {
    let mut engine = Tcp::default();
    for (bytes, expected) in [(&b"200 v\n"[..], Reply::Found(b"v".to_vec())), (b"500 x\n", Reply::Absent)] {
        engine.ask(&Template::Tcp, b"key", &mut Vec::new());
        assert_eq!(answers(&mut engine, bytes, 2), Ok(vec![goes_on(expected)]));
    }
}
