use super::*;

/// What an engine makes of these bytes, once it has been asked; they come in pieces of this length.
pub(super) fn answers(engine: &mut dyn Engine, bytes: &[u8], piece: usize) -> Result<Vec<Answer>, Garbage> {
    let mut answers = Vec::new();
    for mut input in bytes.chunks(piece.max(1)) {
        while !input.is_empty() {
            let before = input.len();
            match engine.receive(&mut input, &mut Vec::new())? {
                Some(answer) => answers.push(answer),
                None => assert!(input.is_empty(), "it takes all that it can"),
            }
            assert!(input.len() < before, "it goes on");
        }
    }
    Ok(answers)
}

/// The one reply to a question, whole and byte by byte.
pub(super) fn reply(new: impl Fn() -> Box<dyn Engine>, bytes: &[u8]) -> Result<Answer, Garbage> {
    let mut all = [bytes.len(), 1, 3].map(|piece| {
        let mut engine = new();
        answers(&mut *engine, bytes, piece).map(|answers| {
            assert_eq!((answers.len(), engine.room()), (1, 1), "{}", bytes.escape_ascii());
            answers[0].clone()
        })
    });
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
    std::mem::replace(&mut all[0], Err(Garbage("")))
}

pub(super) fn found(value: &[u8]) -> Result<Answer, Garbage> {
    Ok(goes_on(Reply::Found(value.to_vec())))
}

const MANNER: Manner =
    Manner { with_nul: false, bare: true, substitution: false, utf8: true, file_content: false };

#[test]
fn value_that_is_not_utf8_is_a_failure_where_that_was_asked_for() {
    let found = |value: &[u8]| Reply::Found(value.to_vec());
    let not_utf8 = Reply::Failed(NoAnswer::NotUtf8, String::new());
    assert_eq!(found("grüße".as_bytes()).checked(MANNER), found("grüße".as_bytes()));
    // Cut, overlong, a surrogate, beyond the last letter.
    for value in [&b"\xc3"[..], b"a\xffb", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        assert_eq!(found(value).checked(MANNER), not_utf8);
        assert_eq!(found(value).checked(Manner { utf8: false, ..MANNER }), found(value));
    }
    assert_eq!(Reply::Absent.checked(MANNER), Reply::Absent);
}

#[test]
fn value_is_not_longer_than_an_answer_may_be() {
    let longest = Reply::Found(vec![b'v'; MAX_VALUE]);
    assert_eq!(longest.clone().checked(MANNER), longest);
    let longer = Reply::Found(vec![b'v'; MAX_VALUE + 1]).checked(MANNER);
    assert!(matches!(longer, Reply::Failed(NoAnswer::Later, _)));
}

#[test]
fn settings_of_another_protocol_are_no_template() {
    let socketmap = Protocol::Socketmap { max_reply: 1, max_query: 1 };
    let map = Asks::Socketmap { map: b"m".to_vec() };
    assert!(Template::new(&socketmap, &map).is_some() && Template::new(&Protocol::Tcp, &Asks::Tcp).is_some());
    assert!(Template::new(&socketmap, &Asks::Tcp).is_none() && Template::new(&Protocol::Tcp, &map).is_none());
}

#[test]
fn words_of_a_server_are_quoted_printable_and_short() {
    let Reply::Failed(NoAnswer::Later, text) = Reply::failed(NoAnswer::Later, "it says", &[b'\x1b'; 300])
    else {
        panic!()
    };
    assert_eq!(text, format!("it says: {}...", "?".repeat(QUOTED)));
    assert_eq!(
        Reply::failed(NoAnswer::Later, "no more", b"  "),
        Reply::Failed(NoAnswer::Later, "no more".into())
    );
}
