//! What must hold before the service can start, so that `mapkeep tables` can look at the same beforehand.
//!
//! May: read the configuration and the account files, open our own programs. Never: change anything.

use crate::accounts::RoleIds;
use crate::configuration::Configuration;
use crate::deciding::exposed_programs;
use crate::error::SiteError;
use crate::options::Mode;
use mapkeep_config_text::Service;
use mapkeep_sandbox::{Role, check_root};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The program that master(8) or a service manager starts.
pub const DAEMON: &str = "mapkeepd";

/// Our own programs, opened once at start.
#[derive(Debug)]
pub struct Programs {
    opened: Vec<(&'static str, File)>,
    lacking: Vec<String>,
}

/// The real path of this program, so that a program started through a link finds the files beside the real one.
#[allow(clippy::disallowed_methods, reason = "before the lock")]
pub fn own_path() -> Result<PathBuf, SiteError> {
    let own = Path::new("/proc/self/exe");
    std::fs::canonicalize(own).map_err(|error| SiteError::File(own.to_owned(), error.to_string()))
}

impl Programs {
    /// The names of the program files of a service; with `None`, of both services.
    pub fn names(writing: Option<bool>) -> BTreeSet<&'static str> {
        let serves = |role: &Role| writing.is_none_or(|writing| role.serves(writing));
        Role::ALL.into_iter().filter(serves).map(|role| role.row().program).collect()
    }

    /// Opens the programs beside `own`, which is one of them.
    ///
    /// # Errors
    /// One cannot be opened that every such service needs; the text names its path. One that only the tables of servers
    /// need is among [`Programs::lacking`] then: an upgrade that has left it out serves all other tables.
    #[allow(clippy::disallowed_methods, reason = "before the lock")]
    pub fn beside(own: &Path, writes: bool) -> Result<Programs, SiteError> {
        let open = |path: &Path| {
            File::open(path).map_err(|error| SiteError::File(path.to_owned(), error.to_string()))
        };
        // Our own file, whatever its name, is the daemon, unless it is the command.
        let command = own.file_name().is_some_and(|name| name == "mapkeep");
        let mut programs = Programs::given(Vec::new());
        for name in Programs::names(Some(writes)) {
            let beside = own.with_file_name(name);
            let path = if name == DAEMON && !command { own } else { &beside };
            match open(path) {
                Ok(file) => programs.opened.push((name, file)),
                Err(problem) if Programs::is_needed(name) => return Err(problem),
                Err(problem) => programs.lacking.push(problem.to_string()),
            }
        }
        Ok(programs)
    }

    /// Whether processes run it that are there for more than the tables of servers.
    fn is_needed(name: &str) -> bool {
        Role::ALL.into_iter().any(|role| role.row().program == name && !role.is_for_servers())
    }

    /// Programs that are given, by their names.
    pub fn given(programs: Vec<(&'static str, File)>) -> Programs {
        Programs { opened: programs, lacking: Vec::new() }
    }

    /// What could not be opened, each with the reason: tables that a server answers for are temporary errors without it.
    pub fn lacking(&self) -> &[String] {
        &self.lacking
    }

    /// That of a role; `None` if the service has no such process, or lacks the program.
    pub fn of(&self, role: Role) -> Option<&File> {
        self.opened.iter().find(|(name, _)| *name == role.row().program).map(|(_, file)| file)
    }

    /// All of them.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.opened.iter().map(|(_, file)| file)
    }
}

/// If a service with these ids would have no owner for its tables, the reason.
pub fn nobody_writes(service: Service, ids: Option<RoleIds>) -> Option<&'static str> {
    let problem = "mail_owner in main.cf is not a user in /etc/passwd, and the tables must belong to that user; correct \
                   it, or create the account";
    (service == Service::Write && ids.is_some_and(|ids| ids.of(Role::WriteBroker).is_none()))
        .then_some(problem)
}

/// What would prevent a service from starting under master(8), as the fatal lines of its log; empty if nothing can be
/// found beforehand. `program` is one of our programs, beside which the others are.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "before the lock")]
pub fn obstacles(configuration: &Configuration, program: &Path) -> Vec<String> {
    let mut found = Vec::new();
    match configuration.role_ids() {
        Err(error) => found.push(error.to_string()),
        Ok(ids) => {
            found.extend(nobody_writes(configuration.service, Some(ids)).map(str::to_owned));
            // One that does not exist is created at the start.
            let chroot = Path::new(&configuration.keep.chroot_directory);
            if chroot.symlink_metadata().is_ok() {
                found.extend(check_root(chroot).err().map(|error| error.to_string()));
            }
        }
    }
    let programs = Programs::beside(program, configuration.service == Service::Write);
    found.extend(programs.err().map(|error| error.to_string()));
    let exposed = exposed_programs(program, Programs::names(None), &configuration.people).into_iter();
    found.extend(exposed.filter(|exposed| exposed.is_fatal(Mode::Master)).map(|exposed| exposed.text));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapkeep_broker_trust::testbed::Bed;

    #[test]
    fn program_that_only_tables_of_servers_need_may_be_missing_and_no_other() {
        let Some(bed) = Bed::new() else { return };
        let names = Programs::names(None);
        names.iter().for_each(|name| bed.file(name, b""));
        let own = bed.path(DAEMON);
        let beside = |writes| Programs::beside(&own, writes);
        for writes in [false, true] {
            assert_eq!(beside(writes).expect("all are there").lacking(), [""; 0]);
        }
        for (name, kept) in [
            ("mapkeep-worker", [false, false]),
            ("mapkeep-writer", [true, false]),
            ("mapkeep-gateway", [true, true]),
            ("mapkeep-dialer", [true, true]),
        ] {
            std::fs::remove_file(bed.path(name)).expect("it was there");
            let path = bed.path(name).display().to_string();
            for (writes, starts) in [false, true].into_iter().zip(kept) {
                match beside(writes) {
                    Ok(programs) => {
                        assert!(starts, "{name} {writes}");
                        let of_it = |role: &Role| role.row().program == name && role.serves(writes);
                        let role = Role::ALL.into_iter().find(of_it);
                        assert!(role.is_none_or(|role| programs.of(role).is_none()), "{name}");
                        let lacking = programs.lacking();
                        assert_eq!(lacking.len(), usize::from(role.is_some()), "{name} {lacking:?}");
                        assert!(lacking.iter().all(|text| text.starts_with(&path)), "{lacking:?}");
                    }
                    Err(problem) => assert!(!starts && problem.to_string().starts_with(&path), "{problem}"),
                }
            }
            bed.file(name, b"");
        }
    }
}
