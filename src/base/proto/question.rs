//! The words between a lookup worker and a process that answers for some of its tables.
//!
//! They travel on a stream socket in frames: the length of the body (four bytes, little-endian), then the body. A key or a
//! value may be longer than a packet socket takes, hence a stream. Answers come in any order; the ticket, a number that the
//! asker chooses, says which question each is for. Both ends read the other's frames as they read a client's bytes: every
//! byte string gives a frame or an error, and no more is kept than the longest frame.

use crate::TableId;
use crate::codec::{DecodeError, Reader};

/// The longest key in a question, in bytes: that of the wire protocol.
pub const MAX_KEY: usize = 256 << 10;
/// The longest value in an answer, in bytes.
pub const MAX_VALUE: usize = 1 << 20;
/// The longest text of a failure, in bytes. It goes to the log.
pub const MAX_REASON: usize = 1024;

/// Bytes of a body before the key or the value, at most.
const HEAD: usize = 16;

/// How to look up a key: the effect of the request's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Try the key with a NUL byte.
    pub with_nul: bool,
    /// Try the key alone.
    pub bare: bool,
    /// Rules that put a part of the key into the answer are used.
    pub substitution: bool,
    /// Keys and values must be UTF-8.
    pub utf8: bool,
    /// The client treats the value as the contents of a file.
    pub file_content: bool,
}

impl Manner {
    fn bits(self) -> u8 {
        let Manner { with_nul, bare, substitution, utf8, file_content } = self;
        let flags = [with_nul, bare, substitution, utf8, file_content];
        flags.into_iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(flag))
    }

    fn from_bits(bits: u8) -> Result<Manner, DecodeError> {
        let flag = |number: u8| bits >> number & 1 == 1;
        match bits >> 5 {
            0 => Ok(Manner {
                with_nul: flag(0),
                bare: flag(1),
                substitution: flag(2),
                utf8: flag(3),
                file_content: flag(4),
            }),
            _ => Err(DecodeError::Field),
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The value of a key, which has been folded if necessary.
    Lookup {
        /// The key, at most [`MAX_KEY`] bytes.
        key: &'a [u8],
        /// How to look for it.
        manner: Manner,
    },
    /// Whether the table can be asked at all: the answer is [`Answered::Absent`], or a failure.
    Usable,
    /// The question with this ticket is withdrawn: its answer is no longer needed, but may still come.
    Withdrawn,
}

/// One question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The number that comes back with the answer.
    pub ticket: u32,
    /// The table.
    pub table: TableId,
    /// The client, as a number chosen by the asker: a client that uses much time comes after others. It has no other
    /// effect.
    pub client: u64,
    /// What is asked.
    pub asked: Asked<'a>,
}

/// Why there is no answer, not even "absent".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NoAnswer {
    /// It could not be computed: the table is damaged there, or a limit was reached.
    Later = 1,
    /// The table is made to fail.
    OnPurpose = 2,
    /// The table type has no such operation.
    Unsupported = 3,
    /// The value is not UTF-8, which was requested.
    NotUtf8 = 4,
    /// The table is not available now: its file is missing or refused, or does not parse.
    Unavailable = 5,
    /// The backend says that asking again would not help.
    Permanent = 6,
}

impl NoAnswer {
    const ALL: [NoAnswer; 6] = [
        NoAnswer::Later,
        NoAnswer::OnPurpose,
        NoAnswer::Unsupported,
        NoAnswer::NotUtf8,
        NoAnswer::Unavailable,
        NoAnswer::Permanent,
    ];
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answered<'a> {
    /// The value.
    Found {
        /// Whether the key is stored with a NUL byte.
        with_nul: bool,
        /// The value, at most [`MAX_VALUE`] bytes.
        value: &'a [u8],
    },
    /// The table has no such key.
    Absent,
    /// There is no answer.
    Failed {
        /// Which status follows from it.
        why: NoAnswer,
        /// For the log, without the name of the table; at most [`MAX_REASON`] bytes.
        reason: &'a str,
    },
}

/// One answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The number that came with the question.
    pub ticket: u32,
    /// What is answered.
    pub answered: Answered<'a>,
}

