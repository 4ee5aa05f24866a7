//! `unix:passwd.byname` and `unix:group.byname`, from the text of /etc/passwd and /etc/group.
//!
//! Purpose: answer whether an account exists. May: read account names. Never: give out any other field: the answer is
//! the name and empty fields.

use mapkeep_name::{Kind, account_names as names, empty_fields};

use crate::text::index::{self, Index};
use mapkeep_query::TableError;
use mapkeep_query::append;

/// Indexes the names of `text`.
pub fn build(text: &[u8]) -> Result<Index, TableError> {
    let mut index = Index::with_room(names(text).count(), text.len())?;
    for (at, name) in names(text) {
        index.add(index::hash(name.iter().copied()), at, false)?;
    }
    index.sort(|a, b| name_at(text, a.at()).cmp(name_at(text, b.at())));
    Ok(index)
}

/// Fills `answer` and returns true if there is an account with exactly this name. Case counts, as in getpwnam().
pub fn find(
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
pub fn is_address_of(text: &[u8], index: &Index, key: &[u8]) -> bool {
    let at = key.iter().rposition(|byte| *byte == b'@');
    at.and_then(|at| key.get(..at)).is_some_and(|name| is_there(text, index, name))
}

fn is_there(text: &[u8], index: &Index, name: &[u8]) -> bool {
    let hash = index::hash(name.iter().copied());
    index.equal(hash, |slot| name_at(text, slot.at()).cmp(name)).next().is_some()
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
}
