//! main.cf and other files of `name = value` lines.
//!
//! Pure text. Also reads `postconf -d` output and mapkeep.cf. Values stay raw: `$name` references are expanded later,
//! by [`crate::Parameters`]. Source: postconf(5); stock ends at a line without `=`, we complain and go on.

use std::collections::BTreeMap;

use crate::complaint::{Complaint, ComplaintKind, FileName, complain};
use crate::lines::{SplitError, is_space, logical_lines, split_name_value, trim};

/// The value of one parameter as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Raw bytes, unexpanded, without whitespace at the ends.
    pub value: Vec<u8>,
    /// First line of the entry, from 1.
    pub line: u32,
}

/// What a file of `name = value` lines says. Names are case-sensitive bytes; of two entries the later counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MainCf {
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl MainCf {
    /// The entry of `name`.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// All entries, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_slice(), entry))
    }
}

/// Reads main.cf. Never fails: lines that say nothing usable are left out, with a complaint.
#[must_use]
pub fn parse_main(text: &[u8]) -> (MainCf, Vec<Complaint>) {
    parse_named(text, FileName::MainCf)
}

/// Reads any file of main.cf's grammar; complaints name `file`.
pub(crate) fn parse_named(text: &[u8], file: FileName) -> (MainCf, Vec<Complaint>) {
    let mut parsed = MainCf::default();
    let mut complaints = Vec::new();
    for logical in logical_lines(text) {
        let line = logical.line;
        let mut say = |kind| complain(&mut complaints, file, line, kind);
        // Stock's strings end at a NUL; half a value is worse than none.
        if logical.text.contains(&0) {
            say(ComplaintKind::NulByte);
            continue;
        }
        if logical.text.first().copied().is_some_and(is_space) {
            say(ComplaintKind::NothingToContinue);
            continue;
        }
        match split_name_value(&logical.text) {
            Ok((name, value)) => {
                let entry = Entry { value: value.to_vec(), line };
                if let Some(old) = parsed.entries.insert(name.to_vec(), entry)
                    && old.value != value
                {
                    say(ComplaintKind::SetTwice(name.to_vec(), old.line));
                }
            }
            Err(SplitError::NoName) => say(ComplaintKind::NoName),
            Err(SplitError::NoEquals) => {
                let text = trim(&logical.text);
                let word = text.split(|byte| is_space(*byte)).next().unwrap_or(text);
                say(ComplaintKind::NoEquals(word.to_vec()));
            }
        }
    }
    (parsed, complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(main: &MainCf, name: &str) -> Option<(String, u32)> {
        main.get(name.as_bytes()).map(|entry| (String::from_utf8_lossy(&entry.value).into(), entry.line))
    }

    #[test]
    fn parse_main_folded_value_keeps_inner_whitespace_and_first_line() {
        let (main, complaints) = parse_main(b"# x\nlist =\n  a,\n# c\n\tb # d\r\nnext=\n");
        assert_eq!(value(&main, "list"), Some(("a,\tb # d".into(), 2)));
        assert_eq!(value(&main, "next"), Some((String::new(), 6)));
        assert!(complaints.is_empty());
        assert_eq!(main.entries.len(), 2);
    }

    #[test]
    fn parse_main_name_is_case_sensitive() {
        let (main, _) = parse_main(b"Name = 1\nname = 2\n");
        assert_eq!(value(&main, "Name").unwrap().0, "1");
        assert_eq!(value(&main, "name").unwrap().0, "2");
    }

    #[test]
    fn parse_main_set_twice_last_wins_with_warning_if_different() {
        let (main, complaints) = parse_main(b"a = 1\nb = 1\na = 2\nb = 1\n");
        assert_eq!(value(&main, "a"), Some(("2".into(), 3)));
        assert_eq!(complaints.len(), 1);
        assert_eq!(complaints[0].line, 3);
        assert_eq!(complaints[0].kind, ComplaintKind::SetTwice(b"a".to_vec(), 1));
        assert_eq!(complaints[0].severity(), crate::Severity::Warning);
    }

    #[test]
    fn parse_main_bad_lines_are_skipped_with_line_numbers() {
        let (main, complaints) = parse_main(b"  lead = 1\nnoequals here\n= x\na\0b = 1\nok = 1\n");
        // A first line with leading whitespace is one complaint; the others are lines of their own.
        let found: Vec<_> = complaints.iter().map(|c| (c.line, c.kind.clone())).collect();
        assert_eq!(
            found,
            vec![
                (1, ComplaintKind::NothingToContinue),
                (2, ComplaintKind::NoEquals(b"noequals".to_vec())),
                (3, ComplaintKind::NoName),
                (4, ComplaintKind::NulByte),
            ]
        );
        assert_eq!(value(&main, "ok"), Some(("1".into(), 5)));
        assert_eq!(main.entries.len(), 1);
    }
}
