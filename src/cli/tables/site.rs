//! The configuration of one service, read as the service itself reads it.
//!
//! May: read main.cf, master.cf, mapkeep.cf, lists of tables and the account file; run `postconf -d`.
//! Never: follow what a name service says, since the service does not either. Called by `tables`.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mapkeep_broker_trust::{Owners, People, read_file};
use mapkeep_config_site::accounts::Accounts;
use mapkeep_config_site::deciding::distrusted;
use mapkeep_config_site::notices::Notices;
use mapkeep_config_text::{
    ApprovedTable, Complaint, FileName, KeepSettings, Parameters, PostfixVersion, Service, ServiceEntry,
    Settings, Severity, approved, parse_main, parse_master,
};

/// What there is to say about a configuration file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remark {
    /// The file's name within the configuration directory; `None` when no file is to blame.
    pub(super) file: Option<FileName>,
    /// Its line, 0 when none is known.
    pub(super) line: u32,
    pub(super) severity: Severity,
    pub(super) text: String,
}

impl Remark {
    pub(super) fn severity_word(&self) -> &'static str {
        match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

impl From<&Complaint> for Remark {
    fn from(complaint: &Complaint) -> Remark {
        Remark {
            file: Some(complaint.file),
            line: complaint.line,
            severity: complaint.severity(),
            text: complaint.kind.to_string(),
        }
    }
}

/// One service's configuration, as far as tables depend on it.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) directory: PathBuf,
    pub(super) service: Service,
    /// The installed Postfix, when postconf could be asked.
    pub(super) version: Option<PostfixVersion>,
    pub(super) tables: Vec<ApprovedTable>,
    pub(super) remarks: Vec<Remark>,
    /// False when an error leaves open which tables are approved.
    pub(super) certain: bool,
    /// Users besides root whose files are trusted.
    pub(super) owners: Vec<u32>,
    /// `table_owners` as it is written, and the paths of `trusted_directories` with spaces between them.
    pub(super) owners_text: String,
    pub(super) trusted_directories: String,
    /// The largest table file, in bytes.
    pub(super) limit: u64,
    /// The queue directory, when master.cf makes the service see the file system from there.
    pub(super) inside: Option<PathBuf>,
    /// The accounts of /etc/passwd: a name service is not asked.
    pub(super) people: Rc<People>,
    /// What there is to say of tables that are served in part.
    pub(super) notices: Notices,
    /// What master.cf overrides for this service, in order.
    pub(super) overrides: Vec<(String, String)>,
    /// The account that tables which are written must belong to, and its id.
    pub(super) mail_owner: String,
    pub(super) writer: Option<u32>,
}

