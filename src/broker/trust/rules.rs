//! The rules themselves: what the status of a component says about who could have written the table.
//!
//! Functions of a path and a status, so that each rule is read and tested by itself.
//!
//! Most access lists need no look of their own: while a file has one, the group bits that fstat(2) shows are
//! its *mask*, the upper limit of every named user, named group and owning group entry. An entry that lets
//! anybody but the owner write therefore shows as `mode & 020` (acl(5), "Correspondence between ACL entries and
//! file permission bits"), and `chmod g-w` lowers the mask and so takes the right away from every entry. Only where the
//! group bit would be harmless, since nobody else is in the group, is the list looked for ([`Owners`]).

use mapkeep_sys::status::Status;

use super::Owners;
use super::people::WRITABLE_BY_OTHERS;
use super::refusal::{Refusal, Rule, quoted};
use super::stack::{Level, Openness, Stack};

/// Mask and values of the file type in `st_mode` (inode(7)); the same on every Linux architecture.
const S_IFMT: u32 = 0o170_000;
const S_IFSOCK: u32 = 0o140_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFREG: u32 = 0o100_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFIFO: u32 = 0o010_000;
/// Set-user-id and set-group-id bits.
pub(super) const SET_ID: u32 = 0o6000;
/// Sticky bit.
pub(super) const STICKY: u32 = 0o1000;

/// The types of file that the walk distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Directory,
    Link,
    Regular,
    /// Anything that is never a table, with its name for messages.
    Other(&'static str),
}

/// The type of the file with this status.
pub(super) fn type_of(status: &Status) -> Type {
    match status.mode & S_IFMT {
        S_IFDIR => Type::Directory,
        S_IFLNK => Type::Link,
        S_IFREG => Type::Regular,
        S_IFIFO => Type::Other("a FIFO"),
        S_IFCHR => Type::Other("a character device"),
        S_IFBLK => Type::Other("a block device"),
        S_IFSOCK => Type::Other("a socket"),
        _ => Type::Other("a file of unknown type"),
    }
}

