//! How costs grow: from exec to the first answer, ten thousand idle connections, and small tables against large.
//!
//! Prints each figure with the bar that it is held to. Run as root: `cargo bench --bench scale`; `-- --entries N`
//! sets the size of the large tables (default 1,000,000; making them takes longer than asking them), `-- --only btree`
//! asks one type of table. Larger cdb tables are made by cdb(1) of Debian's package tinycdb: postmap(1) had not
//! made one of 10,000,000 entries after nine minutes.
#![cfg(test)]

#[path = "../../tests/common/mod.rs"]
mod common;

#[path = "../lookup/load.rs"]
#[allow(dead_code)] // only the CPU time is of interest here
mod load;

use common::master::{Master, Site};
use load::Load;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

const INDEXED: [&str; 4] = ["hash", "btree", "lmdb", "cdb"];
const SMALL: u32 = 1_000;
/// The largest cdb table that is left to postmap(1).
const POSTMAP_CDB: u32 = 1_000_000;
const CONNECTIONS: usize = 10_000;
const ROUNDS: usize = 9;

fn main() {
    if !common::can_run("the benchmark") {
        return;
    }
    let arguments: Vec<String> = std::env::args().collect();
    let entries = arguments.iter().skip_while(|word| *word != "--entries").nth(1);
    let only = arguments.iter().skip_while(|word| *word != "--only").nth(1);
    let large = entries.map_or(1_000_000, |text| text.parse().unwrap());
    if let Some(kind) = only {
        return growth(kind, large);
    }
    first_answer();
    idle_connections();
    INDEXED.iter().for_each(|kind| growth(kind, large));
}

fn source(entries: u32) -> String {
    (0..entries).map(|number| format!("user{number}@example.org value{number}\n")).collect()
}

/// Twenty tables of a thousand entries, from exec to the announcement and one answer.
fn first_answer() {
    let site = Site::new();
    std::fs::write(site.path("stderr"), "").unwrap();
    let text = source(SMALL);
    let tables: Vec<String> =
        (0..20).map(|number| site.table(INDEXED[number % 4], &format!("t{number}"), &text)).collect();
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    site.approve(&names, "");
    let mut times: Vec<Duration> = (0..11)
        .map(|_| {
            let start = Instant::now();
            let master = site.start();
            let load = Load { table: names[0], clients: 1, requests: 1, entries: SMALL, key: load::user };
            load.run(&master.socket(), &[]);
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("exec to first answer, 20 tables: median {:.1} ms (bar: 50 ms)", millis(times[5]));
}

/// Memory of all processes with ten thousand silent clients, above that without any.
fn idle_connections() {
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (_, hard) = nix::sys::resource::getrlimit(limit).unwrap();
    let wanted = CONNECTIONS as u64 + 100;
    if hard < wanted {
        println!("idle connections: the limit of descriptors is {hard}, too low for {CONNECTIONS}");
        return;
    }
    nix::sys::resource::setrlimit(limit, hard, hard).unwrap();
    let site = Site::new();
    std::fs::write(site.path("stderr"), "").unwrap();
    let table = site.table("hash", "t", &source(SMALL));
    site.approve(&[&table], "max_use = 1000000\n");
    let master = site.start();
    drop(master.wire());
    let before = memory(&master);
    let connections: Vec<UnixStream> = (0..CONNECTIONS)
        .map(|_| {
            let mut connection = UnixStream::connect(master.socket()).unwrap();
            connection.read_exact(&mut [0; 28]).unwrap();
            connection
        })
        .collect();
    let after = memory(&master);
    println!(
        "{CONNECTIONS} idle connections: {:.1} MB in all, {:.1} MB of it for the connections (bar: 64 MB)",
        after as f64 / 1000.0,
        (after - before) as f64 / 1000.0
    );
    drop(connections);
}

/// Proportional set size of the service's processes, in kB.
fn memory(master: &Master<'_>) -> i64 {
    let mut pids = vec![master.pid()];
    pids.extend(master.family().iter().map(|process| process.pid));
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok()).unwrap_or_default()
    };
    pids.iter().map(of).sum()
}

fn cdb_table(site: &Site, name: &str, source: &str) -> String {
    let table = site.table("texthash", name, source).replace("texthash:", "cdb:");
    let text = table.trim_start_matches("cdb:");
    let made = Command::new("cdb").args(["-c", "-m", "-p", "0644", &format!("{text}.cdb"), text]).status();
    let made = made.expect("cdb(1) of the package tinycdb is needed for this table");
    assert!(made.success(), "cdb {table}: {made}");
    table
}

/// The same load on a small and on a large table.
fn growth(kind: &str, large: u32) {
    let site = Site::new();
    std::fs::write(site.path("stderr"), "").unwrap();
    let tables = [("small", SMALL), ("large", large)].map(|(name, entries)| {
        let made = match kind == "cdb" && entries > POSTMAP_CDB {
            true => cdb_table(&site, name, &source(entries)),
            false => site.table(kind, name, &source(entries)),
        };
        (made, entries)
    });
    site.approve(&[&tables[0].0, &tables[1].0], "max_use = 1000000\n");
    let master = site.start();
    let mut pids = vec![master.pid()];
    drop(master.wire());
    pids.extend(master.family().iter().map(|process| process.pid));
    let load = |(table, entries): &(String, u32)| {
        let load = Load { table, clients: 4, requests: 40_000, entries: *entries, key: load::user };
        load.run(&master.socket(), &pids).cpu
    };
    let _opened = tables.each_ref().map(load);
    // In turns, since the machine may be now fast, now slow.
    let mut rounds: Vec<[f64; 2]> = (0..ROUNDS).map(|_| tables.each_ref().map(load)).collect();
    rounds.sort_by(|a, b| (a[1] / a[0]).total_cmp(&(b[1] / b[0])));
    let [little, much] = rounds[ROUNDS / 2];
    println!(
        "{kind}: {little:.2} us of CPU with {SMALL} entries, {much:.2} with {large}: {:.2} times (bar: 1.5)",
        much / little
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
