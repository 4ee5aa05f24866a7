//! What must hold before the service can start, so that `mapkeep tables` can look at the same beforehand.
//!
//! May: read the configuration and the account files, open our own programs. Never: change anything.

use crate::accounts::RoleIds;
use crate::configuration::Configuration;
use crate::deciding::exposed_programs;
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
pub struct Programs(Vec<(&'static str, File)>);

/// The real path of this program, so that a program started through a link finds the files beside the real one.
#[allow(clippy::disallowed_methods, reason = "before the lock")]
pub fn own_path() -> Result<PathBuf, String> {
    std::fs::canonicalize("/proc/self/exe").map_err(|error| format!("/proc/self/exe: {error}"))
}

impl Programs {
    /// The names of the program files of a service; with `None`, of both services.
    pub fn names(writing: Option<bool>) -> BTreeSet<&'static str> {
        let serves = |role: &Role| writing.is_none_or(|writing| role.serves(writing));
        Role::ALL.into_iter().filter(serves).map(|role| role.row().program).collect()
    }

    /// Opens the programs beside `own`, which is one of them.
    #[allow(clippy::disallowed_methods, reason = "before the lock")]
    pub fn beside(own: &Path, writes: bool) -> Result<Programs, String> {
        let open = |path: &Path| File::open(path).map_err(|error| format!("{}: {error}", path.display()));
        // Our own file, whatever its name, is the daemon, unless it is the command.
        let command = own.file_name().is_some_and(|name| name == "mapkeep");
        let mut programs = Vec::new();
        for name in Programs::names(Some(writes)) {
            let beside = own.with_file_name(name);
            let path = if name == DAEMON && !command { own } else { &beside };
            programs.push((name, open(path)?));
        }
        Ok(Programs(programs))
    }

    /// Programs that are given, by their names.
    pub fn given(programs: Vec<(&'static str, File)>) -> Programs {
        Programs(programs)
    }

    /// That of a role; `None` if the service has no such process.
    pub fn of(&self, role: Role) -> Option<&File> {
        self.0.iter().find(|(name, _)| *name == role.row().program).map(|(_, file)| file)
    }

    /// All of them.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.0.iter().map(|(_, file)| file)
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
    found.extend(Programs::beside(program, configuration.service == Service::Write).err());
    let exposed = exposed_programs(program, Programs::names(None), &configuration.people).into_iter();
    found.extend(exposed.filter(|exposed| exposed.is_fatal(Mode::Master)).map(|exposed| exposed.text));
    found
}
