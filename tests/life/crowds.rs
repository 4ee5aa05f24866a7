//! Many clients, slow clients, and clients that fill the log.

use crate::ask::{DENIED, for_a_while, found, lookup};
use crate::common::PATIENCE;
use crate::common::master::Site;
use crate::common::stopwatch::Stopwatch;
use crate::common::wire::{Heard, Wire};
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
        assert!(matches!(client.hear(PATIENCE), Heard::Reply(_)));
    }
    eprintln!("{crowd} connections: all announced to after {} ms", start.elapsed().as_millis());
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&lookup(TABLE, "a")), found("b"), "client {number}");
    }
    assert_eq!(master.of_role("lookup worker").len(), 1, "one process serves them all");
}

/// Raises this process's own limit of descriptors, as far as it may; gives how many clients that leaves.
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
    assert_eq!(slow.hear(PATIENCE), Heard::Closed);
    assert_eq!(drip.hear(PATIENCE), Heard::Closed);
    let time = watch.elapsed();
    assert!(time < Duration::from_secs(4), "{time:?}");
    assert_eq!(other.ask(&lookup(TABLE, "a")), found("b"));
    site.wait_for_log(0, &["warning: timeout: client stalled in the middle of a request"]);
}

pub fn flood_of_unapproved_requests_leaves_the_log_readable() {
    let site = Site::new();
    site.approve(&[TABLE], "");
    let master = site.start();
    let mut wire = master.wire();
    let count = |text: &str| site.log().iter().filter(|line| line.text.contains(text)).count();
    let start = Instant::now();
    for number in 0..2000 {
        assert_eq!(wire.ask(&lookup(&format!("hash:/unapproved/{number}"), "a")), DENIED);
    }
    let seconds = start.elapsed().as_secs_f64().ceil();
    // After the flood, the next line of its kind says how much was left out.
    for_a_while(Duration::from_millis(1100), || {});
    assert_eq!(wire.ask(&lookup("hash:/after/the/flood", "a")), DENIED);
    site.wait_for_log(0, &["request for unapproved table: \"hash:/after/the/flood\""]);
    let shown = count("request for unapproved table: \"hash:/unapproved/");
    assert!(shown >= 10 && shown as f64 <= 10.0 * (seconds + 1.0), "{shown} lines in {seconds} s");
    let left_out: usize = site
        .log()
        .iter()
        .filter_map(|line| {
            line.text.strip_prefix("warning: ")?.strip_suffix(" lines like the next one were left out")
        })
        .map(|number| number.parse::<usize>().unwrap())
        .sum();
    // Two kinds of lines for each request: what was asked for, and how to approve it.
    eprintln!("flood of 2000: {shown} requests shown, {left_out} lines of two kinds left out");
    assert!(left_out >= 2000 - shown, "{left_out} of 2000 left out, {shown} shown");
    // A flood of one kind hides no other.
    let seen = site.log().len();
    assert_eq!(wire.ask("request|delete|table|hash:/x|flags|0|key|a||"), "status|4||");
    site.wait_for_log(seen, &["refusing hash:/x delete request"]);
}
