//! What the supervisor tells a process that it starts: everything that is its own, once, before anything else.
//!
//! One kind of launch for each kind of process, one encoder, one decoder. Paths and settings have no useful upper limit, so
//! a launch does not fit in a message: it comes in a sealed memfd, with [`SupervisorToProcess::Launch`] as the first message
//! of the process's channel.

use crate::Duty;
use crate::codec::{DecodeError, Reader};
use crate::field::{Field, record};
use crate::message::{Decode, fields};
use std::path::PathBuf;
use std::time::Duration;

/// The first message on the channel of a process, which the supervisor sends before it starts the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupervisorToProcess {
    /// How it is launched; one descriptor (a sealed memfd).
    Launch {
        /// Size of the launch in bytes.
        size: u64,
    },
}

impl Decode for SupervisorToProcess {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => SupervisorToProcess::Launch { size: from.u64()? },
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match *self {
            SupervisorToProcess::Launch { size } => fields(1, &[&size.to_le_bytes()]),
        }
    }

    fn descriptors(&self) -> usize {
        1
    }
}

record! {
    /// A user id and a group id.
    #[derive(Copy)]
    Ids {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    }
}

record! {
    /// The part that every process gets.
    Process {
        /// The supervisor's process id: the process dies with it.
        parent: i32,
        /// The ids that it takes; `None` if ids cannot be changed.
        ids: Option<Ids>,
        /// Whether debug lines are logged.
        verbose: bool,
    }
}

record! {
    /// The part that both brokers get. Their descriptors are in the order of the table of roles.
    Serving {
        /// Size of the list of names, in bytes.
        names_size: u64,
        /// How many listening sockets there are.
        listeners: u32,
        /// The value of `smtputf8_enable`.
        smtputf8: bool,
        /// False when the configuration could not be read: then no table may be denied.
        approval_known: bool,
        /// Where `/` in a table's path is; empty for the host's own root.
        inside: PathBuf,
        /// Clients that a worker may have at a time.
        room: u32,
        /// How long a process may be silent, in whole seconds.
        daemon_timeout: Duration,
    }
}

record! {
    /// What the broker of the reading service has to know of the servers that answer for tables.
    Backends {
        /// How long a server has for an answer, in whole seconds.
        query_timeout: Duration,
        /// Connections that are open at a time to one server, at most.
        connections: u16,
        /// The longest reply of a socketmap server, in bytes.
        max_reply: u32,
        /// The longest query that a socketmap server is sent, in bytes.
        max_query: u32,
        /// Where a path of a socket begins that does not begin with `/`.
        queue_directory: PathBuf,
        /// Whether the descriptor for it is a channel to the dialer. It is not where the first of these tables came with a
        /// reload.
        dialer: bool,
        /// Whether gateways can be started. They cannot where their program is missing.
        gateways: bool,
    }
}

record! {
    /// The broker of the reading service.
    BrokerLaunch {
        /// The part that every process gets.
        process: Process,
        /// The part that both brokers get.
        serving: Serving,
        /// Users besides root whose files are trusted as tables.
        owners: Vec<u32>,
        /// `table_owners` as it is written.
        owners_text: String,
        /// The paths of `trusted_directories`, with spaces between them.
        trusted_directories: String,
        /// The largest table file, in bytes.
        snapshot_limit: u64,
        /// Clients after which a worker is replaced.
        max_use: u32,
        /// Lookup workers that serve at a time, and rules workers where there are tables of rules.
        workers: u32,
        /// Servers that answer for tables.
        backends: Backends,
    }
}

record! {
    /// A lookup worker or a rules worker.
    WorkerLaunch {
        /// The part that every process gets.
        process: Process,
        /// Its duty.
        duty: Duty,
        /// The empty directory that becomes its root.
        chroot: PathBuf,
        /// Descriptors that it may have open.
        descriptors: u64,
        /// How many tables there are.
        tables: u64,
        /// The largest table file, in bytes.
        snapshot_limit: u64,
        /// Whether it logs which version of PCRE2 matches patterns.
        tells: bool,
    }
}

record! {
    /// The broker of the writing service.
    WriteBrokerLaunch {
        /// The part that every process gets.
        process: Process,
        /// The part that both brokers get.
        serving: Serving,
    }
}

