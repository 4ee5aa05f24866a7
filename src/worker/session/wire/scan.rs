//! Finds where a request ends, without looking at any byte twice.
//!
//! A client may send 1.5 million bytes one at a time. The scanner keeps its place between calls, so
//! that the work stays proportional to the bytes received, and it applies the limits as the bytes come
//! in, so that an endless token is refused when it passes its limit and not when memory runs out.

use std::fmt;

use memchr::memchr;

use super::Limits;
use super::complaint::Complaint;

/// Why a connection must be closed without a reply. To be logged once for each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation<'a> {
    /// A name, a value or the whole request is longer than allowed.
    TooLong {
        /// What was too long, in the words of [`Limits`].
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The list is empty, or its first attribute is not `request`. Stock logs this, sends no reply
    /// and keeps the connection; a client that waits for the reply would hang for an hour.
    NotARequest(Complaint<'a>),
    /// The request is malformed before the attribute that shows its dialect. A reply in the wrong dialect makes clients
    /// retry for ever, so closing the connection is better.
    UnknownDialect(Complaint<'a>),
}

impl fmt::Display for Violation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::TooLong { what, limit } => {
                write!(formatter, "{what} from client is longer than {limit} bytes")
            }
            Violation::NotARequest(complaint) | Violation::UnknownDialect(complaint) => {
                write!(formatter, "{complaint}")
            }
        }
    }
}

/// The place that the scanner has reached in one request.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Bytes looked at, from the start of the request.
    scanned: usize,
    /// Where the current name or value starts.
    token: usize,
    /// In a value: what it is and its limit. In a name: nothing.
    value: Option<(&'static str, usize)>,
}

impl Scanner {
    /// Whether nothing of the request has been looked at yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.scanned == 0
    }

    /// Goes on where the last call stopped. Returns the length of the request once it is complete, and
    /// is then ready for the next one.
    ///
    /// `buffer` starts with the first byte of the request and only ever grows between calls.
    pub(super) fn advance(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, Violation<'static>> {
        loop {
            let unread = buffer.get(self.scanned..).unwrap_or_default();
            let found = memchr(0, unread);
            let token_end = self.scanned.saturating_add(found.unwrap_or(unread.len()));
            let token = buffer.get(self.token..token_end).unwrap_or_default();
            let (what, limit) = self.value.unwrap_or(("attribute name", limits.attribute_name));
            if token.len() > limit {
                return Err(Violation::TooLong { what, limit });
            }
            // The NUL that ends the token belongs to the request.
            self.scanned = token_end.saturating_add(usize::from(found.is_some()));
            if self.scanned > limits.request {
                return Err(Violation::TooLong { what: "request", limit: limits.request });
            }
            if found.is_none() {
                return Ok(None);
            }
            if self.value.is_some() {
                self.value = None;
            } else if token.is_empty() {
                let length = self.scanned;
                *self = Scanner::default();
                return Ok(Some(length));
            } else {
                self.value = Some((value_name(token), limits.of_value(token)));
            }
            self.token = self.scanned;
        }
    }
}

/// How a log line calls the value of this attribute.
fn value_name(attribute: &[u8]) -> &'static str {
    match attribute {
        b"table" => "table name",
        b"key" => "key",
        b"value" => "value",
        _ => "attribute value",
    }
}
