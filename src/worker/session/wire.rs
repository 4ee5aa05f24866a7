//! The proxymap protocol as bytes: requests in, replies out, in both dialects.
//!
//! Purpose: turn a prefix of a connection's bytes into one request, bounded and without copying, and a reply into
//! bytes. May: compute. Never: read, write, wait, log, or know a table.
//!
//! Source of the format: traffic of Postfix 3.7.11 (old dialect) and 3.12 (new dialect). A message is
//! a list of attributes `name NUL value NUL`, ended by one more NUL (an empty name). The order of
//! the attributes is fixed. Numbers are decimal text. Nothing is escaped, so no value holds a NUL.

mod complaint;
mod parse;
mod printable;
mod reply;
mod scan;
#[cfg(test)]
mod tests;

pub use complaint::Complaint;
pub use parse::{Parser, Progress};
pub use printable::{PRINTABLE_MAX, Printable};
pub use reply::{Reply, Status, encode_reply};
pub use scan::Violation;

use crate::flags::Flags;

/// What the server sends right after it accepts a connection, in both dialects and both services.
/// Clients since Postfix 3.6 wait for exactly these 28 bytes before their first request.
pub const ANNOUNCEMENT: &[u8; 28] = b"protocol\0proxymap_protocol\0\0";

/// How many bytes of a request are accepted before the connection is closed. Postfix itself has no
/// limits; these are far above what any Postfix client sends (a key is an address, a host or a line).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in the name of an attribute, and in values that are words or numbers.
    pub attribute_name: usize,
    /// Bytes in the value of `table`. Names with inline entries are long.
    pub table: usize,
    /// Bytes in the value of `key`.
    pub key: usize,
    /// Bytes in the value of `value`.
    pub value: usize,
    /// Bytes in a whole request, the end of its list included.
    pub request: usize,
}

impl Limits {
    /// The limits of the service: 64 bytes, 64 KiB, 256 KiB, 1 MiB, and 1.5 million bytes.
    pub const SERVICE: Limits =
        Limits { attribute_name: 64, table: 65_536, key: 262_144, value: 1_048_576, request: 1_500_000 };

    /// The limit of the value that follows this attribute name. Attributes that no request has are
    /// bounded by the request alone: they are tolerated, as stock tolerates them.
    fn of_value(&self, name: &[u8]) -> usize {
        match name {
            b"request" | b"flags" | b"instance_flags" | b"function" => self.attribute_name,
            b"table" => self.table,
            b"key" => self.key,
            b"value" => self.value,
            _ => self.request,
        }
    }

    /// Whether a request of this length, in bytes, is within all limits except that of its numbers.
    fn allow(&self, request: &Request<'_>, length: usize) -> bool {
        let (key, value): (&[u8], &[u8]) = match request.call {
            Call::Update { key, value } => (key, value),
            Call::Lookup { key } | Call::Delete { key } => (key, b""),
            Call::Open | Call::Sequence { .. } => (b"", b""),
        };
        request.table.len() <= self.table
            && key.len() <= self.key
            && value.len() <= self.value
            && length <= self.request
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::SERVICE
    }
}

/// The shape of requests and replies. Decided for each request by the attribute after `table`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Postfix 3.10 and earlier: `flags` follows `table`.
    Old,
    /// Postfix 3.11 and later: `instance_flags` follows `table`, and all replies carry flags.
    New,
}

/// Which of the five requests this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Asks for the flags of a table.
    Open,
    /// Asks for the value of a key.
    Lookup,
    /// Stores a value.
    Update,
    /// Removes a key.
    Delete,
    /// Asks for the first or next entry.
    Sequence,
}

impl Verb {
    /// The word on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verb::Open => "open",
            Verb::Lookup => "lookup",
            Verb::Update => "update",
            Verb::Delete => "delete",
            Verb::Sequence => "sequence",
        }
    }

    /// The request with this name.
    fn from_name(name: &[u8]) -> Option<Verb> {
        match name {
            b"open" => Some(Verb::Open),
            b"lookup" => Some(Verb::Lookup),
            b"update" => Some(Verb::Update),
            b"delete" => Some(Verb::Delete),
            b"sequence" => Some(Verb::Sequence),
            _ => None,
        }
    }
}

/// The position that a sequence request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The first entry: 0 on the wire.
    First,
    /// The entry after the last one returned: 1 on the wire.
    Next,
}

/// The operation, with the bytes as the client sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// The flags of the table.
    Open,
    /// The value of `key`.
    Lookup {
        /// The key; may be empty, holds no NUL.
        key: &'a [u8],
    },
    /// Store `value` under `key`.
    Update {
        /// The key; may be empty, holds no NUL.
        key: &'a [u8],
        /// The value; may be empty, holds no NUL.
        value: &'a [u8],
    },
    /// Remove `key`.
    Delete {
        /// The key; may be empty, holds no NUL.
        key: &'a [u8],
    },
    /// The first or next entry.
    Sequence {
        /// Which of the two.
        function: Function,
    },
}

impl Call<'_> {
    /// Which request this is.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Call::Open => Verb::Open,
            Call::Lookup { .. } => Verb::Lookup,
            Call::Update { .. } => Verb::Update,
            Call::Delete { .. } => Verb::Delete,
            Call::Sequence { .. } => Verb::Sequence,
        }
    }
}

/// One complete, well-formed request. Borrows from the connection's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The shape that the reply must have.
    pub dialect: Dialect,
    /// The table as named by the client, any `proxy:` prefixes included.
    pub table: &'a [u8],
    /// `instance_flags` in the new dialect, `flags` in the old one.
    pub instance_flags: Flags,
    /// `flags`; in a new-dialect open, which has none, the same as `instance_flags`.
    pub flags: Flags,
    /// The operation.
    pub call: Call<'a>,
}
