//! One approved table: its file as it is now, and whether the service can serve it.
//!
//! The rules are the broker's own (`mapkeep_broker_trust`). May: look at the file and open it. Never: read it, or
//! judge its content: that is the confined worker's task. Tables that are written are in `write.rs`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mapkeep_broker_trust::{Anchor, Owners, People, Refusal, Rule, anchor_at, identity_by_name, open_table};
use mapkeep_config_site::configuration::Configuration;
use mapkeep_config_site::notices::{Notice, Notices};
use mapkeep_config_text::ApprovedTable;
use mapkeep_name::{
    Endpoint, Kind, file_of, is_known_type, leaves, remedy_unknown, remote, servers, split, why_unknown,
};
use mapkeep_proto::MAX_GATEWAYS;
use mapkeep_query::TableError;
use mapkeep_table_format::text::inline;
use nix::errno::Errno;

/// Why a table cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) state: State,
    /// The path component that is at fault, where one is.
    pub(super) component: Option<Vec<u8>>,
    /// The rule that it breaks, where it breaks one.
    pub(super) rule: Option<Rule>,
    /// The problem with the component, or with the table.
    pub(super) problem: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
}

/// Whether a table can be served, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Served,
    /// The file breaks a trust rule.
    Refused,
    Missing,
    TooLarge,
    UnknownType,
    /// Stock serves the type, we do not.
    NotServed,
    /// Some of its clients' requests get temporary errors.
    InPart,
    /// The entries are in the name, which has a syntax error.
    BadName,
    /// The file keeps changing, or cannot be examined (by the user who asks).
    Unreadable,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            State::Served => "served",
            State::Refused => "refused",
            State::Missing => "missing",
            State::TooLarge => "too-large",
            State::UnknownType => "unknown-type",
            State::NotServed => "not-served",
            State::InPart => "in-part",
            State::BadName => "bad-name",
            State::Unreadable => "unreadable",
        }
    }
}

/// What is known about a table's file. For display only: the verdict comes from the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileFacts {
    pub(super) uid: u32,
    /// The account's name, if it has one.
    pub(super) owner: Option<String>,
    /// Permission bits.
    pub(super) mode: u32,
    /// Length in bytes.
    pub(super) size: u64,
}

/// A table and its verdict.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) table: ApprovedTable,
    /// The file as the service sees it; `None` for tables that have none.
    pub(super) path: Option<Vec<u8>>,
    pub(super) facts: Option<FileFacts>,
    /// The servers that answer for it or its members, each once, as a name of type socketmap has them.
    pub(super) servers: Vec<String>,
    /// `None`: it can be served.
    pub(super) trouble: Option<Trouble>,
    /// Further notices about a table that is served.
    pub(super) note: Option<String>,
    /// Further details of a table that is written.
    pub(super) writing: Option<Writing>,
}

/// Details of a table that is written.
#[derive(Debug)]
pub(super) struct Writing {
    /// The user who writes, if it is known: the account's name, or its number.
    pub(super) user: Option<String>,
    /// Every file that the table has or will have, that of its name first.
    pub(super) files: Vec<(Vec<u8>, Option<FileFacts>)>,
}

impl Verdict {
    pub(super) fn state(&self) -> State {
        self.trouble.as_ref().map_or(State::Served, |trouble| trouble.state)
    }
}

/// Judges tables by the rules of the broker.
pub(super) struct Judge {
    pub(super) anchor: Anchor,
    owners: Owners,
    pub(super) people: Rc<People>,
    /// Where `/` of a table's path is.
    pub(super) root: PathBuf,
    limit: u64,
    /// Servers that no gateway asks, since there are too many.
    unasked: HashSet<(Kind, Endpoint)>,
}

impl Judge {
    /// The error says which part of the file system cannot be examined.
    pub(super) fn new(site: &Configuration) -> Result<Judge, String> {
        let inside = site.inside.clone().unwrap_or_default();
        let root = Path::new("/").join(&inside);
        let anchor = anchor_at(&inside).map_err(|error| format!("{}: {error}", root.display()))?;
        let owners = Owners::declared(&site.owners)
            .with_settings(&site.keep.table_owners.text, &site.trusted_directories())
            .among(Rc::clone(&site.people));
        let (anchor, people) = (anchor.among(Rc::clone(&site.people)), Rc::clone(&site.people));
        let names: Vec<&[u8]> = site.tables.iter().map(|table| table.name.as_slice()).collect();
        let unasked = unasked(&names);
        Ok(Judge { anchor, owners, people, root, limit: site.keep.snapshot_limit, unasked })
    }

