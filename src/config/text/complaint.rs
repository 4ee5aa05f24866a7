//! Complaints: what is wrong in a configuration file, where, and what to do about it.
//!
//! Values and their wording only. Made by the parsers and readers of this crate, printed or logged by callers.

use crate::error::{ConfigError, shown};
use crate::tokens::BraceError;

/// The file that a complaint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// Postfix main.cf.
    MainCf,
    /// Postfix master.cf.
    MasterCf,
    /// Our own mapkeep.cf.
    KeepCf,
    /// The defaults that `postconf -d` printed, or the built-in ones.
    Defaults,
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FileName::MainCf => "main.cf",
            FileName::MasterCf => "master.cf",
            FileName::KeepCf => "mapkeep.cf",
            FileName::Defaults => "defaults",
        })
    }
}

/// How much a complaint matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something was left out or replaced by a default; stock Postfix would often die of it.
    Error,
    /// Probably a mistake; the value is used as written.
    Warning,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One fault in a configuration file. Its Display is `main.cf:12: error: what and remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The file at fault.
    pub file: FileName,
    /// First line of the faulty entry, from 1; 0 when no line is known.
    pub line: u32,
    /// What is wrong.
    pub kind: ComplaintKind,
}

/// What a complaint is about. Byte strings are shown with unprintable bytes as `?`, and shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComplaintKind {
    /// A line without `=` after its first word; it is ignored.
    NoEquals(Vec<u8>),
    /// A line that starts with `=`; it is ignored.
    NoName,
    /// A continuation line with nothing before it; it is ignored.
    NothingToContinue,
    /// A NUL byte in a line; the line is ignored.
    NulByte,
    /// A parameter set twice to different values; the later one counts.
    SetTwice(Vec<u8>, u32),
    /// A master.cf line with fewer than eight fields; it is ignored.
    TooFewFields(usize),
    /// A master.cf field that is not understood; the service is ignored.
    BadField(&'static str, Vec<u8>),
    /// Braces that do not match; the entry is ignored.
    BadBraces(Vec<u8>, BraceError),
    /// An `-o` argument that is not `name=value`; it is ignored.
    BadOverride(Vec<u8>),
    /// A service that is defined twice; the later one counts.
    ServiceTwice(Vec<u8>, u32),
    /// A parameter whose value cannot be used; `used` stands in for it.
    BadValue {
        /** What is wrong. */
        error: ConfigError,
        /** The value used instead. */
        used: String,
    },
    /// A list of tables that cannot be expanded; what can be read of it is used.
    BadList(ConfigError),
    /// A file of table names that cannot be read; it is ignored.
    NoListFile(Vec<u8>),
    /// Files of table names that name each other, too many of them, or tables nested too deep.
    ListTooDeep(Vec<u8>),
    /// A name that is not known; it is ignored. With the known ones.
    UnknownName(Vec<u8>, &'static [&'static str]),
    /// Further complaints about the same file are left out.
    More,
}

impl ComplaintKind {
    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            ComplaintKind::SetTwice(..) | ComplaintKind::ServiceTwice(..) | ComplaintKind::More => {
                Severity::Warning
            }
            _ => Severity::Error,
        }
    }
}

impl Complaint {
    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = self.severity();
        if self.line == 0 {
            write!(f, "{}: {severity}: {}", self.file, self.kind)
        } else {
            write!(f, "{}:{}: {severity}: {}", self.file, self.line, self.kind)
        }
    }
}

impl std::fmt::Display for ComplaintKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ComplaintKind::NoEquals(name) => {
                write!(f, "no \"=\" after \"{}\": line ignored; write name = value", shown(name))
            }
            ComplaintKind::NoName => f.write_str("no name before \"=\": line ignored; write name = value"),
            ComplaintKind::NothingToContinue => {
                f.write_str("the first entry starts with whitespace: line ignored; remove the whitespace")
            }
            ComplaintKind::NulByte => f.write_str("NUL byte in the line: line ignored; remove the byte"),
            ComplaintKind::SetTwice(name, line) => {
                let name = shown(name);
                write!(f, "{name} is set again, line {line} no longer counts; remove that line")
            }
            ComplaintKind::TooFewFields(count) => {
                write!(f, "{count} fields where a service needs 8: line ignored; see master(5)")
            }
            ComplaintKind::BadField(field, text) => {
                write!(f, "bad {field} field \"{}\": service ignored; see master(5)", shown(text))
            }
            ComplaintKind::BadBraces(text, error) => {
                write!(f, "\"{}\" ignored: {error}; balance the braces", shown(text))
            }
            ComplaintKind::BadOverride(text) => {
                write!(f, "-o \"{}\" ignored; write -o name=value or -o {{ name = value }}", shown(text))
            }
            ComplaintKind::ServiceTwice(name, line) => {
                write!(f, "service {} is also defined in line {line}; remove one of the two", shown(name))
            }
            ComplaintKind::BadValue { error, used } => write!(f, "{error}; using {used}"),
            ComplaintKind::BadList(error) => write!(f, "{error}; the tables named there are not approved"),
            ComplaintKind::NoListFile(path) => {
                write!(f, "list file \"{}\" cannot be read: none of its tables is approved", shown(path))
            }
            ComplaintKind::ListTooDeep(text) => {
                write!(f, "\"{}\" nests too deep or names itself: ignored; flatten the list", shown(text))
            }
            ComplaintKind::UnknownName(name, known) => {
                write!(f, "unknown name \"{}\": line ignored; known are {}", shown(name), known.join(", "))
            }
            ComplaintKind::More => f.write_str("further problems are not shown; correct these first"),
        }
    }
}

/// Complaints beyond this number are left out: a file that is no configuration at all must not fill the log.
const MOST: usize = 100;

/// Adds a complaint, unless there are too many already.
pub(crate) fn complain(to: &mut Vec<Complaint>, file: FileName, line: u32, kind: ComplaintKind) {
    match to.len() {
        MOST => to.push(Complaint { file, line, kind: ComplaintKind::More }),
        count if count > MOST => {}
        _ => to.push(Complaint { file, line, kind }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_with_and_without_line_says_file_severity_and_remedy() {
        let mut complaint =
            Complaint { file: FileName::MainCf, line: 12, kind: ComplaintKind::NoEquals(b"a\x1bb".to_vec()) };
        assert_eq!(
            complaint.to_string(),
            "main.cf:12: error: no \"=\" after \"a?b\": line ignored; write name = value"
        );
        complaint.line = 0;
        assert!(complaint.to_string().starts_with("main.cf: error: "));
    }

    #[test]
    fn complain_after_many_ends_with_one_notice() {
        let mut list = Vec::new();
        for line in 0..500 {
            complain(&mut list, FileName::MainCf, line, ComplaintKind::NoName);
        }
        assert_eq!(list.len(), MOST + 1);
        assert_eq!(list.last().unwrap().kind, ComplaintKind::More);
    }
}
