//! Answers that come later, in whole services: the real mapkeepd and lookup worker, and in place of the rules worker a
//! process that answers late, in another order, with garbage, or never (tests/standin).
//!
//! Purpose: whatever such a process does, each client gets its own answers in its order, or is told to try again, and clients
//! of other tables notice nothing. May: start services of its own. Needs root and Postfix's tools.
//!
//! This program plays several parts: started by cargo it is the test; a copy of it stands beside a copy of mapkeepd under
//! the name `mapkeep-worker`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod order;
mod service;
mod shapes;
mod waiting;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

type Scenario = (&'static str, fn());

/// Scenarios that run at the same time: most of them wait most of the time.
const AT_ONCE: usize = 3;

/// The scenarios of each module.
macro_rules! scenarios {
    ($($module:ident: $($name:ident),+;)+) => {
        const ALL: &[Scenario] = &[$($((stringify!($name), $module::$name)),+),+];
    };
}

scenarios! {
    order:
        answers_in_any_order_reach_each_client_in_its_order,
        random_conversations_in_tables_of_any_depth,
        answers_that_come_twice_are_given_once;
    faults:
        process_that_ends_costs_temporary_errors_once,
        process_that_is_silent_is_replaced,
        garbage_costs_the_stream_and_nobody_else;
    waiting:
        question_that_is_not_answered_ends_at_the_deadline,
        client_that_leaves_takes_its_question_back,
        other_tables_are_answered_while_many_wait,
        ten_thousand_clients_that_wait_cost_less_than_64_mib;
}

fn main() -> ExitCode {
    mapkeep_standin::play();
    let begin = Instant::now();
    // As of cargo's own runner: words are parts of names.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let chosen: Vec<Scenario> = ALL.iter().copied().filter(|(name, _)| wanted(name)).collect();
    println!("\nrunning {} tests", chosen.len());
    if !common::can_run("later") {
        return ExitCode::SUCCESS;
    }
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((name, run)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let passed = catch_unwind(run).is_ok();
                    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
                    if !passed {
                        failed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        chosen.len() - failed.len(),
        failed.len(),
        ALL.len() - chosen.len(),
        begin.elapsed().as_secs_f64()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { 101.into() }
}
