//! Logical lines, as in all text files of Postfix.
//!
//! Purpose: cut a text into logical lines. A line that begins with white space continues the one before it;
//! comment lines (first byte that is not white space is `#`) and blank lines are skipped, also between a line and
//! its continuation. May: borrow. Never: copy, unless a line has a continuation.

use std::borrow::Cow;

use super::is_space;
use crate::MAX_LINE;
use crate::portion::Portion;
use mapkeep_query::{text_of, until};

/// Goes through a text by logical lines.
#[derive(Debug)]
pub struct Lines<'a> {
    text: &'a [u8],
    place: Place,
}

/// How far one has come in a text.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    at: usize,
    line: u32,
    /// A logical line that may continue.
    open: Option<Open>,
}

/// What is known about a logical line before its end.
#[derive(Clone, Copy, Debug)]
struct Open {
    start: usize,
    line: u32,
    end: usize,
    continued: bool,
}

/// The result of a search for the next logical line.
#[derive(Debug)]
pub enum Found<'a> {
    /// It.
    Line(Logical<'a>),
    /// Not that far yet.
    Later,
    /// There is none.
    End,
}

impl Place {
    /// The beginning.
    pub const START: Place = Place { at: 0, line: 1, open: None };
}

/// One logical line.
#[derive(Clone, Copy, Debug)]
pub struct Logical<'a> {
    /// Where it begins in the text.
    pub start: usize,
    /// The number of its first line, counted from the line at which the iteration began as 1.
    pub line: u32,
    /// Whether it has a continuation.
    pub continued: bool,
    /// All of it as it stands in the text: continuation, comments and newlines.
    raw: &'a [u8],
}

impl<'a> Lines<'a> {
    /// The logical lines from offset `at`, which is the start of a line.
    pub fn from(text: &'a [u8], at: usize) -> Self {
        Lines { text, place: Place { at, ..Place::START } }
    }

    /// The logical lines from a place on, which is one in this text.
    pub fn resume(text: &'a [u8], place: Place) -> Self {
        Lines { text, place }
    }

    /// How far this has come.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Where the next logical line is looked for.
    pub fn position(&self) -> usize {
        self.place.at
    }

    /// Looks for the next logical line, until the portion is used up.
    pub fn find(&mut self, portion: &mut Portion<'_>) -> Found<'a> {
        loop {
            let before = self.place.at;
            match self.place.open {
                None => {
                    let (start, line) = (self.place.at, self.place.line);
                    let Some(content) = self.physical() else { return Found::End };
                    if !is_blank_or_comment(content) {
                        let end = self.place.at;
                        self.place.open = Some(Open { start, line, end, continued: false });
                    }
                }
                Some(open) if self.at_continuation() => {
                    if self.physical().is_some_and(|more| !is_blank_or_comment(more)) {
                        self.place.open = Some(Open { end: self.place.at, continued: true, ..open });
                    }
                }
                Some(Open { start, line, end, continued }) => {
                    self.place.open = None;
                    let raw = self.text.get(start..end).unwrap_or_default();
                    return Found::Line(Logical { start, line, continued, raw });
                }
            }
            if portion.is_used_up(self.place.at.saturating_sub(before)) {
                return Found::Later;
            }
        }
    }

    /// The next physical line without its newline.
    fn physical(&mut self) -> Option<&'a [u8]> {
        let Place { at, line, .. } = &mut self.place;
        let rest = self.text.get(*at..).filter(|rest| !rest.is_empty())?;
        let content = first_line(rest);
        *at = at.saturating_add(content.len()).saturating_add(1).min(self.text.len());
        *line = line.saturating_add(1);
        Some(content)
    }

    /// Whether the next line cannot begin a logical line.
    fn at_continuation(&self) -> bool {
        self.text.get(self.place.at).is_some_and(|byte| is_space(*byte) || *byte == b'#')
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Logical<'a>;

    fn next(&mut self) -> Option<Logical<'a>> {
        match self.find(&mut Portion::whole()) {
            Found::Line(logical) => Some(logical),
            Found::Later | Found::End => None,
        }
    }
}

