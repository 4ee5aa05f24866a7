//! Several workers: how many there are, how clients are spread over them, and what the end of one costs.

use crate::ask::{found, lookup, until};
use crate::common::master::{Master, Site};
use crate::common::wire::{Received, Wire};
use crate::common::{PATIENCE, poll, process};
use std::fs;

const TABLE: &str = "inline:{a=b}";
/// The sockets of a worker without clients, if there are no rules workers: those to the broker and to the logger.
const WORKER_OWN: usize = 2;
/// Clients by which each worker must have got some.
const MANY: usize = 300;

fn assert_answers(wire: &mut Wire) {
    assert_eq!(wire.ask(&lookup(TABLE, "a")), found("b"));
}

/// The clients of each lookup worker. A table that it is about to load is open, too, and no client.
fn clients(master: &Master<'_>) -> Vec<usize> {
    let is_socket = |path: fs::DirEntry| {
        fs::read_link(path.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    let sockets = |pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|path| is_socket(path).then_some(())).count()
    };
    master.of_role("lookup worker").into_iter().map(|pid| sockets(pid).saturating_sub(WORKER_OWN)).collect()
}

/// Clients, as many as it takes until `workers` have the same number of them, and at least one.
fn fill(master: &Master<'_>, workers: usize) -> Vec<Wire> {
    let mut wires = Vec::new();
    while wires.len() < MANY {
        let mut wire = master.wire();
        assert_answers(&mut wire);
        wires.push(wire);
        let counts = clients(master);
        if counts.len() == workers && counts[0] > 0 && counts.iter().all(|count| *count == counts[0]) {
            return wires;
        }
    }
    panic!("{:?}", clients(master));
}

pub fn as_many_workers_serve_as_are_set_and_clients_are_spread_over_them() {
    let site = Site::new();
    site.keep("workers = 3\n");
    site.approve(&[TABLE], "max_use = 100000\n");
    let master = site.start();
    let mut wires = fill(&master, 3);
    // From now on each is as good as the others: the counts stay within one of each other.
    for _ in 0..10 {
        wires.push(master.wire());
        assert_answers(wires.last_mut().unwrap());
        let counts = clients(&master);
        assert!(
            counts.len() == 3 && counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1,
            "{counts:?}"
        );
    }
    assert_eq!(clients(&master).iter().sum::<usize>(), wires.len());
    // Clients who go make room: the next ones come where these were.
    wires.truncate(wires.len() / 2);
    wires.extend((0..MANY / 10).map(|_| master.wire()));
    wires.iter_mut().for_each(assert_answers);
    assert_eq!(master.of_role("lookup worker").len(), 3);
    assert!(site.log().iter().all(|line| !line.text.contains("warning:")), "{:#?}", site.log());
}

pub fn one_death_costs_the_clients_of_that_worker_only() {
    let site = Site::new();
    site.keep("workers = 3\n");
    let text = site.table("texthash", "text", "k one\n");
    site.approve(&[TABLE, &text], "max_use = 100000\n");
    let mut master = site.start();
    let mut wires = fill(&master, 3);
    let victim = master.of_role("lookup worker")[1];
    let share = wires.len() / 3;
    process::signal("KILL", victim);
    assert_eq!(process::wait_gone(&[victim], PATIENCE), []);
    // The connection of a client whose worker has exited is closed; all others are answered as if nothing had happened.
    let (mut kept, mut lost) = (Vec::new(), 0);
    for mut wire in wires.drain(..) {
        match wire.try_ask(&lookup(TABLE, "a")) {
            Received::Reply(_) => kept.push(wire),
            Received::Closed => lost += 1,
            heard => panic!("{heard:?}"),
        }
    }
    assert_eq!((lost, kept.len()), (share, 2 * share));
    let three = || (master.of_role("lookup worker").len() == 3).then_some(());
    assert!(poll(PATIENCE, three).is_some(), "it is replaced");
    assert!(!master.of_role("lookup worker").contains(&victim));
    // All of them get the next snapshot of a table, the earlier workers and the new one.
    fs::write(site.path("tables/text"), "k two\n").unwrap();
    kept.extend(fill(&master, 3));
    for wire in &mut kept {
        until("changed", wire, &lookup(&text, "k"), &found("one"), &found("two"));
    }
    assert!(master.runs());
    let deaths = site.log().iter().filter(|line| line.text.contains("exited:")).count();
    assert_eq!(deaths, 1, "{:#?}", site.log());
}

