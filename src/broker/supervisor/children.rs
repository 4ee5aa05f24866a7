//! The supervisor's children: starting them, checking them from outside, and how soon to start the next.

use mapkeep_config_site::accounts::{Ids, RoleIds};
use mapkeep_config_site::plan::{LogPlan, ServicePlan};
use mapkeep_log::Destination;
use mapkeep_name::Kind;
use mapkeep_proto::{Decode, Duty, SupervisorToLogger};
use mapkeep_sandbox::{Capability, Found, Privilege, Role, expected, inspect};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::spawn::{Program, spawn};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Deaths in one minute that are still taken for bad luck: the next process is started at once.
const PATIENCE: usize = 5;
/// The first and the longest pause between starts after that.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

/// Descriptors that a lookup worker may have open: its clients and a few of its own.
const WORKER_DESCRIPTORS: u64 = 20_000;
/// Descriptors of a worker that are neither clients nor streams to rules workers.
const WORKER_OWN: u64 = 64;

/// A started process.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: Pid,
    pub(crate) role: Role,
    /// What the log calls it.
    pub(crate) called: &'static str,
    /// Whether its confinement has been checked from outside.
    pub(crate) checked: bool,
    /// What was found then, in short.
    pub(crate) brief: String,
    pub(crate) started: Instant,
    /// Since when its broker has gone; of workers only.
    pub(crate) orphaned: Option<Instant>,
    /// The far end of its log channel. Kept, unread, so that a new logger can take over.
    log: Option<OwnedFd>,
}

/// What all starts have in common.
#[derive(Debug)]
pub(crate) struct Spawner {
    /// Our own program, for the broker, and the worker's, opened once at start.
    pub(crate) daemon: File,
    pub(crate) worker: File,
    /// That of the writer; in the writing service only.
    pub(crate) writer: Option<File>,
    pub(crate) null: File,
    /// The socket of the mail log, for the logger.
    pub(crate) log_socket: Option<OwnedFd>,
    /// Whose rights each role has, and where lines go: the same as long as the service lives.
    pub(crate) ids: Option<RoleIds>,
    pub(crate) log: LogPlan,
    /// Filters that are in force in this process, and so in each child before it adds its own.
    pub(crate) inherited_filters: u32,
    /// What was found of the supervisor itself once it was locked down.
    pub(crate) own_brief: String,
}

impl Spawner {
    /// Starts the logger; returns it with the channel on which it learns of sources.
    pub(crate) fn logger(&self, now: Instant) -> io::Result<(Child, Channel)> {
        let (near, far) = Channel::pair()?;
        let far = far.into_descriptor();
        let log = &self.log;
        let (destination, path) = match &log.destination {
            Destination::Syslog(path) => ("syslog", path.display().to_string()),
            Destination::Postlog(path) => ("postlog", path.display().to_string()),
            Destination::Stderr => ("stderr", String::new()),
        };
        let facility = log.facility.number();
        let mut words = self.words(Role::Logger);
        words.extend([
            format!("destination={destination}"),
            format!("path={path}"),
            format!("facility={facility}"),
            format!("ident={}", log.ident),
            format!("host={}", log.host),
        ]);
        let stderr = io::stderr();
        let error_output = if destination == "stderr" { stderr.as_fd() } else { self.null.as_fd() };
        let socket = self.log_socket.as_ref().map_or(self.null.as_fd(), AsFd::as_fd);
        let descriptors = [self.null.as_fd(), self.null.as_fd(), error_output, far.as_fd(), socket];
        let pid = start(&self.worker, &self.title("logger"), &words, &descriptors)?;
        Ok((Child::new(pid, Role::Logger, now), near))
    }

