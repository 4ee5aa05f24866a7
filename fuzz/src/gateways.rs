//! What servers of databases and network tables send to a gateway.

use mapkeep_proto::{Asks, MAX_VALUE, Protocol};
use mapkeep_worker_gateway::engine::{Answer, Garbage, Reply, Template, engine};

/// A stream of a socketmap server. The first two bytes are the longest reply that is allowed.
pub fn socketmap(stream: &[u8]) {
    let Some((max_reply, replies)) = stream.split_first_chunk::<2>() else { return };
    let max_reply = u32::from(u16::from_le_bytes(*max_reply));
    let protocol = Protocol::Socketmap { max_reply, max_query: 100 };
    let (answers, _) = all_cuts(&protocol, &Asks::Socketmap { map: b"map".to_vec() }, replies);
    for answer in answers {
        assert!(!answer.ends);
        let longest = if max_reply == 0 { MAX_VALUE } else { max_reply as usize };
        assert!(!matches!(answer.reply, Reply::Found(value) if value.len() > longest || value.contains(&0)));
    }
}

/// A stream of a tcp server.
pub fn tcp(replies: &[u8]) {
    let (answers, garbage) = all_cuts(&Protocol::Tcp, &Asks::Tcp, replies);
    for answer in &answers {
        assert!(!matches!(&answer.reply, Reply::Found(value) if value.len() > 4091 || value.contains(&0)));
        assert_eq!(answer.ends, matches!(answer.reply, Reply::Failed(..)));
    }
    let lines = replies.iter().filter(|byte| **byte == b'\n').count();
    assert!(answers.len() + usize::from(garbage.is_some()) <= lines + 1);
}

/// The answers, and what ended them, if not the stream: the same however it is cut.
fn all_cuts(protocol: &Protocol, asks: &Asks, stream: &[u8]) -> (Vec<Answer>, Option<Garbage>) {
    let whole = answers(protocol, asks, stream.chunks(stream.len().max(1)));
    for piece in [1, 3, 64] {
        assert!(answers(protocol, asks, stream.chunks(piece)) == whole, "cut in pieces of {piece}");
    }
    for answer in &whole.0 {
        if let Reply::Failed(_, reason) = &answer.reply {
            assert!(
                reason.len() < 300 && reason.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                "{reason}"
            );
        }
    }
    whole
}

fn answers<'a>(
    protocol: &Protocol,
    asks: &Asks,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Answer>, Option<Garbage>) {
    let (mut engine, template) = (engine(protocol), Template::new(protocol, asks).expect("settings"));
    let (mut answers, mut out) = (Vec::new(), Vec::new());
    for mut input in pieces {
        while !input.is_empty() {
            if engine.room() > 0 {
                engine.ask(&template, b"key", &mut out);
            }
            let before = input.len();
            match engine.receive(&mut input, &mut out) {
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) => assert!(input.is_empty(), "it takes all that it can"),
                Err(garbage) => return (answers, Some(garbage)),
            }
            assert!(input.len() < before, "it goes on");
        }
    }
    (answers, None)
}
