//! The rules for tables that are written: what the status of a component says about who else could write the table,
//! and whether its user can.
//!
//! They are stricter than those for reading. The process that writes has the rights of mail_owner only, but what it
//! makes in a directory that somebody else controls could be taken for something else there: a link that leads
//! elsewhere, a second name elsewhere, a file of root that its owner's directory turns into a way up (the reason why
//! proxymap(8) asks for tables under `data_directory`). So a directory, and all files of a table, are one user's, and
//! that user is the one who writes.
//!
//! Functions of a path and a status.

use mapkeep_sys::status::Status;

use super::people::WRITABLE_BY_OTHERS;
use super::refusal::{Refusal, Rule, quoted};
use super::rules::{SET_ID, STICKY, Type, refuse, type_of, writers};
use super::stack::{Openness, Stack};
use super::write_files::Access;

/// Read, write and search permission of the owner of a directory.
const OWNER_ALL: u32 = 0o700;
/// Search permission of the owner, and of anybody else.
const OWNER_SEARCH: u32 = 0o100;
const OTHERS_SEARCH: u32 = 0o011;

/// The remedy for a link in the place of a file. Moving the link away would leave the table empty.
const LOOK_WHERE: &str =
    "find out where it leads, and name the table there in the configuration, not the link";

/// Rule W4: a symbolic link in the last of these directories. Only root can have created it or can replace it.
pub(super) fn link(at: &[u8], status: &Status, stack: &Stack) -> Result<(), Refusal> {
    let remedy = "name the directory behind the link in the configuration";
    if status.uid != 0 {
        return Err(refuse(at, Rule::W4, format!("is a symbolic link of uid {}", status.uid), remedy));
    }
    for (directory, level) in stack.levels() {
        if level.status.uid != 0 || level.openness != Openness::Closed {
            let problem = format!(
                "is a directory in which users other than root could redirect the symbolic link {}",
                quoted(at)
            );
            return Err(refuse(&directory, Rule::W4, problem, remedy));
        }
    }
    Ok(())
}

/// Rule W5: the owner of a directory above that of the files of the user `owner`, and whether the user can enter it.
pub(super) fn ancestor(at: &[u8], status: &Status, owner: u32) -> Result<(), Refusal> {
    if status.uid != 0 && status.uid != owner {
        let problem = format!("belongs to uid {}, who could replace what is below it", status.uid);
        return Err(refuse(at, Rule::W5, problem, elsewhere(owner)));
    }
    let (search, own) = if status.uid == owner { (OWNER_SEARCH, true) } else { (OTHERS_SEARCH, false) };
    if status.mode & search == 0 {
        let problem = format!("cannot be entered by uid {owner} (mode {:04o})", status.mode & 0o7777);
        // No remedy opens a directory that root has closed to others.
        let remedy = if own { format!("run: chmod u+x {}", quoted(at)) } else { elsewhere(owner) };
        return Err(refuse(at, Rule::W5, problem, remedy));
    }
    Ok(())
}

/// Rules W1, W2 and W5: the directory that holds the files of the user `owner`. `others`: somebody other than that user
/// and root can write in it.
pub(super) fn directory(at: &[u8], status: &Status, owner: u32, others: bool) -> Result<(), Refusal> {
    // No remedy changes the owner of a directory: the owner decides the contents of all its files.
    if status.uid == 0 {
        return Err(refuse(at, Rule::W1, "belongs to root", elsewhere(owner)));
    }
    if status.uid != owner {
        let problem = format!("belongs to uid {}, but tables are written as uid {owner}", status.uid);
        return Err(refuse(at, Rule::W2, problem, elsewhere(owner)));
    }
    closed(at, status, owner, others)?;
    if status.mode & OWNER_ALL != OWNER_ALL {
        let problem = format!("cannot be written by its owner (mode {:04o})", status.mode & 0o7777);
        return Err(refuse(at, Rule::W5, problem, format!("run: chmod u+rwx {}", quoted(at))));
    }
    Ok(())
}

