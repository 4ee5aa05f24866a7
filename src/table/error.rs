//! What can be wrong with a table.
//!
//! Purpose: one error for the whole room, and the complaints about single lines of a text table.
//! May: describe. Never: quote a key, a value or any other byte of a table; these texts go to the log.
//! Called by: every file of this room; the worker shows them.

use std::fmt;
use std::net::IpAddr;

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
    /// A text table has more than [`crate::MAX_CASE_VARIANTS`] keys that differ only by case.
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
    /// Tables of this kind are not made this way (from a file, or from a name).
    WrongKind,
    /// The cursor was moved by a table of another kind.
    ForeignCursor,
    /// The pattern of this line, counted from 1, could not be matched to the end, so that it is not known whether
    /// it matches: it takes more steps or memory than allowed ([`mapkeep_regex::pcre::MATCH_LIMIT`]), or is for
    /// UTF-8 only while the key is something else.
    Limit {
        /// The line, counted from 1.
        line: u32,
    },
    /// The time for the request was over before it was known whether the rule of this line holds.
    OutOfTime {
        /// The line, counted from 1; 0 for a member of a composite table.
        line: u32,
    },
    /// The lookup was interrupted, as the query allows ([`crate::Pause`]). It is not an answer, and is to be gone on with.
    Paused,
    /// The key is so long, and the rules before this line are so many, that the request was given up
    /// ([`crate::MAX_WORK`]).
    TooMuchWork {
        /// The line, counted from 1.
        line: u32,
    },
    /// A pattern is nested too deep, or its repetitions are too many, for the C library to compile it safely.
    PatternTooComplex {
        /// The line, counted from 1.
        line: u32,
    },
    /// The patterns up to this line take more memory than a table may have for them ([`crate::MAX_COMPILED`]).
    PatternsTooLarge {
        /// The line, counted from 1.
        line: u32,
    },
    /// The key has a NUL byte, which no pattern can be matched with.
    NulInKey,
    /// `environ:`: there is no environment to look into.
    NoEnvironment,
    /// The answer of a member of a composite table is not UTF-8, as was asked for.
    NotUtf8,
    /// A member of a composite table is not available.
    NoMember,
    /// The account is not in the file, and the name service has other sources, which nobody here asks.
    MayBeElsewhere,
    /// The client takes the value for the content of files ([`crate::Values::FileContent`]), and the table is a text that
    /// has their names.
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
            TableError::OutOfTime { line: 0 } => f.write_str("out of time before a member of the table"),
            TableError::OutOfTime { line } => write!(
                f,
                "line {line}: the time for a lookup is over before it is known whether the rule matches"
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
                f.write_str("environ: has nothing to look into: workers have an empty environment")
            }
            TableError::NotUtf8 => f.write_str("the answer of a member is not UTF-8"),
            TableError::NoMember => f.write_str("a member of the table is not available"),
            TableError::MayBeElsewhere => f.write_str(
                "not in the file, and nsswitch.conf names sources that this service does not ask (see the log of the start)",
            ),
            TableError::ValueNamesFiles => f.write_str(
                "its value names files whose content the client wants, and this service opens no files for clients; put \
                 their content into a table of type hash or lmdb with \"postmap -F\"",
            ),
        }
    }
}

impl std::error::Error for TableError {}

/// What is wrong with one logical line of a text table; the rest of the table is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No value, or no key: the line is skipped.
    NoValue,
    /// A `"` without its partner: the line is skipped.
    UnbalancedQuote,
    /// A continuation line with nothing before it: skipped.
    NothingToContinue,
    /// Longer than [`crate::MAX_LINE`]: skipped.
    LineTooLong,
    /// A NUL byte: it and the rest of the logical line are ignored.
    EmbeddedNul,
    /// The key ends in a colon, as in an aliases(5) file: used as it is.
    KeyEndsInColon,
    /// The key differs from that of an earlier line only by case: found when asked in exactly this case.
    CaseVariant,
    /// Neither a pattern nor `if` nor `endif`: skipped.
    UnknownRequest,
    /// No pattern: the rule is skipped.
    NoPattern,
    /// The pattern does not end: the rule is skipped.
    NoClosingDelimiter,
    /// An option letter after the pattern that does not exist: the rule is skipped.
    UnknownOption,
    /// An option letter that had a meaning in another library: it is ignored.
    ObsoleteOption,
    /// The C library's number of what is wrong with the pattern: the rule is skipped.
    BadPosixPattern(i32),
    /// What is wrong with the pattern: the rule is skipped.
    BadPcrePattern {
        /// PCRE2's number.
        code: i32,
        /// Where in the pattern, in bytes.
        offset: u32,
    },
    /// A `$` without a number after it, or braces that do not close: the rule is skipped.
    BadSubstitution,
    /// The number after `$` is 0 or more than the pattern has groups: the rule is skipped.
    NoSuchGroup,
    /// `$` and a number where the rule is used if the pattern does not match: the rule is skipped.
    GroupOfNegated,
    /// No text after the pattern: the answer is empty.
    EmptyAnswer,
    /// No text after the network: the rule is skipped.
    NoAnswer,
    /// Text after `if` and its pattern, or after `endif`: the text is ignored.
    ExtraText,
    /// Text after `endif`: the line is skipped.
    ExtraTextSkipped,
    /// `endif` without an `if` before it: skipped.
    EndifWithoutIf,
    /// `if` without an `endif` after it: its block goes to the end.
    IfWithoutEndif,
    /// Said after the fault of an `if`, which is skipped: the rules of its block are always tried.
    Unconditional,
    /// No IPv4 or IPv6 address: the rule is skipped.
    BadAddress,
    /// No prefix length, or one that is too large for the address: the rule is skipped.
    BadPrefixLength,
    /// The address has bits set that the prefix length leaves out: the rule is skipped.
    HostBits {
        /// The address without them: that of the network which was probably meant.
        network: IpAddr,
        /// The prefix length, in bits.
        length: u8,
    },
    /// There are so many more faults than are worth a line each.
    More(u32),
}

