//! What is wrong with single lines of a text table.
//!
//! May: describe. Never: quote a key, a value or any other byte of a table; these texts go to the log.

use std::fmt;
use std::net::IpAddr;

/// What is wrong with one logical line of a text table; the rest of the table is used.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The library that matches the pattern does not take it: the rule is skipped.
    BadPattern {
        /// Why, in the library's words.
        text: String,
        /// Where in the pattern, in bytes; nothing where the library does not say.
        offset: Option<u32>,
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
    /// The number of further faults, which get no line each.
    More(u32),
}

impl Fault {
    /// How many faults this stands for.
    #[must_use]
    pub fn count(&self) -> u32 {
        if let Fault::More(count) = self { *count } else { 1 }
    }
}

/// A [`Fault`] and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The line, counted from 1, on which the logical line begins.
    pub line: u32,
    /// The problem.
    pub fault: Fault,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.fault {
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
            Fault::BadPattern { text, offset: None } => {
                return write!(f, "line {}: bad pattern: {text}; rule ignored", self.line);
            }
            Fault::BadPattern { text, offset: Some(offset) } => {
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
pub fn complain(complaints: &mut Vec<Complaint>, line: u32, fault: Fault) {
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
