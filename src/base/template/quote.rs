//! How text is written where it must not be taken for syntax. SQL's quoting depends on the connection: that of its
//! gateway. These do not depend on anything.
//!
//! Sources: RFC 4515 (filters) and RFC 4514 (names), with the characters that Postfix escapes, in its spelling.

/// Appends `text` as it is.
pub fn unquoted(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text);
}

/// Appends `text` as a value in an LDAP filter: `*`, `(`, `)` and `\` as `\XX`.
pub fn ldap_filter(text: &[u8], out: &mut Vec<u8>) {
    escaped(text, b"*()\\", out);
}

/// Appends `text` as a value in the name of an LDAP entry: space, tab and `"#+,;<>\` as `\XX`.
pub fn ldap_dn(text: &[u8], out: &mut Vec<u8>) {
    escaped(text, b" \t\"#+,;<>\\", out);
}

fn escaped(text: &[u8], special: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().unwrap_or(b'0');
    for byte in text {
        if special.contains(byte) {
            out.extend([b'\\', digit(byte >> 4), digit(*byte)]);
        } else {
            out.push(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldap_values_cannot_leave_their_place() {
        let quoted = |quote: fn(&[u8], &mut Vec<u8>), text: &[u8]| {
            let mut out = Vec::new();
            quote(text, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(quoted(ldap_filter, b"a*)(b\\c,d"), "a\\2A\\29\\28b\\5Cc,d");
        assert_eq!(quoted(ldap_dn, b"a b\t,c=<*>#+;\"\\"), "a\\20b\\09\\2Cc=\\3C*\\3E\\23\\2B\\3B\\22\\5C");
        assert_eq!(quoted(unquoted, b"'*"), "'*");
    }
}
