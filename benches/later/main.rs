//! What clients of an indexed table notice of others that wait for a process that answers slowly.
//!
//! Clients ask a hash and a cdb table: alone; beside 64 clients each of which has a question open with a process that takes
//! 50 ms for every answer (tests/standin, which mapkeepd starts in place of a rules worker); and beside the same 64 in another
//! service, which have the same processors busy and share nothing else. The three in turns, many times, so that a machine that
//! is now fast, now slow, is so for all. Prints the median of the rounds for each 99th percentile, the ratio in the
//! middle of the rounds, and the bar that it is held to. Run as root: `cargo bench --bench later`; `-- --quick` asks less,
//! `-- --rounds 99` for longer. On a machine with other work: `nice -n -20 cargo bench --bench later`.
//!
//! This program is also the worker of that service: a copy of it stands beside a copy of mapkeepd.
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

#[path = "../lookup/load.rs"]
#[allow(dead_code)] // what takes CPU time is of no interest here
mod load;

use common::master::{Master, Site};
use common::programs::with_this_as_worker;
use common::wire::{ANNOUNCEMENT, bytes};
use load::Load;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const ENTRIES: u32 = 100_000;
const KINDS: [&str; 2] = ["hash", "cdb"];
const CLIENTS: [usize; 3] = [1, 16, 64];
/// Many short rounds: what else the machine has to do is the same for all that is measured in one.
const ROUNDS: usize = 41;
const REQUESTS: usize = 20_000;
/// Clients that wait for the slow process, and how long it takes for each answer.
const WAITING: usize = 64;
const SLOWNESS: &str = "50ms";
/// What the ratio is held to.
const BAR: f64 = 1.1;

fn main() {
    mapkeep_standin::play();
    if !common::can_run("the benchmark") {
        return;
    }
    let arguments: Vec<String> = std::env::args().collect();
    let value = |word: &str| arguments.iter().skip_while(|argument| *argument != word).nth(1);
    let quick = arguments.iter().any(|word| word == "--quick");
    let rounds = value("--rounds").map_or(if quick { 9 } else { ROUNDS }, |number| number.parse().unwrap());
    let sites = [Site::new(), Site::new()];
    let source: String =
        (0..ENTRIES).map(|number| format!("user{number}@example.org value{number}\n")).collect();
    let tables = KINDS.map(|kind| sites[0].table(kind, kind, &source));
    let slow = sites[0].table("regexp", "slow", "/nothing/ nothing\n");
    let [own, other] = sites.each_ref().map(|site| {
        site.keep("");
        site.approve(&[&tables[0], &tables[1], &slow], "max_use = 10000000\nmax_idle = 3600s\n");
        start(site)
    });
    println!(
        "{} processors, load average {}; {rounds} rounds of {REQUESTS} requests, alone and beside {WAITING} clients that \
         wait {SLOWNESS} for each answer",
        std::thread::available_parallelism().unwrap(),
        load_average()
    );
    for (kind, table) in KINDS.iter().zip(&tables) {
        for clients in CLIENTS {
            let load = Load { table, clients, requests: REQUESTS, entries: ENTRIES, key: load::user };
            load.warm_up(&own.socket());
            let ask = |beside: Option<&Master<'_>>| {
                let crowd = beside.map(|master| Crowd::wait(master, &slow));
                let p99 = load.run(&own.socket(), &[]).p99;
                (p99, crowd.map_or(0.0, Crowd::leave))
            };
            let ways = [None, Some(&own), Some(&other)];
            let rounds: Vec<[(f64, f64); 3]> = (0..rounds)
                .map(|round| {
                    let mut seen = [(0.0, 0.0); 3];
                    // Each of them is the first now and then.
                    (round..round + 3).for_each(|turn| seen[turn % 3] = ask(ways[turn % 3]));
                    seen
                })
                .collect();
            report(&format!("{kind}, {clients} clients"), &rounds);
        }
    }
    println!("load average at the end {}", load_average());
}

/// Prints a line: of each round, the 99th percentile and the answers of those who wait, for each way.
fn report(what: &str, rounds: &[[(f64, f64); 3]]) {
    let p99 = |way: usize| spread(rounds.iter().map(|round| round[way].0))[1];
    let ratio = |of: usize, to: usize| spread(rounds.iter().map(|round| round[of].0 / round[to].0));
    let ([least, alone, most], [_, other, _]) = (ratio(1, 0), ratio(1, 2));
    let [_, answers, _] = spread(rounds.iter().map(|round| round[1].1));
    println!(
        "{what}: p99 {:.1} us alone, {:.1} us beside those who wait, {:.1} us beside those of the other service: {alone:.2} \
         times that alone ({least:.2} to {most:.2}; bar: {BAR}), {other:.2} times that beside the other service; those who wait \
         got {answers:.0} answers a second",
        p99(0),
        p99(1),
        p99(2)
    );
}

/// mapkeepd with this program as its worker.
fn start(site: &Site) -> Master<'_> {
    let folder = site.path("lib");
    with_this_as_worker(&folder, mapkeep_standin::programs());
    let master = site.start_program(&folder.join("mapkeepd"), &["-n", "proxymap", "-t", "unix", "-u"]);
    drop(master.wire());
    master
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The least, the one in the middle, and the most.
fn spread(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

/// Clients each of which always waits for an answer of the slow process.
struct Crowd {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    begun: Instant,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// They come one after the other, so that they are not all answered at the same moment, and all have been answered once.
    fn wait(master: &Master<'_>, table: &str) -> Crowd {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let start = |number: usize| {
            let (socket, table) = (master.socket(), table.to_owned());
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            std::thread::sleep(Duration::from_micros(700));
            std::thread::spawn(move || {
                let mut stream = UnixStream::connect(socket).unwrap();
                stream.read_exact(&mut [0; ANNOUNCEMENT.len()]).unwrap();
                let key = format!("user{number};slow={SLOWNESS}");
                let request = bytes(&format!("request|lookup|table|{table}|flags|64|key|{key}||"));
                let wanted = bytes(&format!("status|0|value|slow({key})||"));
                let mut answer = vec![0; wanted.len()];
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(&request).unwrap();
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, wanted);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..WAITING).map(start).collect();
        let all = || (answers.load(Ordering::Relaxed) >= WAITING).then_some(());
        common::poll(common::PATIENCE, all).expect("those who wait are answered");
        answers.store(0, Ordering::Relaxed);
        Crowd { stop, answers, begun: Instant::now(), threads }
    }

    /// They leave: how many answers they have got in a second.
    fn leave(self) -> f64 {
        let answers = self.answers.load(Ordering::Relaxed) as f64 / self.begun.elapsed().as_secs_f64();
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        answers
    }
}
