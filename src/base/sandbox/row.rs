//! Purpose: the terms in which the table of roles (role.rs) speaks of each.
//! May: be read. Never: names a role.

/// Which of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `proxymap`, which reads.
    Reading,
    /// `proxywrite`, which also changes tables.
    Writing,
    /// Both services, each with its own.
    Both,
}

/// The account of a process if root has started the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Root, with the capabilities of the row.
    Root,
    /// An account for this role alone.
    Own {
        /// Its name, if it has been created.
        name: &'static str,
        /// Otherwise, the offset of its id in the range that begins at `uid_base` of mapkeep.cf.
        offset: u32,
    },
    /// `mail_owner` of main.cf, who owns the files of tables that can be changed.
    MailOwner,
    /// The same, with that account's supplementary groups, as in stock proxymap.
    MailOwnerWithGroups,
}

/// The root directory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The host's root directory.
    Machine,
    /// The empty directory, because the process reads bytes from clients.
    Empty,
}

/// The Landlock rights that a role may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// To read files and list directories.
    pub read: bool,
    /// To make, write, rename and remove files as well.
    pub write: bool,
    /// To execute files.
    pub execute: bool,
    /// To connect to TCP ports.
    pub connect: bool,
}

impl Files {
    /// It works on descriptors and can reach no file.
    pub(crate) const NONE: Files = Files { read: false, write: false, execute: false, connect: false };
    /// It may read files.
    pub(crate) const READ: Files = Files { read: true, ..Files::NONE };
}

/// What a process finds at a descriptor when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// /dev/null
    Null,
    /// Standard error if that is the log, otherwise /dev/null.
    ErrorOutput,
    /// The channel to its broker or supervisor.
    Channel,
    /// The channel to the logger.
    Log,
    /// The socket of the log service.
    LogSocket,
    /// Anything: the process closes it, because the number is that of epoll.
    PlaceOfEpoll,
    /// The sealed list of names.
    Names,
    /// The channel to the dialer; /dev/null where there is none.
    Dialer,
    /// All listening sockets, one after the other; always last.
    Listeners,
}