impl<'a> Question<'a> {
    /// The longest body, in bytes.
    pub const LONGEST: usize = HEAD + MAX_KEY;

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(body: &'a [u8]) -> Result<Question<'a>, DecodeError> {
        let mut from = Reader(body);
        let tag = from.u8()?;
        let (ticket, table, client) = (from.u32()?, TableId(from.u16()?), from.u64()?);
        let asked = match tag {
            1 => {
                let manner = Manner::from_bits(from.u8()?)?;
                Asked::Lookup { key: limited(from.rest(), MAX_KEY)?, manner }
            }
            2 => {
                from.end()?;
                Asked::Usable
            }
            3 => {
                from.end()?;
                Asked::Withdrawn
            }
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        Ok(Question { ticket, table, client, asked })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (ticket, table) = (self.ticket.to_le_bytes(), self.table.0.to_le_bytes());
        let client = self.client.to_le_bytes();
        match self.asked {
            Asked::Lookup { key, manner } => {
                frame(out, &[&[1], &ticket, &table, &client, &[manner.bits()], key]);
            }
            Asked::Usable => frame(out, &[&[2], &ticket, &table, &client]),
            Asked::Withdrawn => frame(out, &[&[3], &ticket, &table, &client]),
        }
    }
}

impl<'a> Answer<'a> {
    /// The longest body, in bytes.
    pub const LONGEST: usize = HEAD + MAX_VALUE;

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(body: &'a [u8]) -> Result<Answer<'a>, DecodeError> {
        let mut from = Reader(body);
        let tag = from.u8()?;
        let ticket = from.u32()?;
        let answered = match tag {
            1 => {
                let with_nul = from.flag()?;
                Answered::Found { with_nul, value: limited(from.rest(), MAX_VALUE)? }
            }
            2 => {
                from.end()?;
                Answered::Absent
            }
            3 => {
                let why = from.u8()?;
                let why =
                    NoAnswer::ALL.into_iter().find(|one| *one as u8 == why).ok_or(DecodeError::Field)?;
                let reason = limited(from.rest(), MAX_REASON)?;
                Answered::Failed { why, reason: std::str::from_utf8(reason).map_err(|_| DecodeError::Field)? }
            }
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        Ok(Answer { ticket, answered })
    }

    /// Appends the frame. A reason that is too long is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let ticket = self.ticket.to_le_bytes();
        match self.answered {
            Answered::Found { with_nul, value } => frame(out, &[&[1], &ticket, &[with_nul.into()], value]),
            Answered::Absent => frame(out, &[&[2], &ticket]),
            Answered::Failed { why, reason } => {
                frame(out, &[&[3], &ticket, &[why as u8], cut(reason).as_bytes()]);
            }
        }
    }
}

/// As much of a reason as may be sent, cut at a character boundary.
pub(crate) fn cut(reason: &str) -> &str {
    let end = (0..=MAX_REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    reason.get(..end.unwrap_or_default()).unwrap_or_default()
}

fn limited(bytes: &[u8], most: usize) -> Result<&[u8], DecodeError> {
    if bytes.len() > most { Err(DecodeError::Field) } else { Ok(bytes) }
}

fn frame(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Bytes of a stream, from which whole frames are taken.
#[derive(Default)]
pub struct Frames {
    bytes: Vec<u8>,
    taken: usize,
}

impl Frames {
    /// Adds what has been read.
    pub fn add(&mut self, bytes: &[u8]) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..self.taken);
        }
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The body of the next frame, if it is complete. `longest` is the most that a body may have, in bytes.
    ///
    /// # Errors
    /// [`DecodeError::Field`] for a longer one: nothing that follows can be read.
    pub fn next(&mut self, longest: usize) -> Result<Option<&[u8]>, DecodeError> {
        let Frames { bytes, taken } = self;
        let Some((length, rest)) = bytes.get(*taken..).and_then(<[u8]>::split_first_chunk::<4>) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > longest {
            return Err(DecodeError::Field);
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        *taken = taken.saturating_add(4).saturating_add(length);
        Ok(Some(body))
    }

    /// The number of bytes that are buffered.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.len().saturating_sub(self.taken)
    }

    /// Frees memory that a long frame has taken.
    pub fn shrink(&mut self) {
        if self.held() == 0 {
            *self = Frames::default();
        }
    }
}

/// Shows nothing that a client has sent.
impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("held", &self.held()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