record! {
    /// The writer.
    WriterLaunch {
        /// The part that every process gets.
        process: Process,
        /// The empty directory that becomes its root.
        chroot: PathBuf,
        /// Descriptors that it may have open.
        descriptors: u64,
        /// How many tables there are.
        tables: u64,
    }
}

record! {
    /// A gateway.
    GatewayLaunch {
        /// The part that every process gets.
        process: Process,
        /// The empty directory that becomes its root.
        chroot: PathBuf,
        /// Descriptors that it may have open.
        descriptors: u64,
    }
}

record! {
    /// The logger.
    LoggerLaunch {
        /// The part that every process gets.
        process: Process,
        /// Where lines go.
        destination: LogTo,
        /// The number of the facility of syslog.
        facility: u8,
        /// The prefix before the process id in lines: `postfix/proxymap`.
        ident: String,
        /// The host name in lines.
        host: String,
    }
}

record! {
    /// The dialer.
    DialerLaunch {
        /// The part that every process gets.
        process: Process,
        /// The supplementary groups of its user.
        groups: Vec<u32>,
        /// The name of its user, for the log.
        account: String,
        /// Whether connections are made over IPv4.
        ipv4: bool,
        /// Whether connections are made over IPv6.
        ipv6: bool,
    }
}

/// Where the lines of the log go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// The socket of syslog.
    Syslog(PathBuf),
    /// The socket of postlogd(8).
    Postlog(PathBuf),
    /// Standard error.
    Stderr,
}

impl Field for LogTo {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            LogTo::Syslog(path) => {
                out.push(1);
                path.put(out);
            }
            LogTo::Postlog(path) => {
                out.push(2);
                path.put(out);
            }
            LogTo::Stderr => out.push(3),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<LogTo, DecodeError> {
        match from.u8()? {
            1 => Ok(LogTo::Syslog(PathBuf::take(from)?)),
            2 => Ok(LogTo::Postlog(PathBuf::take(from)?)),
            3 => Ok(LogTo::Stderr),
            _ => Err(DecodeError::Field),
        }
    }
}

/// The launch of a process, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launch {
    /// The broker of the reading service.
    Broker(BrokerLaunch),
    /// A lookup worker or a rules worker.
    Worker(WorkerLaunch),
    /// The broker of the writing service.
    WriteBroker(WriteBrokerLaunch),
    /// The writer.
    Writer(WriterLaunch),
    /// The logger.
    Logger(LoggerLaunch),
    /// A gateway.
    Gateway(GatewayLaunch),
    /// The dialer.
    Dialer(DialerLaunch),
}

impl Launch {
    /// The bytes of this launch: a tag byte, then the fields in the order of their declaration.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (tag, fields): (u8, &dyn Field) = match self {
            Launch::Broker(launch) => (1, launch),
            Launch::Worker(launch) => (2, launch),
            Launch::WriteBroker(launch) => (3, launch),
            Launch::Writer(launch) => (4, launch),
            Launch::Logger(launch) => (5, launch),
            Launch::Gateway(launch) => (6, launch),
            Launch::Dialer(launch) => (7, launch),
        };
        let mut out = vec![tag];
        fields.put(&mut out);
        out
    }

    /// Decodes a launch. Total: every byte string gives a launch or an error, and no more memory is allocated than
    /// there are bytes.
    ///
    /// # Errors
    /// See [`DecodeError`]; trailing bytes are an error.
    pub fn decode(bytes: &[u8]) -> Result<Launch, DecodeError> {
        let mut from = Reader(bytes);
        let launch = match from.u8()? {
            1 => Launch::Broker(Field::take(&mut from)?),
            2 => Launch::Worker(Field::take(&mut from)?),
            3 => Launch::WriteBroker(Field::take(&mut from)?),
            4 => Launch::Writer(Field::take(&mut from)?),
            5 => Launch::Logger(Field::take(&mut from)?),
            6 => Launch::Gateway(Field::take(&mut from)?),
            7 => Launch::Dialer(Field::take(&mut from)?),
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(launch)
    }
}

#[cfg(test)]
mod tests;
