//! Reading the configuration and the account files into a plan: before lock-down, and again at each reload.
//!
//! A mistake in the configuration is said with file, line and remedy, and never ends a service under
//! master(8): what can be read is served, and nothing is denied that might be approved.
//! May: open files for reading; run postconf(1), before lock-down only.
//!
//! | file | purpose |
//! |---|---|
//! | `log.rs` | where lines go |
//! | `names.rs` | the list of tables |

mod log;
mod names;

use crate::accounts::{AccountError, Accounts};
use crate::deciding::distrusted;
use crate::notices::Notices;
use crate::options::{Mode, Options};
use crate::place::Place;
use crate::plan::ServicePlan;
use log::log_plan;
pub use log::{early_destination, log_host};
use mapkeep_broker_trust::{Owners, People, read_file};
use mapkeep_config_text::{
    Complaint, KeepSettings, Parameters, Service, Settings, Severity, approved, parse_main, parse_master,
};
use names::{directories_of, not_served, notice_all, with_members};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

/// The configuration directory that is compiled into Debian's Postfix.
const DEFAULT_DIRECTORY: &str = "/etc/postfix";
/// Where postconf(1) is, unless main.cf says otherwise.
const DEFAULT_COMMANDS: &str = "/usr/sbin";
/// Workers of a kind where mapkeep.cf does not say how many: as many as processors, but no more than this.
const MOST_BY_DEFAULT: u32 = 8;
/// What there is to say about the configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Remark {
    /// How bad it is.
    pub severity: Severity,
    /// What there is to say.
    pub text: String,
}

/// The plan, and what to log about how it came to be.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The plan.
    pub plan: ServicePlan,
    /// What to log about it.
    pub remarks: Vec<Remark>,
    /// Why main.cf could not be read (or master.cf, which a service of its own needs as well); then the plan approves
    /// nothing and denies nothing.
    pub unreadable: Option<String>,
}

/// Where the configuration comes from: settled at start, and the same for every reload.
#[derive(Debug)]
pub struct Source {
    options: Options,
    directory: PathBuf,
    /// What postconf(1) said at start: it cannot be asked after lock-down.
    defaults: Option<Vec<u8>>,
    /// The host name in log lines.
    host: String,
    /// Whether the roles get ids of their own.
    root: bool,
    /// Processors that the service may use.
    processors: u32,
}

impl Source {
    /// `directory` is the configuration directory, if one was named. To be called before lock-down.
    pub fn new(options: &Options, directory: Option<PathBuf>) -> Source {
        let directory = directory.unwrap_or_else(|| DEFAULT_DIRECTORY.into());
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        let main = read_file(&directory.join("main.cf")).unwrap_or_default();
        let defaults = installed_defaults(&Parameters::new(parse_main(&main).0), &directory);
        let root = nix::unistd::geteuid().is_root();
        // Files of control groups are read for this, too.
        let processors = std::thread::available_parallelism().map_or(1, |number| number.get());
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        Source { options: options.clone(), directory, defaults, host: log_host(), root, processors }
    }