pub fn end_of_a_rules_worker_closes_no_connection_of_a_client() {
    let site = Site::new();
    site.keep("workers = 2\n");
    let networks = site.table("cidr", "networks", "192.0.2.0/24 here\n");
    let patterns = site.table("pcre", "patterns", "/^(.*)@example$/ $1\n");
    let union = format!("unionmap:{{static:first,{patterns}}}");
    site.approve(&[TABLE, &networks, &patterns, &union, "regexp:{{/^x/ y}}"], "max_use = 100000\n");
    let mut master = site.start();
    let mut wires: Vec<Wire> = (0..8).map(|_| master.wire()).collect();
    let two = || (master.of_role("rules worker").len() == 2).then_some(());
    assert!(poll(PATIENCE, two).is_some(), "{:?}", master.family());
    wires.extend((0..8).map(|_| master.wire()));
    let ask = |wires: &mut Vec<Wire>| {
        for wire in wires {
            assert_answers(wire);
            assert_eq!(wire.ask(&lookup(&networks, "192.0.2.7")), found("here"));
            assert_eq!(wire.ask(&lookup(&patterns, "alice@example")), found("alice"));
            assert_eq!(wire.ask(&lookup(&union, "alice@example")), found("first,alice"));
            assert_eq!(wire.ask(&lookup("regexp:{{/^x/ y}}", "x")), found("y"));
        }
    };
    ask(&mut wires);
    // One of them, then both at a time: questions meanwhile wait for their replacements.
    for count in [1, 2] {
        let victims: Vec<u32> = master.of_role("rules worker").into_iter().take(count).collect();
        victims.iter().for_each(|pid| process::signal("KILL", *pid));
        assert_eq!(process::wait_gone(&victims, PATIENCE), []);
        ask(&mut wires);
        let replaced = || {
            let now = master.of_role("rules worker");
            (now.len() == 2 && now.iter().all(|pid| !victims.contains(pid))).then_some(())
        };
        assert!(poll(PATIENCE, replaced).is_some(), "{:?}", master.family());
        ask(&mut wires);
    }
    let said = site.wait_for_log(0, &["warning: rules worker ", "killed by SIGKILL"]);
    assert_eq!(said.pid, master.pid());
    assert!(master.runs());
}

pub fn rules_workers_are_there_only_where_there_are_rules() {
    let site = Site::new();
    let hash = site.table("hash", "hash", "a b\n");
    let union = format!("unionmap:{{static:a,{hash}}}");
    site.approve(&[&hash, &union], "");
    {
        let master = site.start();
        assert_eq!(master.wire().ask(&lookup(&hash, "a")), found("b"));
        assert_eq!(master.of_role("rules worker"), []);
    }
    // One that is a member only counts.
    let patterns = site.table("regexp", "patterns", "/^a$/ c\n");
    let union = format!("unionmap:{{{patterns},{hash}}}");
    site.approve(&[&union], "");
    let master = site.start();
    assert_eq!(master.wire().ask(&lookup(&union, "a")), found("c,b"));
    let worker = master.only("rules worker");
    // It is locked in like the others.
    let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "Groups:\t \n"] {
        assert!(status.contains(line), "{line:?} in {status}");
    }
    assert_eq!(
        fs::read_dir(format!("/proc/{worker}/root")).unwrap().count(),
        0,
        "its root directory is empty"
    );
}

pub fn workers_of_a_crowd_are_replaced_one_after_another() {
    let site = Site::new();
    site.keep("workers = 3\n");
    site.approve(&[TABLE], "max_use = 5\n");
    let mut master = site.start();
    let before = poll(PATIENCE, || {
        let workers = master.of_role("lookup worker");
        (workers.len() == 3).then_some(workers)
    })
    .expect("three workers");
    // Clients that connect and disconnect: none gets a worker that is about to exit.
    let replaced = poll(PATIENCE, || {
        (0..5).for_each(|_| assert_answers(&mut master.wire()));
        let now = master.of_role("lookup worker");
        (now.iter().all(|pid| !before.contains(pid))).then_some(())
    });
    assert!(replaced.is_some(), "{before:?} and {:?}", master.of_role("lookup worker"));
    assert!(master.runs());
    assert!(site.log().iter().all(|line| !line.text.contains("warning:")), "{:#?}", site.log());
}
