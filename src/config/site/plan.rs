//! What the configuration comes to: everything that the supervisor and its children go by.

use crate::accounts::RoleIds;
use crate::error::SiteError;
use crate::options::Mode;
use crate::place::Place;
use mapkeep_config_text::Service;
use mapkeep_log::{Destination, Facility};
use mapkeep_name::Kind;
use mapkeep_proto::{Duty, Listed};
use mapkeep_sandbox::{Located, Role};
use std::path::PathBuf;
use std::time::Duration;

/// The decisions that follow from one reading of the configuration; never changed afterwards.
#[derive(Debug)]
pub struct ServicePlan {
    /// Who starts the service.
    pub mode: Mode,
    /// Which of the two services it is.
    pub service: Service,
    /// `None` when not started by root: then nobody can change ids.
    pub ids: Option<RoleIds>,
    /// The empty directory that is the root of the workers.
    pub chroot: PathBuf,
    /// The approved tables and the members of composite ones, in the order of their ids.
    pub names: Vec<Listed>,
    /// False when the configuration could not be read.
    pub approval_known: bool,
    /// `smtputf8_enable`.
    pub smtputf8: bool,
    /// The root for table paths, for a service that is chrooted according to master.cf; otherwise empty.
    pub inside: PathBuf,
    /// The directories of the tables that can be changed, as far as they exist; none for the reading service.
    pub write_directories: Vec<Located>,
    /// Users besides root whose files are trusted as tables.
    pub owners: Vec<u32>,
    /// `table_owners` as it is written, and the paths of `trusted_directories` with spaces between them.
    pub owners_text: String,
    /// The paths of `trusted_directories`, with spaces between them.
    pub trusted_directories: String,
    /// The largest table file, in bytes.
    pub snapshot_limit: u64,
    /// How long a database or server has for an answer.
    pub query_timeout: Duration,
    /// Limit of open connections to one such server.
    pub backend_connections: u16,
    /// The longest reply of a socketmap server and the longest query to one, in bytes.
    pub socketmap_sizes: (u32, u32),
    /// Where the path of a server's socket begins that does not begin with `/`.
    pub queue_directory: PathBuf,
    /// Whether they are connected to over IPv4, and whether over IPv6.
    pub inet_protocols: (bool, bool),
    /// The groups of mail_owner, its own among them: servers see the process that connects to them as that user.
    pub groups: Vec<u32>,
    /// Clients after which a worker is replaced.
    pub max_use: u32,
    /// Lookup workers that serve at a time, and rules workers where there are tables of rules.
    pub workers: u32,
    /// How long to run without clients; zero: for ever.
    pub max_idle: Duration,
    /// How long a process may be silent.
    pub daemon_timeout: Duration,
    /// The log.
    pub log: LogPlan,
    /// Where a standalone service listens.
    pub place: Place,
}

impl ServicePlan {
    /// Whether this is the service that changes tables.
    pub fn writes(&self) -> bool {
        self.service == Service::Write
    }

    /// The role of the supervisor.
    pub fn supervisor_role(&self) -> Role {
        if self.writes() { Role::WriteSupervisor } else { Role::Supervisor }
    }

    /// The role of the broker.
    pub fn broker_role(&self) -> Role {
        if self.writes() { Role::WriteBroker } else { Role::Broker }
    }

    /// Whether this kind of worker has something to do.
    pub fn has_work_for(&self, duty: Duty) -> bool {
        duty == Duty::Clients || self.names.iter().any(|table| Duty::of(Kind::of(&table.name)) == duty)
    }

    /// How many tables clients may ask.
    pub fn approved(&self) -> usize {
        self.names.iter().filter(|table| table.approved).count()
    }

    /// This plan, with everything that cannot change while the service runs taken from the plan `before`; and
    /// descriptions of the settings whose change has to wait for a restart.
    ///
    /// # Errors
    /// An owner of tables is the user of a role that cannot change now: the text names it.
    pub fn after(self, before: &ServicePlan) -> Result<(ServicePlan, Vec<&'static str>), SiteError> {
        if let Some(ids) = before.ids
            && let Some(owner) = self.owners.iter().find(|owner| ids.includes(**owner))
        {
            return Err(SiteError::OwnerIsRole(*owner));
        }
        let waiting = [
            (self.ids != before.ids, "the ids of the roles"),
            (self.chroot != before.chroot, "chroot_directory"),
            (self.log != before.log, "the destination and names of the log"),
            (self.place.usual != before.place.usual, "the path of the socket"),
            (
                self.write_directories != before.write_directories,
                "the directories of tables that can be updated",
            ),
            // As in stock: postconf(5) demands a restart.
            (self.inet_protocols != before.inet_protocols, "inet_protocols"),
            // The dialer has taken them at the start.
            (self.groups != before.groups && before.has_work_for(Duty::Gateway), "the groups of mail_owner"),
        ];
        let waiting = waiting.into_iter().filter(|(changed, _)| *changed).map(|(_, what)| what).collect();
        let plan = ServicePlan {
            ids: before.ids,
            chroot: before.chroot.clone(),
            log: before.log.clone(),
            inet_protocols: before.inet_protocols,
            groups: before.groups.clone(),
            // The supervisor's Landlock domain is still that of the start.
            write_directories: before.write_directories.clone(),
            ..self
        };
        Ok((plan, waiting))
    }
}

/// Where log lines go, and their prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// Where lines go.
    pub destination: Destination,
    /// The facility of syslog.
    pub facility: Facility,
    /// `postfix/proxymap`
    pub ident: String,
    /// `proxymap`, or with the name of a Postfix instance `postfix-out/proxymap`.
    pub service: String,
    /// The host name in lines.
    pub host: String,
    /// Whether debug lines are written.
    pub verbose: bool,
}
