//! Many clients, slow clients, and clients that fill the log.

use crate::ask::{DENIED, for_a_while, found, lookup};
use crate::common::master::Site;
use crate::common::stopwatch::Stopwatch;
use crate::common::wire::{Received, Wire};
use crate::common::{PATIENCE, poll};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

const TABLE: &str = "inline:{a=b}";
const CROWD: usize = 2000;

pub fn two_thousand_connections_are_all_served() {
    let crowd = raise_limit(CROWD);
    let site = Site::new();
    site.approve(&[TABLE], "max_use = 100000\n");
    let master = site.start();
    let start = Instant::now();
    let mut clients: Vec<Wire> = (0..crowd).map(|_| Wire::connect(&master.socket())).collect();
    for client in &mut clients {
        assert!(matches!(client.receive(PATIENCE), Received::Reply(_)));
    }
    eprintln!("{crowd} connections: all announced to after {} ms", start.elapsed().as_millis());
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&lookup(TABLE, "a")), found("b"), "client {number}");
    }
    assert_eq!(master.of_role("lookup worker").len(), 1, "one process serves them all");
}

/// Raises this process's own limit of descriptors, as far as it may; returns how many clients that allows.
fn raise_limit(wanted: usize) -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard: usize = line.split_whitespace().nth(4).unwrap().parse().unwrap();
    let number = hard.min(wanted + 500);
    let own = std::process::id().to_string();
    let set = Command::new("prlimit").args(["--pid", &own, &format!("--nofile={number}:{hard}")]).status();
    assert!(set.unwrap().success());
    let crowd = number - 500;
    if crowd < wanted {
        eprintln!("only {crowd} connections: the hard limit of descriptors is {hard}");
    }
    crowd
}

pub fn stalled_client_is_closed_alone() {
    let site = Site::new();
    site.approve(&[TABLE], "");
    let master = site.start();
    let (mut slow, mut drip, mut other) = (master.wire(), master.wire(), master.wire());
    let (start, watch) = (Instant::now(), Stopwatch::start());
    slow.send(b"r").unwrap();
    // One byte now and then does not buy more time.
    let request = b"request\0lookup\0table\0";
    let mut sent = 0;
    let mut dripped = false;
    for_a_while(Duration::from_millis(1500), || {
        assert_eq!(other.ask(&lookup(TABLE, "a")), found("b"));
        if !dripped && start.elapsed() > Duration::from_millis(100 * sent as u64) {
            dripped = drip.send(&request[sent..=sent]).is_err();
            sent += 1;
        }
    });
    assert_eq!(slow.receive(PATIENCE), Received::Closed);
    assert_eq!(drip.receive(PATIENCE), Received::Closed);
    let time = watch.elapsed();
    assert!(time < Duration::from_secs(4), "{time:?}");
    assert_eq!(other.ask(&lookup(TABLE, "a")), found("b"));
    site.wait_for_log(0, &["warning: timeout: client stalled in the middle of a request"]);
}

/// Requests of the flood that are in the log by themselves.
fn count_shown(site: &Site) -> usize {
    let start = "warning: request for unapproved table: \"hash:/unapproved/";
    site.log().iter().filter(|line| line.text.starts_with(start)).count()
}

pub fn flood_of_unapproved_requests_leaves_the_log_readable() {
    let site = Site::new();
    site.approve(&[TABLE], "");
    let master = site.start();
    let mut wire = master.wire();
    let start = Instant::now();
    for number in 0..2000 {
        assert_eq!(wire.ask(&lookup(&format!("hash:/unapproved/{number}"), "a")), DENIED);
    }
    let seconds = start.elapsed().as_secs_f64().ceil();
    // The number of dropped lines is logged when their second has ended, even if no further line of the kind comes.
    let counted = || -> usize {
        let log = site.log();
        let number = |text: &str| {
            let (number, _) = text
                .strip_prefix("warning: ")?
                .split_once(" more lines like this suppressed: request for")?;
            number.parse::<usize>().ok()
        };
        log.iter().filter_map(|line| number(&line.text)).sum()
    };
    let all = poll(PATIENCE, || {
        let shown = count_shown(&site);
        (shown + counted() == 2000).then_some(shown)
    });
    let shown = count_shown(&site);
    eprintln!("flood of 2000: {shown} requests shown, {} left out", counted());
    assert!(all.is_some(), "{shown} shown and {} counted, of 2000", counted());
    assert!(shown >= 10 && shown as f64 <= 10.0 * (seconds + 1.0), "{shown} lines in {seconds} s");
    // A flood of one kind hides no other.
    let seen = site.log().len();
    assert_eq!(wire.ask("request|delete|table|hash:/x|flags|0|key|a||"), "status|4||");
    site.wait_for_log(seen, &["refusing hash:/x delete request"]);
}
