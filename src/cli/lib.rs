//! The `mapkeep` command, for people.
//!
//! Purpose: query a running service as Postfix would, and show what it serves and how it is confined. May: run postconf,
//! postmap and mapkeepd, connect to the service's socket, print. The service runs without it.
#![forbid(unsafe_code)]

mod checkpoint;
mod client;
mod configuration;
mod demo;
mod error;
mod query;
mod serve;
mod tables;
mod words;

use error::{Error, Exit};
use lexopt::Arg::{Long, Short, Value};
use lexopt::Parser;
use mapkeep_config_site::checks::own_path;
use mapkeep_proto::version_text;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use words::{ask_for_help, none, say};

const USAGE: &str = "usage: mapkeep query [-c CONFIG_DIR | --socket PATH] TYPE:NAME [--] KEY...
       mapkeep tables [-c CONFIG_DIR] [--json] [--write]
       mapkeep serve [-n SERVICE] [-c CONFIG_DIR] [--socket PATH]...
       mapkeep checkpoint [-c CONFIG_DIR]
       mapkeep demo
       mapkeep --version

query       looks up keys through the running proxymap service, as a Postfix program does
tables      lists the approved tables: where each is named, its file, and whether it can be served
serve       runs the service on a socket of its own, without master(8); see mapkeepd(8)
checkpoint  writes the Berkeley DB files of the tables in proxy_write_maps now
demo        starts the whole sandboxed service on sample tables in a temporary directory, queries
            it, and shows the answers, the refusals and the live confinement of each process

mapkeep COMMAND --help explains each command; the exit status for wrong usage is 64";

/// A command: its name, its usage, and what it does with the words after its name.
struct Command {
    name: &'static str,
    usage: &'static str,
    run: fn(&[OsString]) -> Result<Exit, Error>,
}

const COMMANDS: [Command; 5] = [
    Command { name: "query", usage: query::USAGE, run: query::run },
    Command { name: "tables", usage: tables::USAGE, run: tables::run },
    Command { name: "serve", usage: serve::USAGE, run: serve::run },
    Command { name: "checkpoint", usage: checkpoint::USAGE, run: checkpoint::run },
    Command { name: "demo", usage: demo::USAGE, run: demo::run },
];

/// Our version, and that of the lookup worker, which matches patterns with PCRE2.
fn versions() -> String {
    let own = version_text("mapkeep");
    let worker = own_path().map_err(|error| error.to_string()).and_then(|own| {
        let mut worker = std::process::Command::new(own.with_file_name("mapkeep-worker"));
        worker.arg("--version").output().map_err(|error| error.to_string())
    });
    match worker {
        Ok(said) if said.status.success() => {
            format!("{own}\n{}", String::from_utf8_lossy(&said.stdout).trim_end())
        }
        Ok(said) => format!("{own}\nmapkeep-worker: {}", said.status),
        Err(error) => format!("{own}\nmapkeep-worker: {error}"),
    }
}

/// What the program does without a command.
fn general(words: &[OsString]) -> Result<Exit, Error> {
    let mut words = Parser::from_args(words);
    let text = match words.next()? {
        None => return Err(Error::missing("the command")),
        Some(Short('h') | Long("help")) => USAGE.to_owned(),
        Some(Value(word)) if word == "help" => USAGE.to_owned(),
        Some(Short('V') | Long("version")) => versions(),
        Some(Value(word)) => return Err(Error::word("unknown command", word)),
        Some(option) => return Err(option.unexpected().into()),
    };
    none(words)?;
    say(&text)
}

/// Entry point of the `mapkeep` program.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let command = words.split_first().and_then(|(first, rest)| {
        let command = COMMANDS.iter().find(|command| first == command.name)?;
        Some((command, rest))
    });
    let (name, result) = match command {
        None => ("mapkeep".to_owned(), general(&words)),
        Some((command, rest)) => {
            let result = if ask_for_help(rest) { say(command.usage) } else { (command.run)(rest) };
            (format!("mapkeep {}", command.name), result)
        }
    };
    let exit = result.unwrap_or_else(|error| {
        // If standard error is closed too, the exit status still tells.
        let _ = writeln!(io::stderr(), "{}", error.message(&name));
        error.exit
    });
    ExitCode::from(exit as u8)
}
