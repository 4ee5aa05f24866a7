//! Typed values: times, numbers, yes and no.
//!
//! Pure. Source: measured with proxymap 3.7.11. A time is digits and one unit letter, anything after the letter is
//! ignored; numbers may carry a leading `+`; all end at 2147483647. Stock reads a lone unit letter as zero; that is
//! refused here.

use crate::error::Reason;
use crate::lines::trim;

/// The largest time (seconds) or number.
const LARGEST: u64 = 2_147_483_647;

/// Seconds. `default_unit` is one of `s m h d w` and applies when the text names none.
pub(crate) fn seconds(text: &[u8], default_unit: u8) -> Result<u64, Reason> {
    let bad = || Reason::BadTime(text.to_vec());
    let (digits, rest) = split_digits(trim(text));
    let unit: u64 = match rest.first().copied().unwrap_or(default_unit) {
        b's' => 1,
        b'm' => 60,
        b'h' => 60 * 60,
        b'd' => 24 * 60 * 60,
        b'w' => 7 * 24 * 60 * 60,
        _ => return Err(bad()),
    };
    let count = decimal(digits).ok_or_else(bad)?;
    count.checked_mul(unit).filter(|seconds| *seconds <= LARGEST).ok_or_else(bad)
}

/// A number from 0 to 2147483647.
pub(crate) fn integer(text: &[u8]) -> Result<u64, Reason> {
    match split_digits(trim(text)) {
        (digits, b"") => decimal(digits)
            .filter(|number| *number <= LARGEST)
            .ok_or_else(|| Reason::BadInteger(text.to_vec())),
        _ => Err(Reason::BadInteger(text.to_vec())),
    }
}

/// `yes` or `no` in any case.
pub(crate) fn boolean(text: &[u8]) -> Result<bool, Reason> {
    if text.eq_ignore_ascii_case(b"yes") {
        Ok(true)
    } else if text.eq_ignore_ascii_case(b"no") {
        Ok(false)
    } else {
        Err(Reason::BadBoolean(text.to_vec()))
    }
}

/// A size in bytes: digits and nothing, `k`, `m` or `g` (powers of 1024). Only mapkeep.cf has these.
pub(crate) fn bytes(text: &[u8]) -> Result<u64, Reason> {
    let bad = || Reason::NotAllowed(text.to_vec(), "a size; write digits and k, m or g");
    let (digits, rest) = split_digits(trim(text));
    let unit: u64 = match rest {
        b"" => 1,
        b"k" | b"K" => 1 << 10,
        b"m" | b"M" => 1 << 20,
        b"g" | b"G" => 1 << 30,
        _ => return Err(bad()),
    };
    decimal(digits).and_then(|count| count.checked_mul(unit)).ok_or_else(bad)
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.strip_prefix(b"+").unwrap_or(text);
    text.split_at(text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len()))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_each_unit_is_applied() {
        for (text, expected) in
            [("5s", 5), ("5m", 300), ("5h", 18000), ("1d", 86400), ("1w", 604_800), ("5", 300), ("+5s", 5)]
        {
            assert_eq!(seconds(text.as_bytes(), b'm'), Ok(expected), "{text}");
        }
        assert_eq!(seconds(b"5m30s", b's'), Ok(300));
        assert_eq!(seconds(b"2147483647", b's'), Ok(2_147_483_647));
    }

    #[test]
    fn seconds_other_text_is_refused() {
        for text in
            ["", "s", "-5s", "5 s", "5x", "5S", "0x5s", "99999w", "2147483648", "99999999999999999999999"]
        {
            assert_eq!(seconds(text.as_bytes(), b's'), Err(Reason::BadTime(text.into())), "{text}");
        }
    }

    #[test]
    fn integer_and_boolean_accept_what_stock_accepts() {
        for (text, expected) in [("5", 5), ("+5", 5), ("05", 5), ("0", 0)] {
            assert_eq!(integer(text.as_bytes()), Ok(expected));
        }
        for text in ["", "5s", "-5", "0x5", "2147483648", "+ 5", "++5"] {
            assert!(integer(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!((boolean(b"YES"), boolean(b"no")), (Ok(true), Ok(false)));
        for text in ["", "y", "1", "true", "yes "] {
            assert!(boolean(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_units_are_powers_of_1024() {
        assert_eq!(bytes(b"512"), Ok(512));
        assert_eq!((bytes(b"1k"), bytes(b"2M"), bytes(b"1g")), (Ok(1024), Ok(2 << 20), Ok(1 << 30)));
        for text in ["", "k", "1t", "1kb", "-1", "18446744073709551615g"] {
            assert!(bytes(text.as_bytes()).is_err(), "{text}");
        }
    }
}
