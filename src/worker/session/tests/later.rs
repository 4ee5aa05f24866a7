//! Tables that another process answers for: the same replies, flags and log lines, only later.

use mapkeep_proto::Answered as Reported;
use mapkeep_query::{NulMode, Outcome};

use super::*;
use crate::fake::FakeSearch;

/// Has the search answered as the other process would.
pub(super) fn resumed(
    tables: &FakeTables,
    mut pending: Pending<usize, FakeSearch>,
    mut out: Vec<u8>,
    log: &mut dyn FnMut(Event<'_>),
) -> (Vec<u8>, Answered<usize>) {
    let answer = pending.search().answer.clone();
    let failed = answer.as_ref().err().map(Failure::report);
    let reported = match (&answer, &failed) {
        (Ok((Outcome::Found(mode), value)), _) => {
            Reported::Found { with_nul: *mode == NulMode::WithNul, value }
        }
        (Err(_), Some((why, reason))) => Reported::Failed { why: *why, reason },
        _ => Reported::Absent,
    };
    match resume(pending, reported, tables, &mut out, log) {
        Answer::Ready(answered) => (out, answered),
        Answer::Pending(_) => panic!("one question is enough"),
    }
}

#[test]
fn late_replies_are_those_that_would_have_come_at_once() {
    type Make = fn() -> Content;
    let contents: [(&str, Make); 7] = [
        ("regexp:/r", || Content::Same(b"foo".to_vec())),
        ("pcre:/raw", || Content::Same(b"\xff".to_vec())),
        ("cidr:/none", || Content::Fails(Failure::Unavailable(Cow::Borrowed("its file does not exist")))),
        ("pcre:/slow", || Content::Fails(Failure::Content(TableError::OutOfTime { line: 7 }))),
        ("regexp:/fails", || Content::Fails(Failure::OnPurpose)),
        ("debug:pcre:/r", || {
            Content::Entries(std::sync::Mutex::new(vec![(b"alice".to_vec(), b"x".to_vec())]))
        }),
        // It has NUL forms, and the reply tells which one matched.
        ("hash:/h", || Content::Entries(std::sync::Mutex::new(vec![(b"alice\0".to_vec(), b"x\0".to_vec())]))),
    ];
    let mut now = Conversation::new();
    let mut later = Conversation::new();
    now.tables = FakeTables::default();
    later.tables = FakeTables::default();
    for (name, content) in contents {
        now.tables = now.tables.with(name.as_bytes(), content());
        later.tables = later.tables.with(name.as_bytes(), Content::Elsewhere(Box::new(content())));
    }
    let mut compared = 0;
    for (name, _) in contents {
        for flags in [0, 64, 64 | 16_384 | 32_768, 524_352, 2_097_216, 1_572_892, 540_736] {
            for form in [format!("flags|{flags}|"), format!("instance_flags|{flags}|flags|{flags}|")] {
                for rest in ["key|alice||", "key|ALICE||", "key|||", "key|m\u{fc}ller||"] {
                    let request = format!("request|lookup|table|proxy:{name}|{form}{rest}");
                    assert_eq!(later.ask(&request), now.ask(&request), "{request}");
                    compared += 1;
                }
                if !name.starts_with("hash") {
                    let request = format!("request|sequence|table|{name}|{form}function|0||");
                    assert_eq!(later.ask(&request), now.ask(&request), "{request}");
                }
            }
        }
    }
    assert_eq!(later.logged, now.logged);
    assert!(compared == 392 && now.logged.len() > 100, "{compared} {}", now.logged.len());
}

#[test]
fn refusals_and_impossible_keys_do_not_wait() {
    let mut conversation = Conversation::new();
    conversation.tables = FakeTables::default().with(
        b"regexp:/r",
        Content::Elsewhere(Box::new(Content::Fails(Failure::Unavailable(Cow::Borrowed("nobody answers"))))),
    );
    let key = b"request\0lookup\0table\0regexp:/r\0flags\x00524352\0key\0\xff\0\0";
    assert_eq!(conversation.ask_bytes(key), "status|1|value|||");
    assert_eq!(conversation.ask("request|open|table|regexp:/r|flags|0||"), "status|0|flags|32||");
    assert_eq!(conversation.ask("request|lookup|table|regexp:/no|flags|0|key|k||"), "status|4|value|||");
    assert!(!conversation.logged.iter().any(|line| line.contains("nobody answers")));
    conversation.ask("request|lookup|table|regexp:/r|flags|0|key|k||");
    assert!(conversation.logged.iter().any(|line| line.contains("nobody answers")));
}
