//! One table that is approved for writing: its files as they are now, and whether the service can write it.
//!
//! The rules are those of the writing service's broker, applied for the user who writes. May: look at the files. Never:
//! open or make one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mapkeep_broker_trust::{Refusal, Rule, WriteFiles, inspect};
use mapkeep_config_site::configuration::Configuration;
use mapkeep_config_text::ApprovedTable;
use mapkeep_name::Kind;

use super::verdict::{
    FileFacts, Judge, State, Trouble, Verdict, Writing, fault, name_of, name_trouble, trouble_of,
};

/// The files of the tables before, each by its directory (device and inode number) and its name.
#[derive(Debug, Default)]
pub(super) struct Claims(Vec<(u64, u64, Vec<u8>, String)>);

impl Judge {
    /// The verdict on one table of the list of the writing service.
    pub(super) fn look_as_writer(
        &self,
        table: ApprovedTable,
        site: &Configuration,
        claims: &mut Claims,
    ) -> Verdict {
        let writer = site.mail_owner().map(|ids| ids.uid);
        let user = writer.map(|id| name_of(&site.people, id).unwrap_or_else(|| format!("uid {id}")));
        let Some(files) = WriteFiles::of(&table.name) else {
            let trouble = type_trouble(&table.name);
            return Verdict {
                table,
                path: None,
                facts: None,
                servers: Vec::new(),
                trouble,
                note: None,
                writing: None,
            };
        };
        let all = files.lasting().iter().map(|file| files.path(*file));
        let all: Vec<_> = all.map(|path| (path.clone(), self.own_facts(&path))).collect();
        let trouble = match writer {
            None => Some(nobody(site)),
            Some(owner) => match inspect(&self.anchor, &files, owner) {
                Ok(directory) => claims.add(&files, directory, &table.name),
                Err(refusal) => Some(trouble_of(&refusal, || missing(&refusal, owner, &self.root))),
            },
        };
        let (path, facts) = all.first().cloned().unzip();
        Verdict {
            table,
            path,
            facts: facts.flatten(),
            servers: Vec::new(),
            trouble,
            note: None,
            writing: Some(Writing { user, files: all }),
        }
    }

    /// As for reading, but a link is shown as what it is.
    fn own_facts(&self, path: &[u8]) -> Option<FileFacts> {
        let relative = Path::new(OsStr::from_bytes(path.strip_prefix(b"/")?));
        Some(FileFacts::of(&self.root.join(relative).symlink_metadata().ok()?, &self.people))
    }
}

impl Claims {
    /// Records which table the files belong to; a problem if they belong to an earlier table.
    fn add(&mut self, files: &WriteFiles, (dev, ino): (u64, u64), name: &[u8]) -> Option<Trouble> {
        let main = files.name(files.main());
        let shown = String::from_utf8_lossy(name).into_owned();
        let other = self.0.iter().find(|one| (one.0, one.1) == (dev, ino) && one.2 == main);
        let trouble = other.map(|(.., other)| Trouble {
            state: State::Refused,
            component: Some(files.path(files.configured())),
            rule: Some(Rule::W6),
            problem: format!("already belongs to the table {other}"),
            remedy: Some("name another file for one of them, or remove one from proxy_write_maps".to_owned()),
        });
        self.0.push((dev, ino, main, shown));
        trouble
    }
}

/// The problem with a table of a type that has no file that is written.
fn type_trouble(name: &[u8]) -> Option<Trouble> {
    match Kind::of(name) {
        kind @ (Kind::Internal | Kind::Static | Kind::Fail | Kind::Unknown) => name_trouble(kind, name),
        _ => Some(fault(
            State::NotServed,
            "each request is a temporary error: tables of this type cannot be changed".to_owned(),
            "list it in proxy_read_maps, or name a table of type hash, btree or lmdb",
        )),
    }
}

fn nobody(site: &Configuration) -> Trouble {
    let problem =
        format!("it cannot be written: there is no user \"{}\" in /etc/passwd", site.settings.mail_owner);
    fault(State::Unreadable, problem, "correct mail_owner in main.cf, or create the account")
}

/// How to make the directory that is missing.
fn missing(refusal: &Refusal, owner: u32, root: &Path) -> String {
    let component = refusal.component();
    // A name that the shell might read differently is not offered for pasting.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@,=%".contains(byte);
    let how =
        "create it for the user who writes tables, or correct the name in main.cf; then reload the service"
            .to_owned();
    // In another user's directory, that user could put a link there, and the link's target would be given away instead.
    let parent = Path::new(OsStr::from_bytes(component.strip_prefix(b"/").unwrap_or(component))).parent();
    let parent = parent.and_then(|parent| root.join(parent).symlink_metadata().ok());
    let safe = parent.is_some_and(|parent| [0, nix::unistd::geteuid().as_raw()].contains(&parent.uid()));
    if !safe || !component.iter().all(plain) {
        return how;
    }
    format!("{how}; run: install -d -m 0700 -o {owner} {}", String::from_utf8_lossy(component))
}
