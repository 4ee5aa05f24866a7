//! From a configuration to the plan of a service: before lock-down, and again at each reload.
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

use crate::configuration::{Configuration, Request, Start};
use crate::defaults::installed_defaults;
use crate::error::SiteError;
use crate::options::{Mode, Options};
use crate::place::Place;
use crate::plan::ServicePlan;
use crate::remark::Remark;
use log::log_plan;
pub use log::{early_destination, log_host};
use mapkeep_config_text::{FileName, Service, Settings};
use names::{directories_of, not_served, notice_all, with_members};
use std::path::PathBuf;
use std::time::Duration;

/// The limit of workers of a kind if mapkeep.cf does not set their number, which is then the number of processors.
const MOST_BY_DEFAULT: u32 = 8;

/// The plan, and the remarks to log about it.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The plan.
    pub plan: ServicePlan,
    /// What to log about it.
    pub remarks: Vec<Remark>,
    /// Why main.cf could not be read (or master.cf, which a standalone service needs as well); then the plan approves
    /// nothing and denies nothing.
    pub unreadable: Option<String>,
}

/// Where the configuration comes from: fixed at start, and the same for every reload.
#[derive(Debug)]
pub struct Source {
    options: Options,
    directory: PathBuf,
    /// The output of postconf(1) at start: it cannot be run after lock-down.
    defaults: Option<Vec<u8>>,
    /// The host name in log lines.
    host: String,
    /// Whether the roles get their own ids.
    root: bool,
    /// Processors that the service may use.
    processors: u32,
}

impl Source {
    /// `directory` is the configuration directory. Must be called before lock-down.
    pub fn new(options: &Options, directory: PathBuf) -> Source {
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        let defaults = installed_defaults(&directory);
        let root = nix::unistd::geteuid().is_root();
        // This also reads files of control groups.
        let processors = std::thread::available_parallelism().map_or(1, |number| number.get());
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        Source { options: options.clone(), directory, defaults, host: log_host(), root, processors }
    }

    /// Reads the configuration as root would, whichever user runs the process.
    pub fn for_root(self) -> Source {
        Source { root: true, ..self }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// The ids cannot be used, so roles could not be separated.
    pub fn load_config(&self) -> Result<LoadedConfig, SiteError> {
        let Source { options, directory, .. } = self;
        let service = if options.service == "proxywrite" { Service::Write } else { Service::Read };
        let configuration = Configuration::read(Request {
            directory,
            service,
            start: Start::Options { overrides: &options.overrides, chroot: options.chroot },
            defaults: self.defaults.as_deref(),
            for_root: self.root,
        });
        let ids = self.root.then(|| configuration.role_ids()).transpose()?;
        let mail_owner = configuration.mail_owner();
        let trusted_directories = configuration.trusted_directories();
        let Configuration { settings, keep, inside, mut remarks, .. } = configuration;
        let inside = inside.unwrap_or_default();
        let unreadable = configuration.unreadable.iter().find(|one| is_needed(one.file, options.mode));
        let unreadable = unreadable.map(ToString::to_string);
        let mut names = with_members(configuration.tables.into_iter().map(|table| table.name), &mut remarks);
        if service == Service::Read {
            remarks.extend(names.iter().filter_map(|table| not_served(&table.name)));
            remarks.extend(notice_all(&mut names, &configuration.notices));
        }
        let write_directories = match service {
            Service::Read => Vec::new(),
            Service::Write => {
                let writer = ids
                    .map_or_else(|| Some(nix::unistd::geteuid().as_raw()), |_| mail_owner.map(|ids| ids.uid));
                writer.map_or_else(Vec::new, |writer| {
                    directories_of(&names, &inside, configuration.people, writer)
                })
            }
        };
        let plan = ServicePlan {
            mode: options.mode,
            service,
            ids,
            chroot: keep.chroot_directory.into(),
            names,
            approval_known: configuration.certain,
            smtputf8: settings.smtputf8_enable,
            inside,
            write_directories,
            owners: configuration.owners,
            owners_text: keep.table_owners.text,
            trusted_directories,
            snapshot_limit: keep.snapshot_limit,
            query_timeout: keep.query_timeout,
            backend_connections: keep.backend_connections,
            inet_protocols: settings.inet_protocols,
            socketmap_sizes: (settings.socketmap_max_reply_size, settings.socketmap_max_query_size),
            queue_directory: settings.queue_directory.clone().into(),
            groups: configuration.accounts.groups_of(&settings.mail_owner),
            max_use: options.max_use.unwrap_or(settings.max_use),
            workers: keep.workers.unwrap_or(self.processors.min(MOST_BY_DEFAULT)),
            max_idle: max_idle(options, &settings),
            daemon_timeout: settings.daemon_timeout,
            log: log_plan(options, &settings, unreadable.is_none(), &self.host),
            place: Place::new(service, &settings, &configuration.master, mail_owner),
        };
        Ok(LoadedConfig { plan, remarks, unreadable })
    }
}

/// A standalone service runs until it is told to stop.
fn max_idle(options: &Options, settings: &Settings) -> Duration {
    match (options.mode, options.max_idle) {
        (_, Some(seconds)) => Duration::from_secs(seconds),
        (Mode::Standalone, None) => Duration::ZERO,
        (Mode::Master, None) => settings.max_idle,
    }
}

/// Whether a service needs this file: a standalone one must not listen where a service of master(8) does.
fn is_needed(file: FileName, mode: Mode) -> bool {
    file == FileName::MainCf || (file == FileName::MasterCf && mode == Mode::Standalone)
}
