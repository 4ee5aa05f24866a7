//! What a lookup costs: a bare epoll echo server, stock proxymap and mapkeep, asked the same questions in one run.
//!
//! Prints one table: server CPU for a request, requests a second, median and 99th percentile, with ratios. The
//! echo server is the floor: what a process pays that reads a request and writes an answer of the same length,
//! and does nothing in between. The three are asked in turns, some rounds long: a machine that is shared with others is
//! now fast, now slow, so that each figure and each ratio is the median of the rounds. Run as root:
//! `cargo bench --bench lookup`. `-- --quick` asks less, `-- --only cdb` asks one type of table, `-- --clients 16` with so
//! many clients, `-- --rounds 25` asks for longer, `-- --beside /path/mapkeepd` asks another build as well.
#![cfg(test)]

#[path = "../../tests/common/mod.rs"]
mod common;

mod echo;
mod load;

use common::master::{Master, Site};
use load::{Figures, Load};
use std::path::{Path, PathBuf};

/// Entries in each table.
const ENTRIES: u32 = 100_000;
const KINDS: [&str; 5] = ["hash", "btree", "lmdb", "cdb", "texthash"];
const CLIENTS: [usize; 3] = [1, 16, 64];
const ROUNDS: usize = 9;
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
    let value = |word: &str| arguments.iter().skip_while(|argument| *argument != word).nth(1);
    let requests = if arguments.iter().any(|word| word == "--quick") { 10_000 } else { 40_000 };
    let rounds = value("--rounds").and_then(|number| number.parse().ok()).unwrap_or(ROUNDS);
    let only = value("--only");
    let chosen: Option<usize> = value("--clients").and_then(|number| number.parse().ok());
    let mut programs = vec![PathBuf::from(STOCK), PathBuf::from(env!("CARGO_BIN_EXE_mapkeepd"))];
    programs.extend(value("--beside").map(PathBuf::from));
    let sites: Vec<Site> = programs.iter().map(|_| Site::new()).collect();
    let source: String =
        (0..ENTRIES).map(|number| format!("user{number}@example.org value{number}\n")).collect();
    let tables: Vec<(&str, String)> =
        KINDS.iter().map(|kind| (*kind, sites[0].table(kind, kind, &source))).collect();
    let names: Vec<&str> = tables.iter().map(|(_, name)| name.as_str()).collect();
    sites.iter().for_each(|site| site.approve(&names, "max_use = 10000000\nmax_idle = 3600s\n"));

    println!("{ENTRIES} entries; medians of {rounds} rounds of {requests} requests, in turns;");
    println!("CPU is that of the serving processes, for one request");
    println!(
        "{:<9} {:>7}  {:<8} {:>10} {:>8} {:>8} {:>8}   ratios (least to most)",
        "table", "clients", "server", "requests/s", "p50 us", "p99 us", "CPU us"
    );
    let echo = echo::Echo::start(&sites[0].path("spool/private/echo"));
    let floor = Serving { socket: echo.socket().to_owned(), pids: vec![echo.pid()] };
    for (kind, table) in tables.iter().filter(|(kind, _)| only.is_none_or(|only| only == kind)) {
        let masters: Vec<Master<'_>> =
            sites.iter().zip(&programs).map(|(site, program)| start(site, program)).collect();
        let load = |clients| Load { table, clients, requests, entries: ENTRIES, key: load::user };
        // The first answer comes when everything is up and the table is open.
        masters.iter().for_each(|master| load(1).warm_up(&master.socket()));
        let servers: Vec<Serving> =
            std::iter::once(floor.clone()).chain(masters.iter().map(Serving::of)).collect();
        for clients in CLIENTS.into_iter().filter(|number| chosen.is_none_or(|chosen| chosen == *number)) {
            let ask = |server: &Serving| load(clients).run(&server.socket, &server.pids);
            let round = |_| servers.iter().map(ask).collect();
            report(kind, clients, &(0..rounds).map(round).collect::<Vec<_>>());
        }
    }
}

/// A server that runs.
#[derive(Clone)]
struct Serving {
    socket: PathBuf,
    pids: Vec<u32>,
}

impl Serving {
    fn of(master: &Master<'_>) -> Serving {
        let family = master.family();
        let pids = std::iter::once(master.pid()).chain(family.iter().map(|process| process.pid)).collect();
        Serving { socket: master.socket(), pids }
    }
}

fn start<'s>(site: &'s Site, program: &Path) -> Master<'s> {
    let master = site.start_program(program, &["-n", "proxymap", "-t", "unix", "-u"]);
    // Stock reports to master(8) before and after each request; these reports must be read.
    let mut status = master.status.as_ref().unwrap().try_clone().unwrap();
    std::thread::spawn(move || std::io::copy(&mut status, &mut std::io::sink()));
    master
}

/// Prints a line for each server. In each round: the echo server, stock, ours, and another build if there is one.
fn report(kind: &str, clients: usize, rounds: &[Vec<Figures>]) {
    let middle = |of: &dyn Fn(&[Figures]) -> f64| spread(rounds, of)[1];
    let servers = rounds.first().map_or(0, Vec::len);
    for (server, name) in ["echo", "stock", "mapkeep", "other"].into_iter().enumerate().take(servers) {
        let ratios = match server {
            0 => String::new(),
            1 => format!("CPU {:.2} x echo", middle(&|round| round[1].cpu / round[0].cpu)),
            _ => {
                let [least, cpu, most] = spread(rounds, &|round| round[server].cpu / round[0].cpu);
                format!(
                    "CPU {cpu:.2} x echo ({least:.2} to {most:.2}), 1/{:.2} of stock; throughput {:.2} x stock; \
                     p99 {:.2} x stock",
                    middle(&|round| round[1].cpu / round[server].cpu),
                    middle(&|round| round[server].throughput / round[1].throughput),
                    middle(&|round| round[server].p99 / round[1].p99)
                )
            }
        };
        println!(
            "{kind:<9} {clients:>7}  {name:<8} {:>10.0} {:>8.1} {:>8.1} {:>8.2}   {ratios}",
            middle(&|round| round[server].throughput),
            middle(&|round| round[server].p50),
            middle(&|round| round[server].p99),
            middle(&|round| round[server].cpu)
        );
    }
    if servers > 3 {
        println!("{:>26} CPU {:.3} of other's", "", middle(&|round| round[2].cpu / round[3].cpu));
    }
}

/// The least of what the rounds say, the one in the middle, and the most.
fn spread(rounds: &[Vec<Figures>], of: &dyn Fn(&[Figures]) -> f64) -> [f64; 3] {
    let mut values: Vec<f64> = rounds.iter().map(|round| of(round)).collect();
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}
