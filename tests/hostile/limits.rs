//! More clients, and more of what they send, than there is room for.

use crate::common::master::{Master, Site};
use crate::common::process::signal;
use crate::common::wire::{Received, Wire};
use crate::common::{PATIENCE, poll};
use crate::{FINE, Innocent, at_rest, lookup};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The clients of the largest crowd.
const MOST_CLIENTS: usize = 10_000;
/// Room for the descriptors of all other tests.
const OTHERS: usize = 2000;

/// A field of a process's status, in KiB.
fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Ticks (of 10 ms) of processor time that the service has used.
pub fn ticks(master: &Master<'_>) -> u64 {
    let pids = master.family().into_iter().map(|process| process.pid).chain([master.pid()]);
    let used = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    pids.map(used).sum()
}

pub fn no_more_descriptors_leaves_clients_waiting() {
    const LIMIT: usize = 300;
    raise_limit(LIMIT + 60);
    let site = Site::new();
    site.approve(&[FINE], "max_use = 100000\n");
    let words = ["-n", "proxymap", "-t", "unix", "-u"];
    let program = Path::new(env!("CARGO_BIN_EXE_mapkeepd"));
    let mut master = site.start_through(&format!("ulimit -n {LIMIT}; "), program, &words);
    let mut first = master.wire();
    let worker = master.only("lookup worker");
    // More than one worker can hold; those behind wait in the listening socket's queue.
    let mut clients: Vec<Wire> = (0..LIMIT + 60).map(|_| Wire::connect(&master.socket())).collect();
    // The broker tries again every 100 ms; this looks for longer.
    poll(PATIENCE, || at_rest(&master)).expect("no more clients are taken");
    let mut served = 0;
    for client in &mut clients {
        let announced = matches!(
            client.receive(if served == 0 { PATIENCE } else { Duration::from_millis(500) }),
            Received::Reply(_)
        );
        if !announced {
            break;
        }
        served += 1;
    }
    eprintln!("limit of {LIMIT} descriptors: {served} of {} clients served", clients.len());
    assert!((LIMIT / 2..LIMIT).contains(&served), "{served}");
    // No process spins because of waiting clients, and earlier clients are served.
    let (before, start) = (ticks(&master), Instant::now());
    poll(PATIENCE, || {
        assert_eq!(first.ask(&lookup(FINE, "x")), "status|0|value|fine||");
        (start.elapsed() > Duration::from_secs(1)).then_some(())
    });
    let used = ticks(&master) - before;
    assert!(used < 30, "{used} ticks in {:?}", start.elapsed());
    // When some leave, as many of the others get their turn.
    let mut waiting = clients.split_off(served);
    drop(clients);
    for client in &mut waiting {
        assert!(matches!(client.receive(PATIENCE), Received::Reply(_)));
        assert_eq!(client.ask(&lookup(FINE, "x")), "status|0|value|fine||");
    }
    assert!(master.runs() && master.only("lookup worker") == worker, "the same worker all along");
}

/// Descriptors in flight are counted by the sender's user id, which the brokers of all services of a machine share:
/// while many are in flight in one service, those of another with a lower limit must wait, and no worker may be killed
/// for that.
pub fn connections_on_their_way_elsewhere_only_delay() {
    const LIMIT: usize = 300;
    const MANY: usize = 250;
    raise_limit(LIMIT + MANY);
    let (crowded, tight) = (Site::new(), Site::new());
    for site in [&crowded, &tight] {
        site.approve(&[FINE], "max_use = 100000\n");
    }
    let program = Path::new(env!("CARGO_BIN_EXE_mapkeepd"));
    let words = ["-n", "proxymap", "-t", "unix", "-u"];
    let masters = [crowded.start(), tight.start_through(&format!("ulimit -n {LIMIT}; "), program, &words)];
    drop(masters.each_ref().map(Master::wire));
    let workers = masters.each_ref().map(|master| master.only("lookup worker"));
    for worker in workers {
        signal("STOP", worker);
    }
    let mut clients = Vec::new();
    for (master, count) in masters.iter().zip([MANY, LIMIT - MANY + 60]) {
        clients.extend((0..count).map(|_| Wire::connect(&master.socket())));
        // All that can be sent has been.
        poll(PATIENCE, || at_rest(master)).expect("the broker rests");
    }
    for worker in workers {
        signal("CONT", worker);
    }
    for client in &mut clients {
        assert!(matches!(client.receive(PATIENCE), Received::Reply(_)));
        assert_eq!(client.ask(&lookup(FINE, "x")), "status|0|value|fine||");
    }
    let now = masters.each_ref().map(|master| master.only("lookup worker"));
    assert_eq!(now, workers, "the same workers all along");
}

