//! Case folding of keys.
//!
//! Purpose: the folding that Postfix applies to keys: ICU's FoldCase with default options, which is full Unicode case
//! folding (statuses C and F of CaseFolding.txt), which can change the length of a key. Never: normalises, or uses
//! a locale.
//!
//! The data is that of the `caseless` crate 0.2.2: Unicode 16.0. Letters that got a case in a later version stay as
//! they are. Postfix uses the tables of its ICU; src/table/lookup/tests/folding.rs names the letters that ICU 72 does not
//! know.

use std::borrow::Cow;

use caseless::Caseless;

/// `text` with differences of case removed.
///
/// Bytes that are not UTF-8 (by the strict definition of RFC 3629) get their ASCII letters folded only, as in
/// Postfix when its UTF-8 layer is off. Allocates only when there is something to change or to decode.
#[must_use]
pub fn casefold(text: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(text) {
        Ok(decoded) if !text.is_ascii() => {
            Cow::Owned(decoded.chars().default_case_fold().collect::<String>().into_bytes())
        }
        _ if text.iter().any(u8::is_ascii_uppercase) => Cow::Owned(text.to_ascii_lowercase()),
        _ => Cow::Borrowed(text),
    }
}

/// The key folded for a table: by [`casefold`] if the UTF-8 checks are on, otherwise its ASCII letters only.
#[must_use]
pub fn fold(key: &[u8], utf8: bool) -> Cow<'_, [u8]> {
    if utf8 {
        casefold(key)
    } else if has_capital(key) {
        Cow::Owned(key.to_ascii_lowercase())
    } else {
        Cow::Borrowed(key)
    }
}

/// Whether `key` contains an ASCII capital: then it has not been folded, not even by a client that folds ASCII only.
#[must_use]
pub fn has_capital(key: &[u8]) -> bool {
    key.iter().any(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        String::from_utf8(casefold(text.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn casefold_full_mappings_applied() {
        for (text, expected) in [
            ("Straße", "strasse"),
            ("ẞ", "ss"),
            ("İ", "i\u{307}"),
            ("I", "i"),
            ("ı", "ı"),
            ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
            ("Σίσυφος", "σίσυφοσ"),
            ("\u{2126}", "ω"), // the sign OHM
            ("Ω", "ω"),
            ("\u{212A}elvin", "kelvin"),
            ("ПОЧТА", "почта"),
            ("ΰ", "υ\u{308}\u{301}"),
            ("ﬃ", "ffi"),
            ("\u{ab70}", "\u{13a0}"), // Cherokee folds to its capitals
            ("\u{13a0}", "\u{13a0}"),
            ("Über@Example.COM", "über@example.com"),
            ("ſ", "s"),
            ("ŉ", "\u{2bc}n"),
        ] {
            assert_eq!(folded(text), expected, "{text}");
        }
        assert_eq!(caseless::UNICODE_VERSION, (16, 0, 0));
    }

    #[test]
    fn casefold_every_character_idempotent() {
        for character in '\0'..=char::MAX {
            let once = folded(&character.to_string());
            assert_eq!(folded(&once), once);
        }
    }

    #[test]
    fn casefold_not_utf8_ascii_only() {
        assert_eq!(casefold(b"\xc3A\x9f").as_ref(), b"\xc3a\x9f");
        assert_eq!(casefold(b"\xed\xa0\x80Z").as_ref(), b"\xed\xa0\x80z"); // a surrogate is no UTF-8
        assert!(matches!(casefold(b"plain@example.com"), Cow::Borrowed(_)));
    }

    #[test]
    fn fold_without_utf8_leaves_other_letters_alone() {
        assert_eq!(fold("M\u{dc}LLER".as_bytes(), true).as_ref(), "m\u{fc}ller".as_bytes());
        assert_eq!(fold("M\u{dc}LLER".as_bytes(), false).as_ref(), "m\u{dc}ller".as_bytes());
        assert!(matches!(fold("m\u{dc}ller".as_bytes(), false), Cow::Borrowed(_)));
    }
}
