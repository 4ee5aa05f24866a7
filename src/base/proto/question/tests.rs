use super::*;

const MANNER: Manner =
    Manner { with_nul: true, bare: false, substitution: true, utf8: false, file_content: true };

fn question(asked: Asked<'_>) -> Question<'_> {
    Question { ticket: 7, table: TableId(513), client: u64::MAX, asked }
}

#[test]
fn questions_come_back_as_they_were() {
    let longest = vec![b'k'; MAX_KEY];
    for asked in [
        Asked::Usable,
        Asked::Withdrawn,
        Asked::Lookup { key: b"", manner: MANNER },
        Asked::Lookup { key: &longest, manner: MANNER },
    ] {
        let mut out = Vec::new();
        question(asked).encode(&mut out);
        assert!(Question::decode(&out[4..]) == Ok(question(asked)));
        assert!(out.len() - 4 <= Question::LONGEST);
    }
    let mut out = Vec::new();
    question(Asked::Lookup { key: &vec![0; MAX_KEY + 1], manner: MANNER }).encode(&mut out);
    assert!(Question::decode(&out[4..]) == Err(DecodeError::Field));
}

#[test]
fn every_manner_has_bits_of_its_own_and_others_are_errors() {
    for bits in 0..32 {
        assert_eq!(Manner::from_bits(bits).map(Manner::bits), Ok(bits));
    }
    assert_eq!(Manner::from_bits(32), Err(DecodeError::Field));
}

#[test]
fn answers_come_back_as_they_were() {
    let longest = vec![b'v'; MAX_VALUE];
    for answered in [
        Answered::Absent,
        Answered::Found { with_nul: true, value: &longest },
        Answered::Failed { why: NoAnswer::Later, reason: "line 7: …" },
        Answered::Failed { why: NoAnswer::Unavailable, reason: "" },
        Answered::Failed { why: NoAnswer::Permanent, reason: "no such map" },
    ] {
        let (mut out, answer) = (Vec::new(), Answer { ticket: 9, answered });
        answer.encode(&mut out);
        assert!(Answer::decode(&out[4..]) == Ok(answer));
        assert!(out.len() - 4 <= Answer::LONGEST);
        for cut in 0..6.min(out.len() - 4) {
            let read = Answer::decode(&out[4..4 + cut]);
            assert!(read != Ok(answer), "cut at {cut}");
        }
    }
    assert!(Answer::decode(&[3, 0, 0, 0, 0, 9]) == Err(DecodeError::Field), "no such reason");
    assert!(Answer::decode(&[3, 0, 0, 0, 0, 1, 0xff]) == Err(DecodeError::Field), "no text");
    assert!(Answer::decode(&[4, 0, 0, 0, 0]) == Err(DecodeError::UnknownTag(4)));
}

#[test]
fn long_reason_is_cut_between_letters() {
    let (mut out, reason) = (Vec::new(), "é".repeat(MAX_REASON));
    let answered = Answered::Failed { why: NoAnswer::Later, reason: &reason };
    Answer { ticket: 1, answered }.encode(&mut out);
    let Ok(Answer { answered: Answered::Failed { reason, .. }, .. }) = Answer::decode(&out[4..]) else {
        panic!("cut within a letter");
    };
    assert_eq!(reason.len(), MAX_REASON);
}

#[test]
fn frames_come_whole_however_the_stream_is_cut() {
    let mut stream = Vec::new();
    for ticket in 0..50u32 {
        let value = vec![b'v'; ticket as usize * 7];
        let answered = Answered::Found { with_nul: false, value: &value };
        Answer { ticket, answered }.encode(&mut stream);
    }
    for piece in [1, 2, 3, 5, 64, 1000, stream.len()] {
        let (mut frames, mut expected) = (Frames::default(), 0);
        for bytes in stream.chunks(piece) {
            frames.add(bytes);
            while let Some(body) = frames.next(Answer::LONGEST).unwrap() {
                assert_eq!(Answer::decode(body).unwrap().ticket, expected);
                expected += 1;
            }
        }
        assert_eq!((expected, frames.held()), (50, 0));
    }
}

#[test]
fn frame_that_is_too_long_is_an_error_before_it_is_there() {
    let mut frames = Frames::default();
    frames.add(&u32::MAX.to_le_bytes());
    assert_eq!(frames.next(Answer::LONGEST), Err(DecodeError::Field));
}
