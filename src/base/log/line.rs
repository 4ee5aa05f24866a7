//! What a line is made of.

/// The severity, with Postfix's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Severity {
    /// No prefix.
    Info = 0,
    /// `warning: `
    Warning = 1,
    /// `error: `
    Error = 2,
    /// `fatal: `: the process ends.
    Fatal = 3,
}

impl Severity {
    /// The severity with this tag in a log message.
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Severity> {
        [Severity::Info, Severity::Warning, Severity::Error, Severity::Fatal]
            .into_iter()
            .find(|severity| *severity as u8 == tag)
    }

    /// What Postfix writes before the text.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Severity::Info => "",
            Severity::Warning => "warning: ",
            Severity::Error => "error: ",
            Severity::Fatal => "fatal: ",
        }
    }

    /// The syslog level (RFC 5424, 6.2.1): fatal is "critical", as in Postfix.
    #[must_use]
    pub fn level(self) -> u8 {
        match self {
            Severity::Info => 6,
            Severity::Warning => 4,
            Severity::Error => 3,
            Severity::Fatal => 2,
        }
    }
}

/// A syslog facility (`syslog_facility` in main.cf).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// The default: mail.
    pub const MAIL: Facility = Facility(2);

    /// The facility of this name, as syslog(3) and Postfix name them.
    #[must_use]
    pub fn named(name: &str) -> Option<Facility> {
        const NAMES: [(&str, u8); 20] = [
            ("kern", 0),
            ("user", 1),
            ("mail", 2),
            ("daemon", 3),
            ("auth", 4),
            ("syslog", 5),
            ("lpr", 6),
            ("news", 7),
            ("uucp", 8),
            ("cron", 9),
            ("authpriv", 10),
            ("ftp", 11),
            ("local0", 16),
            ("local1", 17),
            ("local2", 18),
            ("local3", 19),
            ("local4", 20),
            ("local5", 21),
            ("local6", 22),
            ("local7", 23),
        ];
        NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, number)| Facility(number))
    }

    /// The facility's number, for handing it to another process.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The facility with this number; the default when there is none.
    #[must_use]
    pub fn numbered(number: u8) -> Facility {
        if number < 24 { Facility(number) } else { Facility::MAIL }
    }

    /// The number in front of a syslog datagram.
    #[must_use]
    pub fn priority(self, severity: Severity) -> u8 {
        self.0.saturating_mul(8).saturating_add(severity.level())
    }
}

/// Makes arbitrary text safe for the log: one line, printable ASCII, at most `limit` bytes. Every other byte becomes
/// `?`, as in Postfix.
#[must_use]
pub fn sanitise(text: &[u8], limit: usize) -> String {
    let shown = text.iter().take(limit);
    let mut line: String =
        shown.map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' }).collect();
    if text.len() > limit {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sanitise_hides_control_bytes_and_cuts() {
        assert_eq!(sanitise(b"a\r\n\x1b[31mb\xff", 100), "a???[31mb?");
        assert_eq!(sanitise(&[b'x'; 11], 10), "xxxxxxxxxx...");
    }

    #[test]
    fn priority_of_mail_warning_is_20() {
        assert_eq!(Facility::named("mail").unwrap().priority(Severity::Warning), 20);
        assert_eq!(Facility::named("local7").unwrap().priority(Severity::Info), 190);
        assert_eq!(Facility::named("nonsense"), None);
    }
}
