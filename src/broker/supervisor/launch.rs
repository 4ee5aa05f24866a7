//! The start of mapkeepd: options, configuration, log, what to hold, lock-down, then the supervisor's loop.

use crate::children::Spawner;
use crate::master::Status;
use crate::notify::Notify;
use crate::remarks::log_remarks;
use crate::socket::{SocketError, activated, bind, path_of};
use crate::supervise::{Dialer, Ending, Generation, State, Supervisor};
use mapkeep_broker_trust::People;
use mapkeep_config_site::checks::{Programs, nobody_writes, own_path};
use mapkeep_config_site::deciding::exposed_programs;
use mapkeep_config_site::files::directory_or_default;
use mapkeep_config_site::load_config::{LoadedConfig, Source, early_destination, log_host};
use mapkeep_config_site::options::{Mode, Options, wanted_text};
use mapkeep_config_site::plan::{LogPlan, ServicePlan};
use mapkeep_log::{Destination, Facility, MailLog};
use mapkeep_proto::{Duty, WRONG_USAGE};
use mapkeep_sandbox::{FileRules, Limits, Lock, Privilege, Role, check_root, enter, inspect};
use mapkeep_sys::{exit, inherit, signals};
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::collections::VecDeque;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What master(8) leaves open: the flow control pipe, the status channel, and sockets from here on.
const STATUS: RawFd = 5;
const FIRST_LISTENER: RawFd = 6;

/// A pause before the end, as stock makes it, so that a service which cannot start does not storm.
const FATAL_PAUSE: Duration = Duration::from_secs(1);

/// What master(8) does after an end in failure: whoever needs a lookup waits so long. Source of the fact: master(8) of
/// Postfix 3.7.11, where "postfix reload" did not shorten the wait.
const THROTTLE: &str = "after you have fixed this, master(8) starts the service within service_throttle_time (60 s), \
                        or at once after \"postfix stop; postfix start\"";

/// Entry point of the `mapkeepd` program.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let (program, words) = words.split_first().map_or(("mapkeepd", &[][..]), |(p, w)| (p.as_str(), w));
    let options = match wanted_text(words) {
        None => Options::read(program, words),
        Some(Ok(text)) => return say(&text),
        Some(Err(error)) => Err(error),
    };
    let options = match options {
        Ok(options) => options,
        Err(error) => return usage(&error.to_string(), words),
    };
    match supervisor(&options) {
        // master(8) starts the next one when there is a client; a service manager does only after a failure.
        Ok(Ending::DialerGone) if options.mode == Mode::Standalone => exit::now(1),
        Ok(_) => exit::now(0),
        Err(error) => {
            fail(&options, &error.to_string());
            exit::now(1)
        }
    }
}

/// Says why the service ends: in the log, and to whoever started it in a terminal.
#[allow(clippy::print_stderr)]
fn fail(options: &Options, problem: &str) {
    match options.mode {
        Mode::Master => {
            tracing::error!(fatal = true, "{problem} -- {THROTTLE}");
            std::thread::sleep(FATAL_PAUSE);
        }
        Mode::Standalone => {
            tracing::error!(fatal = true, "{problem}");
            // With --stderr the log is there already.
            if !options.stderr {
                eprintln!("mapkeepd: fatal: {problem}");
            }
        }
    }
}

fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// A command line that cannot be understood: said to whoever typed it, and to the log.
#[allow(clippy::print_stderr)]
fn usage(problem: &str, words: &[String]) -> ExitCode {
    eprintln!("mapkeepd: {problem} (see mapkeepd --help)");
    if words.iter().any(|word| word == "-t") {
        drop(early_log(early_destination(None)));
        tracing::error!(fatal = true, "{problem} -- {THROTTLE}");
        std::thread::sleep(FATAL_PAUSE);
    }
    ExitCode::from(WRONG_USAGE)
}

fn open_log(log: &LogPlan) -> Result<Option<RawFd>, Box<dyn Error>> {
    let LogPlan { destination, facility, ident, host, verbose, .. } = log.clone();
    let mail_log = MailLog::open(destination, facility, &ident, &host, std::process::id())?;
    let descriptor = mail_log.socket().map(|socket| socket.as_raw_fd());
    mapkeep_log::install(Box::new(mail_log), verbose, 1000)?;
    Ok(descriptor)
}

