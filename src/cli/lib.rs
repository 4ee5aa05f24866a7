//! The `mapkeep` command, for people.
//!
//! Purpose: ask a running service as Postfix would, and show what the service is. May: run postconf, postmap and
//! mapkeepd, connect to the service's socket, print. Never: needed at run time.
//! Called by: the `mapkeep` program.
#![forbid(unsafe_code)]

mod checkpoint;
pub mod client;
mod demo;
pub mod query;
mod serve;
mod tables;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "usage: mapkeep query [-c CONFIG_DIR | --socket PATH] TYPE:NAME KEY...
       mapkeep tables [-c CONFIG_DIR] [--json] [--write]
       mapkeep serve [-n SERVICE] [-c CONFIG_DIR] [--socket PATH]...
       mapkeep checkpoint [-c CONFIG_DIR]
       mapkeep demo
       mapkeep --version

query  asks the running proxymap service, as a Postfix program does
tables lists the approved tables: what names each, its file, whether it can be served
serve  runs the service on a socket of its own, without master(8); see mapkeepd(8)
checkpoint has the Berkeley DB files of tables that can be changed written now
demo   starts the whole sandboxed service on sample tables in a temporary directory, asks it,
       and shows the answers, the refusals and the live confinement of each process";

/// The exit status for a command line that is not understood (sysexits' EX_USAGE).
const WRONG_USAGE: u8 = 64;

/// Entry point of the `mapkeep` program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (word, rest) = match arguments.split_first() {
        Some((word, rest)) => (word.to_string_lossy(), rest),
        None => ("--help".into(), &[][..]),
    };
    match word.as_ref() {
        "query" => query::run(rest),
        "tables" => tables::run(rest),
        "serve" => serve::run(rest),
        "checkpoint" => checkpoint::run(rest),
        "demo" => demo::run(),
        "--version" | "-V" => say(&format!("mapkeep {}", env!("CARGO_PKG_VERSION"))),
        "--help" | "-h" | "help" if !arguments.is_empty() => say(USAGE),
        _ => {
            let _ = writeln!(std::io::stderr(), "{USAGE}");
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
