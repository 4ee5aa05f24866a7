//! The file of a table: logical lines of `name = value`, without `$` expansion.
//!
//! Source: mysql_table(5) and the like; measured with postmap 3.7.11. A line without `=` ends stock; here it is an error of
//! this table.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::complaint::Severity;
use crate::error::shown;
use crate::lines::{SplitError, is_space, logical_pieces, split_name_value};

/// More complaints about one file are left out.
const MOST_COMPLAINTS: usize = 20;

/// A value as it is written. It may be a password, so it is wiped.
pub(super) struct Written {
    pub value: Zeroizing<Vec<u8>>,
    /// First line of the entry, from 1.
    pub line: u32,
}

/// What a file says, by name; of two entries the later counts.
#[derive(Default)]
pub(super) struct CfFile {
    pub entries: BTreeMap<Vec<u8>, Written>,
    /// Line, severity and text of what is wrong.
    pub faults: Vec<(u32, Severity, String)>,
}

impl CfFile {
    /// Reads `text`.
    pub(super) fn parse(text: &[u8]) -> CfFile {
        let mut file = CfFile::default();
        for (line, pieces) in logical_pieces(text) {
            // One allocation of the right size: nothing is copied to where it is not wiped.
            file.line(line, &Zeroizing::new(pieces.concat()));
        }
        file
    }

    fn line(&mut self, line: u32, text: &[u8]) {
        if text.first().copied().is_some_and(is_space) {
            let what = "the first entry starts with whitespace: it is ignored; remove the whitespace";
            return self.fault(line, Severity::Warning, what.to_owned());
        }
        let mut parts = text.splitn(2, |byte| *byte == 0);
        let text = parts.next().unwrap_or_default();
        if parts.next().is_some() {
            let what = "NUL byte: what follows it is ignored; remove the byte".to_owned();
            self.fault(line, Severity::Warning, what);
        }
        match split_name_value(text) {
            Ok((name, value)) => {
                let written = Written { value: Zeroizing::new(value.to_vec()), line };
                if let Some(old) = self.entries.insert(name.to_vec(), written)
                    && *old.value != value
                {
                    let (name, old) = (shown(name), old.line);
                    let what = format!("{name} is set again, line {old} no longer counts; remove that line");
                    self.fault(line, Severity::Warning, what);
                }
            }
            Err(SplitError::NoName) => {
                let what = "no name before \"=\"; write name = value".to_owned();
                self.fault(line, Severity::Error, what);
            }
            Err(SplitError::NoEquals) => {
                // Nothing of the line is shown: it could be the end of a password that was cut in two.
                let what = "no \"=\" after a name; write name = value".to_owned();
                self.fault(line, Severity::Error, what);
            }
        }
    }

    fn fault(&mut self, line: u32, severity: Severity, text: String) {
        let errors = self.faults.iter().any(|fault| fault.1 == Severity::Error);
        if self.faults.len() < MOST_COMPLAINTS || (severity == Severity::Error && !errors) {
            self.faults.push((line, severity, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Entry = (String, String, u32);

    fn parse(text: &[u8]) -> (Vec<Entry>, Vec<(u32, Severity)>) {
        let file = CfFile::parse(text);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let entries =
            file.entries.iter().map(|(name, found)| (text(name), text(&found.value), found.line)).collect();
        (entries, file.faults.iter().map(|fault| (fault.0, fault.1)).collect())
    }

    #[test]
    fn parse_continued_lines_and_comments() {
        let (entries, faults) =
            parse(b"# x\nquery = SELECT $x\n# c\n\n  FROM t # no comment\nUser=\nuser =u \r\n");
        let entry = |name: &str, value: &str, line| (name.to_owned(), value.to_owned(), line);
        let expected = [
            entry("User", "", 6),
            entry("query", "SELECT $x  FROM t # no comment", 2),
            entry("user", "u", 7),
        ];
        assert_eq!(entries, expected);
        assert!(faults.is_empty());
    }

    #[test]
    fn parse_faults_are_found_with_their_lines() {
        let (entries, faults) = parse(b" lost = 1\na = 1\na = 1\na = 2\nno equals\n= x\nb = 1\0 2\n");
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1].1, "1");
        let (warning, error) = (Severity::Warning, Severity::Error);
        assert_eq!(faults, [(1, warning), (4, warning), (5, error), (6, error), (7, warning)]);
        let many = CfFile::parse(" x\na=1\na=2\n".repeat(500).as_bytes());
        assert_eq!(many.faults.len(), MOST_COMPLAINTS);
    }

    #[test]
    fn parse_shows_no_value() {
        let file = CfFile::parse(b"password = first\npassword = second\ncret cret\n");
        for (_, _, text) in &file.faults {
            assert!(!text.contains("first") && !text.contains("second") && !text.contains("cret"), "{text}");
        }
    }
}
