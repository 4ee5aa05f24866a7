//! What is wrong with a request.

use std::fmt;

use super::Printable;

/// The problem of a request, in stock's words. Names the client's bytes only where stock does, and shows them through
/// [`Printable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint<'a> {
    /// The list ended too early.
    Missing {
        /// The attribute that should have followed.
        expected: &'static str,
    },
    /// Another attribute was expected, or the end of the list.
    Unexpected {
        /// The name of the attribute that came.
        found: &'a [u8],
        /// The name that should have come.
        expected: &'static str,
    },
    /// A number is not decimal digits that fit in 32 bits. Stock also takes signs, leading blanks and
    /// numbers that wrap around (`-1` then makes it panic); we do not.
    BadNumber {
        /// What stood in its place.
        found: &'a [u8],
    },
    /// A sequence function other than first and next.
    BadFunction {
        /// The number.
        found: u32,
    },
    /// A request name that the protocol does not have.
    Unrecognized {
        /// The name.
        name: &'a [u8],
    },
}

impl fmt::Display for Complaint<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Complaint::Missing { expected } => {
                write!(formatter, "missing attribute {expected} in input from client")
            }
            Complaint::Unexpected { found, expected } => {
                let found = Printable(found);
                write!(formatter, "unexpected attribute {found} from client (expecting: {expected})")
            }
            Complaint::BadNumber { found } => {
                let found = Printable(found);
                write!(
                    formatter,
                    "malformed numerical data from client while reading input attribute value: {found}"
                )
            }
            Complaint::BadFunction { found } => {
                write!(formatter, "unexpected sequence function {found} from client (expecting: 0 or 1)")
            }
            Complaint::Unrecognized { name } => {
                write!(formatter, "unrecognized request: \"{}\", ignored", Printable(name))
            }
        }
    }
}
