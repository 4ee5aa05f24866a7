//! What happens to clients and to the service when a process of it is replaced, killed or stopped.

use crate::ask::{found, lookup};
use crate::common::master::{Master, Site};
use crate::common::stopwatch::Stopwatch;
use crate::common::wire::{Received, Wire};
use crate::common::{PATIENCE, poll, process};
use std::time::{Duration, Instant};

const TABLE: &str = "inline:{a=b}";
/// Descriptors that a worker has without clients.
const WORKER_OWN: usize = 6;

fn site(lines: &str) -> Site {
    let site = Site::new();
    site.approve(&[TABLE], lines);
    site
}

fn assert_answers(wire: &mut Wire) {
    assert_eq!(wire.ask(&lookup(TABLE, "a")), found("b"));
}

pub fn worker_is_replaced_after_max_use() {
    let site = site("max_use = 3\n");
    // Told what each replacement is, with -v only.
    let mut master = site.start_with(&["-v"]);
    let service = master.pid();
    let mut old = master.wire();
    let before = master.only("lookup worker");
    for _ in 0..2 {
        assert_answers(&mut master.wire());
    }
    // The worker has had three clients, one of which stays.
    site.wait_for_log(0, &["lookup worker 2 is locked down"]);
    let both = master.of_role("lookup worker");
    assert!(both.len() == 2 && both.contains(&before), "the old worker {before} among {both:?}");
    let second = if both[0] == before { both[1] } else { both[0] };
    // A worker that is locked down is not yet admitted: until the broker is told that it is, the first worker gets
    // clients.
    let mut fresh = poll(PATIENCE, || {
        let mut wire = master.wire();
        assert_answers(&mut wire);
        let open = std::fs::read_dir(format!("/proc/{second}/fd")).unwrap().count();
        (open > WORKER_OWN).then_some(wire)
    })
    .expect("the second worker gets clients");
    assert_answers(&mut old);
    drop(old);
    let after = master.wait_for_other("lookup worker", before);
    assert_ne!(before, after);
    assert_answers(&mut fresh);
    assert!(master.runs() && master.pid() == service);
    assert!(!site.log().iter().any(|line| line.text.contains("warning:")));
}

/// Kills the one process of `role`, awaits another, and returns how long a new client waited for its answer.
fn kill_and_return(master: &Master<'_>, role: &str) -> Duration {
    let victim = master.only(role);
    let seen = master.site.log().len();
    let start = Stopwatch::start();
    process::signal("KILL", victim);
    assert_eq!(process::wait_gone(&[victim], PATIENCE), []);
    assert_answers(&mut master.wire());
    let time = start.elapsed();
    eprintln!("{role} killed: a new client was answered after {} ms", time.as_millis());
    master.wait_for_other(role, victim);
    let name = role.split(' ').next().unwrap();
    master.site.wait_for_log(seen, &["warning: ", name, &victim.to_string(), "killed by SIGKILL"]);
    time
}

pub fn killed_worker_is_replaced() {
    let site = site("");
    let mut master = site.start();
    let flags = master.shared_flags();
    let mut idle = master.wire();
    for _ in 0..3 {
        let time = kill_and_return(&master, "lookup worker");
        assert!(time < Duration::from_secs(2), "{time:?}");
        assert_eq!(idle.receive(PATIENCE), Received::Closed, "idle clients see the end and connect again");
        idle = master.wire();
        assert_answers(&mut idle);
    }
    assert!(master.runs());
    assert_eq!(master.shared_flags(), flags);
}

pub fn killed_broker_is_replaced() {
    let site = site("");
    let mut master = site.start();
    let flags = master.shared_flags();
    let mut idle = master.wire();
    let time = kill_and_return(&master, "broker");
    assert!(time < Duration::from_secs(2), "{time:?}");
    assert_eq!(idle.receive(PATIENCE), Received::Closed, "a worker leaves with its broker");
    assert!(master.runs());
    assert_eq!(master.shared_flags(), flags);
    // A broker that has just begun knows of no client: an idle service still leaves.
    let leaving = self::site("max_idle = 1s\n");
    let mut master = leaving.start();
    let _client_of_the_old_one = master.wire();
    process::signal("KILL", master.only("broker"));
    assert_eq!(master.wait().code(), Some(0), "max_idle after the broker was replaced");
}

pub fn killed_logger_is_replaced() {
    let site = site("");
    let mut master = site.start();
    let mut idle = master.wire();
    let worker = master.only("lookup worker");
    kill_and_return(&master, "logger");
    assert_answers(&mut idle);
    // Lines of processes that are older than the logger arrive through the new one.
    let seen = site.log().len();
    assert_eq!(idle.ask(&lookup("hash:/nowhere", "a")), crate::ask::DENIED);
    assert_eq!(site.wait_for_log(seen, &["request for unapproved table: \"hash:/nowhere\""]).pid, worker);
    assert!(master.runs());
}

pub fn stopped_worker_is_replaced() {
    let site = site("");
    let mut master = site.start();
    let mut idle = master.wire();
    let victim = master.only("lookup worker");
    let start = Instant::now();
    process::signal("STOP", victim);
    assert_eq!(idle.receive(PATIENCE), Received::Closed, "the client of a worker that does not answer");
    eprintln!("stopped worker: its client was let go after {} ms", start.elapsed().as_millis());
    master.wait_for_other("lookup worker", victim);
    assert_answers(&mut master.wire());
    site.wait_for_log(0, &["error: lookup worker 1 does not respond -- replacing it"]);
    assert!(master.runs());
}
