//! A pattern between delimiters, and the option letters after it.
//!
//! Purpose: cut `[!]/pattern/options` off the start of a text. May: borrow. Never: look into the pattern.

use mapkeep_table_format::Fault;
use mapkeep_table_format::text::is_space;

/// A pattern as it stands in a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pattern<'a> {
    /// Whether the rule is for keys that do not match.
    pub negated: bool,
    /// Between the delimiters; a backslash before a delimiter is still there.
    pub text: &'a [u8],
    /// What follows the second delimiter: options, and whatever comes after them.
    pub rest: &'a [u8],
}

/// Cuts the pattern off `text`. Any number of `!` and white space may come first; whatever byte is next is the
/// delimiter.
pub(crate) fn cut(text: &[u8]) -> Result<Pattern<'_>, Fault> {
    let start = text.iter().position(|byte| *byte != b'!' && !is_space(*byte)).ok_or(Fault::NoPattern)?;
    let (before, text) = text.split_at_checked(start).ok_or(Fault::NoPattern)?;
    let negated = before.iter().filter(|byte| **byte == b'!').count() & 1 == 1;
    let (delimiter, text) = text.split_first().ok_or(Fault::NoPattern)?;
    let mut protected = false;
    let end = text.iter().position(|byte| {
        if protected {
            protected = false;
            return false;
        }
        protected = *byte == b'\\';
        !protected && byte == delimiter
    });
    let (pattern, rest) = end.and_then(|end| text.split_at_checked(end)).ok_or(Fault::NoClosingDelimiter)?;
    let (_, rest) = rest.split_first().ok_or(Fault::NoClosingDelimiter)?;
    Ok(Pattern { negated, text: pattern, rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_any_delimiter_and_negation() {
        for (text, negated, pattern, rest) in [
            ("/a/i x", false, "a", "i x"),
            (r"/a\/b\\/ x", false, r"a\/b\\", " x"),
            ("! /a/", true, "a", ""),
            ("! ! /a/", false, "a", ""),
            ("!!!{a{", true, "a", ""),
            ("//", false, "", ""),
            ("!abca text", true, "bc", " text"),
        ] {
            let (text, rest) = (text.as_bytes(), rest.as_bytes());
            assert_eq!(cut(text), Ok(Pattern { negated, text: pattern.as_bytes(), rest }));
        }
    }

    #[test]
    fn cut_without_pattern_or_end_refused() {
        for text in ["", "!", " !! "] {
            assert_eq!(cut(text.as_bytes()), Err(Fault::NoPattern), "{text}");
        }
        for text in ["/", "/a", r"/a\/", r"\a\", r"/a\"] {
            assert_eq!(cut(text.as_bytes()), Err(Fault::NoClosingDelimiter), "{text}");
        }
    }
}
