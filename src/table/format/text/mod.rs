//! Tables whose entries are text: `texthash:` files, and `inline:` and `static:` names.
//!
//! Purpose: the syntax that they share: white space, quoted keys, braces. May: borrow. Never: copy.

pub mod index;
pub mod inline;
pub mod lines;
pub mod texthash;

pub use mapkeep_name::{braced, next_element, trim};

/// White space as C's isspace() has it in the C locale.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Splits off the key, which ends at the first byte for which `ends` is true outside of quotes. `"` begins and ends
/// quoting, `\` protects the next byte; all of them stay in the key. The last part of the result tells whether a quote
/// is left open.
pub fn split_key(text: &[u8], ends: impl Fn(u8) -> bool) -> (&[u8], &[u8], bool) {
    let (mut quoted, mut protected) = (false, false);
    let end = text.iter().position(|byte| {
        match *byte {
            _ if protected => protected = false,
            b'\\' => protected = true,
            b'"' => quoted = !quoted,
            byte => return !quoted && ends(byte),
        }
        false
    });
    let (key, rest) = text.split_at_checked(end.unwrap_or(text.len())).unwrap_or((text, &[]));
    (key, rest, quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trim_all_kinds_of_space_removed() {
        assert_eq!(trim(b" \t\r\n\x0b\x0ca b \n"), b"a b");
        assert_eq!(trim(b" \n"), b"");
        assert_eq!(trim(b""), b"");
    }

    #[test]
    fn split_key_quotes_and_escapes_kept() {
        let split = |text| split_key(text, is_space);
        assert_eq!(split(br#""a b"c d"#), (&br#""a b"c"#[..], &b" d"[..], false));
        assert_eq!(split(br"a\ b c"), (&br"a\ b"[..], &b" c"[..], false));
        assert_eq!(split(br#"\"a b"#), (&br#"\"a"#[..], &b" b"[..], false));
        assert_eq!(split(br#""a b"#), (&br#""a b"#[..], &b""[..], true));
        assert_eq!(split(b"a\\"), (&b"a\\"[..], &b""[..], false));
    }

    #[test]
    fn braced_nested_or_unbalanced() {
        assert_eq!(braced(b"{ a {b} c }rest"), Some((&b"a {b} c"[..], &b"rest"[..])));
        assert_eq!(braced(b"{}"), Some((&b""[..], &b""[..])));
        assert_eq!(braced(b"{ a { b }"), None);
        assert_eq!(braced(b"a}"), None);
        assert_eq!(braced(b""), None);
    }
}
