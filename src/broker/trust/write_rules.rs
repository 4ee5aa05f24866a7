//! The rules for tables that are written: what the status of a component says about who else could write the table,
//! and whether its user can.
//!
//! They are stricter than those for reading. The process that writes has the rights of mail_owner only, but what it
//! makes in a directory that somebody else controls could be taken for something else there: a link that leads
//! elsewhere, a second name elsewhere, a file of root that its owner's directory turns into a way up (the reason why
//! proxymap(8) asks for tables under `data_directory`). So a directory, and all files of a table, are one user's, and
//! that user is the one who writes.
//!
//! Pure functions of a path and a status. Called by `write`.

use mapkeep_sys::status::Status;

use super::refusal::{Refusal, Rule, quoted};
use super::rules::{SET_ID, STICKY, Type, WRITABLE_BY_OTHERS, refuse, type_of, writers};
use super::write::Access;

/// Read, write and search permission of the owner of a directory.
const OWNER_ALL: u32 = 0o700;
/// Search permission of the owner, and of anybody else.
const OWNER_SEARCH: u32 = 0o100;
const OTHERS_SEARCH: u32 = 0o011;

/// Rule W4: a component on the way to the files. `at` is its path.
pub(super) fn on_the_way(at: &[u8], status: &Status) -> Result<(), Refusal> {
    match type_of(status) {
        Type::Directory => Ok(()),
        Type::Link => {
            let remedy = "name the directory behind the link in the configuration";
            Err(refuse(at, Rule::W4, "is a symbolic link", remedy))
        }
        Type::Regular | Type::Other(_) => {
            Err(refuse(at, Rule::W4, "is not a directory", "correct the path in the configuration"))
        }
    }
}

/// Rule W5: a directory above the one that holds the files of the user `owner`.
pub(super) fn ancestor(at: &[u8], status: &Status, owner: u32) -> Result<(), Refusal> {
    if status.uid != 0 && status.uid != owner {
        let problem = format!("belongs to uid {}, who could exchange what is below it", status.uid);
        return Err(refuse(at, Rule::W5, problem, format!("run: chown root {}", quoted(at))));
    }
    closed_to_others(at, status, owner)?;
    let search = if status.uid == owner { OWNER_SEARCH } else { OTHERS_SEARCH };
    if status.mode & search == 0 {
        let problem = format!("cannot be entered by uid {owner} (mode {:04o})", status.mode & 0o7777);
        let who = if status.uid == owner { "u" } else { "o" };
        return Err(refuse(at, Rule::W5, problem, format!("run: chmod {who}+x {}", quoted(at))));
    }
    Ok(())
}

/// Rules W1, W2 and W5: the directory that holds the files of the user `owner`.
pub(super) fn directory(at: &[u8], status: &Status, owner: u32) -> Result<(), Refusal> {
    if status.uid == 0 {
        let remedy = format!(
            "{}; or, if it is for such tables only, run: chown {owner} {}",
            elsewhere(owner),
            quoted(at)
        );
        return Err(refuse(at, Rule::W1, "belongs to root", remedy));
    }
    if status.uid != owner {
        let problem = format!("belongs to uid {}, but tables are written as uid {owner}", status.uid);
        return Err(refuse(at, Rule::W2, problem, format!("run: chown {owner} {}", quoted(at))));
    }
    closed_to_others(at, status, owner)?;
    if status.mode & OWNER_ALL != OWNER_ALL {
        let problem = format!("cannot be written by its owner (mode {:04o})", status.mode & 0o7777);
        return Err(refuse(at, Rule::W5, problem, format!("run: chmod u+rwx {}", quoted(at))));
    }
    Ok(())
}

/// Rules W2 to W5: a file of a table of the user `owner`.
pub(super) fn file(path: &[u8], status: &Status, owner: u32, access: Access) -> Result<(), Refusal> {
    let shown = quoted(path);
    let broken =
        |rule, problem: String, remedy: &str| Err(refuse(path, rule, problem, format!("run: {remedy}")));
    let what = match type_of(status) {
        Type::Regular => None,
        Type::Link => {
            return Err(refuse(path, Rule::W4, "is a symbolic link", "put the file itself there"));
        }
        Type::Directory => Some("a directory"),
        Type::Other(what) => Some(what),
    };
    if let Some(what) = what {
        return Err(refuse(path, Rule::W5, format!("is {what}, not a regular file"), "move it away"));
    }
    if status.uid != owner {
        let problem = format!("belongs to uid {}, but tables are written as uid {owner}", status.uid);
        return broken(Rule::W2, problem, &format!("chown {owner} {shown}"));
    }
    let mode = status.mode & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        let problem = format!("can be written by {} (mode {mode:04o})", writers(status));
        return broken(Rule::W5, problem, &format!("chmod go-w {shown}"));
    }
    if mode & SET_ID != 0 {
        let problem = format!("has set-id bits (mode {mode:04o})");
        return broken(Rule::W5, problem, &format!("chmod u-s,g-s {shown}"));
    }
    let (needed, verbs, letters) = match access {
        Access::Read => (0o400, "read", "u+r"),
        Access::Write | Access::Synced => (0o600, "read and written", "u+rw"),
    };
    if mode & needed != needed {
        let problem = format!("cannot be {verbs} by its owner (mode {mode:04o})");
        return broken(Rule::W5, problem, &format!("chmod {letters} {shown}"));
    }
    match status.nlink {
        // Removed or replaced since its name was looked up: the new file, if any, has the name now.
        0 => Err(Refusal::Retry { component: path.to_vec() }),
        1 => Ok(()),
        names => {
            let problem = format!("has {names} names (hard links), and writing would change all of them");
            broken(Rule::W3, problem, &format!("cp -p {shown} {shown}.copy && mv {shown}.copy {shown}"))
        }
    }
}

/// Rule W5: a directory in which nobody but its owner can write.
fn closed_to_others(at: &[u8], status: &Status, owner: u32) -> Result<(), Refusal> {
    if status.mode & WRITABLE_BY_OTHERS == 0 {
        return Ok(());
    }
    let mode = status.mode & 0o7777;
    if mode & STICKY != 0 {
        // The sticky bit stops others from renaming, not from adding.
        return Err(refuse(
            at,
            Rule::W5,
            format!("is a shared directory (mode {mode:04o})"),
            elsewhere(owner),
        ));
    }
    let problem = format!("can be written by {} (mode {mode:04o})", writers(status));
    Err(refuse(at, Rule::W5, problem, format!("run: chmod go-w {}", quoted(at))))
}

fn elsewhere(owner: u32) -> String {
    format!("name a file in a directory of uid {owner} alone, such as $data_directory")
}