impl Fault {
    /// How many faults this stands for.
    #[must_use]
    pub fn count(self) -> u32 {
        if let Fault::More(count) = self { count } else { 1 }
    }
}

/// A [`Fault`] and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The line, counted from 1, on which the logical line begins.
    pub line: u32,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::NoValue => "expected format: key whitespace value; line ignored",
            Fault::UnbalancedQuote => "unbalanced quote; line ignored",
            Fault::NothingToContinue => "a logical line must not start with whitespace; line ignored",
            Fault::LineTooLong => "logical line longer than 2 MiB; line ignored",
            Fault::EmbeddedNul => "NUL byte; the rest of the line is ignored",
            Fault::KeyEndsInColon => "the key ends in ':'; is this an aliases file?",
            Fault::CaseVariant => "the key differs from that of another line only by case",
            Fault::UnknownRequest => "expected a pattern, if or endif; line ignored",
            Fault::NoPattern => "no pattern; rule ignored",
            Fault::NoClosingDelimiter => "the pattern has no end; rule ignored",
            Fault::UnknownOption => "unknown option after the pattern; rule ignored",
            Fault::ObsoleteOption => "obsolete option after the pattern; option ignored",
            Fault::BadPosixPattern(code) => {
                let text = mapkeep_regex::posix::error_text(code);
                return write!(f, "line {}: bad pattern: {text}; rule ignored", self.line);
            }
            Fault::BadPcrePattern { code, offset } => {
                let text = mapkeep_regex::pcre::error_text(code);
                return write!(f, "line {}: bad pattern at offset {offset}: {text}; rule ignored", self.line);
            }
            Fault::BadSubstitution => "expected a number after $ in the text (or $$); rule ignored",
            Fault::NoSuchGroup => "the number after $ is not that of a group in the pattern; rule ignored",
            Fault::GroupOfNegated => "$ and a number with a negated pattern; rule ignored",
            Fault::EmptyAnswer => "no text after the pattern; the answer is empty",
            Fault::NoAnswer => "no text after the network; rule ignored",
            Fault::ExtraText => "text after if or endif is ignored",
            Fault::ExtraTextSkipped => "text after endif; line ignored",
            Fault::EndifWithoutIf => "endif without if; line ignored",
            Fault::IfWithoutEndif => "if without endif; the block goes to the end of the table",
            Fault::Unconditional => "the rules of the ignored if are always tried",
            Fault::BadAddress => "expected an IPv4 or IPv6 address, /length allowed; rule ignored",
            Fault::BadPrefixLength => "bad prefix length; rule ignored",
            Fault::HostBits { network, length } => {
                let line = self.line;
                return write!(
                    f,
                    "line {line}: non-null host address bits, perhaps you should use {network}/{length} instead; \
                     rule ignored"
                );
            }
            Fault::More(count) => return write!(f, "from line {} on: {count} more faults", self.line),
        };
        write!(f, "line {}: {what}", self.line)
    }
}

/// At most this many complaints are kept for a table; one more of them counts the others.
const MAX_COMPLAINTS: usize = 100;

/// Adds a complaint, up to the limit.
pub(crate) fn complain(complaints: &mut Vec<Complaint>, line: u32, fault: Fault) {
    if let Some(Complaint { fault: Fault::More(count), .. }) = complaints.last_mut() {
        *count = count.saturating_add(1);
        return;
    }
    let fault = if complaints.len() < MAX_COMPLAINTS { fault } else { Fault::More(1) };
    complaints.push(Complaint { line, fault });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complain_past_limit_keeps_bounded_list() {
        let mut list = Vec::new();
        for line in 1..1000 {
            complain(&mut list, line, Fault::NoValue);
        }
        assert_eq!(list.len(), MAX_COMPLAINTS + 1);
        assert_eq!(list[100], Complaint { line: 101, fault: Fault::More(899) });
        assert_eq!(list[100].to_string(), "from line 101 on: 899 more faults");
        assert_eq!(list.iter().map(|complaint| complaint.fault.count()).sum::<u32>(), 999);
    }
}
