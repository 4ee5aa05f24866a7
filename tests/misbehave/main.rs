//! The escape tests: hostile code inside a real, locked-down lookup worker, and writer, of a real mapkeepd.
//!
//! Purpose: each attempt of the attacker's table must end as required, and one second later the service must answer as if
//! nothing had happened. May: start mapkeepd in a directory of its own. Never: touch the machine's Postfix. Needs root.
//!
//! This program plays several parts. Started by cargo, it is the test. Copies of it stand beside a copy of mapkeepd under
//! the names `mapkeep-worker` and `mapkeep-writer`, and there it is the real worker or writer, lock and all, save that a
//! client's bytes can make it run an attempt (see the attacker's `raw.rs`). An attempt more is a line in `attacker/table`.
//! Where it stands beside an order sheet it is every process of the service (`hijacked.rs`).
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
mod hijacked;
mod report;
mod second;
mod service;
mod tables;

use common::PATIENCE;
use common::process::wait_gone;
use mapkeep_attacker::{Attack, Attempt, Outcome, Role, attacks, errno_name, outcome};
use mapkeep_proto::{Launch, version_text};
use report::{Line, Report};
use service::{Ground, Seen, Service};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How soon after an attack the service must answer.
const RECOVERY: Duration = Duration::from_secs(1);
/// Deaths after which the supervisor starts to wait before it starts another worker: a new service is taken then.
const LIVES: usize = 5;
/// Services that are attacked at the same time.
const SERVICES: usize = 2;
/// Services that are only looked at.
const SCENES: usize = 2;

fn main() -> ExitCode {
    let launch = mapkeep_process::is_launched()
        .then(|| mapkeep_process::launched("misbehave", || version_text("misbehave")));
    if hijacked::is_ordered() {
        return hijacked::serve(launch);
    }
    match launch {
        Some((Launch::Worker(launch), channel)) => {
            mapkeep_attacker::take_over(Role::Lookup);
            mapkeep_worker_lookup::main(&launch, channel);
        }
        Some((Launch::Writer(launch), channel)) => {
            mapkeep_attacker::take_over(Role::Writer);
            mapkeep_worker_writer::main(&launch, channel);
        }
        Some((Launch::Logger(launch), channel)) => mapkeep_worker_logger::main(launch, channel),
        Some(_) => mapkeep_process::refuse("misbehave", "the launch of a broker"),
        None => {}
    }
    if !is_root() {
        assert!(std::env::var_os("CI").is_none(), "misbehave needs root in CI");
        println!("\n*** SKIPPED: misbehave needs root. Nothing was tested. ***\n");
        return ExitCode::SUCCESS;
    }
    // Words on the command line select parts: layers, hijacked, attacks. `table` prints every attempt.
    let (whole, parts): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).partition(|word| word == "table");
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|word| word == part);
    let mut report = Report::new(!whole.is_empty());
    let ground = Ground::make();
    // Forks; so it comes before any thread.
    if wanted("layers") {
        report.part("Without the system call filter", &second::run(&ground.empty()));
    }
    if wanted("hijacked") {
        report.part(
            "Inside every process, under the product's lock and with open filters",
            &hijacked::run(&ground),
        );
    }
    if !wanted("attacks") {
        return report.end();
    }
    for (number, role, name) in [(0, Role::Lookup, "worker"), (1, Role::Writer, "writer")] {
        report.part(&format!("The {name} as it stands"), &scene(&ground, number, role));
    }
    let all = attack_all(&ground);
    for (role, name) in [(Role::Lookup, "worker"), (Role::Writer, "writer")] {
        let (attempts, times): (Vec<Line>, Vec<Duration>) =
            all.iter().filter(|(attempt, _)| attempt.role == role).map(|(_, result)| result.clone()).unzip();
        let slowest = times.into_iter().max().unwrap_or_default();
        let title = format!("Inside the {name} (slowest answer after an attack: {} ms)", slowest.as_millis());
        report.part(&title, &attempts);
    }
    report.end()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// What items 4 and 5 ask of the process before any attack: no uid 0, no capability, no directory in its hands, and
/// no file but those of its tables.
fn scene(ground: &Ground, number: usize, role: Role) -> Vec<Line> {
    let service = Service::start(ground, number, role);
    let worker = service.victim().expect("the process that hears clients").pid;
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).expect("its status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut lines = Vec::new();
    let mut note = |item, what: &str, required: &str, seen: String, passed| {
        let [what, required] = [what, required].map(str::to_owned);
        lines.push(Line { item, what, required, seen, passed, log: String::new() });
    };
    for name in ["Uid", "Gid"] {
        let ids = field(name);
        let passed = ids.split(' ').filter(|id| *id != "0").count() == 4;
        note(4, name, "four times not 0", ids, passed);
    }
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let mask = field(name);
        let passed = mask == "0000000000000000";
        note(4, name, "none", mask, passed);
    }
    note(4, "Groups", "none", field("Groups"), field("Groups").is_empty());
    for entry in std::fs::read_dir(format!("/proc/{worker}/fd")).expect("its descriptors") {
        let path = entry.expect("a descriptor").path();
        let target = match std::fs::read_link(&path) {
            Ok(target) => target.display().to_string(),
            // A snapshot that was just being mapped: it has been closed since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => panic!("descriptor {}: {error}", path.display()),
        };
        let harmless = ["/dev/null", "socket:", "anon_inode:[eventpoll]", "/memfd:"];
        let passed = harmless.iter().any(|start| target.starts_with(start))
            || role == Role::Writer && service.is_table_file(&target);
        let number = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        note(5, &format!("descriptor {number}"), "no directory", target, passed);
    }
    lines
}

