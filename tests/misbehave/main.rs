//! The escape tests: hostile code inside a real, locked-down lookup worker of a real mapkeepd.
//!
//! Purpose: each attempt of the attacker's table must end as required, and one second later the service must answer as if
//! nothing had happened. May: start mapkeepd in a directory of its own. Never: touch the machine's Postfix. Needs root.
//!
//! This program plays two parts. Started by cargo, it is the test. A copy of it stands beside a copy of mapkeepd under
//! the name `mapkeep-worker`, and there it is the real worker, lock and all, save that a client's bytes can make it run
//! an attempt (see the attacker's `raw.rs`). An attempt more is a line in `attacker/table`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

#[path = "../common/mod.rs"]
mod common;
mod report;
mod second;
mod service;

use common::PATIENCE;
use common::process::wait_gone;
use mapkeep_attacker::{Attack, Attempt, Outcome, attacks, errno_name};
use report::Line;
use service::{Ground, Seen, Service};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How soon after an attack the service must answer.
const RECOVERY: Duration = Duration::from_secs(1);
/// Deaths after which the supervisor starts to wait before it starts another worker: a new service is taken then.
const LIVES: usize = 5;
/// Services that are attacked at the same time.
const SERVICES: usize = 2;

fn main() -> ExitCode {
    let role = |wanted: &str| std::env::args().any(|word| word == format!("role={wanted}"));
    if role("lookup") {
        mapkeep_attacker::take_over();
        mapkeep_worker::main();
    }
    if role("logger") {
        mapkeep_worker::main();
    }
    if !is_root() {
        assert!(std::env::var_os("CI").is_none(), "misbehave needs root in CI");
        println!("\n*** SKIPPED: misbehave needs root. Nothing was tested. ***\n");
        return ExitCode::SUCCESS;
    }
    let begin = Instant::now();
    let ground = Ground::make();
    // Forks; so it comes before any thread.
    let mut lines = second::run(&ground.empty());
    report::print("Without the system call filter", &lines);
    let scene = scene(&ground);
    report::print("The worker as it stands", &scene);
    let (attempts, slowest) = attack_all(&ground);
    report::print("Inside the worker", &attempts);
    println!("\nSlowest answer after an attack: {} ms", slowest.as_millis());
    lines.extend(scene);
    lines.extend(attempts);
    report::end(&lines, begin)
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// What items 4 and 5 ask of the worker before any attack: no uid 0, no capability, no directory in its hands.
fn scene(ground: &Ground) -> Vec<Line> {
    let service = Service::start(ground, 0);
    let worker = service.child("lookup worker").expect("a lookup worker").pid;
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).expect("its status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut lines = Vec::new();
    let mut note = |item, what: &str, required: &str, seen: String, passed| {
        lines.push(Line { item, what: what.to_owned(), required: required.to_owned(), seen, passed });
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
        let target = std::fs::read_link(&path).expect("what it is").display().to_string();
        let harmless = ["/dev/null", "socket:", "anon_inode:[eventpoll]", "/memfd:"];
        let passed = harmless.iter().any(|start| target.starts_with(start));
        let number = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        note(5, &format!("descriptor {number}"), "no directory", target, passed);
    }
    lines
}

/// Makes every attempt; gives the lines in the table's order, and the longest time without an answer.
fn attack_all(ground: &Ground) -> (Vec<Line>, Duration) {
    let list: Vec<(usize, &Attack, usize)> = attacks()
        .enumerate()
        .flat_map(|(number, attack)| (0..attack.attempts.len()).map(move |attempt| (number, attack, attempt)))
        .collect();
    let batches: Vec<_> = list.chunks(LIVES).collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SERVICES {
            scope.spawn(|| {
                while let Some((number, batch)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    batches.get(number).map(|batch| (number, batch))
                } {
                    let mut service = Service::start(ground, number + 1);
                    for (index, attack, attempt) in *batch {
                        let result = judge(&mut service, *index, attack, *attempt);
                        results.lock().unwrap().push(((*index, *attempt), result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(place, _)| *place);
    let slowest = results.iter().map(|(_, (_, time))| *time).max().unwrap_or_default();
    (results.into_iter().map(|(_, (line, _))| line).collect(), slowest)
}

/// Makes one attempt and says whether it ended as it must, and how long the service then took to answer.
fn judge(service: &mut Service, index: usize, attack: &Attack, attempt: usize) -> (Line, Duration) {
    let Attempt(what, _) = &attack.attempts[attempt];
    let logged_before = service.log().len();
    let seen = service.attack(index, attempt);
    let answered = service.ask(RECOVERY.saturating_sub(seen.end.elapsed()));
    let time = seen.end.elapsed();
    let outcome = verdict(service, logged_before, attack.outcome, &seen);
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
    if !passed {
        println!("--- log of {} / {what}:\n{}", attack.name, service.log());
    }
    let what = format!("{}: {what}", attack.name);
    let line = Line { item: attack.item, what, required: attack.outcome.to_string(), seen: text, passed };
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

/// The attempt began, did not come back, and the supervisor says that one of these signals ended that process.
fn killed_by(service: &Service, since: usize, seen: &Seen, names: &[&str]) -> Result<String, String> {
    if let Some(report) = &seen.report {
        return Err(format!("the call came back: {report}"));
    }
    let start = format!("lookup process {} ended: ", seen.worker);
    service.logged(since, &start);
    let log = service.log();
    let end = log.lines().find_map(|line| line.split_once(&start)).map_or("no death logged", |(_, end)| end);
    match names.iter().find(|name| end == format!("killed by {name}")) {
        Some(name) => Ok((*name).to_owned()),
        None => Err(end.to_owned()),
    }
}
