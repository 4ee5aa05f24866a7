//! Client bytes made safe for a log line.

use std::fmt;

/// The number of client bytes that one log line shows at most; longer text ends in `...`.
pub const PRINTABLE_MAX: usize = 100;

/// Shows bytes with `?` for everything but printable ASCII, cut after [`PRINTABLE_MAX`] bytes.
///
/// Stock lets valid UTF-8 through. A log reader's terminal is not ours to test, so we do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for byte in self.0.iter().take(PRINTABLE_MAX) {
            let shown = if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
            formatter.write_char(shown)?;
        }
        if self.0.len() > PRINTABLE_MAX { formatter.write_str("...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_control_and_high_bytes_become_question_marks() {
        // Stock 3.7.11 logs this table name in the same way.
        assert_eq!(Printable(b"hash:/tmp/\x01\xfcx\ty").to_string(), "hash:/tmp/??x?y");
        assert_eq!(Printable(b"\x1b[2J\r\n\0\x7f").to_string(), "?[2J????");
    }

    #[test]
    fn printable_long_text_is_cut() {
        assert_eq!(Printable(&[b'a'; PRINTABLE_MAX]).to_string(), "a".repeat(PRINTABLE_MAX));
        let long = Printable(&[b'a'; PRINTABLE_MAX + 1]).to_string();
        assert_eq!(long, format!("{}...", "a".repeat(PRINTABLE_MAX)));
    }
}