/// Rules W2 to W5: a file of a table of the user `owner`. `others`: somebody other than that user and root can write
/// it.
pub(super) fn file(
    path: &[u8],
    status: &Status,
    owner: u32,
    others: bool,
    access: Access,
) -> Result<(), Refusal> {
    let shown = quoted(path);
    let broken = |rule, problem: String, remedy: String| Err(refuse(path, rule, problem, remedy));
    let what = match type_of(status) {
        Type::Regular => None,
        Type::Link => {
            return Err(refuse(path, Rule::W4, "is a symbolic link", LOOK_WHERE));
        }
        Type::Directory => Some("a directory"),
        Type::Other(what) => Some(what),
    };
    if let Some(what) = what {
        let remedy =
            "find out what it is, and move it away if nothing needs it there: the service creates a new file";
        return Err(refuse(path, Rule::W5, format!("is {what}, not a regular file"), remedy));
    }
    if status.uid != owner {
        let problem = format!("belongs to uid {}, but tables are written as uid {owner}", status.uid);
        // Its name does not prove that it is a table: the owner of the directory could have put any file there.
        let remedy = "find out what it is, and move it away: the service creates a new one; to keep its content, \
                      give a copy of it to that user (chown), not the file itself";
        return broken(Rule::W2, problem, remedy.to_owned());
    }
    let mode = status.mode & 0o7777;
    if others {
        let problem = format!("can be written by {} (mode {mode:04o})", writers(status));
        return broken(
            Rule::W5,
            problem,
            format!("if nobody else needs to write it, run: chmod go-w {shown}"),
        );
    }
    if mode & SET_ID != 0 {
        let problem = format!("has set-id bits (mode {mode:04o})");
        return broken(Rule::W5, problem, format!("run: chmod u-s,g-s {shown}"));
    }
    let (needed, verbs, letters) = match access {
        Access::Read => (0o400, "read", "u+r"),
        Access::Write | Access::Synced => (0o600, "read and written", "u+rw"),
    };
    if mode & needed != needed {
        let problem = format!("cannot be {verbs} by its owner (mode {mode:04o})");
        return broken(Rule::W5, problem, format!("run: chmod {letters} {shown}"));
    }
    match status.nlink {
        // Removed or replaced since its name was looked up.
        0 => Err(Refusal::Retry { component: path.to_vec() }),
        1 => Ok(()),
        names => {
            let problem = format!("has {names} names (hard links), and writing would change all of them");
            // The remedy does not copy as root into another user's directory: a link there could redirect the copy.
            let remedy = format!(
                "first find out what the other names are: find \"$(stat -c %m {shown})\" -xdev -samefile \
                 {shown}; then remove those that nothing uses, or name another file for this table"
            );
            broken(Rule::W3, problem, remedy)
        }
    }
}

/// Rule W5: a directory in which nobody but root and the user `owner` can write.
pub(super) fn closed(at: &[u8], status: &Status, owner: u32, others: bool) -> Result<Openness, Refusal> {
    let mode = status.mode & 0o7777;
    if !others {
        return Ok(if mode & WRITABLE_BY_OTHERS == 0 { Openness::Closed } else { Openness::Shared });
    }
    if mode & STICKY != 0 {
        // The sticky bit stops others from renaming, not from adding.
        let problem = format!("is a shared directory (mode {mode:04o})");
        return Err(refuse(at, Rule::W5, problem, elsewhere(owner)));
    }
    let problem = format!("can be written by {} (mode {mode:04o})", writers(status));
    let shown = quoted(at);
    let remedy =
        format!("{}; or, if nobody else needs to write there, run: chmod go-w {shown}", elsewhere(owner));
    Err(refuse(at, Rule::W5, problem, remedy))
}

fn elsewhere(owner: u32) -> String {
    format!("name a file in a directory of uid {owner} alone, such as $data_directory")
}
