//! What the test program prints: a line for each part, what failed in it with the end of the service's log, and a last line
//! like that of cargo's own runner. With `table` on the command line, a line for each attempt.

use std::process::ExitCode;
use std::time::Instant;

/// Failures of a part that are shown; the others are counted.
const SHOWN: usize = 10;

/// One attempt and what became of it.
#[derive(Clone, Debug)]
pub struct Line {
    pub item: u8,
    pub what: String,
    pub required: String,
    pub seen: String,
    pub passed: bool,
    /// The end of the service's log, if the attempt failed and there is one.
    pub log: String,
}

/// What is printed, part by part.
pub struct Report {
    begin: Instant,
    /// Whether the lines of what passed are printed, too.
    whole: bool,
    passed: usize,
    failed: usize,
}

impl Report {
    pub fn new(whole: bool) -> Report {
        Report { begin: Instant::now(), whole, passed: 0, failed: 0 }
    }

    /// Prints a part of the table.
    pub fn part(&mut self, title: &str, lines: &[Line]) {
        let failed: Vec<&Line> = lines.iter().filter(|line| !line.passed).collect();
        self.passed += lines.len() - failed.len();
        self.failed += failed.len();
        println!("{title}: {} attempts, {} of them not as required", lines.len(), failed.len());
        let shown: Vec<&Line> =
            if self.whole { lines.iter().collect() } else { failed.iter().copied().take(SHOWN).collect() };
        if !shown.is_empty() {
            println!("{:>4}  {:<76} {:<24} seen", "item", "attempt", "required");
        }
        for Line { item, what, required, seen, passed, log } in &shown {
            let mark = if *passed { "" } else { "   <== FAILED" };
            println!("{item:>4}  {what:<76} {required:<24} {seen}{mark}");
            if !log.is_empty() {
                println!("--- log\n{log}\n---");
            }
        }
        let hidden = failed.len().saturating_sub(shown.len());
        if hidden > 0 {
            println!("      and {hidden} more that failed; all with the word `table`");
        }
    }

    /// Prints the last line, and returns the program's exit status.
    pub fn end(self) -> ExitCode {
        let Report { begin, passed, failed, .. } = self;
        println!(
            "\ntest result: {}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
            if failed == 0 { "ok" } else { "FAILED" },
            begin.elapsed().as_secs_f64()
        );
        if failed == 0 { ExitCode::SUCCESS } else { 101.into() }
    }
}
