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
mod words;

use mapkeep_proto::version_text;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use words::{Usage, say};

const USAGE: &str = "usage: mapkeep query [-c CONFIG_DIR | --socket PATH] TYPE:NAME [--] KEY...
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
       and shows the answers, the refusals and the live confinement of each process

mapkeep COMMAND --help has the details of each; wrong usage is exit status 64";

/// Our version, and what the lookup worker, which matches patterns with PCRE2, says of itself.
fn versions() -> String {
    let own = version_text("mapkeep");
    let worker = std::env::current_exe().and_then(std::fs::canonicalize).and_then(|path| {
        std::process::Command::new(path.with_file_name("mapkeep-worker")).arg("--version").output()
    });
    match worker {
        Ok(said) if said.status.success() => {
            format!("{own}\n{}", String::from_utf8_lossy(&said.stdout).trim_end())
        }
        Ok(said) => format!("{own}\nmapkeep-worker: {}", said.status),
        Err(error) => format!("{own}\nmapkeep-worker: {error}"),
    }
}

/// Entry point of the `mapkeep` program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some((word, rest)) = arguments.split_first() else {
        return Usage::missing("the command").print("mapkeep");
    };
    let text = |text: &str| words::none(rest).map_or_else(|usage| usage.print("mapkeep"), |()| say(text));
    match word.as_bytes() {
        b"query" => query::run(rest),
        b"tables" => tables::run(rest),
        b"serve" => serve::run(rest),
        b"checkpoint" => checkpoint::run(rest),
        b"demo" => demo::run(rest),
        b"--version" | b"-V" => text(&versions()),
        b"--help" | b"-h" | b"help" => text(USAGE),
        word if word.starts_with(b"-") => Usage::unknown(OsStr::from_bytes(word)).print("mapkeep"),
        word => Usage::word("unknown command", OsStr::from_bytes(word)).print("mapkeep"),
    }
}