/// A refusal of `component` by `rule`.
pub(super) fn refuse(
    component: &[u8],
    rule: Rule,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> Refusal {
    Refusal::Untrusted { component: component.to_vec(), rule, problem: problem.into(), remedy: remedy.into() }
}

/// The remedy that moves a table to another directory.
const ELSEWHERE: &str = "unless a program creates it there, move the table to a directory in which only root can \
                         write, such as /etc/postfix, and correct its name in the configuration";

/// Rule T2: the owner of a directory on the way to a table. `above` is its parent directory.
///
/// The owner of a directory can rename anything beneath it, even files that he cannot read. So everything beneath a
/// directory of a declared owner must belong to that owner.
pub(super) fn whose(
    path: &[u8],
    status: &Status,
    above: Option<&Level>,
    owners: &Owners,
) -> Result<(), Refusal> {
    if !owners.trusts(status.uid) {
        return Err(stranger(path, Rule::T2, status, owners));
    }
    match above.map(|above| above.status.uid) {
        Some(uid) if uid != 0 && uid != status.uid => Err(misplaced(path, Rule::T2, status, uid, owners)),
        _ => Ok(()),
    }
}

/// Rule T2: who can write in a directory on the way to a table. `others`: somebody other than its owner and root can.
pub(super) fn closed(
    path: &[u8],
    status: &Status,
    others: bool,
    owners: &Owners,
) -> Result<Openness, Refusal> {
    if owners.vouches_for(path) {
        return Ok(Openness::Vouched);
    }
    if !others {
        return Ok(Openness::Closed);
    }
    let (mode, shown) = (status.mode & 0o7777, quoted(path));
    let world = mode & 0o002 != 0;
    if mode & STICKY != 0 && !world && status.uid == 0 {
        return Ok(Openness::Shared);
    }
    let problem = match mode & STICKY {
        0 => format!("can be written by {} (mode {mode:04o})", writers(status)),
        _ => format!("is a shared directory (mode {mode:04o})"),
    };
    // If everybody can write in it, chmod is often not possible: the mode is that of a mounted volume.
    let vouch = owners.line_vouching(&shown);
    let remedy = match world || mode & STICKY != 0 {
        true => format!(
            "{ELSEWHERE}; or, if nobody can write there in spite of the mode, as in a read-only volume, write in \
             mapkeep.cf: {vouch}"
        ),
        false => format!(
            "{ELSEWHERE}; or, if you vouch for what its group does there, write in mapkeep.cf: {vouch}; or, if the \
             group does not need to write there, run: chmod go-w {shown}"
        ),
    };
    Err(refuse(path, Rule::T2, problem, remedy))
}

/// Rule T3: a symbolic link in the last of these directories.
pub(super) fn link(path: &[u8], status: &Status, stack: &Stack) -> Result<(), Refusal> {
    if stack.top().openness == Openness::Vouched {
        return Ok(());
    }
    let shown = quoted(path);
    let remedy = "name the target of the link in the configuration, not the link";
    if status.uid != 0 {
        let problem = format!("is a symbolic link that belongs to uid {}", status.uid);
        return Err(refuse(path, Rule::T3, problem, remedy));
    }
    for (directory, level) in stack.levels() {
        if level.status.uid != 0 {
            let problem =
                format!("belongs to uid {}, who could redirect the symbolic link {shown}", level.status.uid);
            return Err(refuse(&directory, Rule::T3, problem, remedy));
        }
    }
    if stack.top().openness == Openness::Shared {
        let problem = "is a symbolic link in a shared directory, where others could have put it";
        return Err(refuse(path, Rule::T3, problem, remedy));
    }
    Ok(())
}

/// Rule T4: the table file itself, in the directory `parent`. `others`: somebody other than its owner and root can
/// write it. `limit` is the largest accepted size in bytes.
///
/// A file of a declared owner is accepted in a directory of root: he is declared because he writes this table, and here
/// it is only read. (Tables that are *written* have a stricter rule.) Hard links to the file do not matter if nobody
/// else could have made this name: they give nobody write access.
pub(super) fn file(
    path: &[u8],
    status: &Status,
    parent: &Level,
    others: bool,
    owners: &Owners,
    limit: u64,
) -> Result<(), Refusal> {
    let shown = quoted(path);
    match type_of(status) {
        Type::Regular => {}
        Type::Directory => return Err(not_regular(path, "a directory")),
        Type::Link => return Err(not_regular(path, "a symbolic link")),
        Type::Other(what) => return Err(not_regular(path, what)),
    }
    if !owners.trusts(status.uid) {
        return Err(stranger(path, Rule::T4, status, owners));
    }
    let holder = parent.status.uid;
    if holder != 0 && holder != status.uid {
        return Err(misplaced(path, Rule::T4, status, holder, owners));
    }
    if others {
        let problem = format!("can be written by {} (mode {:04o})", writers(status), status.mode & 0o7777);
        let remedy = format!("if nobody else needs to write it, run: chmod go-w {shown}");
        return Err(refuse(path, Rule::T4, problem, remedy));
    }
    if status.mode & SET_ID != 0 {
        let problem = format!("has set-id bits (mode {:04o})", status.mode & 0o7777);
        return Err(refuse(
            path,
            Rule::T4,
            problem,
            format!("if it is a table, not a program, run: chmod u-s,g-s {shown}"),
        ));
    }
    if status.nlink == 0 {
        // Removed or replaced since its name was looked up.
        return Err(Refusal::Retry { component: path.to_vec() });
    }
    if parent.openness == Openness::Shared {
        shared(path, status)?;
    }
    if status.size > limit {
        let problem = format!("is {} bytes long, over the limit of {limit}", status.size);
        return Err(refuse(path, Rule::T4, problem, "make the table smaller or raise snapshot_limit"));
    }
    Ok(())
}

/// Rule T4 in a directory where a group can create names: its members cannot touch root's files there, but could have
/// brought in a file from elsewhere, by rename or hard link, that they cannot read.
fn shared(path: &[u8], status: &Status) -> Result<(), Refusal> {
    let problem = if status.uid != 0 {
        format!("belongs to uid {}, in a directory where others could have put it", status.uid)
    } else if status.nlink > 1 {
        format!(
            "has {} names (hard links), in a directory where others could have made this one",
            status.nlink
        )
    } else if status.mode & 0o004 == 0 {
        let mode = status.mode & 0o7777;
        format!("is private (mode {mode:04o}), in a directory where others could have put it")
    } else {
        return Ok(());
    };
    Err(refuse(path, Rule::T4, problem, ELSEWHERE))
}

/// Rule T6 by name: `path` is absolute and free of links.
pub(super) fn secret_name(path: &[u8]) -> Result<(), Refusal> {
    let secret = path.strip_prefix(b"/etc/").is_some_and(|name| {
        let name = name.strip_prefix(b"security/").unwrap_or(name);
        [b"shadow".as_slice(), b"gshadow", b"nshadow", b"opasswd", b"nopasswd"].iter().any(|stem| {
            name.strip_prefix(*stem).is_some_and(|rest| {
                // Backups and temporary files of the account tools: `shadow-`, `shadow+`, `opasswd.old`.
                rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"/_".contains(byte))
            })
        })
    });
    if secret { Err(secret_refusal(path)) } else { Ok(()) }
}

