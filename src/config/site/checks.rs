//! What must hold before the service can start, so that `mapkeep tables` can look at the same beforehand.
//!
//! May: read the configuration and the account files, open our own programs. Never: change anything.

use crate::deciding::exposed_programs;
use crate::load_config::{LoadedConfig, Source};
use crate::options::{Mode, Options};
use crate::plan::ServicePlan;
use mapkeep_broker_trust::People;
use mapkeep_sandbox::{Role, check_root};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The program that master(8) or a service manager starts.
pub const DAEMON: &str = "mapkeepd";

/// Our own programs, opened once at start.
#[derive(Debug)]
pub struct Programs(Vec<(&'static str, File)>);

/// The real path of this program, so that a link to us in daemon_directory finds the worker beside the real file.
#[allow(clippy::disallowed_methods, reason = "before the lock")]
pub fn own_path() -> Result<PathBuf, String> {
    std::fs::canonicalize("/proc/self/exe").map_err(|error| format!("/proc/self/exe: {error}"))
}

impl Programs {
    /// The names of the files that a service, or with `None` either, is made of.
    pub fn names(writing: Option<bool>) -> BTreeSet<&'static str> {
        let serves = |role: &Role| writing.is_none_or(|writing| role.serves(writing));
        Role::ALL.into_iter().filter(serves).map(|role| role.row().program).collect()
    }

    /// Those beside `own`, which is one of them.
    #[allow(clippy::disallowed_methods, reason = "before the lock")]
    pub fn beside(own: &Path, writes: bool) -> Result<Programs, String> {
        let open = |path: &Path| File::open(path).map_err(|error| format!("{}: {error}", path.display()));
        // Our own file, whatever it is called, is the daemon, unless it is the command.
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

/// Why nobody could own the tables of the writing service, if that is so.
pub fn nobody_writes(plan: &ServicePlan) -> Option<&'static str> {
    (plan.writes() && plan.ids.is_some_and(|ids| ids.of(Role::WriteBroker).is_none()))
        .then_some("mail_owner in main.cf is no user in /etc/passwd: nobody could own the tables")
}

/// What would keep a service from starting under master(8), as the fatal lines of its log would say it; empty if nothing
/// that can be seen beforehand. `service` is `proxymap` or `proxywrite`, `overrides` are its `-o` options in
/// master.cf, `daemon` is a program beside which ours are. Looked at as if for root, whoever asks.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "before the lock")]
pub fn obstacles(
    directory: PathBuf,
    service: &str,
    overrides: Vec<(String, String)>,
    program: &Path,
) -> Vec<String> {
    let options = Options::of_service(service, overrides);
    let mut found = Vec::new();
    match Source::new(&options, Some(directory)).for_root().load_config() {
        Err(error) => found.push(error.to_string()),
        Ok(LoadedConfig { plan, .. }) => {
            found.extend(nobody_writes(&plan).map(str::to_owned));
            // One that is not there is made at the start.
            if plan.chroot.symlink_metadata().is_ok() {
                found.extend(check_root(&plan.chroot).err().map(|error| error.to_string()));
            }
        }
    }
    found.extend(Programs::beside(program, service == "proxywrite").err());
    let exposed = exposed_programs(program, &People::read()).into_iter();
    found.extend(exposed.filter(|exposed| exposed.is_fatal(Mode::Master)).map(|exposed| exposed.text));
    found
}
