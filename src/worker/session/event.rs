//! The log lines of a session, in stock's words where stock has such a line.
//!
//! Table names that come from clients are shown through [`Printable`]: no control bytes, 100 bytes at
//! most. Keys and values never appear: they are addresses and credentials. (Stock logs the key that is
//! not UTF-8.)

use std::fmt;

use super::{Failure, Service};
use crate::wire::{Printable, Verb};

/// Something worth a warning line, which `Display` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A table that the configuration does not approve.
    Unapproved {
        /// Its name, without `proxy:`.
        table: &'a [u8],
    },
    /// Follows [`Event::Unapproved`]: what the administrator can do.
    HowToApprove {
        /// The table's name, without `proxy:`.
        table: &'a [u8],
        /// Which service was asked.
        service: Service,
    },
    /// A table name without a type. Stock logs nothing.
    NoType {
        /// The name, without `proxy:`.
        table: &'a [u8],
    },
    /// An update or delete on the read-only service.
    ReadOnly {
        /// The table as the client named it.
        table: &'a [u8],
        /// Which of the two.
        verb: Verb,
    },
    /// A key that is not UTF-8 although the client asked for UTF-8.
    KeyNotUtf8 {
        /// The table's name.
        table: &'a [u8],
    },
    /// A value to be stored that is not UTF-8 although the client asked for UTF-8.
    ValueNotUtf8 {
        /// The table's name.
        table: &'a [u8],
    },
    /// A table that gave no answer.
    Failed {
        /// The table's name.
        table: &'a [u8],
        /// What was asked of it.
        verb: Verb,
        /// Why there is no answer.
        failure: &'a Failure,
    },
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Unapproved { table } => {
                write!(formatter, "request for unapproved table: \"{}\"", Printable(table))
            }
            Event::HowToApprove { table, service } => {
                let (access, parameter) = match service {
                    Service::Read => ("read-only", "proxy_read_maps"),
                    Service::Write => ("read-write", "proxy_write_maps"),
                };
                let table = Printable(table);
                write!(
                    formatter,
                    "to approve this table for {access} access, list proxy:{table} in main.cf:{parameter}"
                )
            }
            Event::NoType { table } => {
                write!(formatter, "request for table without a type: \"{}\"", Printable(table))
            }
            Event::ReadOnly { table, verb } => {
                let (table, verb) = (Printable(table), verb.name());
                write!(formatter, "refusing {table} {verb} request on non-proxywrite service")
            }
            Event::KeyNotUtf8 { table } => {
                write!(formatter, "{}: non-UTF-8 key: malformed UTF-8 or invalid codepoint", Printable(table))
            }
            Event::ValueNotUtf8 { table } => {
                write!(
                    formatter,
                    "{}: non-UTF-8 value: malformed UTF-8 or invalid codepoint",
                    Printable(table)
                )
            }
            Event::Failed { table, verb, failure } => {
                let (table, verb) = (Printable(table), verb.name());
                match failure {
                    Failure::Unavailable(reason) => write!(formatter, "{table} is unavailable. {reason}"),
                    Failure::Content(error) => write!(formatter, "{table}: {error}"),
                    Failure::Reported(reason) | Failure::Permanent(reason) => {
                        write!(formatter, "{table}: {reason}")
                    }
                    Failure::OnPurpose => write!(formatter, "{table} fails on purpose"),
                    Failure::Unsupported => {
                        write!(formatter, "table {table}: {verb} operation is not supported")
                    }
                    Failure::ValueNotUtf8 => {
                        write!(formatter, "{table}: non-UTF-8 value: malformed UTF-8 or invalid codepoint")
                    }
                    Failure::NotDone(reason) => {
                        write!(formatter, "table {table}: {verb} operation failed: {reason}")
                    }
                    Failure::TooLong { what, length, limit } => write!(
                        formatter,
                        "table {table}: {verb} operation failed: a {what} of {length} bytes is longer than the \
                         {limit} that can be stored"
                    ),
                    Failure::KeyEmpty => write!(
                        formatter,
                        "table {table}: {verb} operation failed: the format has no empty keys"
                    ),
                }
            }
        }
    }
}
