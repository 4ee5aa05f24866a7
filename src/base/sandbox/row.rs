//! Purpose: the terms in which the table of roles (role.rs) speaks of each.
//! May: be read. Never: names a role.

/// Which of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `proxymap`, which reads.
    Reading,
    /// `proxywrite`, which also changes tables.
    Writing,
    /// Each has its own.
    Both,
}

/// Whose rights a process has where root has started the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Root, with the capabilities of the row.
    Root,
    /// An account that is for this alone.
    Own {
        /// Its name, if somebody has made it.
        name: &'static str,
        /// Else which id of the range that `uid_base` in mapkeep.cf begins.
        offset: u32,
    },
    /// `mail_owner` of main.cf, who owns the files of tables that can be changed.
    MailOwner,
    /// The same with that account's supplementary groups, as stock proxymap has them.
    MailOwnerWithGroups,
}

/// The root directory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// That of the machine.
    Machine,
    /// The empty directory: it has bytes of clients.
    Empty,
}

/// What a role may ask of Landlock.
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
    /// It works on descriptors and reaches no file.
    pub(crate) const NONE: Files = Files { read: false, write: false, execute: false, connect: false };
    /// It opens what it finds there.
    pub(crate) const READ: Files = Files { read: true, ..Files::NONE };
}

/// What a process finds at a descriptor when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// /dev/null
    Null,
    /// Standard error where that is the log, else /dev/null.
    ErrorOutput,
    /// The channel to whoever it works for.
    Channel,
    /// The channel to the logger.
    Log,
    /// The socket of the log service.
    LogSocket,
    /// Something that it closes: the number is that of epoll.
    PlaceOfEpoll,
    /// The sealed list of names.
    Names,
    /// All listening sockets, one after the other. The last.
    Listeners,
}
