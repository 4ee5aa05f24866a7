//! socketmap_table(5): netstrings, one question at a time.
//!
//! Facts that the manual does not say are those of dict_sockmap.c and netstring.c in Postfix: a length may have leading
//! zeros or no digit at all, what follows a NUL byte does not count, and a status ends at the first space.

use super::{Answer, Engine, Garbage, Reply, goes_on, until_nul};
use mapkeep_proto::{MAX_VALUE, NoAnswer};

/// The longest reply that can matter, in bytes: a value of the longest length, behind its status.
const LONGEST: usize = MAX_VALUE + "OK ".len();

/// How a map is asked.
#[derive(Debug)]
pub struct Template {
    /// Its name and a space.
    prefix: Vec<u8>,
    /// The longest key in bytes; nothing for no limit.
    longest: Option<usize>,
}

impl Template {
    /// A map of this name. A `max_query` of 0 is no limit.
    pub(super) fn new(map: &[u8], max_query: u32) -> Template {
        let longest = (max_query > 0).then_some(max_query as usize);
        Template { prefix: [map, b" "].concat(), longest }
    }

    pub(super) fn absent(&self, key: &[u8]) -> Option<String> {
        let longest = self.longest.filter(|longest| key.len() > *longest)?;
        let length = key.len();
        Some(format!(
            "a key of {length} bytes is longer than socketmap_max_query_size ({longest}), and taken for absent"
        ))
    }
}

/// One connection's side.
#[derive(Debug)]
pub(super) struct Socketmap {
    longest: usize,
    asked: bool,
    part: Part,
    payload: Vec<u8>,
}

/// What of a netstring comes next.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// A digit of the length, or its end.
    Length(usize),
    /// So many bytes.
    Payload(usize),
    /// The end.
    Comma,
}

impl Socketmap {
    /// A new connection. A `max_reply` of 0 is no limit of the administrator's.
    pub(super) fn new(max_reply: u32) -> Socketmap {
        let longest = if max_reply == 0 { LONGEST } else { LONGEST.min(max_reply as usize) };
        Socketmap { longest, asked: false, part: Part::Length(0), payload: Vec::new() }
    }

    /// Takes one step. True at the end of a netstring.
    fn step(&mut self, input: &mut &[u8]) -> Result<bool, Garbage> {
        let Some((first, rest)) = input.split_first() else { return Ok(false) };
        match self.part {
            Part::Length(length) => {
                *input = rest;
                self.part = match first {
                    b':' if length == 0 => Part::Comma,
                    b':' => Part::Payload(length),
                    digit if digit.is_ascii_digit() => {
                        let length = length.saturating_mul(10).saturating_add(usize::from(digit & 0xf));
                        if length > self.longest {
                            return Err(Garbage("a reply longer than is allowed"));
                        }
                        Part::Length(length)
                    }
                    _ => return Err(Garbage("not a netstring")),
                };
            }
            Part::Payload(left) => {
                let (taken, rest) = input.split_at(left.min(input.len()));
                *input = rest;
                self.payload.extend_from_slice(taken);
                self.part = match left.saturating_sub(taken.len()) {
                    0 => Part::Comma,
                    left => Part::Payload(left),
                };
            }
            Part::Comma => {
                *input = rest;
                if *first != b',' {
                    return Err(Garbage("not a netstring"));
                }
                self.part = Part::Length(0);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Engine for Socketmap {
    fn room(&self) -> usize {
        usize::from(!self.asked)
    }

    fn ask(&mut self, template: &super::Template, key: &[u8], out: &mut Vec<u8>) {
        if let super::Template::Socketmap(Template { prefix, .. }) = template {
            out.extend_from_slice(prefix.len().saturating_add(key.len()).to_string().as_bytes());
            [b":", &**prefix, key, b","].iter().for_each(|part| out.extend_from_slice(part));
            self.asked = true;
        }
    }

    fn receive(&mut self, input: &mut &[u8], _out: &mut Vec<u8>) -> Result<Option<Answer>, Garbage> {
        while !input.is_empty() {
            if !self.asked {
                return Err(Garbage("bytes that belong to no answer"));
            }
            if self.step(input)? {
                self.asked = false;
                return Ok(Some(goes_on(reply(&std::mem::take(&mut self.payload)))));
            }
        }
        Ok(None)
    }
}

/// What the payload of a reply says.
fn reply(payload: &[u8]) -> Reply {
    let payload = until_nul(payload);
    let mut parts = payload.splitn(2, |byte| *byte == b' ');
    let (status, data) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match status {
        b"OK" => Reply::Found(data.to_vec()),
        b"NOTFOUND" => Reply::Absent,
        b"TEMP" => Reply::failed(NoAnswer::Later, "the server has a temporary error", data),
        b"TIMEOUT" => Reply::failed(NoAnswer::Later, "the server has run out of time", data),
        b"PERM" => Reply::failed(NoAnswer::Permanent, "the server has a permanent error", data),
        _ => Reply::failed(NoAnswer::Later, "the server answers with an unknown status", b""),
    }
}

#[cfg(test)]
mod tests;
