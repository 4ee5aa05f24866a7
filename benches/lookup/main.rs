//! What a lookup costs: a bare epoll echo server, stock proxymap and mapkeep, asked the same questions in one run.
//!
//! Prints one table: server CPU for a request, requests a second, median and 99th percentile, with ratios. The
//! echo server is the floor: what a process pays that reads a request and writes an answer of the same length,
//! and does nothing in between. Run as root: `cargo bench --bench lookup`. `-- --quick` asks less, `-- --only cdb` asks
//! one type of table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]
#![allow(missing_docs)]

#[path = "../../tests/common/mod.rs"]
mod common;

mod echo;
mod load;

use common::master::{Master, Site};
use load::{Figures, Load};
use std::path::Path;

/// Entries in each table.
const ENTRIES: u32 = 100_000;
const KINDS: [&str; 5] = ["hash", "btree", "lmdb", "cdb", "texthash"];
const CLIENTS: [usize; 3] = [1, 16, 64];
const STOCK: &str = "/usr/lib/postfix/sbin/proxymap";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, socket, ..] = &arguments[..]
        && word == "echo"
    {
        return echo::serve(Path::new(socket));
    }
    if !common::can_run("the benchmark") {
        return;
    }
    let requests = if arguments.iter().any(|word| word == "--quick") { 20_000 } else { 100_000 };
    let site = Site::new();
    std::fs::write(site.path("stderr"), "").unwrap();
    let source: String =
        (0..ENTRIES).map(|number| format!("user{number}@example.org value{number}\n")).collect();
    let tables: Vec<(&str, String)> =
        KINDS.iter().map(|kind| (*kind, site.table(kind, kind, &source))).collect();
    let names: Vec<&str> = tables.iter().map(|(_, name)| name.as_str()).collect();
    site.approve(&names, "max_use = 1000000\nmax_idle = 3600s\n");

    println!("{ENTRIES} entries, {requests} requests a line; CPU is that of the serving processes");
    println!(
        "{:<9} {:>7}  {:<8} {:>10} {:>8} {:>8} {:>8}   ratios",
        "table", "clients", "server", "requests/s", "p50 us", "p99 us", "CPU us"
    );
    let only = arguments.iter().skip_while(|word| *word != "--only").nth(1);
    let wanted = |kind: &str| only.is_none_or(|only| only == kind);
    let echo = echo::Echo::start(&site.path("spool/private/echo"));
    for (kind, table) in tables.iter().filter(|(kind, _)| wanted(kind)) {
        for clients in CLIENTS {
            let load = Load { table, clients, requests, entries: ENTRIES };
            let floor = load.run(echo.socket(), &[echo.pid()]);
            line(kind, clients, "echo", &floor, "");
            let stock = with_server(&site, Path::new(STOCK), &load);
            line(kind, clients, "stock", &stock, &format!("CPU {:.2} x echo", stock.cpu / floor.cpu));
            let ours = with_server(&site, Path::new(env!("CARGO_BIN_EXE_mapkeepd")), &load);
            let ratios = format!(
                "CPU {:.2} x echo, 1/{:.2} of stock; throughput {:.2} x stock; p99 {:.2} x stock",
                ours.cpu / floor.cpu,
                stock.cpu / ours.cpu,
                ours.throughput / stock.throughput,
                ours.p99 / stock.p99
            );
            line(kind, clients, "mapkeep", &ours, &ratios);
        }
    }
}

fn with_server(site: &Site, program: &Path, load: &Load<'_>) -> Figures {
    let master: Master<'_> = site.start_program(program, &["-n", "proxymap", "-t", "unix", "-u"]);
    // Stock reports to master(8) before and after each request; somebody has to read that.
    let mut status = master.status.as_ref().unwrap().try_clone().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut status, &mut std::io::sink()));
    // The first answer comes when everything is up and the table is open.
    load.warm_up(&master.socket());
    let mut pids = vec![master.pid()];
    pids.extend(master.family().iter().map(|process| process.pid));
    let figures = load.run(&master.socket(), &pids);
    drop(master);
    let _ = reader.join();
    figures
}

fn line(kind: &str, clients: usize, server: &str, figures: &Figures, ratios: &str) {
    println!(
        "{kind:<9} {clients:>7}  {server:<8} {:>10.0} {:>8.1} {:>8.1} {:>8.2}   {ratios}",
        figures.throughput, figures.p50, figures.p99, figures.cpu
    );
}
