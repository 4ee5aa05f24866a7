//! Tokens and braces: how Postfix splits a list of tables or service arguments.
//!
//! Pure text. Source: measured with `proxymap -S` 3.7.11. `{` and `}` protect separators anywhere in a token; a stray
//! `}` is an ordinary byte; an unclosed `{` runs to the end of the text.

use crate::lines::trim_start;

/// Separators of table lists: comma, space, tab, CR, LF.
pub(crate) const LIST: &[u8] = b", \t\r\n";
/// Separators of service arguments in master.cf: space, tab, CR, LF.
pub(crate) const BLANK: &[u8] = b" \t\r\n";

/// The tokens of `text`, split at any of `separators` outside braces.
pub(crate) struct Tokens<'t> {
    text: &'t [u8],
    separators: &'static [u8],
}

impl<'t> Tokens<'t> {
    /// Starts at the beginning of `text`.
    pub(crate) fn new(text: &'t [u8], separators: &'static [u8]) -> Self {
        Tokens { text, separators }
    }
}

impl<'t> Iterator for Tokens<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        let start = self.text.iter().position(|byte| !self.separators.contains(byte))?;
        let (_, text) = self.text.split_at(start);
        let mut level = 0_usize;
        let end = text.iter().position(|byte| match byte {
            b'{' => {
                level = level.saturating_add(1);
                false
            }
            b'}' => {
                level = level.saturating_sub(1);
                false
            }
            other => level == 0 && self.separators.contains(other),
        });
        let (token, rest) = text.split_at(end.unwrap_or(text.len()));
        self.text = rest;
        Some(token)
    }
}

/// Splits `text`, whose first byte is `open`, after the matching `close`: what is between, and what follows.
/// `None` when nothing matches.
pub(crate) fn balanced(text: &[u8], open: u8, close: u8) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(&[open])?;
    let mut level = 1_usize;
    for (at, byte) in inner.iter().enumerate() {
        if *byte == open {
            level = level.saturating_add(1);
        } else if *byte == close {
            level = level.saturating_sub(1);
            if level == 0 {
                let (between, rest) = inner.split_at(at);
                return Some((between, rest.strip_prefix(&[close]).unwrap_or(rest)));
            }
        }
    }
    None
}

/// What is wrong with the braces around a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BraceError {
    /// No `}` matches the first `{`.
    Unclosed,
    /// Text other than whitespace follows the matching `}`.
    TextAfter,
    /// The text does not start with `{`.
    Missing,
}

impl std::fmt::Display for BraceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BraceError::Unclosed => "\"}\" is missing",
            BraceError::TextAfter => "there is text after the matching \"}\"",
            BraceError::Missing => "\"{\" is missing",
        })
    }
}

/// What stands between the outer braces of `token`, untrimmed.
pub(crate) fn inside_braces(token: &[u8]) -> Result<&[u8], BraceError> {
    if token.first() != Some(&b'{') {
        return Err(BraceError::Missing);
    }
    match balanced(token, b'{', b'}') {
        None => Err(BraceError::Unclosed),
        Some((inner, rest)) if trim_start(rest).is_empty() => Ok(inner),
        Some(_) => Err(BraceError::TextAfter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        Tokens::new(text.as_bytes(), LIST).map(|token| String::from_utf8(token.to_vec()).unwrap()).collect()
    }

    #[test]
    fn tokens_braces_protect_separators() {
        assert_eq!(list(" a,, static:{a  b}\t{ c, d }x e\r\n"), ["a", "static:{a  b}", "{ c, d }x", "e"]);
    }

    #[test]
    fn tokens_stray_braces_are_ordinary_or_run_on() {
        assert_eq!(list("a} b"), ["a}", "b"]);
        assert_eq!(list("{a b"), ["{a b"]);
        assert_eq!(list(" , "), Vec::<String>::new());
        assert_eq!(list("a\x0bb"), ["a\x0bb"]);
    }

    #[test]
    fn inside_braces_each_fault_is_named() {
        assert_eq!(inside_braces(b"{ a {b} }"), Ok(&b" a {b} "[..]));
        assert_eq!(inside_braces(b"{a} \t"), Ok(&b"a"[..]));
        assert_eq!(inside_braces(b"{a}b"), Err(BraceError::TextAfter));
        assert_eq!(inside_braces(b"{a{b}"), Err(BraceError::Unclosed));
        assert_eq!(inside_braces(b"a"), Err(BraceError::Missing));
    }
}