impl<'a> Logical<'a> {
    /// The logical line that begins at offset `start`; `continued` as returned by the iteration.
    pub fn at(text: &'a [u8], start: usize, continued: bool) -> Option<Logical<'a>> {
        if continued {
            return Lines::from(text, start).next();
        }
        let raw = first_line(text.get(start..)?);
        Some(Logical { start, line: 1, continued, raw })
    }

    /// Whether it begins with white space: a continuation of nothing.
    pub fn is_orphan(&self) -> bool {
        self.raw.first().is_some_and(|byte| is_space(*byte))
    }

    /// Whether it is too long to be used.
    pub fn is_too_long(&self) -> bool {
        self.raw.len() > MAX_LINE
    }

    /// Whether it has a NUL byte, at which its text ends.
    pub fn has_nul(&self) -> bool {
        self.raw.contains(&0) && self.whole().contains(&0)
    }

    /// Its text: newlines removed, white space of continuations kept, ended by a NUL byte.
    pub fn content(&self) -> Cow<'a, [u8]> {
        match self.whole() {
            Cow::Borrowed(whole) => Cow::Borrowed(text_of(whole)),
            Cow::Owned(mut whole) => {
                whole.truncate(text_of(&whole).len());
                Cow::Owned(whole)
            }
        }
    }

    fn whole(&self) -> Cow<'a, [u8]> {
        if !self.continued {
            return Cow::Borrowed(first_line(self.raw));
        }
        let lines = self.raw.split(|byte| *byte == b'\n').filter(|line| !is_blank_or_comment(line));
        Cow::Owned(lines.flatten().copied().collect())
    }
}

fn first_line(text: &[u8]) -> &[u8] {
    until(b'\n', text)
}

fn is_blank_or_comment(line: &[u8]) -> bool {
    line.iter().find(|byte| !is_space(**byte)).is_none_or(|byte| *byte == b'#')
}

/// How many logical lines a text has at most: the number of lines that begin one.
pub fn count_starts(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n')
        .filter(|line| line.first().is_some_and(|byte| !is_space(*byte) && *byte != b'#'))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(text: &[u8]) -> Vec<(u32, Vec<u8>)> {
        Lines::from(text, 0).map(|logical| (logical.line, logical.content().into_owned())).collect()
    }

    #[test]
    fn lines_continuation_comment_blank_joined_as_stock() {
        let text = b"# head\n\na 1\n  2 # data\n# between\n\n \t\n\t3\nb 4\r\n  # last\nc";
        let expected: Vec<(u32, Vec<u8>)> =
            vec![(3, b"a 1  2 # data\t3".to_vec()), (9, b"b 4\r".to_vec()), (11, b"c".to_vec())];
        assert_eq!(contents(text), expected);
        assert_eq!(count_starts(text), 3);
    }

    #[test]
    fn lines_orphan_continuation_is_one_logical_line() {
        let mut lines = Lines::from(b" x\n y\nz 1\n", 0);
        let orphan = lines.next().unwrap();
        assert!(orphan.is_orphan());
        assert_eq!(orphan.content().as_ref(), b" x y");
        assert!(!lines.next().unwrap().is_orphan());
        assert!(lines.next().is_none());
    }

    #[test]
    fn lines_nul_ends_the_logical_line() {
        assert_eq!(contents(b"a b\0c\n d\ne f\n"), vec![(1, b"a b".to_vec()), (3, b"e f".to_vec())]);
        // A NUL byte in a comment is not part of any line.
        assert!(!Lines::from(b"a b\n#\0\n c\n", 0).next().unwrap().has_nul());
    }

    #[test]
    fn at_recorded_offset_returns_the_same_text() {
        let text = b"a 1\n#\n 2\nb 3\n# end\n";
        for logical in Lines::from(text, 0) {
            let again = Logical::at(text, logical.start, logical.continued).unwrap();
            assert_eq!(again.content(), logical.content());
        }
    }

    #[test]
    fn lines_empty_text_none() {
        assert!(contents(b"").is_empty());
        assert!(contents(b"\n\n#\n   ").is_empty());
    }
}
