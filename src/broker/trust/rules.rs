//! The rules themselves: what the status of a component says about who could have written the table.
//!
//! Pure functions of a path and a status, so that each rule is read and tested by itself. Called by `walk`.
//!
//! POSIX access lists need no look of their own: while a file has one, the group bits that fstat(2) shows are
//! its *mask*, the upper limit of every named user, named group and owning group entry. An entry that lets
//! anybody but the owner write therefore shows as `mode & 020` (acl(5), "Correspondence between ACL entries and
//! file permission bits"), and `chmod g-w` lowers the mask and so takes the right away from every entry.

use mapkeep_sys::status::Status;

use super::Owners;
use super::refusal::{Refusal, Rule, quoted};

/// Mask and values of the file type in `st_mode` (inode(7)); the same on every Linux architecture.
const S_IFMT: u32 = 0o170_000;
const S_IFSOCK: u32 = 0o140_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFREG: u32 = 0o100_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFIFO: u32 = 0o010_000;
/// Write permission for group and others.
pub(super) const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Set-user-id and set-group-id bits.
pub(super) const SET_ID: u32 = 0o6000;
/// Sticky bit.
pub(super) const STICKY: u32 = 0o1000;

/// What a path component is, as far as the walk must tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Directory,
    Link,
    Regular,
    /// Anything that is never a table, with the word for it.
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

/// Rule T2: a directory on the way to a table.
pub(super) fn directory(path: &[u8], status: &Status, owners: &Owners) -> Result<(), Refusal> {
    let shown = quoted(path);
    if !owners.trusts(status.uid) {
        return Err(owner(path, Rule::T2, status));
    }
    if status.mode & WRITABLE_BY_OTHERS == 0 {
        return Ok(());
    }
    if status.mode & STICKY != 0 {
        let problem = format!("is a shared directory (mode {:04o})", status.mode & 0o7777);
        let remedy = "move the table to a directory in which only root can write, such as /etc/postfix";
        return Err(refuse(path, Rule::T2, problem, remedy));
    }
    let problem = format!("can be written by {} (mode {:04o})", writers(status), status.mode & 0o7777);
    Err(refuse(path, Rule::T2, problem, format!("run: chmod go-w {shown}")))
}

/// Rule T3: a symbolic link, given the directories on the way to it, each with its path.
pub(super) fn link<'a>(
    path: &[u8],
    status: &Status,
    directories: impl Iterator<Item = (Vec<u8>, &'a Status)>,
) -> Result<(), Refusal> {
    let shown = quoted(path);
    if status.uid != 0 {
        let problem = format!("is a symbolic link that belongs to uid {}", status.uid);
        return Err(refuse(path, Rule::T3, problem, format!("run: chown -h root {shown}")));
    }
    for (directory, status) in directories {
        if status.uid != 0 {
            let problem =
                format!("belongs to uid {}, who could redirect the symbolic link {shown}", status.uid);
            let remedy = format!("name the file behind the link, or run: chown root {}", quoted(&directory));
            return Err(refuse(&directory, Rule::T3, problem, remedy));
        }
    }
    Ok(())
}

/// Rule T4: the table file itself. `limit` is its largest acceptable size in bytes.
///
/// A file of a declared owner is accepted in a directory of root: the owner is declared because he writes this
/// table, and only reading is at stake. (Tables that are *written* have a stricter rule of their own.)
pub(super) fn file(path: &[u8], status: &Status, owners: &Owners, limit: u64) -> Result<(), Refusal> {
    let shown = quoted(path);
    match type_of(status) {
        Type::Regular => {}
        Type::Directory => return Err(not_regular(path, "a directory")),
        Type::Link => return Err(not_regular(path, "a symbolic link")),
        Type::Other(what) => return Err(not_regular(path, what)),
    }
    if !owners.trusts(status.uid) {
        return Err(owner(path, Rule::T4, status));
    }
    if status.mode & WRITABLE_BY_OTHERS != 0 {
        let problem = format!("can be written by {} (mode {:04o})", writers(status), status.mode & 0o7777);
        return Err(refuse(path, Rule::T4, problem, format!("run: chmod go-w {shown}")));
    }
    if status.mode & SET_ID != 0 {
        let problem = format!("has set-id bits (mode {:04o})", status.mode & 0o7777);
        return Err(refuse(path, Rule::T4, problem, format!("run: chmod u-s,g-s {shown}")));
    }
    match status.nlink {
        // Removed or replaced since its name was looked up: the new file, if any, has the name now.
        0 => return Err(Refusal::Retry { component: path.to_vec() }),
        1 => {}
        names => {
            let problem = format!("has {names} names (hard links), and the others may be anybody's");
            let remedy = format!("run: cp -p {shown} {shown}.new && mv {shown}.new {shown}");
            return Err(refuse(path, Rule::T4, problem, remedy));
        }
    }
    if status.size > limit {
        let problem = format!("is {} bytes long, over the limit of {limit}", status.size);
        return Err(refuse(path, Rule::T4, problem, "make the table smaller or raise snapshot_limit"));
    }
    Ok(())
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
    refuse(path, Rule::T4, format!("is {what}, not a regular file"), "put a regular file there")
}

fn owner(path: &[u8], rule: Rule, status: &Status) -> Refusal {
    let problem = format!("belongs to uid {}, which is neither root nor a declared owner", status.uid);
    refuse(path, rule, problem, format!("run: chown root {}", quoted(path)))
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
