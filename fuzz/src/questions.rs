//! What lookup workers and those who answer for some of their tables send each other.

use mapkeep_proto::{Answer, DecodeError, Frames, MAX_KEY, MAX_REASON, MAX_VALUE, Question};
use mapkeep_proto::{Answered, Asked};

/// A stream, taken for questions and for answers: in one go, in pieces and byte by byte, the same frames come out, and each
/// has one spelling.
pub fn questions(stream: &[u8]) {
    both_cuts(stream, Question::LONGEST, |body| {
        let Ok(question) = Question::decode(body) else { return };
        let mut again = Vec::new();
        question.encode(&mut again);
        assert_eq!(again.get(4..), Some(body), "a question has two spellings");
        assert!(!matches!(question.asked, Asked::Lookup { key, .. } if key.len() > MAX_KEY));
    });
    both_cuts(stream, Answer::LONGEST, |body| {
        let Ok(answer) = Answer::decode(body) else { return };
        let mut again = Vec::new();
        answer.encode(&mut again);
        assert_eq!(again.get(4..), Some(body), "an answer has two spellings");
        assert!(!matches!(answer.answered, Answered::Found { value, .. } if value.len() > MAX_VALUE));
        assert!(!matches!(answer.answered, Answered::Failed { reason, .. } if reason.len() > MAX_REASON));
    });
}

fn both_cuts(stream: &[u8], longest: usize, mut body: impl FnMut(&[u8])) {
    let whole = frames(stream.chunks(stream.len().max(1)), longest, &mut body);
    for piece in [1, 3, 64] {
        assert!(frames(stream.chunks(piece), longest, |_| {}) == whole, "cut in pieces of {piece}");
    }
}

/// The bodies of all frames, and the error that ended them, if any.
fn frames<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    longest: usize,
    mut body: impl FnMut(&[u8]),
) -> (Vec<Vec<u8>>, Option<DecodeError>) {
    let (mut frames, mut bodies) = (Frames::default(), Vec::new());
    for piece in pieces {
        let before = frames.held();
        frames.add(piece);
        assert_eq!(frames.held(), before + piece.len());
        loop {
            match frames.next(longest) {
                Ok(Some(whole)) => {
                    assert!(whole.len() <= longest);
                    body(whole);
                    bodies.push(whole.to_vec());
                }
                Ok(None) => break,
                Err(error) => return (bodies, Some(error)),
            }
        }
        assert!(frames.held() < longest + 4, "more is kept than the longest frame");
    }
    (bodies, None)
}
