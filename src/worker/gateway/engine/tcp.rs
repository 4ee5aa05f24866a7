//! tcp_table(5): lines, one question at a time.
//!
//! Facts that the manual does not say are those of dict_tcp.c and hex_quote.c in Postfix: the first of three digits
//! decides, any white space may follow them, every text must be well encoded, what follows a NUL byte does not count, and
//! after a temporary error the connection is closed.

use super::{Answer, Engine, Garbage, Reply, Template, goes_on, until_nul};
use mapkeep_proto::NoAnswer;

/// The longest reply in bytes, its newline included.
const LONGEST: usize = 4096;

/// One connection's side.
#[derive(Debug, Default)]
pub(super) struct Tcp {
    asked: bool,
    line: Vec<u8>,
}

impl Engine for Tcp {
    fn room(&self) -> usize {
        usize::from(!self.asked)
    }

    fn ask(&mut self, _template: &Template, key: &[u8], out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |half: u8| DIGITS.get(usize::from(half & 0xf)).copied().unwrap_or_default();
        out.extend_from_slice(b"get ");
        for byte in key {
            match byte {
                b'%' => out.extend_from_slice(b"%25"),
                b'!'..=b'~' => out.push(*byte),
                _ => out.extend_from_slice(&[b'%', digit(byte >> 4), digit(*byte)]),
            }
        }
        out.push(b'\n');
        self.asked = true;
    }

    fn receive(&mut self, input: &mut &[u8], _out: &mut Vec<u8>) -> Result<Option<Answer>, Garbage> {
        if input.is_empty() {
            return Ok(None);
        }
        if !self.asked {
            return Err(Garbage("bytes that belong to no answer"));
        }
        let end = input.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(input.len());
        if self.line.len().saturating_add(taken) >= LONGEST {
            return Err(Garbage("a reply longer than 4096 bytes"));
        }
        let (text, rest) = input.split_at(taken);
        self.line.extend_from_slice(text);
        *input = rest.get(1..).unwrap_or_default();
        if end.is_none() {
            return Ok(None);
        }
        self.asked = false;
        reply(&std::mem::take(&mut self.line)).map(Some)
    }
}

/// What a line says.
fn reply(line: &[u8]) -> Result<Answer, Garbage> {
    const MALFORMED: Garbage = Garbage("a malformed reply");
    let [first, second, third, space, text @ ..] = until_nul(line) else { return Err(MALFORMED) };
    let digits = [first, second, third].iter().all(|byte| byte.is_ascii_digit());
    // White space as C has it; a newline ends the line.
    if !digits || !matches!(space, b' ' | b'\t'..=b'\r') {
        return Err(MALFORMED);
    }
    let text = decoded(text).ok_or(MALFORMED)?;
    match first {
        b'2' => Ok(goes_on(Reply::Found(until_nul(&text).to_vec()))),
        b'5' => Ok(goes_on(Reply::Absent)),
        b'4' => {
            let reply = Reply::failed(NoAnswer::Later, "the server has a temporary error", until_nul(&text));
            Ok(Answer { reply, ends: true })
        }
        _ => Err(Garbage("a reply with an unknown status")),
    }
}

/// The text with its `%XX` decoded; nothing if one is malformed.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.iter());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            byte => *byte,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
