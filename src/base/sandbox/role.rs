//! Purpose: the one table of roles: what each process is called, runs, may and is given.
//! May: be read. Never: decides anything; `enter` and the supervisor do what it says.
//!
//! A new role is a row below, its list in policy/seccomp.json, which the row names, and its program. The compiler then
//! leads to what is different for each role in a way that no row can say: what a start puts at a new kind of descriptor
//! (`Spawner` in src/broker/supervisor/children.rs), the launch message, and what the tests of the lists expect
//! (tests/expected). A worker that brokers ask for is also a `Duty` of src/base/proto.

use caps::Capability;
use std::time::Duration;

use crate::row::{Account, Files, Given, Root, Service};
use crate::rule::{Rule, lists};

/// The properties of a role.
#[derive(Debug)]
pub struct Row {
    /// In logs, and in the policy unless the list is another role's.
    pub name: &'static str,
    /// The name of its processes in `ps` and the log.
    pub title: &'static str,
    /// The file name of its program; for a fork, that of its parent.
    pub program: &'static str,
    /// The services that have such processes.
    pub service: Service,
    /// The roles whose filters a process of this one may have inherited; empty if it starts under none of ours.
    pub parents: &'static [Role],
    /// The account that it runs as.
    pub account: Account,
    /// The capabilities that it keeps.
    pub keep: &'static [Capability],
    /// Its root directory.
    pub root: Root,
    /// What Landlock may allow it.
    pub files: Files,
    /// The system calls that it may make, sorted by name, one rule for each call.
    pub rules: &'static [Rule],
    /// What it has at the descriptors 0, 1, 2, ... when it starts; empty if we do not start it, and for a fork.
    pub descriptors: &'static [Given],
    /// How long it may take to exit after its broker; `None` for a process that has no broker.
    pub outlives_broker: Option<Duration>,
}

/// What the supervisor needs so that its children can drop their privileges, and to signal them. CAP_DAC_READ_SEARCH is
/// kept only for the broker.
const SUPERVISOR_KEEPS: &[Capability] = &[
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_KILL,
];

const BROKER_HAS: &[Given] = &[
    Given::Null,
    Given::Null,
    Given::Null,
    Given::Channel,
    Given::Log,
    Given::PlaceOfEpoll,
    Given::Names,
    Given::Dialer,
    Given::Listeners,
];
const WRITE_BROKER_HAS: &[Given] = &[
    Given::Null,
    Given::Null,
    Given::Null,
    Given::Channel,
    Given::Log,
    Given::PlaceOfEpoll,
    Given::Names,
    Given::Listeners,
];
const WORKER_HAS: &[Given] = &[Given::Null, Given::Null, Given::Null, Given::Channel, Given::Log];
const LOGGER_HAS: &[Given] =
    &[Given::Null, Given::Null, Given::ErrorOutput, Given::Channel, Given::LogSocket];

/// Both kinds of workers of the reading service.
const LOOKUP_ACCOUNT: Account = Account::Own { name: "mapkeep-lookup", offset: 2 };

/// Time to answer the requests that have arrived.
const WORKER_TIME: Duration = Duration::from_secs(30);
/// Time to finish the work that it has begun.
const WRITER_TIME: Duration = Duration::from_secs(600);

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident { $($field:ident: $value:expr,)* })*) => {
        /// A kind of process.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Role {
            $($(#[$doc])* $role,)*
        }

        impl Role {
            /// Every role.
            pub const ALL: [Role; [$(Role::$role),*].len()] = [$(Role::$role),*];

            /// Its row of the table.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Role::$role => &Row { $($field: $value,)* },)*
                }
            }
        }
    };
}

