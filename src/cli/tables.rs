//! `mapkeep tables`: what clients may ask for, who said so, and whether it can be served.
//!
//! Purpose: show an administrator, before or after the start of the services, each approved table of both services with
//! the place that names it, what to do about those that cannot be served, and what would prevent a service from
//! starting. May: read the configuration, run postconf(1), make the start's own checks, look at table files
//! with the broker's own rules. Never: read a table's content, change anything, ask the
//! running service (`mapkeep query` does).
//!
//! | file | purpose |
//! |---|---|
//! | `verdict.rs` | one table: its file, and whether it can be served |
//! | `write.rs` | one table that is written: its files, and whether it can be |
//! | `text.rs` | for people |
//! | `json.rs` | for programs |

mod json;
mod text;
mod verdict;
mod write;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mapkeep_broker_trust::WriteFiles;
use mapkeep_config_site::checks::{obstacles, own_path};
use mapkeep_config_site::configuration::Configuration;
use mapkeep_config_site::files::directory_or_default;
use mapkeep_config_site::remark::Remark;
use mapkeep_config_text::Service;

use crate::configuration::Source;
use crate::error::{Error, Exit};
use crate::words::directory;
use lexopt::Arg::{Long, Short};
use lexopt::Parser;
use verdict::{Judge, Verdict};
use write::Claims;

pub(crate) const USAGE: &str = "usage: mapkeep tables [-c CONFIG_DIR] [--json] [--write]
Lists the tables that are approved for the read service, then those for the write service (with --write,
only these): where each is named, its file, and whether it can be served.
Without -c, the directory is the one that MAIL_CONFIG names, or /etc/postfix.
It makes the same checks as the services do when they start, and does not read table contents.
exit status: 0 all can be served, 1 some cannot, or a service cannot start, 64 wrong usage,
74 the list cannot be printed, 78 configuration unreadable";

/// The command line, understood.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    directory: Option<PathBuf>,
    json: bool,
    service: Service,
}

/// The tables of one service.
struct Listing {
    site: Configuration,
    verdicts: Vec<Verdict>,
    /// Why the service cannot start.
    obstacles: Vec<String>,
}

impl Listing {
    /// `program` is one of ours, beside which the others are looked for.
    fn read(source: &Source, service: Service, program: &Path) -> Result<Listing, String> {
        let mut site = source.read(service)?;
        let obstacles = obstacles(&site, program);
        let judge = Judge::new(&site)?;
        let tables = std::mem::take(&mut site.tables);
        let mut claims = Claims::default();
        let look = |table| match service {
            Service::Read => judge.look(table, &site.notices),
            Service::Write => judge.look_as_writer(table, &site, &mut claims),
        };
        let verdicts = tables.into_iter().map(look).collect();
        Ok(Listing { site, verdicts, obstacles })
    }

    /// Whether clients get answers from every table that the administrator meant.
    fn is_good(&self) -> bool {
        self.site.certain
            && self.obstacles.is_empty()
            && self.verdicts.iter().all(|verdict| verdict.trouble.is_none())
    }
}

impl Listing {
    /// How many tables clients get answers from, provided that their contents are valid.
    fn served(&self) -> usize {
        let good = self.verdicts.iter().filter(|verdict| verdict.trouble.is_none()).count();
        if self.obstacles.is_empty() { good } else { 0 }
    }
}

/// Everything to be shown.
struct Report {
    /// The service that was asked for.
    main: Listing,
    /// The tables that are written, if the other service was asked for.
    write: Option<Listing>,
}

impl Report {
    fn is_good(&self) -> bool {
        self.main.is_good() && self.write.as_ref().is_none_or(Listing::is_good)
    }

    /// Whether the lists are those of the configuration.
    fn is_certain(&self) -> bool {
        self.main.site.certain && self.write.as_ref().is_none_or(|write| write.site.certain)
    }

    /// The remarks about the configuration, each once.
    fn remarks(&self) -> Vec<&Remark> {
        let mut remarks: Vec<&Remark> = self.main.site.remarks.iter().collect();
        for remark in self.write.iter().flat_map(|write| &write.site.remarks) {
            if !remarks.contains(&remark) {
                remarks.push(remark);
            }
        }
        remarks
    }
}

/// The files of the tables that can be changed, in the order of the list: `NAME.db` of hash and btree tables, `NAME.lmdb`.
///
/// # Errors
/// The configuration in `directory` cannot be read; the text says why.
pub(crate) fn changeable_files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let site = Source::new(directory)?.read(Service::Write)?;
    let root = site.inside.unwrap_or_else(|| PathBuf::from("/"));
    let files = site.tables.iter().filter_map(|table| WriteFiles::of(&table.name));
    let paths = files.map(|files| files.path(files.configured()));
    let absolute = paths.filter_map(|path| Some(root.join(OsStr::from_bytes(path.strip_prefix(b"/")?))));
    Ok(absolute.collect())
}

/// Runs `mapkeep tables` with the arguments after the word `tables`.
pub(crate) fn run(args: &[OsString]) -> Result<Exit, Error> {
    let program = own_path().unwrap_or_else(|_| PathBuf::from("/usr/lib/mapkeep/mapkeep"));
    list(args, &program, &mut io::stdout().lock())
}

/// Does all of it. `program` is this program.
fn list(args: &[OsString], program: &Path, stdout: &mut dyn Write) -> Result<Exit, Error> {
    let arguments = understand(args)?;
    let directory = directory_or_default(arguments.directory);
    let unreadable = |problem: String| Error::new(Exit::Config, problem);
    let source = Source::new(&directory).map_err(unreadable)?;
    let read = |service| Listing::read(&source, service, program);
    let write = match arguments.service {
        Service::Read => Some(read(Service::Write).map_err(unreadable)?),
        Service::Write => None,
    };
    let report = Report { main: read(arguments.service).map_err(unreadable)?, write };
    let printed = if arguments.json { json::print(&report, stdout) } else { text::print(&report, stdout) };
    printed.and_then(|()| stdout.flush()).map_err(|error| Error::new(Exit::Output, error))?;
    Ok(if report.is_good() { Exit::Success } else { Exit::Failure })
}

/// Reads the command line.
fn understand(args: &[OsString]) -> Result<Arguments, Error> {
    let mut arguments = Arguments { directory: None, json: false, service: Service::Read };
    let mut words = Parser::from_args(args);
    while let Some(word) = words.next()? {
        match word {
            Long("json") => arguments.json = true,
            Long("write") => arguments.service = Service::Write,
            Short('c') => directory(&mut words, &mut arguments.directory)?,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests;