    /// The verdict on one table.
    pub(super) fn look(&self, table: ApprovedTable, notices: &Notices) -> Verdict {
        let kind = Kind::of(&table.name);
        let path = file_of(&table.name);
        let facts = path.as_deref().and_then(|path| self.facts(path));
        let trouble = match &path {
            Some(path) => self.file_trouble(&table, path, facts.as_ref()),
            None if kind.is_composite() => self.composite_trouble(&table, notices),
            None => name_trouble(kind, &table.name).or_else(|| self.has_no_gateway(kind, &table.name)),
        };
        let (trouble, note) = match (trouble, notices.of(&table.name)) {
            (None, Some(Notice { problem, remedy, fails: true })) => {
                (Some(fault(State::InPart, problem, &remedy)), None)
            }
            (None, Some(Notice { problem, remedy, fails: false })) => {
                (None, Some(format!("{problem}; {remedy}")))
            }
            (trouble, _) => (trouble, None),
        };
        let servers = servers_of(&table.name);
        Verdict { table, path, facts, servers, trouble, note, writing: None }
    }

    /// The problem of the first member that has one: a composite table cannot answer where a member cannot.
    fn composite_trouble(&self, table: &ApprovedTable, notices: &Notices) -> Option<Trouble> {
        let members = match leaves(&table.name) {
            Ok(members) => members,
            Err(error) => return bad_name(TableError::BadName(error.0)),
        };
        members.into_iter().find_map(|name| {
            let shown = String::from_utf8_lossy(&name).into_owned();
            // Members are tables with their own entries, so there is no further nesting.
            let member = ApprovedTable { name, provenance: table.provenance.clone() };
            let mut trouble = self.look(member, notices).trouble?;
            trouble.problem = format!("{} (a member, {shown})", trouble.problem);
            Some(trouble)
        })
    }

    /// The problem of a table whose server is one too many.
    fn has_no_gateway(&self, kind: Kind, name: &[u8]) -> Option<Trouble> {
        let endpoint = remote(name).ok()??.endpoint;
        self.unasked.contains(&(kind, endpoint)).then(|| {
            let problem = format!(
                "its server is one of more than {MAX_GATEWAYS}, and not among the first: each lookup is a temporary error"
            );
            fault(State::NotServed, problem, "name fewer servers in all tables together")
        })
    }

    fn facts(&self, path: &[u8]) -> Option<FileFacts> {
        let relative = path.strip_prefix(b"/")?;
        let status = std::fs::metadata(self.root.join(Path::new(OsStr::from_bytes(relative)))).ok()?;
        Some(FileFacts::of(&status, &self.people))
    }

    fn file_trouble(&self, table: &ApprovedTable, path: &[u8], facts: Option<&FileFacts>) -> Option<Trouble> {
        let refusal = open_table(&self.anchor, path, &self.owners, self.limit).err()?;
        let mut trouble = trouble_of(&refusal, || {
            let named = refusal.component() == path;
            let made = if named { make(table, &self.root) } else { None };
            made.unwrap_or_else(|| "create it, or correct the name in main.cf".to_owned())
        });
        // The size is checked last: if it alone is wrong, the file passes without a limit.
        let only_size = trouble.state == State::Refused
            && facts.is_some_and(|facts| facts.size > self.limit)
            && identity_by_name(&self.anchor, path, &self.owners, u64::MAX).is_ok();
        if only_size {
            trouble.state = State::TooLarge;
        }
        Some(trouble)
    }
}

impl FileFacts {
    pub(super) fn of(status: &Metadata, people: &People) -> FileFacts {
        let owner = name_of(people, status.uid());
        FileFacts { uid: status.uid(), owner, mode: status.mode() & 0o7777, size: status.len() }
    }
}

/// The name of this user, if the account file has one that is a plain word.
pub(super) fn name_of(people: &People, uid: u32) -> Option<String> {
    Some(people.name_of(uid)).filter(|name| *name != uid.to_string())
}

/// What a refusal of the broker's rules means for a table. `create` is the remedy for a missing file.
pub(super) fn trouble_of(refusal: &Refusal, create: impl FnOnce() -> String) -> Trouble {
    let component = Some(refusal.component().to_vec());
    let trouble = |state, problem: String, remedy: Option<String>| Trouble {
        state,
        component,
        rule: refusal.rule(),
        problem,
        remedy,
    };
    match refusal {
        Refusal::Untrusted { problem, remedy, .. } => {
            trouble(State::Refused, problem.clone(), Some(remedy.clone()))
        }
        Refusal::Missing { .. } => trouble(State::Missing, "does not exist".to_owned(), Some(create())),
        Refusal::Retry { .. } => {
            let remedy = "try again when no program is writing it".to_owned();
            trouble(State::Unreadable, "kept changing while it was being opened".to_owned(), Some(remedy))
        }
        Refusal::Io { errno, .. } => {
            let me = nix::unistd::geteuid();
            let (problem, remedy) = match errno {
                Errno::EACCES | Errno::EPERM if !me.is_root() => (
                    format!("cannot be examined by uid {me}: {}", errno.desc()),
                    Some("run the command as root".to_owned()),
                ),
                _ => (format!("cannot be examined: {}", errno.desc()), None),
            };
            trouble(State::Unreadable, problem, remedy)
        }
    }
}