/// One attempt of the table, by its place there.
#[derive(Clone, Copy)]
struct Try {
    role: Role,
    attack: usize,
    attempt: usize,
}

impl Try {
    fn all(role: Role) -> Vec<Try> {
        let attempts = |(attack, found): (usize, &Attack)| {
            (0..found.attempts.len()).map(move |attempt| Try { role, attack, attempt })
        };
        attacks(role).enumerate().flat_map(attempts).collect()
    }

    fn attack(self) -> &'static Attack {
        attacks(self.role).nth(self.attack).expect("an attack of the table")
    }
}

/// Makes every attempt; returns the lines in the table's order, each with the time without an answer.
fn attack_all(ground: &Ground) -> Vec<(Try, (Line, Duration))> {
    let (lookup, writer) = (Try::all(Role::Lookup), Try::all(Role::Writer));
    // From the end of the table on: the attempts that take long are there, and others run meanwhile.
    let batches: Vec<&[Try]> = writer.chunks(LIVES).rev().chain(lookup.chunks(LIVES).rev()).collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SERVICES {
            scope.spawn(|| {
                while let Some((number, batch)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    batches.get(number).map(|batch| (number, batch))
                } {
                    let role = batch.first().expect("no batch is empty").role;
                    let mut service = Service::start(ground, number + SCENES, role);
                    for attempt in *batch {
                        let result = judge(&mut service, *attempt);
                        results.lock().unwrap().push((*attempt, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(Try { attack, attempt, .. }, _)| (*attack, *attempt));
    results
}

/// Makes one attempt and returns whether it ended as it must, and how long the service then took to answer.
fn judge(service: &mut Service, place: Try) -> (Line, Duration) {
    let attack = place.attack();
    let attempt @ Attempt(what, _) = &attack.attempts[place.attempt];
    let required = outcome(place.role, attack, attempt);
    let logged_before = service.log().len();
    let seen = service.attack(place.attack, place.attempt);
    let answered = service.ask(RECOVERY.saturating_sub(seen.end.elapsed()));
    let time = seen.end.elapsed();
    let outcome = verdict(service, logged_before, required, &seen);
    let damage = service.damage();
    let passed = outcome.is_ok() && answered && damage.is_none();
    let mut text = match outcome {
        Ok(text) | Err(text) => text,
    };
    if !answered {
        text.push_str("; no answer within a second");
    }
    if let Some(damage) = damage {
        text.push_str(&format!("; {damage}"));
    }
    let log = if passed { String::new() } else { service.end_of_log() };
    let what = format!("{}: {what}", attack.name);
    let line = Line { item: attack.item, what, required: required.to_string(), seen: text, passed, log };
    (line, time)
}

/// What was seen: right, or wrong.
fn verdict(service: &Service, since: usize, outcome: Outcome, seen: &Seen) -> Result<String, String> {
    let report = seen.report.as_deref();
    let gone = || wait_gone(&[seen.worker], PATIENCE).is_empty();
    match outcome {
        Outcome::Killed => killed_by(service, since, seen, &["SIGSYS"]),
        Outcome::Futile if report == Some(&format!("failed {}", nix::errno::Errno::ENXIO as i32)) => {
            Ok("ENXIO".into())
        }
        Outcome::Futile => killed_by(service, since, seen, &["SIGILL", "SIGSYS"]),
        Outcome::Errno(numbers) => match report.and_then(|text| text.strip_prefix("failed ")) {
            Some(number) if numbers.iter().any(|one| one.to_string() == number) => {
                Ok(errno_name(number.parse().unwrap_or_default()))
            }
            _ => Err(format!("{report:?}")),
        },
        Outcome::Allowed => match report {
            Some(text) if text.starts_with("returned ") => Ok("allowed".to_owned()),
            _ => Err(format!("{report:?}")),
        },
        Outcome::Dismissed(what) => match service.logged(since, &format!("{what} -- replacing it")) {
            true if gone() => Ok(outcome.to_string()),
            true => Err("the broker objected, the worker lived on".to_owned()),
            false => Err(format!("{report:?}, no objection by the broker")),
        },
        Outcome::Ended if gone() => Ok(outcome.to_string()),
        Outcome::Ended => Err(format!("{report:?}, the worker lived on")),
    }
}

/// The attempt began and did not return, and the supervisor logged that one of these signals killed that process.
fn killed_by(service: &Service, since: usize, seen: &Seen, names: &[&str]) -> Result<String, String> {
    if let Some(report) = &seen.report {
        return Err(format!("the call came back: {report}"));
    }
    let start = format!("{} {} exited: ", service.role_name(), seen.worker);
    service.logged(since, &start);
    let log = service.log();
    let end = log.lines().find_map(|line| line.split_once(&start)).map_or("no death logged", |(_, end)| end);
    match names.iter().find(|name| end == format!("killed by {name}")) {
        Some(name) => Ok((*name).to_owned()),
        None => Err(end.to_owned()),
    }
}