fn supervisor(options: &Options) -> Result<Ending, Box<dyn Error>> {
    let inherited = match take_inherited(options) {
        Ok(inherited) => inherited,
        Err(error) => {
            early_log(early_destination(Some(options)))?;
            return Err(error);
        }
    };
    let generation = std::env::var("GENERATION").unwrap_or_default();
    let directory = directory_or_default(options.config_directory.clone().map(PathBuf::from));
    let source = Source::new(options, directory);
    let LoadedConfig { plan, remarks, unreadable } = match source.load_config() {
        Ok(loaded) => loaded,
        Err(error) => {
            early_log(early_destination(Some(options)))?;
            return Err(error.into());
        }
    };
    let log_descriptor = open_log(&plan.log)?;
    if let Some(problem) = unreadable {
        // Under master(8) clients would die of a service that is not there. A service of its own would listen at a place
        // that nobody has named.
        if options.mode == Mode::Standalone {
            return Err(format!("{problem} (name the configuration directory with -c)").into());
        }
        tracing::error!("{problem} -- every lookup fails with a temporary error until this is fixed");
    }
    log_remarks(&remarks);
    if plan.ids.is_none() && plan.mode == Mode::Master {
        let problem = "started by master(8) without root privileges, which are needed to give each process its own user";
        return Err(problem.into());
    }
    if let Some(problem) = nobody_writes(plan.service, plan.ids) {
        return Err(problem.into());
    }
    if plan.writes() {
        // Signals that master(8) sends to all its children must not reach us in the middle of an update: the end
        // of the status channel says that it is over. Fails only where we lead a session already.
        let _ = nix::unistd::setsid();
    }
    signals::ignore_pipe_and_size()?;
    if plan.ids.is_some() {
        prepare_chroot(&plan.chroot)?;
    }
    let notify = match plan.mode {
        Mode::Standalone => Notify::from_environment().unwrap_or_else(|problem| {
            tracing::warn!("{problem} -- the service manager is not notified");
            Notify::default()
        }),
        Mode::Master => Notify::default(),
    };
    let listeners = listeners(inherited.listeners, options, &plan)?;
    let places = listeners.iter().filter_map(path_of).collect();
    let status = inherited.status.map(|channel| Status::new(channel, &generation, std::process::id()));
    let mask: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1]
        .into_iter()
        .collect();
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let spawner = spawner(&plan)?;
    let dialer = dialer(&spawner, &plan)?;
    let (serving, state) = (Generation::new(0, plan)?, State::default());
    let (coming, leaving) = (None, VecDeque::new());
    let supervisor = Supervisor {
        source,
        spawner,
        dialer,
        listeners,
        places,
        status,
        notify,
        signals,
        serving,
        coming,
        leaving,
        state,
    };
    lock_and_run(supervisor, log_descriptor)
}

/// The sockets to serve: those that we were started with and those that the command line names; a service of its own
/// with neither serves the one where clients look.
fn listeners(
    given: Vec<OwnedFd>,
    options: &Options,
    plan: &ServicePlan,
) -> Result<Vec<OwnedFd>, SocketError> {
    let mut paths: Vec<&Path> = options.listen.iter().map(Path::new).collect();
    if given.is_empty() && paths.is_empty() {
        paths.push(&plan.place.usual);
    }
    let mut listeners = given;
    for path in paths {
        listeners.push(bind(&plan.place, path)?);
        tracing::info!("listening at {}", path.display());
    }
    Ok(listeners)
}

#[allow(clippy::disallowed_methods, reason = "its own status, in /proc, which the supervisor's list allows")]
fn lock_and_run(mut supervisor: Supervisor, log: Option<RawFd>) -> Result<Ending, Box<dyn Error>> {
    let mut expected = supervisor.descriptors();
    expected.extend(log);
    let role = supervisor.serving.plan.supervisor_role();
    let privilege = match supervisor.spawner.ids {
        Some(_) => Privilege::Root { uid: 0, gid: 0, chroot: None, keep: role.row().keep },
        None => Privilege::Rootless,
    };
    let unlimited = Limits::UNLIMITED;
    let plan = &supervisor.serving.plan;
    let lock = Lock {
        role,
        privilege,
        limits: Limits {
            core: 0,
            // Limits go down to the children, who lower them further.
            nproc: unlimited,
            nofile: unlimited,
            fsize: unlimited,
            address_space: unlimited,
            data: unlimited,
        },
        files: FileRules {
            read_beneath: vec!["/".into()],
            execute_beneath: vec!["/".into()],
            // For the broker, which inherits this domain.
            write_found: plan.write_directories.clone(),
            ..FileRules::default()
        },
        expected_descriptors: &expected,
        parent_pid: None,
    };
    let (confined, report) = enter(lock)?;
    tracing::debug!("{report}");
    for missing in &report.missing {
        tracing::warn!("not started by root: running without {missing}");
    }
    let text = std::fs::read_to_string("/proc/self/status")?;
    let found = inspect(i32::try_from(std::process::id())?, &text)?;
    tracing::debug!("supervisor is locked down: {found}");
    supervisor.spawner.own_brief = found.brief();
    // Each child has these filters, too, before it adds its own.
    supervisor.spawner.inherited_filters = found.seccomp_filters;
    Ok(supervisor.run(&confined)?)
}

/// What a parent has left open for us.
struct Inherited {
    status: Option<OwnedFd>,
    listeners: Vec<OwnedFd>,
}

