//! Why a table cannot be used, or a request not be answered.
//!
//! Purpose: one error for all that is asked of tables. May: describe. Never: quote a key, a value or any other byte of a
//! table; these texts go to the log.

use std::fmt;

/// Why a table cannot be used or a request cannot be answered.
///
/// Every text is fixed: none of it comes from the table or from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// The bytes contradict the format, or themselves.
    Damaged(&'static str),
    /// The bytes are of a known format, in a variant that Postfix does not write and this build does not read.
    Unsupported(&'static str),
    /// The file is larger than its format or its index can address (4 GiB).
    FileTooLarge,
    /// A key or value is longer than [`crate::MAX_ITEM`] bytes.
    ItemTooLong,
    /// A text table has the same key on two lines, which Postfix refuses as well.
    DuplicateKey {
        /// The earlier line, counted from 1.
        first: u32,
        /// The later line.
        second: u32,
    },
    /// A text table has more than 64 keys that differ only by case.
    TooManyCaseVariants {
        /// The first of their lines, counted from 1.
        line: u32,
    },
    /// The name of a `static:` or `inline:` table is not well formed.
    BadName(&'static str),
    /// Tables of this kind cannot be scanned.
    NoSequence,
    /// `fail:`: the error that the administrator asked for.
    AlwaysFails,
    /// The index does not fit in memory.
    OutOfMemory,
    /// Tables of this kind cannot be opened this way (from a file, or from a name).
    WrongKind,
    /// The cursor was moved by a table of another kind.
    ForeignCursor,
    /// The pattern of this line, counted from 1, could not be matched to the end, so that it is not known whether
    /// it matches: it takes more steps or memory than allowed, or is for
    /// UTF-8 only while the key is something else.
    Limit {
        /// The line, counted from 1.
        line: u32,
    },
    /// The time for the request was over before it was known whether the rule of this line matches.
    OutOfTime {
        /// The line, counted from 1; 0 for a member of a composite table.
        line: u32,
    },
    /// The lookup was interrupted, as the query allows ([`crate::Pause`]). This is not an answer: the lookup must be
    /// continued.
    Paused,
    /// The key is so long, and the rules before this line are so many, that the request was given up.
    TooMuchWork {
        /// The line, counted from 1.
        line: u32,
    },
    /// A pattern is nested too deep, or its repetitions are too many, for the C library to compile it safely.
    PatternTooComplex {
        /// The line, counted from 1.
        line: u32,
    },
    /// The patterns up to this line take more memory than a table may have for them.
    PatternsTooLarge {
        /// The line, counted from 1.
        line: u32,
    },
    /// The key has a NUL byte, against which no pattern can be matched.
    NulInKey,
    /// `environ:`: there is no environment to look into.
    NoEnvironment,
    /// The answer of a member of a composite table is not UTF-8, which was requested.
    NotUtf8,
    /// A member of a composite table is not available.
    NoMember,
    /// The account is not in the file, and the name service has other sources, which are not consulted here.
    MayBeElsewhere,
    /// The client treats the value as the contents of files ([`crate::Values::FileContent`]), and the table is a text
    /// with their names.
    ValueNamesFiles,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::Damaged(what) => write!(f, "damaged table: {what}"),
            TableError::Unsupported(what) => write!(f, "unsupported table format: {what}"),
            TableError::FileTooLarge => f.write_str("table file larger than 4 GiB"),
            TableError::ItemTooLong => f.write_str("key or value longer than 1 MiB"),
            TableError::DuplicateKey { first, second } => {
                write!(f, "duplicate key: lines {first} and {second}")
            }
            TableError::TooManyCaseVariants { line } => {
                write!(f, "too many keys that differ only by case: line {line} and others")
            }
            TableError::BadName(what) => write!(f, "bad table name: {what}"),
            TableError::NoSequence => f.write_str("tables of this type cannot be listed"),
            TableError::AlwaysFails => f.write_str("this table always fails"),
            TableError::OutOfMemory => f.write_str("out of memory"),
            TableError::WrongKind => f.write_str("tables of this type are not made this way"),
            TableError::ForeignCursor => f.write_str("the listing was begun on another type of table"),
            TableError::Limit { line } => {
                write!(f, "line {line}: the pattern needs more steps or memory than allowed")
            }
            TableError::OutOfTime { line: 0 } => f.write_str("the time for the lookup ran out before a member of \
                                                              the table was tried"),
            TableError::OutOfTime { line } => write!(
                f,
                "line {line}: the time for the lookup ran out before it was known whether the rule matches"
            ),
            TableError::Paused => f.write_str("not at its end yet"),
            TableError::TooMuchWork { line } => {
                write!(f, "line {line}: too many rules for a key of this length")
            }
            TableError::PatternTooComplex { line } => {
                write!(f, "line {line}: the pattern is nested too deep or repeats too often")
            }
            TableError::PatternsTooLarge { line } => {
                write!(
                    f,
                    "line {line}: the patterns up to here take over 128 MiB of memory -- \
                     use fewer or shorter repetitions such as {{1,90}}"
                )
            }
            TableError::NulInKey => f.write_str("the key has a NUL byte"),
            TableError::NoEnvironment => {
                f.write_str("environ: tables cannot be served: workers have an empty environment")
            }
            TableError::NotUtf8 => f.write_str("the value from a member is not UTF-8"),
            TableError::NoMember => f.write_str("a member of the table is not available"),
            TableError::MayBeElsewhere => f.write_str(
                "not in the file, and nsswitch.conf names sources that this service does not query (see the log \
                 lines of its start)",
            ),
            TableError::ValueNamesFiles => f.write_str(
                "the value names files whose contents the client wants, and this service opens no files for \
                 clients; put the contents into a table of type hash or lmdb with \"postmap -F\"",
            ),
        }
    }
}

impl std::error::Error for TableError {}
