//! Hostile clients and hostile files against a running service: the escape attempts that need no code inside it.
//!
//! Every scenario starts a service of its own under a stand-in for master(8) (`common/master.rs`). In each, the service
//! stays the same processes, opens nothing that it should not, and goes on answering a client that did nothing wrong.
#![cfg(test)]

mod common;
#[path = "hostile/files.rs"]
mod files;
#[path = "hostile/limits.rs"]
mod limits;
#[path = "hostile/loading.rs"]
mod loading;
#[path = "hostile/requests.rs"]
mod requests;
#[path = "hostile/slow.rs"]
mod slow;
#[path = "hostile/streams.rs"]
mod streams;

use common::master::Master;
use common::stopwatch::Stopwatch;
use common::wire::Wire;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// An innocent client waits no longer than this for any answer. Taken with a stopwatch, for busy machines.
const DEADLINE: Duration = Duration::from_secs(1);

/// Descriptors that a worker has without clients.
const WORKER_OWN: usize = 6;

/// The table of the innocent client.
const FINE: &str = "static:fine";

/// A lookup in the old dialect.
fn lookup(table: &str, key: &str) -> String {
    format!("request|lookup|table|{table}|flags|64|key|{key}||")
}

/// A client that did nothing wrong, and how long it had to wait at most.
struct Innocent {
    wire: Wire,
    slowest: Duration,
}

impl Innocent {
    fn new(master: &Master<'_>) -> Innocent {
        Innocent { wire: master.wire(), slowest: Duration::ZERO }
    }

    /// Asks, on the connection that it has and on a new one.
    fn is_served(&mut self, master: &Master<'_>) {
        for fresh in [false, true] {
            let before = Stopwatch::start();
            let mut new = fresh.then(|| master.wire());
            let wire = new.as_mut().unwrap_or(&mut self.wire);
            assert_eq!(wire.ask(&lookup(FINE, "x")), "status|0|value|fine||");
            let took = before.elapsed();
            assert!(took < DEADLINE, "an innocent client waits {took:?}");
            self.slowest = self.slowest.max(took);
        }
    }
}

/// The processes of the service and their open descriptors once nothing is in flight any more: the worker has noticed
/// that every connection but `clients` was closed.
fn settled(master: &Master<'_>, clients: usize) -> Vec<(u32, usize)> {
    let worker = master.only("lookup worker");
    let rest = common::poll(common::PATIENCE, || {
        let found = at_rest(master)?;
        found.contains(&(worker, WORKER_OWN + clients)).then_some(found)
    });
    rest.unwrap_or_else(|| panic!("never at rest: {:?}", inventory(master)))
}

/// The inventory, if for several looks it has not changed and every process slept, or was stopped. One that has something
/// to do, and waits for a processor to do it, does not sleep.
fn at_rest(master: &Master<'_>) -> Option<Vec<(u32, usize)>> {
    let before = inventory(master);
    let same = (0..8).all(|_| {
        std::thread::sleep(common::BEAT);
        inventory(master) == before && before.iter().all(|(pid, _)| sleeps(*pid))
    });
    same.then_some(before)
}

fn sleeps(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['S', 'T']))
}

/// The processes of the service, and how many descriptors each has open.
fn inventory(master: &Master<'_>) -> Vec<(u32, usize)> {
    let family = master.family().into_iter().map(|process| process.pid).chain([master.pid()]);
    let mut list: Vec<_> = family.map(|pid| (pid, descriptors(pid))).collect();
    list.sort_unstable();
    list
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Waits until the service has the processes and descriptors that it had.
fn is_as_before(master: &Master<'_>, before: &[(u32, usize)]) {
    let same = common::poll(common::PATIENCE, || (inventory(master) == before).then_some(()));
    assert!(same.is_some(), "{:?} instead of {before:?} (process, open descriptors)", inventory(master));
}

/// Scenarios that make the machine as busy as they can run alone: the others count time.
#[allow(dead_code)]
enum Turn {
    Together(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Turn {
    fn of(module: &str) -> Turn {
        static TURN: RwLock<()> = RwLock::new(());
        // One that has failed has ended nevertheless.
        match module {
            "slow" => Turn::Alone(TURN.write().unwrap_or_else(PoisonError::into_inner)),
            _ => Turn::Together(TURN.read().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

/// One test for each scenario.
macro_rules! scenarios {
    ($($module:ident: $($name:ident),+;)+) => {
        mod scenario {
            $(
                $(
                    #[test]
                    fn $name() {
                        if crate::common::can_run(stringify!($name)) {
                            let _turn = crate::Turn::of(stringify!($module));
                            crate::$module::$name();
                        }
                    }
                )+
            )+
        }
    };
}

scenarios! {
    requests:
        odd_table_names_open_nothing,
        flags_are_hints_and_nothing_else,
        text_of_clients_stays_in_its_log_line;
    streams:
        portions_of_any_size_are_read_whole,
        whoever_has_nothing_more_to_say_gets_all_answers,
        connections_that_end_behind_a_request_are_closed,
        half_a_connection_that_is_not_read_is_closed,
        descriptors_and_urgent_bytes_are_dropped;
    files:
        odd_files_in_place_of_tables_change_nothing,
        odd_files_at_the_start_are_refused,
        lengths_of_four_gigabytes_are_not_believed;
    limits:
        no_more_descriptors_leaves_clients_waiting,
        ten_thousand_idle_clients_cost_little,
        connections_on_their_way_elsewhere_only_delay,
        unfinished_requests_are_bounded;
    loading:
        a_large_table_is_loaded_while_others_are_served;
    slow:
        slow_patterns_delay_no_other_table;
}
