//! What the test program prints: one line for each attempt, and a last line like that of cargo's own runner.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Instant;

/// One attempt and what became of it.
#[derive(Clone, Debug)]
pub struct Line {
    pub item: u8,
    pub what: String,
    pub required: String,
    pub seen: String,
    pub passed: bool,
}

/// Prints a part of the table.
pub fn print(title: &str, lines: &[Line]) {
    println!("\n{title}\n{:>4}  {:<76} {:<24} seen", "item", "attempt", "required");
    for Line { item, what, required, seen, passed } in lines {
        let mark = if *passed { "" } else { "   <== FAILED" };
        println!("{item:>4}  {what:<76} {required:<24} {seen}{mark}");
    }
}

/// Prints the last line, and says how the program is to end.
pub fn end(lines: &[Line], begin: Instant) -> ExitCode {
    let failed = lines.iter().filter(|line| !line.passed).count();
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        lines.len() - failed,
        begin.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { 101.into() }
}