/// Takes master(8)'s or the service manager's descriptors and closes everything else but the standard ones.
fn take_inherited(options: &Options) -> Result<Inherited, Box<dyn Error>> {
    if options.mode == Mode::Standalone {
        return Ok(Inherited { status: None, listeners: activated()? });
    }
    let count = RawFd::from(options.sockets);
    inherit::close_from(FIRST_LISTENER.saturating_add(count))?;
    for flow_control in [3, 4] {
        drop(inherit::take(flow_control));
    }
    let missing = |what: &str, number: RawFd| {
        format!("descriptor {number} is not {what}: this program is started by master(8)")
    };
    let status = inherit::take(STATUS).map_err(|_| missing("the status channel", STATUS))?;
    let mut listeners = Vec::new();
    for number in (FIRST_LISTENER..).take(options.sockets.into()) {
        let listener = inherit::take(number).map_err(|_| missing("a listening socket", number))?;
        listeners.push(listener);
    }
    Ok(Inherited { status: Some(status), listeners })
}

/// For errors before the configuration has said where the log is.
fn early_log(destination: Destination) -> Result<(), Box<dyn Error>> {
    let (ident, service) = ("postfix/proxymap".to_owned(), "proxymap".to_owned());
    let (facility, host) = (Facility::MAIL, log_host());
    let log = LogPlan { destination, facility, ident, service, host, verbose: false };
    open_log(&log).map(|_| ())
}

/// Makes the directory that workers see as their root, if it is not there. The lock looks again; here a person sees it
/// before anything is started.
fn prepare_chroot(path: &Path) -> Result<(), Box<dyn Error>> {
    make_directories(path)
        .map_err(|error| format!("{}: {error} (chroot_directory in mapkeep.cf)", path.display()))?;
    Ok(check_root(path)?)
}

/// Makes a directory, and those above it that are not there, with mode 0755 whoever starts us: master(8) has a umask of 077.
#[allow(clippy::disallowed_methods, reason = "before the lock")]
fn make_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), make_directories)?;
    match std::fs::create_dir(path) {
        // By descriptor: whoever may write above it could put a link in its place.
        Ok(()) => {
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let made = File::options().read(true).custom_flags(flags.bits()).open(path)?;
            made.set_permissions(std::fs::Permissions::from_mode(0o755))
        }
        // Another service of ours makes the same.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Programs that others can exchange are not started with the rights of root. Their owner could do so as well: that costs
/// a line, and so does a group outside of master(8), since it is what the directory of somebody who tries us looks like.
fn check_programs(mode: Mode, own: &Path) -> Result<(), Box<dyn Error>> {
    for exposed in exposed_programs(own, Programs::names(None), &People::read()) {
        if exposed.is_fatal(mode) {
            return Err(exposed.text.into());
        }
        tracing::warn!("{}", exposed.text);
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "before the lock")]
fn spawner(plan: &ServicePlan) -> Result<Spawner, Box<dyn Error>> {
    let own = own_path()?;
    if plan.ids.is_some() {
        check_programs(plan.mode, &own)?;
    }
    let programs = Programs::beside(&own, plan.writes())?;
    let LogPlan { destination, facility, ident, host, .. } = plan.log.clone();
    let log = MailLog::open(destination, facility, &ident, &host, 0)?;
    Ok(Spawner {
        programs,
        null: File::options().read(true).write(true).open("/dev/null")?,
        log_socket: log.into_socket(),
        ids: plan.ids,
        groups: plan.groups.clone(),
        log: plan.log.clone(),
        inherited_filters: 0,
        own_brief: String::new(),
    })
}

/// The process that connects to servers, where there are tables that a server answers for.
fn dialer(spawner: &Spawner, plan: &ServicePlan) -> Result<Option<Dialer>, Box<dyn Error>> {
    let known = spawner.ids.is_none_or(|ids| ids.of(Role::Dialer).is_some());
    let complete = spawner.programs.lacking().is_empty();
    if plan.writes() || !plan.has_work_for(Duty::Gateway) || !known || !complete {
        return Ok(None);
    }
    Ok(Some(Dialer::new(spawner.dialer(plan, Instant::now())?)))
}

impl Supervisor {
    /// Every descriptor that must be open when it locks down, but for that of its own log.
    fn descriptors(&self) -> Vec<RawFd> {
        use std::os::fd::AsFd;
        let spawner = &self.spawner;
        let mut numbers = vec![0, 1, 2];
        numbers.extend(self.status.iter().map(|status| status.as_fd().as_raw_fd()));
        numbers.extend(self.listeners.iter().map(AsRawFd::as_raw_fd));
        numbers.extend(spawner.programs.files().map(AsRawFd::as_raw_fd));
        numbers.push(spawner.null.as_raw_fd());
        numbers.extend(spawner.log_socket.iter().map(AsRawFd::as_raw_fd));
        numbers.extend(self.notify.descriptor());
        numbers.extend(self.dialer.iter().flat_map(Dialer::descriptors));
        numbers.extend([self.serving.descriptor(), self.signals.as_fd().as_raw_fd()]);
        numbers
    }
}
