//! The supervisor's children: starting them, checking them from outside, and how soon to start the next.

use mapkeep_broker_snapshot::seal_bytes;
use mapkeep_config_site::accounts::{Ids, RoleIds};
use mapkeep_config_site::checks::Programs;
use mapkeep_config_site::plan::{LogPlan, ServicePlan};
use mapkeep_log::Destination;
use mapkeep_name::Kind;
use mapkeep_process::{TITLE, role_of};
use mapkeep_proto::{
    Backends, BrokerLaunch, Decode, DialerLaunch, Duty, GatewayLaunch, Launch, LogTo, LoggerLaunch, Process,
    Serving, SupervisorToLogger, SupervisorToProcess, WorkerLaunch, WriteBrokerLaunch, WriterLaunch,
};
use mapkeep_sandbox::{Account, Found, Given, Privilege, Role, expected, inspect};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::spawn::{Program, spawn};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
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
    pub(crate) programs: Programs,
    pub(crate) null: File,
    /// The socket of the mail log, for the logger.
    pub(crate) log_socket: Option<OwnedFd>,
    /// Whose rights each role has, and where lines go: the same as long as the service lives.
    pub(crate) ids: Option<RoleIds>,
    /// The groups of mail_owner, at the start.
    pub(crate) groups: Vec<u32>,
    pub(crate) log: LogPlan,
    /// Filters that are in force in this process, and so in each child before it adds its own.
    pub(crate) inherited_filters: u32,
    /// What was found of the supervisor itself once it was locked down.
    pub(crate) own_brief: String,
}

/// What a broker is given that no other process is.
#[derive(Clone, Copy, Debug, Default)]
struct Handed<'a> {
    /// The sealed list of names.
    names: Option<BorrowedFd<'a>>,
    /// The channel to the dialer.
    dialer: Option<BorrowedFd<'a>>,
    /// The sockets to accept on.
    listeners: &'a [OwnedFd],
}

impl Spawner {
    /// Starts the logger; returns it with the channel on which it learns of sources.
    pub(crate) fn logger(&self, now: Instant) -> io::Result<(Child, Channel)> {
        let log = &self.log;
        let launch = Launch::Logger(LoggerLaunch {
            process: self.process(Role::Logger)?,
            destination: match &log.destination {
                Destination::Syslog(path) => LogTo::Syslog(path.clone()),
                Destination::Postlog(path) => LogTo::Postlog(path.clone()),
                Destination::Stderr => LogTo::Stderr,
            },
            facility: log.facility.number(),
            ident: log.ident.clone(),
            host: log.host.clone(),
        });
        self.start(Role::Logger, &launch, Handed::default(), now)
    }

