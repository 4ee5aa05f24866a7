//! Kills at random moments, while several clients write.
//!
//! A supervisor is started again by the test as master(8) would, at once, with the same listening socket; the others are
//! replaced by the service. After each kill every client gets something acknowledged again before the next.

use crate::common::postfix::Server;
use crate::common::writing::{Content, Place, Random, Service, how_many};
use crate::common::{PATIENCE, process};
use crate::owner::{self, Report, Shared};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const OWNERS: usize = 4;
const SEED: u64 = 0x6b69_6c6c_0001;
/// The supervisor restarts this number of dead children of a kind at once within a minute, and further ones with
/// growing delays.
const CHILDREN_IN_A_ROW: usize = 4;
/// How often the clients are silent for so long that the service writes its files, and is killed doing so.
const SILENT_IN: usize = 60;
const SILENCE: Duration = Duration::from_millis(1000);

/// Kills this number of processes, or MAPKEEP_KILLS, and prints the results.
pub fn storm(server: Server, kinds: &[&str], usual: usize) {
    let count = how_many("MAPKEEP_KILLS", usual);
    let begun = Instant::now();
    let place = Place::new();
    let tables: Vec<String> = kinds.iter().map(|kind| place.name(kind, &format!("{kind}-t"))).collect();
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    place.approve(&names, "");
    let mut service = place.start(server);
    let shared = Shared {
        acknowledged: (0..OWNERS).map(|_| AtomicUsize::new(0)).collect(),
        paused: AtomicBool::new(false),
        over: AtomicBool::new(false),
    };
    let socket = service.master.socket();
    let mut killer = Killer { random: Random(SEED), in_a_row: 0, kills: BTreeMap::new(), ends: 0 };
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let owners: Vec<_> = (0..OWNERS)
            .map(|number| {
                let (socket, tables, shared) = (&socket, &tables, &shared);
                scope.spawn(move || owner::own(number, socket, tables, SEED, shared))
            })
            .collect();
        let finished = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            killer.progress(&mut service, &shared);
            while killer.killed() < count {
                let silent = killer.killed() % SILENT_IN == SILENT_IN - 1;
                killer.wait_for_a_moment(&shared, silent);
                killer.kill(&mut service, server);
                shared.paused.store(false, Ordering::Relaxed);
                killer.progress(&mut service, &shared);
            }
        }));
        // The clients must be stopped, or the test would never end.
        shared.over.store(true, Ordering::Relaxed);
        if finished.is_err() && !service.master.runs() {
            service.restart();
        }
        let reports = owners.into_iter().map(|owner| owner.join().unwrap()).collect();
        finished.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        reports
    });

    let contents = united(&tables, &reports);
    let mut client = service.client();
    for table in &tables {
        client.open_table(table);
        assert!(
            client.content(table) == contents[table],
            "{table} lists something else than was acknowledged"
        );
    }
    drop(client);
    service.stop();
    tables.iter().for_each(|table| place.assert_file(table, &contents[table]));
    print(server, kinds, &killer, &reports, begun.elapsed());
    for line in place.site.raw_log().iter().filter(|line| line.contains("fatal: ")) {
        eprintln!("  {line}");
    }
    let wrong: Vec<&String> = reports.iter().flat_map(|report| &report.wrong).collect();
    assert!(wrong.is_empty(), "{} lost or false: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    let aside: Vec<_> = tables.iter().flat_map(|table| set_aside(&place, table)).collect();
    assert!(aside.is_empty(), "called damaged after a kill: {aside:?}");
    assert_eq!(process::all().iter().filter(|p| !p.zombie && p.touches(&place.data(""))).count(), 0);
}

fn set_aside(place: &Place, table: &str) -> Vec<String> {
    let log = place.site.raw_log();
    log.into_iter().filter(|line| line.contains(table) && line.contains("corrupt")).collect()
}

/// What the owners together have written.
fn united(tables: &[String], reports: &[Report]) -> BTreeMap<String, Content> {
    let of = |table: &String| -> Content {
        reports.iter().flat_map(|report| report.contents[table].clone()).collect()
    };
    tables.iter().map(|table| (table.clone(), of(table))).collect()
}

struct Killer {
    random: Random,
    in_a_row: usize,
    kills: BTreeMap<&'static str, usize>,
    /// How often the service ended although it was not the one that was killed.
    ends: usize,
}

impl Killer {
    fn killed(&self) -> usize {
        self.kills.values().sum()
    }

    /// Waits until each client has had something acknowledged since now. Starts the service if it has ended.
    fn progress(&mut self, service: &mut Service<'_>, shared: &Shared) {
        let start = Instant::now();
        let before: Vec<usize> = counts(shared);
        while counts(shared).iter().zip(&before).any(|(now, before)| now == before) {
            if !service.master.runs() {
                self.ends += 1;
                service.restart();
            }
            assert!(start.elapsed() < PATIENCE, "no progress: {before:?}, {:?}", counts(shared));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A random moment: while the clients write, or while the files are written because they are silent.
    fn wait_for_a_moment(&mut self, shared: &Shared, silent: bool) {
        let millis = if silent { 300 } else { 40 };
        let moment = Duration::from_micros(self.random.next() % (millis * 1000));
        if silent {
            shared.paused.store(true, Ordering::Relaxed);
            std::thread::sleep(SILENCE);
        }
        std::thread::sleep(moment);
    }

    fn kill(&mut self, service: &mut Service<'_>, server: Server) {
        let child = match (server, self.random.below(4)) {
            (Server::Stock, _) => None,
            _ if self.in_a_row >= CHILDREN_IN_A_ROW => None,
            (_, 0 | 1) => Some("writer"),
            (_, 2) => Some("write broker"),
            _ => None,
        };
        match child {
            Some(role) => {
                self.in_a_row += 1;
                // There may be none at this moment: then none is killed, and none counted.
                for pid in service.master.of_role(role) {
                    process::signal("KILL", pid);
                    *self.kills.entry(role).or_default() += 1;
                }
            }
            None => {
                self.in_a_row = 0;
                let asked_to_end = server == Server::Ours && self.random.percent(30);
                if asked_to_end {
                    // Killed while it writes its files and leaves.
                    process::signal("TERM", service.master.pid());
                    std::thread::sleep(Duration::from_micros(self.random.next() % 30_000));
                }
                process::signal("KILL", service.master.pid());
                service.master.wait();
                service.restart();
                *self.kills.entry(if asked_to_end { "leaving service" } else { "service" }).or_default() += 1;
            }
        }
    }
}

fn counts(shared: &Shared) -> Vec<usize> {
    shared.acknowledged.iter().map(|count| count.load(Ordering::Relaxed)).collect()
}

fn print(server: Server, kinds: &[&str], killer: &Killer, reports: &[Report], time: Duration) {
    let sum = |of: fn(&Report) -> usize| reports.iter().map(of).sum::<usize>();
    let longest = reports.iter().map(|report| report.caller.longest).max().unwrap_or_default();
    eprintln!(
        "{server:?} {}: {} kills ({:?}), {} acknowledged, {} looked at, {} lost or false; {} requests without a \
         reply, {} answered RETRY, longest wait {} ms; ended by itself {} times; {:.1} s",
        kinds.join(" and "),
        killer.killed(),
        killer.kills,
        sum(|report| report.acknowledged),
        sum(|report| report.checked),
        sum(|report| report.wrong.len()),
        sum(|report| report.caller.lost),
        sum(|report| report.caller.retried),
        longest.as_millis(),
        killer.ends,
        time.as_secs_f32()
    );
}
