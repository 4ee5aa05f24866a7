//! The account files: whose lines name an account, and what of them may leave the broker.
//!
//! Pure. Fields per passwd(5) and group(5).

use crate::Kind;

/// What follows the name in answers and in redacted files.
#[must_use]
pub fn empty_fields(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Group => b":x::",
        _ => b":x:::::",
    }
}

/// Appends `name:x:::::` (or `name:x::` for groups) to `out` for each account of `text`, and nothing else of it.
///
/// The broker calls this before the text goes to a worker, so that no worker ever holds ids, members, home
/// directories or password hashes. Comments, empty names, NIS entries (`+name`, `-name`) and lines that have not the
/// fields of passwd(5) or group(5) are left out, so that the result, which is also a valid `text`, is never longer
/// than a `text` of whole lines.
pub fn redact_accounts(kind: Kind, text: &[u8], out: &mut Vec<u8>) {
    let fields = empty_fields(kind);
    let colons = |line: &[u8]| line.iter().filter(|byte| **byte == b':').count();
    for (at, name) in account_names(text) {
        let rest = text.get(at..).unwrap_or_default();
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        // An account without a password and ids of one digit is the shortest that there is.
        let whole = colons(line) == colons(fields);
        if whole && line.len() >= name.len().saturating_add(fields.len()) {
            out.extend_from_slice(name);
            out.extend_from_slice(fields);
            out.push(b'\n');
        }
    }
}

/// The account names of `text` and their offsets.
pub fn account_names(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut next = 0_usize;
    text.split(|byte| *byte == b'\n').filter_map(move |line| {
        let start = next;
        next = next.saturating_add(line.len()).saturating_add(1);
        // The C library skips white space before an entry.
        let blank = line.iter().take_while(|byte| is_space(**byte)).count();
        let entry = line.get(blank..)?;
        let colon = entry.iter().position(|byte| *byte == b':')?;
        let name = entry.get(..colon)?;
        let ignored = matches!(name.first(), None | Some(b'#' | b'+' | b'-')) || name.contains(&0);
        (!ignored).then_some((start.saturating_add(blank), name))
    })
}

/// White space as C's isspace() has it in the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:$6$secret:0:0:root:/root:/bin/bash\n#old:x:1:1::/:\n\n+nis:::::\n-no:::::\n:x:5:5:::\n  mail:x:8:8:mail:/var/mail:/bin/sh\nbroken\nroot:x:7:7:again:/:/";

    #[test]
    fn redact_full_file_names_only() {
        let redacted = |kind, text: &[u8]| {
            let mut out = b"before ".to_vec();
            redact_accounts(kind, text, &mut out);
            out.strip_prefix(b"before ").unwrap().to_vec()
        };
        let once = redacted(Kind::Passwd, PASSWD);
        assert_eq!(once, b"root:x:::::\nmail:x:::::\nroot:x:::::\n");
        assert_eq!(redacted(Kind::Passwd, &once), once);
        assert_eq!(redacted(Kind::Group, b"adm:x:4:syslog,root\n"), b"adm:x::\n");
        assert_eq!(redacted(Kind::Passwd, b"few:x:1:1::\nmany:x:1:1::::/:\nbare:\n::::::\n"), b"");
    }
}
