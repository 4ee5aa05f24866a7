//! Comparisons inside `${{left} OP {right} ...}`.
//!
//! Pure. Source: measured with postconf 3.7.11: two all-digit operands compare as numbers, others as bytes; operators
//! that end in `level` compare `major.minor.patch`. Stock dies on numbers beyond 63 bits; here they may have any
//! length.

use std::cmp::Ordering;

use crate::error::Reason;
use crate::tokens::BLANK;

/// A comparison operator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operator {
    levels: bool,
    accepts: Accepts,
}

/// Is the relation true for operands in this order?
type Accepts = fn(Ordering) -> bool;

const SIGNS: [(&[u8], Accepts); 6] = [
    (b"==", Ordering::is_eq),
    (b"!=", Ordering::is_ne),
    (b"<=", Ordering::is_le),
    (b">=", Ordering::is_ge),
    (b"<", Ordering::is_lt),
    (b">", Ordering::is_gt),
];

impl Operator {
    /// Reads the operator that `text` starts with, up to a blank or `{`; gives what follows.
    pub(crate) fn read(text: &[u8]) -> Result<(Operator, &[u8]), Reason> {
        let end = text.iter().position(|byte| *byte == b'{' || BLANK.contains(byte)).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        for (sign, accepts) in SIGNS {
            match word.strip_prefix(sign) {
                Some(b"") => return Ok((Operator { levels: false, accepts }, rest)),
                Some(b"level") => return Ok((Operator { levels: true, accepts }, rest)),
                _ => {}
            }
        }
        Err(Reason::Syntax("one of == != < <= >= > is expected after the first {operand}"))
    }

    /// Does the relation hold between the expanded operands?
    pub(crate) fn holds(&self, left: &[u8], right: &[u8]) -> Result<bool, Reason> {
        let ordering = if self.levels {
            level(left)?.cmp(&level(right)?)
        } else if let (Some(left), Some(right)) = (number(left), number(right)) {
            left.len().cmp(&right.len()).then(left.cmp(right))
        } else {
            left.cmp(right)
        };
        Ok((self.accepts)(ordering))
    }
}

/// The digits of a decimal number without leading zeros; of two, the longer is the greater.
fn number(text: &[u8]) -> Option<&[u8]> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = text.iter().take_while(|byte| **byte == b'0').count();
    text.get(zeros..)
}

/// A compatibility level as three numbers, absent ones 0.
fn level(text: &[u8]) -> Result<[u32; 3], Reason> {
    let bad = || Reason::BadLevel(text.to_vec());
    let mut parts = text.split(|byte| *byte == b'.');
    let mut next = || -> Result<u32, Reason> {
        let Some(part) = parts.next() else { return Ok(0) };
        if part.is_empty() || !part.iter().all(u8::is_ascii_digit) {
            return Err(bad());
        }
        std::str::from_utf8(part).ok().and_then(|digits| digits.parse().ok()).ok_or_else(bad)
    };
    let level = [next()?, next()?, next()?];
    if parts.next().is_some() { Err(bad()) } else { Ok(level) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(left: &str, operator: &str, right: &str) -> Result<bool, Reason> {
        Operator::read(operator.as_bytes())?.0.holds(left.as_bytes(), right.as_bytes())
    }

    #[test]
    fn holds_numbers_compare_by_value_of_any_length() {
        assert_eq!(holds("10", "<", "9"), Ok(false));
        assert_eq!(holds("007", "==", "7"), Ok(true));
        assert_eq!(holds("0", "==", "000"), Ok(true));
        assert_eq!(holds("99999999999999999999999", ">", "1"), Ok(true));
    }

    #[test]
    fn holds_anything_else_compares_as_bytes() {
        assert_eq!(holds("10", "<", "9a"), Ok(true));
        assert_eq!(holds("+1", "==", "1"), Ok(false));
        assert_eq!(holds("", "==", ""), Ok(true));
        assert_eq!(holds("", "<", "1"), Ok(true));
    }

    #[test]
    fn holds_levels_compare_part_by_part() {
        assert_eq!(holds("3.10", ">level", "3.9"), Ok(true));
        assert_eq!(holds("3", "==level", "3.0"), Ok(true));
        assert_eq!(holds("3.6.1", "<=level", "3.6"), Ok(false));
        for bad in ["", "abc", "3.x", "3.6.1.2", " 3.6 ", "3.", "-1"] {
            assert_eq!(holds(bad, "<level", "1"), Err(Reason::BadLevel(bad.into())), "{bad}");
        }
    }

    #[test]
    fn read_unknown_operator_is_refused() {
        for bad in ["", "=", "==a", "level", "<levels", "=<", "==="] {
            assert!(Operator::read(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(Operator::read(b"<=level{x}").unwrap().1, b"{x}");
    }
}
