//! What there is to say about a configuration, with the place as data: who shows it decides on the form.

use mapkeep_config_text::{Complaint, FileName, Severity};
use std::fmt;

/// What a remark is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// No file in particular.
    General,
    /// A file as a whole, or who could have written it. The text continues after the file's name.
    File(FileName),
    /// The entry of a file that begins at this line; 0 when none is known.
    Entry(FileName, u32),
}

/// A remark about the configuration. Its Display is what the service logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What it is about.
    pub subject: Subject,
    /// How bad it is.
    pub severity: Severity,
    /// The text, with a remedy.
    pub text: String,
}

impl Remark {
    /// Something that is wrong.
    pub fn error(subject: Subject, text: String) -> Remark {
        Remark { subject, severity: Severity::Error, text }
    }

    /// Something that is probably not intended.
    pub fn warning(subject: Subject, text: String) -> Remark {
        Remark { subject, severity: Severity::Warning, text }
    }

    /// The file it is about, if there is one.
    pub fn file(&self) -> Option<FileName> {
        match self.subject {
            Subject::General => None,
            Subject::File(file) | Subject::Entry(file, _) => Some(file),
        }
    }

    /// The line of that file, from 1, if it is known.
    pub fn line(&self) -> Option<u32> {
        match self.subject {
            Subject::General | Subject::File(_) | Subject::Entry(_, 0) => None,
            Subject::Entry(_, line) => Some(line),
        }
    }
}

impl From<&Complaint> for Remark {
    fn from(complaint: &Complaint) -> Remark {
        Remark {
            subject: Subject::Entry(complaint.file, complaint.line),
            severity: complaint.severity(),
            text: complaint.kind.to_string(),
        }
    }
}

/// Adds complaints. False: one of them is an error.
pub(crate) fn note(remarks: &mut Vec<Remark>, complaints: &[Complaint]) -> bool {
    remarks.extend(complaints.iter().map(Remark::from));
    !complaints.iter().any(|complaint| complaint.severity() == Severity::Error)
}

impl fmt::Display for Remark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Remark { subject, severity, text } = self;
        match subject {
            Subject::General => out.write_str(text),
            Subject::File(file) => write!(out, "{file} {text}"),
            Subject::Entry(file, 0) => write!(out, "{file}: {severity}: {text}"),
            Subject::Entry(file, line) => write!(out, "{file}:{line}: {severity}: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapkeep_config_text::ComplaintKind;

    #[test]
    fn complaint_is_logged_as_it_shows_itself() {
        for (line, place) in [(12, Some(12)), (0, None)] {
            let complaint = Complaint { file: FileName::MainCf, line, kind: ComplaintKind::NulByte };
            let remark = Remark::from(&complaint);
            assert_eq!(remark.to_string(), complaint.to_string());
            assert_eq!((remark.file(), remark.line()), (Some(FileName::MainCf), place));
        }
    }

    #[test]
    fn remark_about_a_whole_file_is_a_sentence_that_names_it() {
        let remark = Remark::warning(Subject::File(FileName::KeepCf), "is ignored".to_owned());
        assert_eq!(remark.to_string(), "mapkeep.cf is ignored");
        assert_eq!((remark.file(), remark.line()), (Some(FileName::KeepCf), None));
        let remark = Remark::warning(Subject::General, "a list is missing".to_owned());
        assert_eq!((remark.to_string().as_str(), remark.file()), ("a list is missing", None));
    }
}
