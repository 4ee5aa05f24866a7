//! What is wrong with the settings of a table. No text of these contains a password, or anything that may hold one.

use crate::complaint::Severity;
use crate::error::shown;

/// One fault in the settings of a table. Its Display is `/etc/postfix/users.cf:12: error: what and remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CfComplaint {
    /// The file: that of the table, or `main.cf`.
    pub file: Vec<u8>,
    /// The line, from 1; 0 when the fault is in no line, such as a setting that is missing.
    pub line: u32,
    /// After an error the table has no settings, and answers RETRY; stock would end, or do so too.
    pub severity: Severity,
    /// What is wrong, and the remedy.
    pub text: String,
}

impl std::fmt::Display for CfComplaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(&self.file))?;
        if self.line != 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}: {}", self.severity, self.text)
    }
}
