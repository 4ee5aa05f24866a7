//! Reading and writing the fixed layouts: one tag byte, then little-endian fields, and nothing after them.

use std::fmt;

/// The largest message on any channel, in bytes.
pub const MAX_MESSAGE: usize = 4096;

/// Why bytes are not a message, a launch or a list of names, or why a list of names cannot be encoded. The sender of such a
/// message is treated as hijacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The tag byte names no message of this direction.
    UnknownTag(u8),
    /// The packet ends inside a field.
    Short,
    /// Bytes follow the last field.
    Trailing,
    /// A field has a value that no correct sender writes.
    Field,
    /// A list of names ends inside a name.
    NamesCut,
    /// A list has more names than there are table ids.
    TooManyNames,
    /// A name has 4 GiB or more.
    NameTooLong,
    /// The byte before a name has an unknown bit.
    NamesDamaged,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::UnknownTag(tag) => write!(out, "unknown message tag {tag}"),
            DecodeError::Short => out.write_str("message too short"),
            DecodeError::Trailing => out.write_str("bytes after the end of a message"),
            DecodeError::Field => out.write_str("field out of range"),
            DecodeError::NamesCut => out.write_str("the list of table names is cut short"),
            DecodeError::TooManyNames => out.write_str("more than 65535 approved tables"),
            DecodeError::NameTooLong => out.write_str("an approved table has a name of 4 GiB or more"),
            DecodeError::NamesDamaged => out.write_str("the list of table names is damaged"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Takes fields off the front of a packet.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// Everything that has not been read.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.take()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Field),
        }
    }

    /// A string of bytes behind its length, at most `most` bytes.
    pub(crate) fn bytes(&mut self, most: usize) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()? as usize;
        if length > most {
            return Err(DecodeError::Field);
        }
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The same of a text.
    pub(crate) fn text(&mut self, most: usize) -> Result<String, DecodeError> {
        let text = std::str::from_utf8(self.bytes(most)?).map_err(|_| DecodeError::Field)?;
        Ok(text.to_owned())
    }

    /// Ends the message: every byte must have been read.
    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

/// Appends a string of bytes behind its length, as [`Reader::bytes`] reads it.
pub(crate) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}
