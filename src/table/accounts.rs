//! `unix:passwd.byname` and `unix:group.byname`, from the text of /etc/passwd and /etc/group.
//!
//! Purpose: answer whether an account exists. May: read account names. Never: give out, or let a worker have, any other
//! field: the answer is the name and empty fields. Called by: `Table`; the broker calls [`redact_accounts`].

use mapkeep_proto::Kind;

use crate::bytes::append;
use crate::error::TableError;
use crate::text::index::{self, Index};
use crate::text::is_space;

/// What follows the name in answers and in redacted files.
fn empty_fields(kind: Kind) -> &'static [u8] {
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
    for (at, name) in names(text) {
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

/// Indexes the names of `text`.
pub(crate) fn build(text: &[u8]) -> Result<Index, TableError> {
    let mut index = Index::with_room(names(text).count(), text.len())?;
    for (at, name) in names(text) {
        index.add(index::hash(name.iter().copied()), at, false)?;
    }
    index.sort(|a, b| name_at(text, a.at()).cmp(name_at(text, b.at())));
    Ok(index)
}

/// Fills `answer` and returns true if there is an account with exactly this name. Case counts, as in getpwnam().
pub(crate) fn find(
    kind: Kind,
    text: &[u8],
    index: &Index,
    name: &[u8],
    answer: &mut Vec<u8>,
) -> Result<bool, TableError> {
    if !is_there(text, index, name) {
        return Ok(false);
    }
    append(answer, name)?;
    append(answer, empty_fields(kind))?;
    Ok(true)
}

/// Whether the key is `NAME@domain` for an account that is there.
pub(crate) fn is_address_of(text: &[u8], index: &Index, key: &[u8]) -> bool {
    let at = key.iter().rposition(|byte| *byte == b'@');
    at.and_then(|at| key.get(..at)).is_some_and(|name| is_there(text, index, name))
}

fn is_there(text: &[u8], index: &Index, name: &[u8]) -> bool {
    let hash = index::hash(name.iter().copied());
    index.equal(hash, |slot| name_at(text, slot.at()).cmp(name)).next().is_some()
}

/// The account names of `text` and their offsets.
fn names(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
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

/// The name at an offset that [`names`] gave.
fn name_at(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).and_then(|rest| rest.split(|byte| *byte == b':').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:$6$secret:0:0:root:/root:/bin/bash\n#old:x:1:1::/:\n\n+nis:::::\n-no:::::\n:x:5:5:::\n  mail:x:8:8:mail:/var/mail:/bin/sh\nbroken\nroot:x:7:7:again:/:/";

    fn get(kind: Kind, text: &[u8], name: &[u8]) -> Option<Vec<u8>> {
        let index = build(text).unwrap();
        let mut answer = Vec::new();
        find(kind, text, &index, name, &mut answer).unwrap().then_some(answer)
    }

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

    #[test]
    fn find_existing_names_answered_without_fields() {
        assert_eq!(get(Kind::Passwd, PASSWD, b"root").as_deref(), Some(&b"root:x:::::"[..]));
        assert_eq!(get(Kind::Passwd, PASSWD, b"mail").as_deref(), Some(&b"mail:x:::::"[..]));
        assert_eq!(get(Kind::Group, b"mail:x:8:a,b\n", b"mail").as_deref(), Some(&b"mail:x::"[..]));
    }

    #[test]
    fn find_other_names_absent() {
        for name in
            [&b""[..], b"Root", b"nis", b"+nis", b"-no", b"#old", b"old", b"broken", b"roo", b"root:x"]
        {
            assert_eq!(get(Kind::Passwd, PASSWD, name), None, "{name:?}");
        }
    }

    #[test]
    fn incomplete_what_is_not_there_is_unknown() {
        let open = || crate::Table::from_snapshot(Kind::Passwd, PASSWD, &mut Vec::new()).unwrap();
        let ask = |table: &crate::Table<&[u8]>, key: &[u8]| {
            table.lookup(key, crate::NulModes::BOTH, &mut Vec::new())
        };
        let (whole, part) = (open(), open().incomplete());
        let found = Ok(crate::Outcome::Found(crate::NulMode::Bare));
        assert_eq!((ask(&whole, b"root"), ask(&part, b"root")), (found, found));
        for key in [&b"netuser"[..], b"netuser@example.org", b"", b"@example.org", b"root+x"] {
            assert_eq!(ask(&whole, key), Ok(crate::Outcome::Absent));
            assert_eq!(ask(&part, key), Err(TableError::MayBeElsewhere), "{key:?}");
        }
        // Whoever asks for the address of an account that is there goes on to ask for the account.
        assert_eq!(ask(&part, b"root@example.org"), Ok(crate::Outcome::Absent));
    }
}
