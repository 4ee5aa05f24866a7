//! The settings of one table, typed: from its file, or from parameters of main.cf with its prefix.

use mapkeep_template::TemplateError;
use zeroize::Zeroizing;

use super::file::CfFile;
use super::{CfComplaint, CfSource, DatabaseKind, Secret, known};
use crate::complaint::Severity;
use crate::error::shown;
use crate::parameters::{Origin, Parameters};
use crate::values::boolean;

/// Separators of lists in these files, in which braces mean nothing.
const SEPARATORS: &[u8] = b", \t\r\n";

/// Access to the settings of a table. Whatever is wrong is noted; the value is then the default.
pub(super) struct Values<'a> {
    kind: DatabaseKind,
    source: CfSource<'a>,
    file: CfFile,
    parameters: &'a Parameters,
    complaints: Vec<CfComplaint>,
}

impl<'a> Values<'a> {
    pub(super) fn new(kind: DatabaseKind, source: CfSource<'a>, parameters: &'a Parameters) -> Values<'a> {
        let file = match source {
            CfSource::File { text, .. } => CfFile::parse(text),
            CfSource::Prefix(_) => CfFile::default(),
        };
        let mut values = Values { kind, source, file, parameters, complaints: Vec::new() };
        for (line, severity, text) in std::mem::take(&mut values.file.faults) {
            values.note(line, severity, text);
        }
        values.note_unknown();
        values
    }

    /// The version of Postfix whose behaviour is wanted.
    pub(super) fn since(&self, minor: u16) -> bool {
        self.parameters.version().reached(3, minor, 0)
    }

    /// Whether Postfix's UTF-8 support is on.
    pub(super) fn utf8(&self) -> bool {
        self.parameters.boolean("smtputf8_enable").unwrap_or(true)
    }

    /// All complaints, and whether one of them is an error.
    pub(super) fn finish(self) -> (Vec<CfComplaint>, bool) {
        let failed = self.complaints.iter().any(|complaint| complaint.severity == Severity::Error);
        (self.complaints, failed)
    }

    fn note_unknown(&mut self) {
        let mut hints = Vec::new();
        for (name, written) in &self.file.entries {
            if let Some((_, minor)) = known::parameters(self.kind).find(|(known, _)| known.as_bytes() == name)
            {
                if !self.since(minor) {
                    let what = format!("{} is ignored: it needs Postfix 3.{minor} or later", shown(name));
                    hints.push((written.line, what));
                }
            } else if let Some(meant) = known::meant(self.kind, name) {
                hints.push((written.line, format!("{} is ignored; is {meant} meant?", shown(name))));
            }
        }
        for (line, text) in hints.into_iter().take(10) {
            self.note(line, Severity::Warning, text);
        }
    }

    fn note(&mut self, line: u32, severity: Severity, text: String) {
        let file = match self.source {
            CfSource::File { path, .. } => path.to_vec(),
            CfSource::Prefix(_) => b"main.cf".to_vec(),
        };
        self.complaints.push(CfComplaint { file, line, severity, text });
    }

    /// Notes an error in the value of `name`. `text` says what is wrong and the remedy, without the value of a secret.
    pub(super) fn error(&mut self, name: &str, text: &str) {
        let (line, full) = self.place(name);
        self.note(line, Severity::Error, format!("{full}: {text}"));
    }

    /// Notes something about `name` that is not an error.
    pub(super) fn warning(&mut self, name: &str, text: &str) {
        let (line, full) = self.place(name);
        self.note(line, Severity::Warning, format!("{full}: {text}"));
    }

    /// Notes that the template in `name` is wrong.
    pub(super) fn bad_template(&mut self, name: &str, error: TemplateError) {
        self.error(name, &error.to_string());
    }

    /// The line of `name`, and its name in the file.
    fn place(&self, name: &str) -> (u32, String) {
        match self.source {
            CfSource::File { .. } => {
                (self.file.entries.get(name.as_bytes()).map_or(0, |written| written.line), name.to_owned())
            }
            CfSource::Prefix(prefix) => {
                let full = full_name(prefix, name);
                let line = match self.parameters.origin(full.as_bytes()) {
                    Origin::Main(line) => line,
                    _ => 0,
                };
                (line, full)
            }
        }
    }

    /// The value of `name`, if it is set.
    fn find(&mut self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let minor = known::parameters(self.kind).find(|(known, _)| *known == name).map_or(6, |found| found.1);
        if !self.since(minor) {
            return None;
        }
        match self.source {
            CfSource::File { .. } => self.file.entries.get(name.as_bytes()).map(|found| found.value.clone()),
            CfSource::Prefix(prefix) => {
                let full = full_name(prefix, name);
                self.parameters.raw(&full)?;
                match self.parameters.expand(&full) {
                    Ok(value) => Some(Zeroizing::new(value)),
                    Err(error) => {
                        self.error(name, &error.reason.to_string());
                        None
                    }
                }
            }
        }
    }

    /// A text, `default` if it is not set. A value that is set may be empty.
    pub(super) fn text(&mut self, name: &str, default: &str) -> Vec<u8> {
        self.find(name).map_or_else(|| default.as_bytes().to_vec(), |value| value.to_vec())
    }

    /// A text that must not be empty, `default` if it is not set.
    pub(super) fn required(&mut self, name: &str, default: &str) -> Vec<u8> {
        let value = self.text(name, default);
        if value.is_empty() {
            self.error(name, "it must have a value; set it");
        }
        value
    }

    /// A text; `None` if it is not set or empty.
    pub(super) fn optional(&mut self, name: &str) -> Option<Vec<u8>> {
        let value = self.text(name, "");
        (!value.is_empty()).then_some(value)
    }

    /// A password.
    pub(super) fn secret(&mut self, name: &str) -> Secret {
        self.find(name).map_or_else(Secret::default, |value| Secret::new(value.to_vec()))
    }

    /// A list of words. Empty if the value is.
    pub(super) fn list(&mut self, name: &str, default: &str) -> Vec<Vec<u8>> {
        let value = Zeroizing::new(self.text(name, default));
        let words = value.split(|byte| SEPARATORS.contains(byte)).filter(|word| !word.is_empty());
        words.map(<[u8]>::to_vec).collect()
    }

    /// `yes` or `no`; `None` if it is not set.
    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        let value = self.find(name)?;
        match boolean(&value) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.error(name, &format!("{reason}; write one of them"));
                None
            }
        }
    }

    /// A number, at least `least` and at most `most` where these are not 0, as in Postfix.
    pub(super) fn integer(&mut self, name: &str, default: i32, least: i32, most: i32) -> i32 {
        let Some(value) = self.find(name) else { return default };
        let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i32>().ok());
        let text = shown(&value);
        match number {
            None => self.error(name, &format!("\"{text}\" is not a number; write a decimal number")),
            Some(number) if least != 0 && number < least => {
                self.error(name, &format!("{text} is too small; the least is {least}"));
            }
            Some(number) if most != 0 && number > most => {
                self.error(name, &format!("{text} is too large; the most is {most}"));
            }
            Some(number) => return number,
        }
        default
    }
}

fn full_name(prefix: &[u8], name: &str) -> String {
    format!("{}_{name}", String::from_utf8_lossy(prefix))
}
