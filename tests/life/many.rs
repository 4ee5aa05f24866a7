//! Very many tables: they start, and change all at once, and nobody dies of it.

use crate::ask::{ABSENT, found, lookup};
use crate::common::master::{Master, Site};
use crate::common::stopwatch::Stopwatch;
use crate::common::wire::Wire;
use crate::common::{PATIENCE, poll};
use std::fs;

const TABLES: usize = 10_000;
/// Of each kind: those that try a snapshot, and those that wait for it.
const WORKERS: usize = 3;

fn path(site: &Site, number: usize) -> std::path::PathBuf {
    // Some directories, as no file system likes all in one.
    site.path(&format!("tables/{:02}/t{number}", number % 50))
}

/// Odd ones are patterns, even ones are texts.
fn write(site: &Site, number: usize, value: &str) {
    let key = if number % 2 == 1 { "/^192[.]0[.]2[.]/" } else { "192.0.2.1" };
    fs::write(path(site, number), format!("{key} {value}{number}\n")).unwrap();
}

fn name(site: &Site, number: usize) -> String {
    let kind = if number % 2 == 1 { "regexp" } else { "texthash" };
    format!("{kind}:{}", path(site, number).display())
}

/// Asks all tables until each answers with `value`; any answer but that and `before` fails.
fn all_answer(site: &Site, wire: &mut Wire, before: Option<&str>, value: &str) {
    let mut left: Vec<usize> = (0..TABLES).collect();
    let look = || {
        left.retain(|number| {
            let reply = wire.ask(&lookup(&name(site, *number), "192.0.2.1"));
            let known = before.is_some_and(|before| reply == found(&format!("{before}{number}")));
            let right = reply == found(&format!("{value}{number}"));
            assert!(known || right, "{}: {reply}", name(site, *number));
            !right
        });
        left.is_empty().then_some(())
    };
    assert!(poll(PATIENCE, look).is_some(), "{} tables do not answer with {value}", left.len());
}

fn nobody_died(master: &Master<'_>, before: &[u32]) {
    let mut now: Vec<u32> = master.family().iter().map(|process| process.pid).collect();
    now.sort_unstable();
    assert_eq!(now, before);
    let bad = |text: &str| ["exited", "replacing", "cannot"].iter().any(|word| text.contains(word));
    let lines: Vec<String> =
        master.site.log().into_iter().map(|line| line.text).filter(|text| bad(text)).collect();
    assert_eq!(lines, Vec::<String>::new());
}

pub fn ten_thousand_tables_start_and_refresh_without_a_death() {
    let site = Site::new();
    (0..50).for_each(|number| fs::create_dir(site.path(&format!("tables/{number:02}"))).unwrap());
    (0..TABLES).for_each(|number| write(&site, number, "one"));
    let names: Vec<String> = (0..TABLES).map(|number| name(&site, number)).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    site.keep(&format!("workers = {WORKERS}\n"));
    site.approve(&all, "max_use = 100000\n");
    let watch = Stopwatch::start();
    let master = site.start();
    let mut wire = master.wire();
    eprintln!("{TABLES} tables: first client after {} ms", watch.elapsed().as_millis());
    let all_are_there = || {
        let all = ["lookup worker", "rules worker"].iter().all(|role| master.of_role(role).len() == WORKERS);
        all.then(|| master.family().iter().map(|process| process.pid).collect())
    };
    let mut family: Vec<u32> = poll(PATIENCE, all_are_there).expect("all workers are started");
    family.sort_unstable();
    all_answer(&site, &mut wire, None, "one");
    assert_eq!(wire.ask(&lookup(&name(&site, 8), "192.0.2.77")), ABSENT);
    nobody_died(&master, &family);

    let watch = Stopwatch::start();
    (0..TABLES).for_each(|number| write(&site, number, "two"));
    all_answer(&site, &mut wire, Some("one"), "two");
    eprintln!("{TABLES} tables: all changed, all served after {} ms", watch.elapsed().as_millis());
    nobody_died(&master, &family);
}
