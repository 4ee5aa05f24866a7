//! What several workers are good for: tables of rules asked by many, and indexed tables beside everything that takes long.
//!
//! First, 64 clients ask tables of 2,000 rules, of a service with one worker of a kind and of one with two, in turns. Then
//! one client asks a hash table, while nobody else asks, while crowds ask patterns of catastrophic cost, and while a table of
//! a million lines is replaced. Prints each figure with the bar that it is held to. Run as root: `cargo bench --bench
//! workers`; `-- --quick` asks for a shorter time, `-- --rounds 15` for a longer one, `-- --beside /path/mapkeepd` asks another
//! build the same questions, in turns.
#![cfg(test)]

#[path = "../../tests/common/mod.rs"]
mod common;

#[path = "../lookup/load.rs"]
#[allow(dead_code)] // what takes CPU time is of no interest here
mod load;

mod crowd;

use common::master::{Master, Site};
use crowd::{Crowd, Waits};
use load::Load;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const OWN: &str = env!("CARGO_BIN_EXE_mapkeepd");
const RULES: u32 = 2000;
const CLIENTS: usize = 64;
const ROUNDS: usize = 7;
const LINES: u32 = 1_000_000;

fn main() {
    if !common::can_run("the benchmark") {
        return;
    }
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|word| word == "--quick");
    let rounds = arguments.iter().skip_while(|word| *word != "--rounds").nth(1);
    let rounds = rounds.map_or(if quick { 3 } else { ROUNDS }, |text| text.parse().unwrap());
    let time = Duration::from_secs(if quick { 3 } else { 10 });
    println!("{} processors", std::thread::available_parallelism().unwrap());
    let other = arguments.iter().skip_while(|word| *word != "--beside").nth(1).map(PathBuf::from);
    many_clients(rounds, if quick { 20_000 } else { 60_000 }, other.as_deref());
    beside_crowds(time);
    beside_a_reload();
}

fn network(number: u32) -> String {
    format!("10.{}.{}.1", number / 256, number % 256)
}

/// A table of rules: its type, its name, and its keys.
type Rules = (&'static str, String, fn(u32) -> String);

/// Tables of which each key fits one rule, on the average after half of them.
fn rules(site: &Site) -> [Rules; 2] {
    let (mut patterns, mut networks) = (String::new(), String::new());
    for number in 0..RULES {
        writeln!(patterns, "/^user{number}@example\\.org$/ value{number}").unwrap();
        writeln!(networks, "10.{}.{}.0/24 value{number}", number / 256, number % 256).unwrap();
    }
    let (patterns, networks) = (site.table("pcre", "pcre", &patterns), site.table("cidr", "cidr", &networks));
    [("pcre", patterns, load::user), ("cidr", networks, network)]
}

/// The same questions to one worker of a kind and to two, and to another build.
fn many_clients(rounds: usize, requests: usize, other: Option<&Path>) {
    let sites: Vec<Site> = (0..2 + usize::from(other.is_some())).map(|_| Site::new()).collect();
    let tables = rules(&sites[0]);
    let names: Vec<&str> = tables.iter().map(|(_, name, _)| name.as_str()).collect();
    for (site, workers) in sites.iter().zip(1..) {
        site.approve(&names, "max_use = 10000000\nmax_idle = 3600s\n");
        site.keep(&format!("workers = {}\n", if workers == 2 { 2 } else { 1 }));
    }
    let programs = [Some(Path::new(OWN)), Some(Path::new(OWN)), other].into_iter().flatten();
    let masters: Vec<Master<'_>> =
        sites.iter().zip(programs).map(|(site, program)| started(site, program)).collect();
    for (kind, table, key) in &tables {
        let load = Load { table, clients: CLIENTS, requests, entries: RULES, key: *key };
        masters.iter().for_each(|master| load.warm_up(&master.socket()));
        let ask = |master: &Master<'_>| load.run(&master.socket(), &[]).throughput;
        let rounds: Vec<Vec<f64>> = (0..rounds).map(|_| masters.iter().map(ask).collect()).collect();
        let middle = |of: &dyn Fn(&[f64]) -> f64| spread(&rounds, of)[1];
        let [least, times, most] = spread(&rounds, &|round| round[1] / round[0]);
        println!(
            "{kind}, {RULES} rules, {CLIENTS} clients: {:.0} a second with one worker, {:.0} with two: {times:.2} times \
             ({least:.2} to {most:.2}; bar: 1.7)",
            middle(&|round| round[0]),
            middle(&|round| round[1])
        );
        if other.is_some() {
            let times = middle(&|round| round[1] / round[2]);
            println!(
                "    the other build: {:.0} a second; two workers: {times:.2} times that",
                middle(&|round| round[2])
            );
        }
    }
}

/// The least of what the rounds say, the one in the middle, and the most.
fn spread(rounds: &[Vec<f64>], of: &dyn Fn(&[f64]) -> f64) -> [f64; 3] {
    let mut values: Vec<f64> = rounds.iter().map(|round| of(round)).collect();
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

fn started<'s>(site: &'s Site, program: &Path) -> Master<'s> {
    let master = site.start_program(program, &["-n", "proxymap", "-t", "unix", "-u"]);
    drop(master.wire());
    master
}