    /// What root would find, whoever asks.
    pub fn for_root(self) -> Source {
        Source { root: true, ..self }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// Ids that cannot be used: then roles could not be kept apart.
    pub fn load_config(&self) -> Result<LoadedConfig, AccountError> {
        let Source { options, directory, .. } = self;
        let mut remarks = Vec::new();
        let path = directory.join("main.cf");
        let (main, unreadable) = match read_file(&path) {
            Ok(main) => (main, None),
            Err(error) => (Vec::new(), Some(format!("{}: {error}", path.display()))),
        };
        let keep_file = directory.join("mapkeep.cf");
        let keep = read_file(&keep_file).unwrap_or_default();
        // What master.cf gives to this service arrives as -o options; here it matters which sockets it names.
        let path = directory.join("master.cf");
        let (master, unreadable) = match read_file(&path) {
            Ok(master) => (master, unreadable),
            // A service of its own must not listen where one of master(8) does.
            Err(error) if options.mode == Mode::Standalone && error.kind() != io::ErrorKind::NotFound => {
                (Vec::new(), unreadable.or_else(|| Some(format!("{}: {error}", path.display()))))
            }
            Err(_) => (Vec::new(), unreadable),
        };

        let (main, complaints) = parse_main(&main);
        let mut sound = unreadable.is_none() && !has_errors(&complaints);
        remark(&mut remarks, &complaints);
        let (master, complaints) = parse_master(&master);
        remark(&mut remarks, &complaints);
        let mut parameters = Parameters::new(main);
        if let Some(defaults) = &self.defaults {
            parameters = parameters.with_defaults(defaults);
        }
        for (name, value) in &options.overrides {
            if let Err(error) = parameters.set_override(name.as_bytes(), value.as_bytes()) {
                let text = format!("option -o {name}: {error}");
                remarks.push(Remark { severity: Severity::Error, text });
            }
        }
        parameters.set_fixed("config_directory", directory.as_os_str().as_bytes());
        parameters.set_fixed("process_name", b"proxymap");
        parameters.set_fixed("service_name", options.service.as_bytes());

        let (settings, complaints) = Settings::from(&parameters);
        remark(&mut remarks, &complaints);
        let service = if options.service == "proxywrite" { Service::Write } else { Service::Read };
        let (mut keep, complaints) = KeepSettings::read(&keep, &parameters);
        remark(&mut remarks, &complaints);
        let people = Rc::new(People::read());
        let root = Owners::root().among(Rc::clone(&people));
        for name in ["main.cf", "master.cf"] {
            // They count all the same, as in stock: whoever can write them decides what master(8) runs.
            remarks.extend(distrusted(&directory.join(name), &root).map(|problem| Remark {
                severity: Severity::Warning,
                text: format!("{name} decides what is served, but {problem}; let only root write it"),
            }));
        }
        if let Some(problem) = distrusted(&keep_file, &root) {
            let text = format!(
                "mapkeep.cf does not count, its settings have their defaults: {problem}; let only root write it, then \
                 reload the service"
            );
            remarks.push(Remark { severity: Severity::Error, text });
            keep = keep.distrusted(&parameters);
        }

        let accounts = read_accounts();
        let mut owners = Vec::new();
        for owner in &keep.table_owners {
            match accounts.uid_of(&owner.to_string()) {
                Ok(uid) => owners.push(uid),
                Err(error) => remarks.push(Remark { severity: Severity::Error, text: error.to_string() }),
            }
        }
        let ids = if self.root {
            let broker = keep.broker_account.as_ref().map(ToString::to_string);
            let roles = accounts.roles(keep.uid_base, broker.as_deref(), &owners)?;
            Some(roles.with_mail_owner(accounts.ids_of(&settings.mail_owner)))
        } else {
            // Files of whoever runs the service are as good as that person's word.
            owners.push(nix::unistd::geteuid().as_raw());
            None
        };
        let mail_owner = accounts.ids_of(&settings.mail_owner);
        let trusted = Owners::declared(&owners).among(Rc::clone(&people));
        let mut read = |path: &[u8]| {
            let path = Path::new(OsStr::from_bytes(path));
            if let Some(problem) = distrusted(path, &trusted) {
                let text = format!("a list of tables does not count: {problem}; let only root write it");
                remarks.push(Remark { severity: Severity::Error, text });
                return None;
            }
            read_file(path).ok()
        };
        let (tables, complaints) = approved(&parameters, service, settings.mail_version, &mut read);
        sound &= !has_errors(&complaints);
        remark(&mut remarks, &complaints);
        let mut names = with_members(tables.into_iter().map(|table| table.name), &mut remarks);
        if service == Service::Read {
            remarks.extend(names.iter().filter_map(|table| not_served(&table.name)));
        }
        let inside = if options.chroot { settings.queue_directory.clone().into() } else { PathBuf::new() };
        if service == Service::Read {
            let read = |path: &Path| read_file(path).ok();
            let notices = Notices::read(&parameters, &master, settings.mail_version, &inside, &read);
            remarks.extend(notice_all(&mut names, &notices));
        }
        let write_directories = match service {
            Service::Read => Vec::new(),
            Service::Write => {
                let writer = ids
                    .map_or_else(|| Some(nix::unistd::geteuid().as_raw()), |_| mail_owner.map(|ids| ids.uid));
                writer.map_or_else(Vec::new, |writer| directories_of(&names, &inside, people, writer))
            }
        };
        let plan = ServicePlan {
            mode: options.mode,
            service: options.service.clone(),
            ids,
            chroot: keep.chroot_directory.into(),
            names,
            approval_known: sound,
            smtputf8: settings.smtputf8_enable,
            inside,
            write_directories,
            owners,
            owners_text: keep.table_owners_text,
            trusted_directories: keep.trusted_directories.join(" "),
            snapshot_limit: keep.snapshot_limit,
            max_use: options.max_use.unwrap_or(settings.max_use),
            workers: keep.workers.unwrap_or(self.processors.min(MOST_BY_DEFAULT)),
            max_idle: max_idle(options, &settings),
            daemon_timeout: settings.daemon_timeout,
            log: log_plan(options, &settings, unreadable.is_none(), &self.host),
            place: Place::new(&options.service, &settings, &master, mail_owner),
        };
        Ok(LoadedConfig { plan, remarks, unreadable })
    }
}

/// A service of its own stays until it is told to go.
fn max_idle(options: &Options, settings: &Settings) -> Duration {
    match (options.mode, options.max_idle) {
        (_, Some(seconds)) => Duration::from_secs(seconds),
        (Mode::Standalone, None) => Duration::ZERO,
        (Mode::Master, None) => settings.max_idle,
    }
}

/// The installed version's own defaults, as postconf(1) gives them; without it, built-in lists serve. `parameters`
/// says where commands are.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "before the lock")]
pub fn installed_defaults(parameters: &Parameters, directory: &Path) -> Option<Vec<u8>> {
    let commands = parameters.text("command_directory").unwrap_or_else(|_| DEFAULT_COMMANDS.to_owned());
    let output = Command::new(Path::new(&commands).join("postconf"))
        .arg("-c")
        .arg(directory)
        .arg("-d")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.ok().filter(|output| output.status.success()).map(|output| output.stdout)
}

fn read_accounts() -> Accounts {
    let text = |path| String::from_utf8_lossy(&read_file(Path::new(path)).unwrap_or_default()).into_owned();
    Accounts::new(text("/etc/passwd"), text("/etc/group"))
}

fn has_errors(complaints: &[Complaint]) -> bool {
    complaints.iter().any(|complaint| complaint.severity() == Severity::Error)
}

fn remark(remarks: &mut Vec<Remark>, complaints: &[Complaint]) {
    remarks.extend(
        complaints
            .iter()
            .map(|complaint| Remark { severity: complaint.severity(), text: complaint.to_string() }),
    );
}
