//! `mapkeep tables`: what clients may ask for, who said so, and whether it can be served.
//!
//! Purpose: show an administrator, before or after the start of the service, each approved table with the place
//! that names it, and what to do about those that cannot be served. May: read the configuration, run postconf(1),
//! look at table files with the broker's own rules. Never: read a table's content, change anything, ask the
//! running service (`mapkeep query` does).
//! Called by: the `mapkeep` program.
//!
//! | file | purpose |
//! |---|---|
//! | `site.rs` | the configuration, read as the service reads it |
//! | `verdict.rs` | one table: its file, and whether it can be served |
//! | `text.rs` | for people |
//! | `json.rs` | for programs |

mod json;
mod site;
mod text;
mod verdict;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use mapkeep_config::Service;

use site::Site;
use verdict::{Judge, Verdict};

/// The configuration directory that is compiled into Debian's Postfix.
const DEFAULT_DIRECTORY: &str = "/etc/postfix";

const USAGE: &str = "usage: mapkeep tables [-c CONFIG_DIR] [--json] [--write]
Lists the tables that are approved for the read service (with --write, for the write service),
what names each of them, its file, and whether it can be served.
Without -c, the directory is that of MAIL_CONFIG, or /etc/postfix.
exit status: 0 all can be served, 1 some cannot, 64 wrong usage, 78 configuration unreadable";

/// The exit status of the command. The values from 64 on are those of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    AllServed = 0,
    SomeNot = 1,
    Usage = 64,
    NoOutput = 74,
    Config = 78,
}

/// What ends the command early: the exit status and what to tell.
#[derive(Debug)]
struct Stop {
    exit: Exit,
    message: String,
}

impl Stop {
    fn new(exit: Exit, message: impl fmt::Display) -> Stop {
        Stop { exit, message: message.to_string() }
    }
}

/// The command line, understood.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    directory: Option<PathBuf>,
    json: bool,
    service: Service,
}

/// Everything that is to be shown.
struct Report {
    site: Site,
    verdicts: Vec<Verdict>,
}

impl Report {
    /// Whether clients get answers from every table that the administrator meant.
    fn is_good(&self) -> bool {
        self.site.certain && self.verdicts.iter().all(|verdict| verdict.trouble.is_none())
    }
}

/// Runs `mapkeep tables` with the arguments after the word `tables`.
pub fn run(args: &[OsString]) -> ExitCode {
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
    if args.iter().any(|argument| argument == "--help" || argument == "-h") {
        let printed = writeln!(stdout, "{USAGE}");
        return ExitCode::from(if printed.is_ok() { Exit::AllServed } else { Exit::NoOutput } as u8);
    }
    let named = std::env::var_os("MAIL_CONFIG").filter(|name| !name.is_empty());
    let exit = list(args, named.as_deref(), &mut stdout).unwrap_or_else(|stop| {
        // If standard error is closed too, the exit status still tells.
        let _ = writeln!(stderr, "mapkeep tables: {}", stop.message);
        stop.exit
    });
    ExitCode::from(exit as u8)
}

/// Does all of it. `mail_config` is what the environment names.
fn list(args: &[OsString], mail_config: Option<&OsStr>, stdout: &mut dyn Write) -> Result<Exit, Stop> {
    let wish = understand(args)?;
    let directory =
        wish.directory.unwrap_or_else(|| mail_config.unwrap_or(OsStr::new(DEFAULT_DIRECTORY)).into());
    let mut site = Site::read(directory, wish.service).map_err(|problem| Stop::new(Exit::Config, problem))?;
    let judge = Judge::new(&site).map_err(|problem| Stop::new(Exit::Config, problem))?;
    let verdicts =
        std::mem::take(&mut site.tables).into_iter().map(|table| judge.look(table, &site.users)).collect();
    let report = Report { site, verdicts };
    let printed = if wish.json { json::print(&report, stdout) } else { text::print(&report, stdout) };
    printed.and_then(|()| stdout.flush()).map_err(|error| Stop::new(Exit::NoOutput, error))?;
    Ok(if report.is_good() { Exit::AllServed } else { Exit::SomeNot })
}

/// Reads the command line.
fn understand(args: &[OsString]) -> Result<Wish, Stop> {
    let usage = |problem: &str| Stop::new(Exit::Usage, format_args!("{problem}\n{USAGE}"));
    let mut wish = Wish { directory: None, json: false, service: Service::Read };
    let mut rest = args.iter();
    while let Some(argument) = rest.next() {
        match argument.as_bytes() {
            b"--json" => wish.json = true,
            b"--write" => wish.service = Service::Write,
            b"-c" => {
                let directory = rest.next().ok_or_else(|| usage("-c lacks its argument"))?;
                if wish.directory.replace(directory.into()).is_some() {
                    return Err(usage("give -c once"));
                }
            }
            _ => return Err(usage("unknown argument")),
        }
    }
    Ok(wish)
}

#[cfg(test)]
mod tests;
