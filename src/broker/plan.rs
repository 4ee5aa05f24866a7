//! What the configuration comes to: everything that the supervisor and its children go by.

use crate::accounts::RoleIds;
use crate::options::Mode;
use crate::place::Place;
use mapkeep_log::{Destination, Facility};
use mapkeep_proto::{Duty, Kind, Listed};
use mapkeep_sandbox::{Located, Role};
use std::path::PathBuf;
use std::time::Duration;

/// Decisions made from one reading of the configuration; nothing here changes afterwards.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    /// `proxymap` or `proxywrite`.
    pub(crate) service: String,
    /// `None` when not started by root: then nobody can change ids.
    pub(crate) ids: Option<RoleIds>,
    /// The empty directory that is the root of the workers.
    pub(crate) chroot: PathBuf,
    /// The approved tables and the members of composite ones, in the order of their ids.
    pub(crate) names: Vec<Listed>,
    /// False when the configuration could not be read.
    pub(crate) approval_known: bool,
    pub(crate) smtputf8: bool,
    /// Where table paths start, for a service that master.cf says is chrooted; else empty.
    pub(crate) inside: PathBuf,
    /// The directories of the tables that can be changed, as far as they are there; none for the reading service.
    pub(crate) write_directories: Vec<Located>,
    /// Users besides root whose files may be tables.
    pub(crate) owners: Vec<u32>,
    /// `table_owners` as it is written, and the paths of `trusted_directories` with spaces between them.
    pub(crate) owners_text: String,
    pub(crate) trusted_directories: String,
    /// The largest table file, in bytes.
    pub(crate) snapshot_limit: u64,
    pub(crate) max_use: u32,
    /// Lookup workers that serve at a time, and rules workers where there are tables of rules.
    pub(crate) workers: u32,
    /// Zero: never leave for want of clients.
    pub(crate) max_idle: Duration,
    pub(crate) daemon_timeout: Duration,
    pub(crate) log: LogPlan,
    /// Where a service of its own listens.
    pub(crate) place: Place,
}

impl Plan {
    /// Whether this is the service that changes tables.
    pub(crate) fn writes(&self) -> bool {
        self.service == "proxywrite"
    }

    /// The role of the supervisor.
    pub(crate) fn supervisor_role(&self) -> Role {
        if self.writes() { Role::WriteSupervisor } else { Role::Supervisor }
    }

    /// The role of the broker.
    pub(crate) fn broker_role(&self) -> Role {
        if self.writes() { Role::WriteBroker } else { Role::Broker }
    }

    /// The role of the processes that hear clients.
    pub(crate) fn worker_role(&self) -> Role {
        if self.writes() { Role::Writer } else { Role::Lookup }
    }

    /// Whether this kind of worker has something to do.
    pub(crate) fn has_work_for(&self, duty: Duty) -> bool {
        duty == Duty::Clients || self.names.iter().any(|table| Duty::of(Kind::of(&table.name)) == duty)
    }

    /// What the workers are called that this service cannot do without.
    pub(crate) fn titles_of_workers(&self) -> Vec<&'static str> {
        match self.writes() {
            true => vec![Role::Writer.name()],
            false => Duty::ALL.into_iter().filter(|duty| self.has_work_for(*duty)).map(Duty::title).collect(),
        }
    }

    /// How many tables clients may ask.
    pub(crate) fn approved(&self) -> usize {
        self.names.iter().filter(|table| table.approved).count()
    }

    /// This plan, with what cannot change while the service lives taken from the one `before`; and the settings, in
    /// plain words, whose change has to wait for a restart.
    ///
    /// # Errors
    /// An owner of tables is one of the roles that stay: the text names it.
    pub(crate) fn after(self, before: &Plan) -> Result<(Plan, Vec<&'static str>), String> {
        if let Some(ids) = before.ids
            && let Some(owner) = self.owners.iter().find(|owner| ids.includes(**owner))
        {
            return Err(format!(
                "user id {owner} owns tables (table_owners in mapkeep.cf) and is that of a role"
            ));
        }
        let waiting = [
            (self.ids != before.ids, "the ids of the roles"),
            (self.chroot != before.chroot, "chroot_directory"),
            (self.log != before.log, "where the log goes and its names"),
            (self.place.usual != before.place.usual, "the place of the socket"),
            (
                self.write_directories != before.write_directories,
                "the directories of tables that can be changed",
            ),
        ];
        let waiting = waiting.into_iter().filter(|(changed, _)| *changed).map(|(_, what)| what).collect();
        let plan = Plan {
            ids: before.ids,
            chroot: before.chroot.clone(),
            log: before.log.clone(),
            // The supervisor's Landlock domain is what it was at start.
            write_directories: before.write_directories.clone(),
            ..self
        };
        Ok((plan, waiting))
    }
}

/// Where lines go and what stands in front of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogPlan {
    pub(crate) destination: Destination,
    pub(crate) facility: Facility,
    /// `postfix/proxymap`
    pub(crate) ident: String,
    /// `proxymap`, or with the name of a Postfix instance `postfix-out/proxymap`.
    pub(crate) service: String,
    pub(crate) host: String,
    pub(crate) verbose: bool,
}