impl Site {
    /// Reads everything. The error says which file cannot be read and why.
    pub(super) fn read(directory: PathBuf, service: Service) -> Result<Site, String> {
        // The service would be given an absolute name, and `$config_directory` is one.
        let directory =
            std::path::absolute(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let main = required(&directory.join("main.cf"))?;
        let master = optional(&directory.join("master.cf"))?;
        let keep = optional(&directory.join("mapkeep.cf"))?;

        let mut remarks = Vec::new();
        let mut note = |complaints: &[Complaint]| {
            remarks.extend(complaints.iter().map(Remark::from));
            !complaints.iter().any(|complaint| complaint.severity() == Severity::Error)
        };
        let (main, complaints) = parse_main(&main);
        let mut certain = note(&complaints);
        let (master, complaints) = parse_master(&master);
        note(&complaints);
        let mut params = Parameters::new(main);
        let defaults = mapkeep_config_site::load_config::installed_defaults(&params, &directory);
        if let Some(text) = &defaults {
            params = params.with_defaults(text);
        }
        let name = service_name(service);
        let entry = master.unix_service(name.as_bytes());
        if let Some(entry) = entry {
            note(&params.apply(entry));
        }
        params.set_fixed("config_directory", directory.as_os_str().as_bytes());
        params.set_fixed("process_name", b"proxymap");
        params.set_fixed("service_name", name.as_bytes());

        let (settings, complaints) = Settings::from(&params);
        note(&complaints);
        let (mut keep, complaints) = KeepSettings::read(&keep, &params);
        note(&complaints);
        let people = Rc::new(People::read());
        let root = Owners::root().among(Rc::clone(&people));
        for (name, file) in [("main.cf", FileName::MainCf), ("master.cf", FileName::MasterCf)] {
            remarks.extend(distrusted(&directory.join(name), &root).map(|problem| Remark {
                file: Some(file),
                line: 0,
                severity: Severity::Warning,
                text: format!("decides what is served, but {problem}; let only root write it"),
            }));
        }
        if let Some(problem) = distrusted(&directory.join("mapkeep.cf"), &root) {
            remarks.push(Remark {
                file: Some(FileName::KeepCf),
                line: 0,
                severity: Severity::Error,
                text: format!(
                    "does not count, its settings have their defaults: {problem}; let only root write it, then reload the \
                     service"
                ),
            });
            keep = keep.distrusted(&params);
        }

        let accounts = users();
        let mut owners = Vec::new();
        for owner in &keep.table_owners {
            match accounts.uid_of(&owner.to_string()) {
                Ok(id) => owners.push(id),
                Err(error) => remarks.push(Remark {
                    file: None,
                    line: 0,
                    severity: Severity::Error,
                    text: error.to_string(),
                }),
            }
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let overrides = entry.iter().flat_map(|entry| &entry.overrides);
        let overrides = overrides.map(|item| (text(&item.name), text(&item.value))).collect();
        let trusted = Owners::declared(&owners).among(Rc::clone(&people));
        let mut read = |path: &[u8]| {
            let path = Path::new(OsStr::from_bytes(path));
            if let Some(problem) = distrusted(path, &trusted) {
                let text = format!("a list of tables does not count: {problem}; let only root write it");
                remarks.push(Remark { file: None, line: 0, severity: Severity::Error, text });
                return None;
            }
            std::fs::read(path).ok()
        };
        let (tables, complaints) = approved(&params, service, settings.mail_version, &mut read);
        remarks.extend(complaints.iter().map(Remark::from));
        certain &= !complaints.iter().any(|complaint| complaint.severity() == Severity::Error);
        let inside: Option<PathBuf> =
            entry.filter(|entry| is_chrooted(entry, &params)).map(|_| settings.queue_directory.into());
        let read = |path: &Path| std::fs::read(path).ok();
        let root = inside.as_deref().unwrap_or(Path::new("/"));
        let notices = Notices::read(&params, &master, settings.mail_version, root, &read);
        Ok(Site {
            notices,
            directory,
            service,
            version: defaults.map(|_| settings.mail_version),
            tables,
            remarks,
            certain,
            owners,
            owners_text: keep.table_owners_text,
            trusted_directories: keep.trusted_directories.join(" "),
            limit: keep.snapshot_limit,
            inside,
            overrides,
            writer: accounts.ids_of(&settings.mail_owner).map(|ids| ids.uid),
            mail_owner: settings.mail_owner,
            people,
        })
    }

    /// The service's name in master.cf.
    pub(super) fn service_name(&self) -> &'static str {
        service_name(self.service)
    }
}

fn service_name(service: Service) -> &'static str {
    match service {
        Service::Read => "proxymap",
        Service::Write => "proxywrite",
    }
}

/// The chroot field of a service; what `-` means changed with compatibility level 1 (master(5)).
fn is_chrooted(entry: &ServiceEntry, params: &Parameters) -> bool {
    entry.chroot.unwrap_or_else(|| {
        let level = params.expand_text(b"${{$compatibility_level} <level {1} ? {yes} : {no}}");
        level.is_ok_and(|answer| answer == b"yes")
    })
}

fn required(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound => "; name the configuration directory with -c DIR",
            ErrorKind::PermissionDenied => "; try again as root",
            _ => "",
        };
        format!("{}: {error}{remedy}", path.display())
    })
}

/// A file that need not be there; but what is there has to be readable, or the answer would be wrong.
fn optional(path: &Path) -> Result<Vec<u8>, String> {
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{}: {error}", path.display())),
        Ok(text) => Ok(text),
    }
}

/// The users of /etc/passwd, as the service reads them.
pub(crate) fn users() -> Accounts {
    let passwd = read_file(Path::new("/etc/passwd")).unwrap_or_default();
    Accounts::new(String::from_utf8_lossy(&passwd).into_owned(), String::new())
}

/// The name of this user, if the account file has one that is a plain word.
pub(super) fn name_of(people: &People, uid: u32) -> Option<String> {
    Some(people.name_of(uid)).filter(|name| *name != uid.to_string())
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
}
