//! What of an account file may leave the broker: that an account exists, and nothing else.
//!
//! A mail server needs to know whether there is an account or a group of some name. Ids, members, directories,
//! shells, comments and (on old systems) password hashes stay here: not even a worker that has been taken over
//! can tell them. Fields per passwd(5) and group(5).

use crate::Redact;
use mapkeep_name::{Kind, redact_accounts};

/// The filter for a kind of table, if that is an account file.
pub fn of(kind: Kind) -> Option<Redact> {
    match kind {
        Kind::Passwd => Some(passwd),
        Kind::Group => Some(group),
        _ => None,
    }
}

fn passwd(lines: &[u8], out: &mut Vec<u8>) {
    redact_accounts(Kind::Passwd, lines, out);
}

fn group(lines: &[u8], out: &mut Vec<u8>) {
    redact_accounts(Kind::Group, lines, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(filter: Redact, text: &[u8]) -> String {
        let mut out = Vec::new();
        filter(text, &mut out);
        assert!(out.len() <= text.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn filter_leaves_only_names() {
        let text = b"root:$6$hash:0:0:Charlie &:/root:/bin/sh\nmail:x:8:8::/var/mail:/bin/false\n";
        assert_eq!(reduced(of(Kind::Passwd).unwrap(), text), "root:x:::::\nmail:x:::::\n");
        assert_eq!(
            reduced(of(Kind::Group).unwrap(), b"adm:x:4:alice,bob\nempty:x:5:\n"),
            "adm:x::\nempty:x::\n"
        );
    }

    #[test]
    fn lines_that_are_not_accounts_are_left_out() {
        assert_eq!(
            reduced(
                of(Kind::Passwd).unwrap(),
                b"+::::::\n#c:x:1:1:::\n:x:1:1:::\nshort:x:1\n\nlong:x:1:1::::\n"
            ),
            ""
        );
        assert_eq!(reduced(of(Kind::Group).unwrap(), b"-x:x:1:\nno\n"), "");
    }
}
