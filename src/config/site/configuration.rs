//! The one reading of a configuration: what a service goes by, and what the `mapkeep` command shows of it.
//!
//! What the two know beforehand differs, and is a parameter ([`Request`]); what follows from a file that cannot be read
//! differs, too, so such files are data ([`Configuration::unreadable`]). Nothing else does.
//! May: open files for reading. Never: end anything: what can be read counts, and remarks say what does not.
//!
//! | file | purpose |
//! |---|---|
//! | `start.rs` | options of the service, given or by its entry in master.cf |
//! | `trusted.rs` | who could have written the files |

mod start;
mod trusted;

use crate::accounts::{Accounts, Ids, RoleIds};
use crate::deciding::distrusted;
use crate::error::SiteError;
use crate::files::{Files, Unreadable};
use crate::notices::Notices;
use crate::remark::{Remark, Subject, note};
use mapkeep_broker_trust::{Owners, People, read_file};
use mapkeep_config_text::{
    ApprovedTable, FileName, KeepSettings, MasterCf, Parameters, PostfixVersion, Service, Settings, approved,
    parse_main, parse_master,
};
pub use start::Start;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use trusted::as_far_as_trusted;

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The configuration directory, an absolute path.
    pub directory: &'a Path,
    /// Whose configuration.
    pub service: Service,
    /// How that service is started.
    pub start: Start<'a>,
    /// What `postconf -d` has printed, if it could be asked.
    pub defaults: Option<&'a [u8]>,
    /// Whether to read it as root would. Otherwise, files of the user who runs the process are trusted as well.
    pub for_root: bool,
}

/// The configuration of one service.
#[derive(Debug)]
pub struct Configuration {
    /// Where it is.
    pub directory: PathBuf,
    /// Whose it is.
    pub service: Service,
    /// The installed Postfix, when postconf could be asked.
    pub version: Option<PostfixVersion>,
    /// The services of master.cf.
    pub master: MasterCf,
    /// The parameters of main.cf that services use.
    pub settings: Settings,
    /// mapkeep.cf, as far as it is trusted.
    pub keep: KeepSettings,
    /// The users and groups of the account files; name services are not asked.
    pub people: Rc<People>,
    /// The same files, for the ids of roles.
    pub accounts: Accounts,
    /// Users besides root whose files are trusted.
    pub owners: Vec<u32>,
    /// The approved tables, with the places that name them.
    pub tables: Vec<ApprovedTable>,
    /// Notices about tables that are only partly served.
    pub notices: Notices,
    /// The queue directory, for a service that sees the file system from there.
    pub inside: Option<PathBuf>,
    /// False if, because of an error, it is not known which tables are approved.
    pub certain: bool,
    /// Remarks about the configuration.
    pub remarks: Vec<Remark>,
    /// The files that exist and cannot be read; main.cf also if it does not exist.
    pub unreadable: Vec<Unreadable>,
}

impl Configuration {
    /// Reads everything.
    #[must_use]
    pub fn read(request: Request<'_>) -> Configuration {
        let Request { directory, service, .. } = request;
        let files = Files::read(directory);
        let mut remarks = Vec::new();
        let (main, complaints) = parse_main(&files.main);
        let readable = !files.unreadable.iter().any(|one| one.file == FileName::MainCf);
        let mut certain = note(&mut remarks, &complaints) && readable;
        let (master, complaints) = parse_master(&files.master);
        note(&mut remarks, &complaints);
        let mut parameters = Parameters::new(main);
        if let Some(defaults) = request.defaults {
            parameters = parameters.with_defaults(defaults);
        }
        let chroot = request.start.apply(&mut parameters, service, &master, &mut remarks);
        parameters.set_fixed("config_directory", directory.as_os_str().as_bytes());
        parameters.set_fixed("process_name", b"proxymap");
        parameters.set_fixed("service_name", service.name().as_bytes());

        let (settings, complaints) = Settings::from(&parameters);
        note(&mut remarks, &complaints);
        let (keep, complaints) = KeepSettings::read(&files.keep, &parameters);
        note(&mut remarks, &complaints);
        let people = Rc::new(People::read());
        let keep = as_far_as_trusted(keep, directory, &files.unreadable, &parameters, &people, &mut remarks);
        let accounts = Accounts::read();
        let mut owners = Vec::new();
        for owner in &keep.table_owners.accounts {
            match accounts.uid_of(&owner.to_string()) {
                Ok(uid) => owners.push(uid),
                Err(error) => remarks.push(Remark::error(Subject::General, error.to_string())),
            }
        }
        if !request.for_root {
            // The user who runs the service could do anything that these files could make it do.
            owners.push(nix::unistd::geteuid().as_raw());
        }

        let trusted = Owners::declared(&owners).among(Rc::clone(&people));
        let mut read_list = |path: &[u8]| {
            let path = Path::new(OsStr::from_bytes(path));
            if let Some(problem) = distrusted(path, &trusted) {
                let text = format!("a list of tables is ignored: {problem}; make it writable by root only");
                remarks.push(Remark::error(Subject::General, text));
                return None;
            }
            read_file(path).ok()
        };
        let (tables, complaints) = approved(&parameters, service, settings.mail_version, &mut read_list);
        certain &= note(&mut remarks, &complaints);
        let inside = chroot.then(|| PathBuf::from(&settings.queue_directory));
        let root = inside.as_deref().unwrap_or(Path::new("/"));
        let read = |path: &Path| read_file(path).ok();
        let notices = Notices::read(&parameters, &master, settings.mail_version, root, &read);
        Configuration {
            directory: directory.to_owned(),
            service,
            version: request.defaults.map(|_| settings.mail_version),
            master,
            settings,
            keep,
            people,
            accounts,
            owners,
            tables,
            notices,
            inside,
            certain,
            remarks,
            unreadable: files.unreadable,
        }
    }

    /// The user who owns the tables that are written, if there is one.
    #[must_use]
    pub fn mail_owner(&self) -> Option<Ids> {
        self.accounts.ids_of(&self.settings.mail_owner)
    }

    /// The ids of the roles, for a service that root starts.
    ///
    /// # Errors
    /// The ids cannot be used, so roles could not be separated.
    pub fn role_ids(&self) -> Result<RoleIds, SiteError> {
        let broker = self.keep.broker_account.as_ref().map(ToString::to_string);
        let roles = self.accounts.roles(self.keep.uid_base, broker.as_deref(), &self.owners)?;
        Ok(roles.with_mail_owner(self.mail_owner()))
    }

    /// The paths of `trusted_directories`, with spaces between them.
    #[must_use]
    pub fn trusted_directories(&self) -> String {
        self.keep.trusted_directories.join(" ")
    }
}

#[cfg(test)]
mod tests;