    /// Starts the broker, that of the writing service if this is it; `names` is the sealed list of names, `dialer` the channel
    /// to the dialer, if there is one, `listeners` are the sockets to accept on.
    pub(crate) fn broker(
        &self,
        plan: &ServicePlan,
        (names, names_size): (BorrowedFd<'_>, u64),
        dialer: Option<BorrowedFd<'_>>,
        listeners: &[OwnedFd],
        now: Instant,
    ) -> io::Result<(Child, Channel)> {
        let role = plan.broker_role();
        let process = self.process(role)?;
        let room = worker_descriptors().saturating_sub(WORKER_OWN.saturating_add(plan.workers.into()));
        let serving = Serving {
            names_size,
            listeners: u32::try_from(listeners.len()).unwrap_or(u32::MAX),
            smtputf8: plan.smtputf8,
            approval_known: plan.approval_known,
            inside: plan.inside.clone(),
            room: u32::try_from(room).unwrap_or(u32::MAX),
            daemon_timeout: plan.daemon_timeout,
        };
        let launch = match plan.writes() {
            true => Launch::WriteBroker(WriteBrokerLaunch { process, serving }),
            false => Launch::Broker(BrokerLaunch {
                process,
                serving,
                owners: plan.owners.clone(),
                owners_text: plan.owners_text.clone(),
                trusted_directories: plan.trusted_directories.clone(),
                snapshot_limit: plan.snapshot_limit,
                max_use: plan.max_use,
                workers: plan.workers,
                backends: Backends {
                    query_timeout: plan.query_timeout,
                    connections: plan.backend_connections,
                    max_reply: plan.socketmap_sizes.0,
                    max_query: plan.socketmap_sizes.1,
                    queue_directory: plan.queue_directory.clone(),
                    dialer: dialer.is_some(),
                    gateways: self.programs.of(Role::Gateway).is_some(),
                },
            }),
        };
        self.start(role, &launch, Handed { names: Some(names), dialer, listeners }, now)
    }

    /// Starts the writer; returns it with the broker's end of its channel.
    pub(crate) fn writer(&self, plan: &ServicePlan, now: Instant) -> io::Result<(Child, Channel)> {
        let launch = Launch::Writer(WriterLaunch {
            process: self.process(Role::Writer)?,
            chroot: plan.chroot.clone(),
            descriptors: worker_descriptors(),
            tables: tables(plan),
        });
        self.start(Role::Writer, &launch, Handed::default(), now)
    }

    /// Starts the dialer; returns it with the channel on which it learns of brokers. Before the lock: it must not inherit the
    /// filter, which knows no network.
    pub(crate) fn dialer(&self, plan: &ServicePlan, now: Instant) -> io::Result<(Child, Channel)> {
        let launch = Launch::Dialer(DialerLaunch {
            process: self.process(Role::Dialer)?,
            groups: plan.groups.clone(),
            account: plan.place.mail_owner.clone(),
            ipv4: plan.inet_protocols.0,
            ipv6: plan.inet_protocols.1,
        });
        self.start(Role::Dialer, &launch, Handed::default(), now)
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
        let role = role_of(duty);
        if duty == Duty::Gateway {
            let (process, chroot) = (self.process(role)?, plan.chroot.clone());
            let launch =
                Launch::Gateway(GatewayLaunch { process, chroot, descriptors: worker_descriptors() });
            return self.start(role, &launch, Handed::default(), now);
        }
        let pcre = plan.names.iter().any(|table| Kind::of(&table.name) == Kind::Pcre);
        let launch = Launch::Worker(WorkerLaunch {
            process: self.process(role)?,
            duty,
            chroot: plan.chroot.clone(),
            descriptors: worker_descriptors(),
            tables: tables(plan),
            snapshot_limit: plan.snapshot_limit,
            tells: first && pcre && duty == Duty::of(Kind::Pcre),
        });
        self.start(role, &launch, Handed::default(), now)
    }

    /// Starts a process of this role, with what its row says at each descriptor; returns it with the other end of its
    /// channel.
    fn start(
        &self,
        role: Role,
        launch: &Launch,
        handed: Handed<'_>,
        now: Instant,
    ) -> io::Result<(Child, Channel)> {
        let (near, far) = Channel::pair()?;
        let far = far.into_descriptor();
        let row = role.row();
        let (log, log_near) = match row.descriptors.contains(&Given::Log) {
            true => Channel::pair()
                .map(|(near, far)| (Some(far.into_descriptor()), Some(near.into_descriptor())))?,
            false => (None, None),
        };
        let null = self.null.as_fd();
        let stderr = io::stderr();
        let mut descriptors = Vec::new();
        for given in row.descriptors {
            match given {
                Given::Null | Given::PlaceOfEpoll => descriptors.push(null),
                Given::ErrorOutput if self.log.destination == Destination::Stderr => {
                    descriptors.push(stderr.as_fd());
                }
                Given::ErrorOutput => descriptors.push(null),
                Given::Channel => descriptors.push(far.as_fd()),
                Given::Log => descriptors.push(log_near.as_ref().map_or(null, AsFd::as_fd)),
                Given::LogSocket => descriptors.push(self.log_socket.as_ref().map_or(null, AsFd::as_fd)),
                Given::Names => descriptors.push(handed.names.unwrap_or(null)),
                Given::Dialer => descriptors.push(handed.dialer.unwrap_or(null)),
                Given::Listeners => descriptors.extend(handed.listeners.iter().map(AsFd::as_fd)),
            }
        }
        let program = self.programs.of(role).ok_or(io::ErrorKind::NotFound)?;
        let bytes = launch.encode();
        let memory = seal_bytes(&bytes).map_err(|failure| io::Error::other(failure.to_string()))?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // It is there before the process is.
        near.send(&SupervisorToProcess::Launch { size }.encode(), &[memory.as_fd()])?;
        let title = CString::new(self.title(row.title))?;
        let pid =
            spawn(&Program { executable: program.as_fd(), arguments: &[title], descriptors: &descriptors })?;
        Ok((Child { log, ..Child::new(pid, role, now) }, near))
    }

    /// What `ps` shows of a child: its role, and the service and Postfix instance that it is of.
    fn title(&self, role: &str) -> String {
        format!("{TITLE}{role} ({})", self.log.service)
    }

    /// What every process is told.
    fn process(&self, role: Role) -> io::Result<Process> {
        let ids = match &self.ids {
            // Without a mail_owner the service does not start.
            Some(ids) => Some(ids.of(role).ok_or(io::ErrorKind::NotFound)?),
            None => None,
        };
        Ok(Process { parent: std::process::id().cast_signed(), ids, verbose: self.log.verbose })
    }

    /// Reads what the kernel says of a child and compares it with what its role must be: what was found, or every
    /// difference.
    #[allow(clippy::disallowed_methods, reason = "/proc, which the supervisor's list allows")]
    pub(crate) fn check(&self, child: &Child) -> Result<Found, String> {
        let pid = child.pid.as_raw();
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(|error| format!("/proc/{pid}/status: {error}"))?;
        let found = inspect(pid, &text).map_err(|error| error.to_string())?;
        // One that was started before our lock has not inherited our filter.
        let ours = u32::from(child.role.parents().is_empty());
        let inherited = self.inherited_filters.saturating_sub(ours);
        let wanted = expected(child.role, &self.privilege(child.role)?, inherited);
        let differences = wanted.differences(&found);
        if differences.is_empty() { Ok(found) } else { Err(differences.join("; ")) }
    }

    /// The privileges that a role must have, as far as they show from outside.
    fn privilege(&self, role: Role) -> Result<Privilege, String> {
        let Some(ids) = &self.ids else { return Ok(Privilege::Rootless) };
        let Ids { uid, gid } = ids.of(role).ok_or_else(|| format!("{} has no account", role.name()))?;
        Ok(match role.row().account {
            Account::MailOwnerWithGroups => Privilege::Account { uid, gid, groups: self.groups.clone() },
            _ => Privilege::Root { uid, gid, chroot: None, keep: role.row().keep },
        })
    }
}

impl Child {
    /// A process that has just been started.
    pub(crate) fn new(pid: Pid, role: Role, now: Instant) -> Child {
        let (checked, brief) = (false, String::new());
        Child { pid, role, checked, brief, started: now, orphaned: None, log: None }
    }

    /// The far end of its log channel.
    pub(crate) fn log_end(&self) -> Option<RawFd> {
        self.log.as_ref().map(AsRawFd::as_raw_fd)
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

fn tables(plan: &ServicePlan) -> u64 {
    u64::try_from(plan.names.len()).unwrap_or(u64::MAX)
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