/// The refusal for a file that holds account secrets.
pub(super) fn secret_refusal(path: &[u8]) -> Refusal {
    let remedy = "remove the table from the configuration: unix:passwd.byname and unix:group.byname answer \
                  whether an account exists";
    refuse(path, Rule::T6, "is an account database that holds secrets", remedy)
}

/// The refusal for a final component that is not a regular file.
pub(super) fn not_regular(path: &[u8], what: &str) -> Refusal {
    refuse(
        path,
        Rule::T4,
        format!("is {what}, not a regular file"),
        "name a regular file in the configuration",
    )
}

/// The refusal of what belongs to a user who is not declared. The remedy declares the user: a change of the file's
/// owner could take it away from the program that uses it.
fn stranger(path: &[u8], rule: Rule, status: &Status, owners: &Owners) -> Refusal {
    let name = owners.name_of(status.uid);
    let problem = format!("belongs to uid {}, which is neither root nor a declared owner", status.uid);
    let line = owners.line_with(status.uid);
    refuse(
        path,
        rule,
        problem,
        format!("if {name} may decide what tables contain, write in mapkeep.cf: {line}"),
    )
}

/// The refusal of what belongs to a user other than `holder`, the owner of its directory.
fn misplaced(path: &[u8], rule: Rule, status: &Status, holder: u32, owners: &Owners) -> Refusal {
    let problem =
        format!("belongs to uid {}, in a directory of uid {holder}, who could have put it there", status.uid);
    let name = owners.name_of(status.uid);
    let remedy = match status.uid {
        0 => "keep a table of root in a directory of root, such as /etc/postfix".to_owned(),
        _ => format!("keep a table of {name} in a directory of root or of {name}"),
    };
    refuse(path, rule, problem, remedy)
}

pub(super) fn writers(status: &Status) -> &'static str {
    match status.mode & WRITABLE_BY_OTHERS {
        0o020 => "its group or by an access list",
        0o002 => "everybody",
        _ => "its group and everybody",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_name_account_files_are_refused() {
        for path in [
            "/etc/shadow",
            "/etc/shadow-",
            "/etc/shadow+",
            "/etc/shadow.bak",
            "/etc/gshadow",
            "/etc/gshadow-",
            "/etc/nshadow",
            "/etc/security/opasswd",
            "/etc/security/opasswd.old",
            "/etc/security/nopasswd",
        ] {
            assert_eq!(secret_name(path.as_bytes()).unwrap_err().rule(), Some(Rule::T6), "{path}");
        }
    }

    #[test]
    fn secret_name_other_files_pass() {
        for path in [
            "/etc/passwd",
            "/etc/group",
            "/etc/postfix/shadow",
            "/etc/shadowbox",
            "/etc/shadow_aliases",
            "/etc/security",
            "/srv/etc/shadow",
        ] {
            assert_eq!(secret_name(path.as_bytes()), Ok(()), "{path}");
        }
    }
}