roles! {
    /// Starts and stops the others.
    Supervisor {
        name: "supervisor",
        title: "supervisor",
        program: "mapkeepd",
        service: Service::Reading,
        parents: &[],
        account: Account::Root,
        keep: SUPERVISOR_KEEPS,
        root: Root::Machine,
        files: Files { read: true, execute: true, ..Files::NONE },
        rules: lists::SUPERVISOR,
        descriptors: &[],
        outlives_broker: None,
    }
    /// Opens tables, accepts connections, and hands both to workers.
    Broker {
        name: "broker",
        title: "broker",
        program: "mapkeepd",
        service: Service::Reading,
        parents: &[Role::Supervisor],
        account: Account::Own { name: "mapkeep-broker", offset: 0 },
        // It opens tables with any owner.
        keep: &[Capability::CAP_DAC_READ_SEARCH],
        root: Root::Machine,
        files: Files::READ,
        rules: lists::BROKER,
        descriptors: BROKER_HAS,
        outlives_broker: None,
    }
    /// Writes the log lines of the others.
    Logger {
        name: "logger",
        title: "logger",
        program: "mapkeep-worker",
        service: Service::Both,
        parents: &[Role::Supervisor, Role::WriteSupervisor],
        account: Account::Own { name: "mapkeep-logger", offset: 1 },
        keep: &[],
        root: Root::Machine,
        files: Files::NONE,
        rules: lists::LOGGER,
        descriptors: LOGGER_HAS,
        outlives_broker: None,
    }
    /// Reads client bytes and answers them from snapshots.
    Lookup {
        name: "lookup",
        title: "lookup worker",
        program: "mapkeep-worker",
        service: Service::Reading,
        parents: &[Role::Supervisor],
        account: LOOKUP_ACCOUNT,
        keep: &[],
        root: Root::Empty,
        files: Files::NONE,
        rules: lists::LOOKUP,
        descriptors: WORKER_HAS,
        outlives_broker: Some(WORKER_TIME),
    }
    /// Answers lookup workers from tables of patterns. It has their list and account, because it sees the same keys.
    Rules {
        name: "rules",
        title: "rules worker",
        program: "mapkeep-worker",
        service: Service::Reading,
        parents: &[Role::Supervisor],
        account: LOOKUP_ACCOUNT,
        keep: &[],
        root: Root::Empty,
        files: Files::NONE,
        rules: lists::LOOKUP,
        descriptors: WORKER_HAS,
        outlives_broker: Some(WORKER_TIME),
    }
    /// Asks one database or server of the network, on connections that it is handed, and answers lookup workers.
    Gateway {
        name: "gateway",
        title: "gateway",
        program: "mapkeep-gateway",
        service: Service::Reading,
        parents: &[Role::Supervisor],
        account: Account::Own { name: "mapkeep-gateway", offset: 4 },
        keep: &[],
        root: Root::Empty,
        files: Files::NONE,
        rules: lists::GATEWAY,
        descriptors: WORKER_HAS,
        outlives_broker: Some(WORKER_TIME),
    }
    /// Forks a connector for each connection. It is started before the lock-down of the supervisor.
    Dialer {
        name: "dialer",
        title: "dialer",
        program: "mapkeep-dialer",
        service: Service::Reading,
        parents: &[],
        account: Account::MailOwnerWithGroups,
        keep: &[],
        root: Root::Machine,
        // It may read everything: files of the name service are replaced while it runs, and Landlock rules apply to
        // files, not names.
        files: Files { read: true, connect: true, ..Files::NONE },
        rules: lists::DIALER,
        descriptors: WORKER_HAS,
        outlives_broker: None,
    }
    /// Makes one connection: resolves a name, connects, hands the connection over, exits.
    Connector {
        name: "connector",
        title: "connector",
        program: "mapkeep-dialer",
        service: Service::Reading,
        parents: &[Role::Dialer],
        account: Account::MailOwnerWithGroups,
        keep: &[],
        root: Root::Machine,
        files: Files { read: true, connect: true, ..Files::NONE },
        rules: lists::CONNECTOR,
        // It is a fork.
        descriptors: &[],
        outlives_broker: None,
    }
    /// The supervisor of the writing service, whose children write files.
    WriteSupervisor {
        name: "write_supervisor",
        title: "supervisor",
        program: "mapkeepd",
        service: Service::Writing,
        parents: &[],
        account: Account::Root,
        keep: SUPERVISOR_KEEPS,
        root: Root::Machine,
        // To write, because the write broker inherits its Landlock domain.
        files: Files { read: true, write: true, execute: true, ..Files::NONE },
        rules: lists::WRITE_SUPERVISOR,
        descriptors: &[],
        outlives_broker: None,
    }
    /// Opens, creates and renames the files of tables that can be changed, accepts connections, and hands both to the
    /// writer.
    WriteBroker {
        name: "write_broker",
        title: "write broker",
        program: "mapkeepd",
        service: Service::Writing,
        parents: &[Role::WriteSupervisor],
        account: Account::MailOwner,
        keep: &[],
        root: Root::Machine,
        files: Files { read: true, write: true, ..Files::NONE },
        rules: lists::WRITE_BROKER,
        descriptors: WRITE_BROKER_HAS,
        outlives_broker: None,
    }
    /// Reads client bytes and changes tables through the descriptors that it was given.
    Writer {
        name: "writer",
        title: "writer",
        program: "mapkeep-writer",
        service: Service::Writing,
        parents: &[Role::WriteSupervisor],
        account: Account::Own { name: "mapkeep-writer", offset: 3 },
        keep: &[],
        root: Root::Empty,
        files: Files::NONE,
        rules: lists::WRITER,
        descriptors: WORKER_HAS,
        outlives_broker: Some(WRITER_TIME),
    }
}

impl Role {
    /// [`Row::parents`].
    #[must_use]
    pub fn parents(self) -> &'static [Role] {
        self.row().parents
    }

    /// [`Row::name`].
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// [`Row::title`].
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// [`Row::rules`].
    #[must_use]
    pub fn rules(self) -> &'static [Rule] {
        self.row().rules
    }

    /// Whether it is one of the two supervisors, which start all other processes.
    #[must_use]
    pub fn is_supervisor(self) -> bool {
        self.row().account == Account::Root
    }

    /// Whether it begins as a fork of its parent, whose lock it narrows, instead of a program of its own.
    #[must_use]
    pub fn is_fork(self) -> bool {
        self.parents() == [Role::Dialer]
    }

    /// Whether it is there for tables that a server answers for, and for nothing else.
    #[must_use]
    pub fn is_for_servers(self) -> bool {
        matches!(self, Role::Gateway | Role::Dialer | Role::Connector)
    }

    /// Whether processes of other roles begin as forks of it.
    #[must_use]
    pub fn starts_others(self) -> bool {
        Role::ALL.into_iter().any(|role| role.parents().contains(&self))
    }

    /// Whether there are such processes in the writing service, or else in the reading one.
    #[must_use]
    pub fn serves(self, writing: bool) -> bool {
        match self.row().service {
            Service::Both => true,
            Service::Writing => writing,
            Service::Reading => !writing,
        }
    }
}

#[cfg(test)]
mod tests;