/// A hash client alone, and beside crowds of attackers.
fn beside_crowds(time: Duration) {
    let site = Site::new();
    site.keep("");
    std::fs::remove_file(site.path("etc/mapkeep.cf")).unwrap();
    let hash = site.table(
        "hash",
        "hash",
        &(0..1000).map(|n| format!("user{n}@example.org v{n}\n")).collect::<String>(),
    );
    let slow = ["pcre", "regexp"].map(|kind| site.table(kind, &format!("slow-{kind}"), crowd::SLOW));
    site.approve(&[&hash, &slow[0], &slow[1]], "max_use = 10000000\nmax_idle = 3600s\n");
    let master = started(&site, Path::new(OWN));
    let alone = Waits::of_a_client(&master, &hash, time);
    println!("hash client alone: {alone}");
    for attackers in [1, 16, 40] {
        let crowd = Crowd::of(attackers, &master.socket(), &slow);
        let waits = Waits::of_a_client(&master, &hash, time);
        let (answers, wrong) = crowd.leave();
        println!(
            "hash client beside {attackers} attackers: {waits} (bars: 20 and 200 ms); they got {answers} answers, {wrong} of \
             them wrong"
        );
    }
}

/// A hash client while a large texthash table is replaced again and again.
fn beside_a_reload() {
    let site = Site::new();
    std::fs::remove_file(site.path("etc/mapkeep.cf")).unwrap();
    let hash = site.table(
        "hash",
        "hash",
        &(0..1000).map(|n| format!("user{n}@example.org v{n}\n")).collect::<String>(),
    );
    let text =
        |value: u32| -> String { (0..LINES).map(|n| format!("user{n}@example.org {value}{n}\n")).collect() };
    let large = site.table("texthash", "large", &text(0));
    site.approve(&[&hash, &large], "max_use = 10000000\nmax_idle = 3600s\n");
    let master = started(&site, Path::new(OWN));
    let path = site.path("tables/large");
    for value in 1..=3 {
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text(value)).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        let begun = Instant::now();
        let mut other = master.wire();
        let request = format!("request|lookup|table|{large}|flags|64|key|user7@example.org||");
        let wanted = format!("status|0|value|{value}7||");
        let mut loaded = None;
        let waits = Waits::while_true(&master, &hash, || {
            let done = loaded.is_some_and(|at: Duration| begun.elapsed() > at * 2);
            if loaded.is_none() && other.ask(&request) == wanted {
                loaded = Some(begun.elapsed());
            }
            !done
        });
        println!(
            "hash client beside a reload of {LINES} lines, which took {:.1} s: {waits} (bars: 20 and 200 ms)",
            loaded.unwrap().as_secs_f64()
        );
    }
}
