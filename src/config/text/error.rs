//! The one error of this room: why a parameter has no usable value.
//!
//! Values only. Callers turn it into a [`crate::Complaint`], which adds file, line and remedy.

/// Why a value could not be had, and the parameter whose text is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The innermost parameter whose text is wrong; `None` when the text was not a parameter's.
    pub parameter: Option<Vec<u8>>,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A `$` reference that is not well-formed; the text says how.
    Syntax(&'static str),
    /// `$name` references nested deeper than 100: a parameter most likely refers to itself.
    TooDeep,
    /// The expanded value is longer than 4 MiB, or takes too much work to find.
    TooLarge,
    /// An operand of a `level` comparison is not `major`, `major.minor` or `major.minor.patch`.
    BadLevel(Vec<u8>),
    /// An international domain name, which this program does not convert.
    NotAscii,
    /// The parameter has no value at all.
    Unset,
    /// Not a number, followed by a time unit where one is due, in range.
    BadTime(Vec<u8>),
    /// Not a decimal number in range.
    BadInteger(Vec<u8>),
    /// Neither `yes` nor `no`.
    BadBoolean(Vec<u8>),
    /// A value that the parameter does not allow; the text says what it does allow.
    NotAllowed(Vec<u8>, &'static str),
    /// Not UTF-8 where text is needed.
    NotText,
    /// A name that cannot be set, because the program itself sets it.
    Reserved,
    /// An override that is not `name=value`.
    NotNameValue,
}

impl ConfigError {
    pub(crate) fn new(reason: Reason) -> ConfigError {
        ConfigError { parameter: None, reason }
    }

    /// The same error, attributed to `parameter` unless it already names an inner one.
    pub(crate) fn within(mut self, parameter: &[u8]) -> ConfigError {
        self.parameter.get_or_insert_with(|| parameter.to_vec());
        self
    }
}

impl From<Reason> for ConfigError {
    fn from(reason: Reason) -> ConfigError {
        ConfigError::new(reason)
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(parameter) = &self.parameter {
            write!(f, "parameter {}: ", shown(parameter))?;
        }
        self.reason.fmt(f)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Syntax(what) => write!(f, "bad \"$\" reference: {what}; write a literal $ as $$"),
            Reason::TooDeep => {
                f.write_str("\"$\" references nest deeper than 100; a parameter refers to itself")
            }
            Reason::TooLarge => f.write_str("the expanded value is too large; list fewer or shorter names"),
            Reason::BadLevel(text) => {
                write!(f, "\"{}\" is not a compatibility level; write it like 3.6", shown(text))
            }
            Reason::NotAscii => f.write_str("this is an internationalized domain name; write its ASCII form"),
            Reason::Unset => f.write_str("the parameter has no value; set it"),
            Reason::BadTime(text) => {
                write!(f, "\"{}\" is not a time; write digits and one of s, m, h, d, w", shown(text))
            }
            Reason::BadInteger(text) => {
                write!(f, "\"{}\" is not a number from 0 to 2147483647", shown(text))
            }
            Reason::BadBoolean(text) => write!(f, "\"{}\" is neither yes nor no", shown(text)),
            Reason::NotAllowed(text, allowed) => write!(f, "\"{}\" is not {allowed}", shown(text)),
            Reason::NotText => f.write_str("the value is not UTF-8 text"),
            Reason::Reserved => f.write_str("Postfix sets this parameter itself; remove the setting"),
            Reason::NotNameValue => f.write_str("an override must be name=value, or { name = value }"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// `bytes` made fit for a log line: unprintable ones as `?`, cut at 200.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text: String = bytes
        .iter()
        .take(200)
        .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' })
        .collect();
    if bytes.len() > 200 {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_long_text_is_cut() {
        assert_eq!(shown(&[b'a'; 500]).len(), 203);
    }
}