/// Raises this process's own limit of descriptors; returns how many clients that allows. The tests run at the same time
/// in one process, so it allows for the clients of all.
fn raise_limit(wanted: usize) -> usize {
    static RAISING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = RAISING.lock().unwrap();
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard: usize = line.split_whitespace().nth(4).unwrap().parse().unwrap();
    let number = hard.min(MOST_CLIENTS + OTHERS);
    let own = std::process::id().to_string();
    let set = Command::new("prlimit").args(["--pid", &own, &format!("--nofile={number}:{hard}")]).status();
    assert!(set.unwrap().success());
    number.saturating_sub(OTHERS).max(number / 2).min(wanted)
}

pub fn ten_thousand_idle_clients_cost_little() {
    let crowd = raise_limit(MOST_CLIENTS);
    let site = Site::new();
    site.approve(&[FINE], "max_use = 100000\n");
    let master = site.start();
    let mut innocent = Innocent::new(&master);
    innocent.is_served(&master);
    let start = Instant::now();
    let mut clients: Vec<Wire> = Vec::new();
    for _ in 0..crowd {
        clients.push(Wire::connect(&master.socket()));
    }
    for client in &mut clients {
        assert!(matches!(client.receive(PATIENCE), Received::Reply(_)));
    }
    let came = start.elapsed();
    innocent.is_served(&master);
    let family = master.family();
    let own: u64 = family.iter().map(|process| memory(process.pid, "RssAnon")).sum::<u64>()
        + memory(master.pid(), "RssAnon");
    let used = ticks(&master);
    let idle = Instant::now();
    poll(PATIENCE, || {
        innocent.is_served(&master);
        (idle.elapsed() > Duration::from_secs(1)).then_some(())
    });
    let used = ticks(&master) - used;
    eprintln!(
        "{crowd} idle clients after {came:.1?}: {own} KiB, {used} ticks in a second, slowest {:.1?}",
        innocent.slowest
    );
    assert!(own < 64 * 1024, "{own} KiB");
    assert!(used < 50, "{used} ticks");
    drop(clients);
    innocent.is_served(&master);
}

pub fn unfinished_requests_are_bounded() {
    const CLIENTS: usize = 300;
    raise_limit(CLIENTS);
    let site = Site::new();
    site.approve(&[FINE], "max_use = 100000\n");
    let master = site.start();
    let mut innocent = Innocent::new(&master);
    innocent.is_served(&master);
    let worker = master.only("lookup worker");
    let before = memory(worker, "VmHWM");
    // Each sends almost as much as a request may have, and never its end: 300 MB in all.
    let body = [
        b"request\0update\0table\0static:fine\0flags\x000\0key\0k\0value\0".as_slice(),
        &vec![b'v'; 1 << 20],
    ]
    .concat();
    let mut clients: Vec<Wire> = Vec::new();
    for number in 0..CLIENTS {
        let mut wire = Wire::connect(&master.socket());
        // The service may close it at any moment: for its slowness, or for lack of space.
        let _ = wire.send(&body);
        clients.push(wire);
        if number % 20 == 0 {
            innocent.is_served(&master);
        }
    }
    for client in &mut clients {
        let first = client.receive(PATIENCE);
        assert!(first == Received::Closed || matches!(first, Received::Reply(_)));
        if first != Received::Closed {
            assert_eq!(client.receive(PATIENCE), Received::Closed, "a request that never ends");
        }
    }
    innocent.is_served(&master);
    assert_eq!(master.only("lookup worker"), worker, "the worker survived");
    let grown = memory(worker, "VmHWM") - before;
    eprintln!(
        "{CLIENTS} unfinished requests of 1 MiB: {grown} KiB more at the most, slowest answer {:.1?}",
        innocent.slowest
    );
    assert!(grown < 128 * 1024, "{grown} KiB");
}
