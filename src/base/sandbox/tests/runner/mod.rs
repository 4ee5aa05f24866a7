//! Purpose: runs named checks one after the other in one thread, and prints what cargo's own runner would.

#![allow(dead_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// A named check; it fails by a panic.
pub type Check = (&'static str, fn());

/// Runs the checks whose names contain an argument of the program (all, if there is none).
pub fn run(checks: &[Check]) -> std::process::ExitCode {
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let begin = Instant::now();
    let (mut passed, mut failed, mut filtered) = (0, 0, 0);
    println!("\nrunning {} tests", checks.len());
    for (name, check) in checks {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            filtered += 1;
            continue;
        }
        let outcome = catch_unwind(AssertUnwindSafe(check));
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        *if outcome.is_ok() { &mut passed } else { &mut failed } += 1;
    }
    println!(
        "\ntest result: {}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out; \
         finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        begin.elapsed().as_secs_f64()
    );
    if failed == 0 { 0.into() } else { 101.into() }
}

/// Whether checks that need root can run. If not, prints a notice, and fails if CI is set.
pub fn have_root(program: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{program} needs root in CI");
    println!("\n*** SKIPPED: {program} needs root. Run it again as root before trusting the result. ***\n");
    false
}
