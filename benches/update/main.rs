//! What a durable update costs: stock proxywrite and mapkeep, the same updates in one run, beside a bare loop of
//! fdatasync(2) on the same file system.
//!
//! Prints updates a second, median and 99th percentile, and server CPU for an update, with ratios; then lookups by one
//! client while another updates. The tables lie under /var/lib, on a disk wherever that is one. Run as root:
//! `cargo bench --bench update`. `-- --quick` does less, `-- --only btree` one type of table, `-- --clients 16` with so many
//! clients, `-- --rounds 9` goes on for longer.
#![cfg(test)]

#[path = "../../tests/common/mod.rs"]
mod common;

mod load;

use common::postfix::Server;
use common::writing::{CACHE, Content, Place, SHARED, Service};
use load::{Figures, Load};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Entries in each table before the run.
const ENTRIES: usize = 10_000;
const KINDS: [&str; 3] = ["btree", "hash", "lmdb"];
const CLIENTS: [usize; 2] = [1, 16];
/// Updates before the measurement: a log that is still growing costs more, and grows once in its life.
const WARM_UP: usize = 5_000;
const ROUNDS: usize = 5;

fn main() {
    if !common::can_run("the benchmark") {
        return;
    }
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|word| word == "--quick");
    let value = |word: &str| arguments.iter().skip_while(|argument| *argument != word).nth(1);
    let only = value("--only");
    let chosen: Option<usize> = value("--clients").and_then(|number| number.parse().ok());
    let rounds = value("--rounds").and_then(|number| number.parse().ok()).unwrap_or(ROUNDS);
    let time = Duration::from_secs(if quick { 1 } else { 4 });

    println!(
        "tables of {ENTRIES} entries; the median of {rounds} rounds of {time:?}, taken in turns with a bare loop that"
    );
    println!("overwrites 4 KiB and calls fdatasync(2); CPU is that of the serving processes");
    println!(
        "{:<6} {:>7}  {:<8} {:>10} {:>8} {:>8} {:>8}   ratios",
        "table", "clients", "server", "updates/s", "p50 ms", "p99 ms", "CPU us"
    );
    for kind in KINDS.into_iter().filter(|kind| only.is_none_or(|only| only == kind)) {
        for clients in CLIENTS.into_iter().filter(|number| chosen.is_none_or(|chosen| chosen == *number)) {
            let rounds = in_turns(rounds, kind, time, |load| load.updates(clients, time));
            report(kind, clients, "updates", rounds);
        }
        let rounds = in_turns(rounds, kind, time, |load| load.lookups_beside_updates(time));
        report(kind, 1, "lookups beside another client's updates", rounds);
    }
}

/// The bare loop, stock and mapkeep.
type Round = (f64, Figures, Figures);

/// Measures them in turns.
fn in_turns(count: usize, kind: &str, time: Duration, run: impl Fn(&Load<'_>) -> Figures) -> Vec<Round> {
    let round = |_| {
        let floor = bare_syncs(time / 4);
        (floor, measure(Server::Stock, kind, &run), measure(Server::Ours, kind, &run))
    };
    (0..count).map(round).collect()
}

/// Prints a line for each server.
fn report(kind: &str, clients: usize, what: &str, mut rounds: Vec<Round>) {
    // A disk shared with others is now fast, now slow: the ratios are those of the round in the middle.
    rounds.sort_by(|a, b| (a.2.rate / a.1.rate).total_cmp(&(b.2.rate / b.1.rate)));
    let (floor, stock, ours) = &rounds[rounds.len() / 2];
    line(kind, clients, "stock", stock, &format!("{what}; bare loop {floor:.0}/s"));
    let ratios = format!(
        "{:.2} x stock ({:.2} to {:.2}); p99 {:.2} x stock; CPU {:.2} x stock; {:.2} x the bare loop",
        ours.rate / stock.rate,
        rounds[0].2.rate / rounds[0].1.rate,
        rounds[rounds.len() - 1].2.rate / rounds[rounds.len() - 1].1.rate,
        ours.p99 / stock.p99,
        ours.cpu / stock.cpu,
        ours.rate / floor,
    );
    line(kind, clients, "mapkeep", ours, &ratios);
}

/// A fresh table and a fresh server for each line.
fn measure(server: Server, kind: &str, run: &impl Fn(&Load<'_>) -> Figures) -> Figures {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let content: Content = (0..ENTRIES).map(|number| (load::key(number), load::value(0))).collect();
    place.make(&table, &content);
    let service: Service<'_> = place.start(server);
    let mut client = service.client();
    let flags = if kind == "lmdb" { SHARED } else { CACHE };
    client.flags = flags;
    // The first answer comes when everything is up and the table is open.
    client.open_table(&table);
    client.update(&table, &load::key(0), &load::value(1));
    let mut pids = vec![service.master.pid()];
    pids.extend(service.master.family().iter().map(|process| process.pid));
    let load = Load { socket: service.master.socket(), table: &table, flags, entries: ENTRIES, pids };
    load.warm_up(WARM_UP);
    run(&load)
}

/// How often a page can be made durable, by a program that does nothing else.
fn bare_syncs(time: Duration) -> f64 {
    let place = Place::new();
    let file = std::fs::File::create(place.data("bare")).unwrap();
    file.write_all_at(&[1; 1 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < time {
        file.write_all_at(&[2; 4096], u64::from(count % 256) * 4096).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

fn line(kind: &str, clients: usize, server: &str, figures: &Figures, ratios: &str) {
    println!(
        "{kind:<6} {clients:>7}  {server:<8} {:>10.0} {:>8.2} {:>8.2} {:>8.1}   {ratios}",
        figures.rate, figures.p50, figures.p99, figures.cpu
    );
}