/// The problem with a table that has no file.
pub(super) fn name_trouble(kind: Kind, name: &[u8]) -> Option<Trouble> {
    let (word, rest) = split(name);
    let never = |state, why: &str, remedy: &str| {
        let problem = format!("type {}: {why}: each lookup is a temporary error", word.escape_ascii());
        Some(fault(state, problem, remedy))
    };
    match kind {
        Kind::Unknown => {
            let known = is_known_type(name);
            let state = if known { State::NotServed } else { State::UnknownType };
            never(state, why_unknown(name), remedy_unknown(name))
        }
        Kind::Environ => never(
            State::NotServed,
            "the service has no environment variables",
            "stay with stock's proxymap for now",
        ),
        kind if kind.is_remote() => {
            remote(name).err().and_then(|error| bad_name(TableError::BadName(error.0)))
        }
        _ => inline::check(kind, rest).err().and_then(bad_name),
    }
}

/// The servers for which there is no gateway: the broker starts one for each of the first, in the order in which tables name
/// them, members of tables after all tables.
fn unasked(names: &[&[u8]]) -> HashSet<(Kind, Endpoint)> {
    let members: Vec<Vec<u8>> = names.iter().flat_map(|name| leaves(name).unwrap_or_default()).collect();
    let all = names.iter().copied().chain(members.iter().map(Vec::as_slice));
    let most = usize::try_from(MAX_GATEWAYS).unwrap_or(usize::MAX);
    servers(all).into_iter().skip(most).collect()
}

/// The servers of a table, or of its members.
fn servers_of(name: &[u8]) -> Vec<String> {
    let members = leaves(name).unwrap_or_default();
    let mut servers: Vec<String> = Vec::new();
    for name in std::iter::once(name).chain(members.iter().map(Vec::as_slice)) {
        if let Ok(Some(table)) = remote(name) {
            let server = table.endpoint.to_string();
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
    }
    servers
}

fn bad_name(error: TableError) -> Option<Trouble> {
    Some(fault(State::BadName, error.to_string(), "correct the name where it is written"))
}

/// A problem with the name.
pub(super) fn fault(state: State, problem: String, remedy: &str) -> Trouble {
    Trouble { state, component: None, rule: None, problem, remedy: Some(remedy.to_owned()) }
}

/// The command that makes the file of a table, where there is one.
fn make(table: &ApprovedTable, root: &Path) -> Option<String> {
    let (kind, source) = split(&table.name);
    let names_aliases = |name: &[u8]| name == b"alias_maps" || name == b"alias_database";
    let aliases = table
        .provenance
        .iter()
        .any(|place| names_aliases(&place.consumer) || names_aliases(&place.parameter))
        || has_form_of_aliases(&root.join(Path::new(OsStr::from_bytes(source.strip_prefix(b"/")?))));
    let program = if aliases { "postalias" } else { "postmap" };
    // A name that the shell might read differently is not offered for pasting.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@,=%".contains(byte);
    let indexed = matches!(Kind::of(&table.name), Kind::Hash | Kind::Btree | Kind::Lmdb | Kind::Cdb);
    (indexed && source.iter().all(plain)).then(|| {
        format!("run: {program} {}:{}", String::from_utf8_lossy(kind), String::from_utf8_lossy(source))
    })
}

/// Whether a source file is one of aliases(5), whose names end in a colon. From such a file postmap(1) would make a
/// table of keys that are never asked for, and mail for them would be returned.
fn has_form_of_aliases(source: &Path) -> bool {
    let mut start = Vec::new();
    let Ok(file) = File::open(source) else { return false };
    if !file.metadata().is_ok_and(|status| status.is_file())
        || file.take(64 << 10).read_to_end(&mut start).is_err()
    {
        return false;
    }
    let text = String::from_utf8_lossy(&start);
    let entries = text.lines().filter(|line| !line.starts_with([' ', '\t', '#']) && !line.trim().is_empty());
    let mut entries = entries.take(50).peekable();
    let named = |line: &str| match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').is_some_and(|(_, rest)| rest.trim_start().starts_with(':')),
        None => {
            let name = line.split([':', ' ', '\t']).next().unwrap_or_default();
            let rest = line.get(name.len()..).unwrap_or_default();
            !name.is_empty() && !name.starts_with('[') && rest.trim_start().starts_with(':')
        }
    };
    entries.peek().is_some() && entries.all(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_without_a_plain_name_has_none() {
        let people = People::new("alice:x:7:7::/:\n\x1b[2J:x:8:8::/:\n", "", "");
        let names = [7, 8, 9].map(|uid| name_of(&people, uid));
        assert_eq!(names, [Some("alice".to_owned()), None, None]);
    }

    #[test]
    fn has_form_of_aliases_if_every_name_ends_in_a_colon() {
        let path = std::env::temp_dir().join(format!("mapkeep-aliases-{}", std::process::id()));
        for (text, aliases) in [
            ("# c\npostmaster: root\nroot:\talice,\n\tbob\n\"a b\" : c\n", true),
            ("root :alice\n", true),
            ("a@example.org b\n", false),
            ("root: alice\nuser x\n", false),
            ("[::1]:25 smtp:[x]\n", false),
            ("example.org smtp:[mx]:25\n", false),
            ("# nothing\n\n", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(has_form_of_aliases(&path), aliases, "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(!has_form_of_aliases(&path));
    }
}
