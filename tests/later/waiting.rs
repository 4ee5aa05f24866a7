//! Clients that wait: how long, what they cost, and what others notice of it.

use crate::common::PATIENCE;
use crate::common::wire::{ANNOUNCEMENT, Received, Wire};
use crate::service::{Class, Dialect, FINE, Place, next, others_are_served, put, until_counts};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;

/// The clients of the crowd,
const CROWD: usize = 10_000;
/// what they may cost, in KiB,
const BUDGET: u64 = 64 << 10;
/// and descriptors for everything else in this process.
const OTHERS: u64 = 500;

/// A question that is never answered fails when its time is over; it is withdrawn from the stand-in, and a later answer
/// is ignored. The time is a minute in the product and shorter here; src/worker/lookup/tests/peers.rs has the minute.
pub fn question_that_is_not_answered_ends_at_the_deadline() {
    let place = Place::new(mapkeep_standin::IMPATIENT);
    let [a, b] = ["a", "b"].map(|label| place.later(label));
    let deep = format!("unionmap:{{static:s,pipemap:{{{b},unionmap:{{{b},{a}}}}}}}");
    let master = place.start(1, std::slice::from_ref(&deep));
    let mut wires = Vec::new();
    for dialect in Dialect::BOTH {
        for (table, class) in [(&a, Class::Pattern), (&deep, Class::Fixed)] {
            let mut wire = master.wire();
            put(&mut wire, dialect, table, "k;a=hold");
            put(&mut wire, dialect, FINE, "k");
            wires.push((wire, dialect, class));
        }
    }
    others_are_served(&place, &master);
    for (wire, dialect, class) in &mut wires {
        assert_eq!(next(wire), dialect.reply(2, *class, ""));
        assert_eq!(next(wire), dialect.reply(0, Class::Fixed, "fine"));
    }
    until_counts(&place, &mut master.wire(), 0, wires.len());
    place.site.wait_for_log(0, &["the rules worker that had the question did not answer"]);
    // The process is well, so it is asked on; what it had held comes now.
    assert_eq!(master.wire().ask(&Dialect::Old.lookup(&a, "k;a=free")), "status|0|value|a(k;a=free)||");
    for (wire, dialect, class) in &mut wires {
        let (table, value) =
            if *class == Class::Pattern { (&a, "a(new)") } else { (&deep, "s,b(b(new)),a(b(new))") };
        assert_eq!(wire.ask(&dialect.lookup(table, "new")), dialect.reply(0, *class, value));
        assert!(wire.left_over().is_empty());
    }
}

/// The questions of disconnected clients are withdrawn from the stand-in, and no others.
pub fn client_that_leaves_takes_its_question_back() {
    let place = Place::new("lib");
    let [a, b] = ["a", "b"].map(|label| place.later(label));
    let pipe = format!("pipemap:{{{b},{a}}}");
    let master = place.start(1, std::slice::from_ref(&pipe));
    let mut counting = master.wire();
    let come = |table: &str| {
        let mut wire = master.wire();
        put(&mut wire, Dialect::New, table, "k;a=hold");
        wire
    };
    let (leaving, mut staying) = ([come(&a), come(&pipe)], [come(&a), come(&pipe)]);
    until_counts(&place, &mut counting, 4, 0);
    drop(leaving);
    until_counts(&place, &mut counting, 2, 2);
    assert_eq!(counting.ask(&Dialect::Old.lookup(&a, "k;a=free")), "status|0|value|a(k;a=free)||");
    for (wire, value) in staying.iter_mut().zip(["a(k;a=hold)", "a(b(k;a=hold))"]) {
        assert_eq!(next(wire), Dialect::New.reply(0, Class::Pattern, value));
    }
    until_counts(&place, &mut counting, 0, 2);
}

/// Tables in memory are answered all the time, while other questions wait.
pub fn other_tables_are_answered_while_many_wait() {
    let place = Place::new("lib");
    let a = place.later("a");
    let master = place.start(1, &[]);
    let mut waiting: Vec<Wire> = (0..64).map(|_| master.wire()).collect();
    waiting.iter_mut().for_each(|wire| put(wire, Dialect::Old, &a, "k;a=hold"));
    until_counts(&place, &mut master.wire(), waiting.len(), 0);
    for _ in 0..200 {
        others_are_served(&place, &master);
    }
    until_counts(&place, &mut master.wire(), waiting.len(), 0);
    assert_eq!(master.wire().ask(&Dialect::Old.lookup(&a, "k;a=free")), "status|0|value|a(k;a=free)||");
    waiting.iter_mut().for_each(|wire| assert_eq!(next(wire), "status|0|value|a(k;a=hold)||"));
}

/// What the service's processes have in memory of their own, in KiB.
fn memory(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    pids.iter().map(of).sum()
}

/// All processes together; the stand-in is not the product's, but has to know the questions as any such process has.
pub fn ten_thousand_clients_that_wait_cost_less_than_64_mib() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = most.min(CROWD as u64 + OTHERS);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, most).unwrap();
    let clients = usize::try_from(wanted - OTHERS).unwrap();
    let place = Place::new("lib");
    let [a, b] = ["a", "b"].map(|label| place.later(label));
    let pipe = format!("pipemap:{{{b},{a}}}");
    let master = place.start(1, std::slice::from_ref(&pipe));
    let mut counting = master.wire();
    until_counts(&place, &mut counting, 0, 0);
    let pids: Vec<u32> =
        master.family().into_iter().map(|process| process.pid).chain([master.pid()]).collect();
    let before = memory(&pids);
    let mut wires: Vec<Wire> = Vec::with_capacity(clients);
    for number in 0..clients {
        let mut wire = Wire::connect(&master.socket());
        let key = format!("somebody.with.a.long.name.{number}@department.example.com;a=silent");
        put(&mut wire, Dialect::BOTH[number % 2], if number % 3 == 0 { &pipe } else { &a }, &key);
        // It has more to ask.
        put(&mut wire, Dialect::Old, FINE, "k");
        wires.push(wire);
    }
    for wire in &mut wires {
        assert_eq!(wire.receive(PATIENCE), Received::Reply(ANNOUNCEMENT.into()));
    }
    until_counts(&place, &mut counting, clients, 0);
    let used = memory(&pids).saturating_sub(before);
    println!("{clients} waiting clients: {used} KiB in all processes");
    assert!(used * CROWD as u64 / (clients as u64) < BUDGET, "{used} KiB");
    others_are_served(&place, &master);
    drop(wires);
    until_counts(&place, &mut counting, 0, clients);
}
