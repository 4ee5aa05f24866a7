//! Every process of a service hijacked in turn, under the lock that the product itself installs: once as it is, and once
//! with filters that let everything through, so that Landlock, ids and limits are seen by themselves.
//!
//! May: start services, and listen where the deeds go for. Never: judge by anything but the list of what is required in the
//! attacker's `deeds`.

use crate::common::{PATIENCE, poll};
use crate::report::Line;
use crate::service::{Ground, Service};
use mapkeep_attacker::deeds::{ABSTRACT, Process, deeds};
use mapkeep_attacker::hijack::{self, hijack};
use mapkeep_attacker::raw::Idler;
use mapkeep_attacker::{Outcome, Role, errno_name};
use mapkeep_proto::Launch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::ExitCode;
use std::time::Duration;

/// How long what was ordered may take: well beyond a glance at the orders and a start of a process.
const PATIENCE_EACH: Duration = Duration::from_secs(20);
/// Deaths after which the supervisor starts to wait before it starts another process: a new service is taken then.
const LIVES: usize = 4;

/// Whether this process was started in the place of a program of the product, beside an order sheet.
pub fn is_ordered() -> bool {
    let own = std::env::current_exe().unwrap_or_default();
    own.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mapkeep"))
        && own.with_file_name(hijack::SHEET).exists()
}

/// Is the process of the service that it was started as.
pub fn serve(launch: Option<(Launch, OwnedFd)>) -> ExitCode {
    let process = match &launch {
        Some((Launch::Broker(_), _)) => Process::Broker,
        Some((Launch::WriteBroker(_), _)) => Process::WriteBroker,
        Some((Launch::Logger(_), _)) => Process::Logger,
        Some((Launch::Worker(_), _)) => Process::Lookup,
        Some((Launch::Writer(_), _)) => Process::Writer,
        Some((Launch::Gateway(_) | Launch::Dialer(_), _)) => {
            mapkeep_process::refuse("misbehave", "the launch of a process that no service here has")
        }
        None if std::env::args().any(|word| word == "proxywrite") => Process::WriteSupervisor,
        None => Process::Supervisor,
    };
    hijack(process).expect("orders");
    match launch {
        Some((Launch::Logger(launch), channel)) => mapkeep_worker_logger::main(launch, channel),
        Some((Launch::Worker(launch), channel)) => mapkeep_worker_lookup::main(&launch, channel),
        Some((Launch::Writer(launch), channel)) => mapkeep_worker_writer::main(&launch, channel),
        Some((Launch::Gateway(launch), channel)) => mapkeep_worker_gateway::main(&launch, channel),
        Some((Launch::Dialer(launch), channel)) => mapkeep_worker_dialer::main(launch, channel),
        Some((Launch::Broker(launch), channel)) => mapkeep_broker_reading::main(launch, channel),
        Some((Launch::WriteBroker(launch), channel)) => mapkeep_broker_writing::main(launch, channel),
        None => mapkeep_broker_supervisor::main(),
    }
}

/// A deed of one process, and how it must end.
struct Task {
    process: Process,
    what: &'static str,
    deed: usize,
    open: bool,
    required: Outcome,
}

impl Task {
    /// Which service has such a process.
    fn role(&self) -> Role {
        match self.process {
            Process::WriteSupervisor | Process::WriteBroker | Process::Writer => Role::Writer,
            _ => Role::Lookup,
        }
    }

    /// The name of the process in the log.
    fn name(&self) -> &'static str {
        match self.process {
            Process::Supervisor => "supervisor",
            Process::WriteSupervisor => "write_supervisor",
            Process::Broker => "broker",
            Process::WriteBroker => "write_broker",
            Process::Logger => "logger",
            Process::Lookup | Process::Starting => "lookup worker",
            Process::Writer => "writer",
        }
    }

    fn is_last_of_its_service(&self) -> bool {
        let ends = matches!(self.process, Process::Supervisor | Process::WriteSupervisor);
        ends && self.required == Outcome::Killed
    }
}