    /// Starts the broker, that of the writing service if this is it; `names` is the sealed list of names, `listeners` are the sockets to accept on.
    pub(crate) fn broker(
        &self,
        plan: &ServicePlan,
        (names, names_size): (BorrowedFd<'_>, u64),
        listeners: &[OwnedFd],
        now: Instant,
    ) -> io::Result<(Child, Channel)> {
        let first_listener = 7;
        let numbers = (first_listener..).zip(listeners).map(|(number, _)| number.to_string());
        let role = plan.broker_role();
        let mut words = self.words(role);
        words.extend([
            "names=6".to_owned(),
            format!("names_size={names_size}"),
            format!("listen={}", numbers.collect::<Vec<_>>().join(",")),
            format!("smtputf8={}", plan.smtputf8),
            format!("approval_known={}", plan.approval_known),
            format!("inside={}", plan.inside.display()),
            format!("owners={}", plan.owners.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
            format!("owners_text={}", plan.owners_text),
            format!("trusted_directories={}", plan.trusted_directories),
            format!("snapshot_limit={}", plan.snapshot_limit),
            format!("max_use={}", plan.max_use),
            format!("workers={}", plan.workers),
            format!(
                "room={}",
                worker_descriptors().saturating_sub(WORKER_OWN.saturating_add(plan.workers.into()))
            ),
            format!("daemon_timeout={}", plan.daemon_timeout.as_secs()),
        ]);
        let mut more = vec![names];
        more.extend(listeners.iter().map(AsFd::as_fd));
        let called = if plan.writes() { "write broker" } else { "broker" };
        self.with_channels(role, called, &self.daemon, &words, &more, now)
    }

    /// Starts the writer; returns it with the broker's end of its channel.
    pub(crate) fn writer(&self, plan: &ServicePlan, now: Instant) -> io::Result<(Child, Channel)> {
        let program = self.writer.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut words = self.words(Role::Writer);
        words.extend([
            format!("chroot={}", plan.chroot.display()),
            format!("descriptors={}", worker_descriptors()),
            format!("tables={}", plan.names.len()),
        ]);
        self.with_channels(Role::Writer, Role::Writer.name(), program, &words, &[], now)
    }

    /// Starts a worker with this duty, the `first` one of this service or a later one; returns it with the broker's end of
    /// its channel.
    pub(crate) fn lookup(
        &self,
        plan: &ServicePlan,
        duty: Duty,
        first: bool,
        now: Instant,
    ) -> io::Result<(Child, Channel)> {
        let pcre = plan.names.iter().any(|table| Kind::of(&table.name) == Kind::Pcre);
        let tells = first && pcre && duty == Duty::of(Kind::Pcre);
        let mut words = self.words(Role::Lookup);
        words.extend([
            format!("chroot={}", plan.chroot.display()),
            format!("descriptors={}", worker_descriptors()),
            format!("tables={}", plan.names.len()),
            format!("snapshot_limit={}", plan.snapshot_limit),
            format!("service={}", plan.service),
            // Whether it tells the log by which PCRE2 patterns are matched.
            format!("tells={tells}"),
            format!("duty={}", duty.word()),
        ]);
        self.with_channels(Role::Lookup, duty.title(), &self.worker, &words, &[], now)
    }

    /// Standard descriptors, 3 the channel, 4 the log, 5 left free for epoll, `more` from 6 on.
    fn with_channels(
        &self,
        role: Role,
        called: &'static str,
        program: &File,
        words: &[String],
        more: &[BorrowedFd<'_>],
        now: Instant,
    ) -> io::Result<(Child, Channel)> {
        let (near, far) = Channel::pair()?;
        let (log_near, log_far) = Channel::pair()?;
        let (far, log_near) = (far.into_descriptor(), log_near.into_descriptor());
        let null = self.null.as_fd();
        let mut descriptors = vec![null, null, null, far.as_fd(), log_near.as_fd()];
        if !more.is_empty() {
            // Number 5 has to be something; the child closes it first thing.
            descriptors.push(null);
            descriptors.extend(more);
        }
        let pid = start(program, &self.title(called), words, &descriptors)?;
        let log = Some(log_far.into_descriptor());
        Ok((Child { called, log, ..Child::new(pid, role, now) }, near))
    }

    /// What `ps` shows of a child: its role, and the service and Postfix instance that it is of.
    fn title(&self, role: &str) -> String {
        format!("mapkeep: {role} ({})", self.log.service)
    }

    fn words(&self, role: Role) -> Vec<String> {
        let ids = self.ids.map(|ids| ids_of(role, ids));
        let mut words = vec![
            format!("role={}", role.name()),
            format!("parent={}", std::process::id()),
            format!("rootless={}", ids.is_none()),
            format!("verbose={}", self.log.verbose),
        ];
        if let Some(ids) = ids {
            words.extend([format!("uid={}", ids.uid), format!("gid={}", ids.gid)]);
        }
        words
    }

    /// Reads what the kernel says of a child and compares it with what its role must be: what was found, or every
    /// difference.
    #[allow(clippy::disallowed_methods, reason = "/proc, which the supervisor's list allows")]
    pub(crate) fn check(&self, child: &Child) -> Result<Found, String> {
        let pid = child.pid.as_raw();
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(|error| format!("/proc/{pid}/status: {error}"))?;
        let found = inspect(pid, &text).map_err(|error| error.to_string())?;
        let wanted = expected(child.role, &privilege(child.role, self.ids), self.inherited_filters);
        let differences = wanted.differences(&found);
        if differences.is_empty() { Ok(found) } else { Err(differences.join("; ")) }
    }
}

impl Child {
    /// A process that has just been started.
    pub(crate) fn new(pid: Pid, role: Role, now: Instant) -> Child {
        let (called, checked, brief) = (role.name(), false, String::new());
        Child { pid, role, called, checked, brief, started: now, orphaned: None, log: None }
    }

    /// Tells the logger where this child's lines come from.
    pub(crate) fn introduce(&self, logger: &Channel) {
        if let Some(log) = &self.log {
            let pid = u32::try_from(self.pid.as_raw()).unwrap_or_default();
            // A logger that has gone is replaced, and every child is introduced to the new one.
            let _ = logger.send(&SupervisorToLogger::Source { pid }.encode(), &[log.as_fd()]);
        }
    }
}

/// The privileges that a role must have, as far as they show from outside.
pub(crate) fn privilege(role: Role, ids: Option<RoleIds>) -> Privilege {
    let Some(ids) = ids else { return Privilege::Rootless };
    let keep: &'static [Capability] = match role {
        Role::Broker => &[Capability::CAP_DAC_READ_SEARCH],
        _ => &[],
    };
    let ids = ids_of(role, ids);
    Privilege::Root { uid: ids.uid, gid: ids.gid, chroot: None, keep }
}

/// Whose rights a child has.
fn ids_of(role: Role, ids: RoleIds) -> Ids {
    match role {
        Role::Broker => ids.broker,
        Role::Logger => ids.logger,
        Role::Writer => ids.writer,
        // Without a mail_owner the service does not start.
        Role::WriteBroker => ids.write_broker.unwrap_or(ids.broker),
        _ => ids.lookup,
    }
}

fn start(program: &File, title: &str, words: &[String], descriptors: &[BorrowedFd<'_>]) -> io::Result<Pid> {
    let mut arguments = vec![CString::new(title)?];
    for word in words {
        arguments.push(CString::new(word.as_str())?);
    }
    spawn(&Program { executable: program.as_fd(), arguments: &arguments, descriptors })
}

/// The descriptor limit of a lookup worker, within what this process may give.
fn worker_descriptors() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard);
    hard.min(WORKER_DESCRIPTORS)
}

/// How soon a process that keeps dying is started again.
#[derive(Debug, Default)]
pub(crate) struct BackOff(VecDeque<Instant>);

impl BackOff {
    /// Notes a death; returns how long to wait before the next start.
    pub(crate) fn death(&mut self, now: Instant) -> Duration {
        self.0.push_back(now);
        while self.0.front().is_some_and(|first| now.saturating_duration_since(*first) > MINUTE) {
            self.0.pop_front();
        }
        let over = self.0.len().saturating_sub(PATIENCE);
        match u32::try_from(over) {
            Ok(0) => Duration::ZERO,
            Ok(over) => {
                let doublings = over.saturating_sub(1).min(16);
                FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
            }
            Err(_) => LONGEST_PAUSE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_deaths_are_forgiven_then_pauses_double_to_a_limit() {
        let mut back_off = BackOff::default();
        let now = Instant::now();
        for _ in 0..PATIENCE {
            assert_eq!(back_off.death(now), Duration::ZERO);
        }
        assert_eq!(back_off.death(now), FIRST_PAUSE);
        assert_eq!(back_off.death(now), FIRST_PAUSE * 2);
        for _ in 0..100 {
            back_off.death(now);
        }
        assert_eq!(back_off.death(now), LONGEST_PAUSE);
        assert_eq!(back_off.death(now + MINUTE * 2), Duration::ZERO);
    }
}