/// All tasks, grouped by the service that they can share.
fn tasks() -> Vec<Vec<Task>> {
    let mut groups: Vec<Vec<Task>> = Vec::new();
    for open in [false, true] {
        for role in [Role::Lookup, Role::Writer] {
            let all = deeds().enumerate().flat_map(|(deed, found)| {
                let ends = if open { found.open } else { found.locked };
                let ends = ends.iter().flat_map(|(of, required)| of.iter().map(move |one| (*one, *required)));
                ends.map(move |(process, required)| Task { process, what: found.what, deed, open, required })
            });
            let all: Vec<Task> = all.filter(|task| task.role() == role).collect();
            let (deadly, others): (Vec<Task>, Vec<Task>) = all
                .into_iter()
                .partition(|task| matches!(task.required, Outcome::Killed | Outcome::Dismissed(_)));
            groups.push(others);
            let (last, mut deadly): (Vec<Task>, Vec<Task>) =
                deadly.into_iter().partition(Task::is_last_of_its_service);
            for task in last {
                let rest = deadly.len().saturating_sub(LIVES);
                let mut group = deadly.split_off(rest);
                group.push(task);
                groups.push(group);
            }
            while !deadly.is_empty() {
                let rest = deadly.len().saturating_sub(LIVES);
                groups.push(deadly.split_off(rest));
            }
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// Has every deed done. Must be called while the program has one thread.
pub fn run(ground: &Ground) -> Vec<Line> {
    let other = Idler::start().expect("another process");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = tcp.local_addr().expect("its number").port();
    let name = SocketAddr::from_abstract_name(ABSTRACT).expect("an abstract name");
    let bound = poll(PATIENCE, || UnixDatagram::bind_addr(&name).ok());
    let _named = bound.expect("nobody else has the name");
    let mut lines: Vec<(usize, Line)> = Vec::new();
    for group in tasks() {
        let (open, role) = group.first().map(|task| (task.open, task.role())).expect("no group is empty");
        let own = Ground::hijacked(ground, 0, open);
        let sheet = std::fs::File::options().write(true).open(own.sheet()).expect("the order sheet");
        let mut service = Service::start(&own, 0, role);
        let outside = service.make_outside();
        for (number, task) in (1_u32..).zip(&group) {
            let order = hijack::order(task.process, task.deed, other.pid().cast_unsigned(), port);
            assert!(service.wait_checked(), "a process was never checked:\n{}", service.end_of_log());
            let since = service.log().len();
            // The number is written last, since the process looks at any moment.
            sheet.write_all_at(&order, hijack::REST as u64).expect("an order");
            sheet.write_all_at(&number.to_le_bytes(), hijack::NUMBER as u64).expect("an order");
            let seen = watch(&mut service, task, number, since);
            sheet.write_all_at(&[0], hijack::REST as u64).expect("no more orders");
            let mut passed = seen.is_ok();
            let mut text = seen.unwrap_or_else(|text| text);
            let alive = task.is_last_of_its_service() || service.ask(PATIENCE);
            if !alive {
                text.push_str("; no answer afterwards");
            }
            passed &= alive;
            if std::fs::read(&outside).ok().as_deref() != Some(b"as it was") {
                text.push_str("; a file outside was changed");
                passed = false;
            }
            let log = if passed { String::new() } else { service.end_of_log() };
            let filters = if task.open { "open filters" } else { "locked" };
            let process = if task.process == Process::Starting { "worker, starting" } else { task.name() };
            let what = format!("{process}, {filters}: {}", task.what);
            lines.push((
                task.deed,
                Line { item: 0, what, required: task.required.to_string(), seen: text, passed, log },
            ));
        }
    }
    lines.sort_by_key(|(deed, _)| *deed);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Waits for the process's report of its deed, or for its end.
fn watch(service: &mut Service, task: &Task, number: u32, since: usize) -> Result<String, String> {
    if task.process == Process::Starting
        && let Some(worker) = service.victim()
    {
        let _ = kill(Pid::from_raw(worker.pid.cast_signed()), Signal::SIGKILL);
    }
    let begins = format!("deed {number} begins");
    let report = format!("deed {number} ");
    let death = format!("{} ", task.name());
    let mut begun = false;
    let seen = poll(PATIENCE_EACH, || {
        let log = service.log();
        let mut lines = log.get(since..).unwrap_or_default().lines();
        begun |= lines.clone().any(|line| line.contains(&begins));
        let end = lines.find_map(|line| {
            let said = line.split_once(&report).map(|(_, said)| said).filter(|said| *said != "begins");
            let died =
                || line.split_once(&death)?.1.split_once("exited: killed by ").map(|(_, signal)| signal);
            // If a starting worker was killed in order to have another started, its death does not count.
            said.or_else(|| died().filter(|signal| begun && *signal != "SIGKILL")).map(str::to_owned)
        });
        let dismissed = || match task.required {
            Outcome::Dismissed(what) => is_dismissed(log.get(since..).unwrap_or_default(), what, &death),
            _ => None,
        };
        let end = end.or_else(dismissed);
        end.or_else(|| task.is_last_of_its_service().then(|| service.ended_by()).flatten())
    });
    let Some(seen) = seen else { return Err(format!("begun: {begun}, and nothing more was heard")) };
    if !begun {
        return Err(format!("{seen}, without an attempt"));
    }
    match task.required {
        Outcome::Killed if seen == "SIGSYS" => Ok(seen),
        Outcome::Allowed if seen.starts_with("returned ") => Ok("allowed".to_owned()),
        Outcome::Dismissed(what) if seen == what => Ok(format!("ended, \"{what}\"")),
        Outcome::Errno(numbers) => {
            match seen.strip_prefix("failed ").and_then(|number| number.parse().ok()) {
                Some(number) if numbers.contains(&number) => Ok(errno_name(number)),
                _ => Err(seen),
            }
        }
        _ => Err(seen),
    }
}

/// Whether the supervisor has killed a process and logged this about it.
fn is_dismissed(log: &str, what: &str, death: &str) -> Option<String> {
    let said = log.lines().any(|line| line.contains(&format!("{what} -- replacing it")));
    let ended = log.lines().any(|line| line.contains(death) && line.contains("exited: killed by SIGKILL"));
    (said && ended).then(|| what.to_owned())
}
