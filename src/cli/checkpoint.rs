//! `mapkeep checkpoint`: has the Berkeley DB files of the tables in proxy_write_maps written now.
//!
//! Purpose: before a return to stock Postfix, or a backup, bring `NAME.db` up to all acknowledged changes. May: read the
//! configuration, find the writer that has a store open, signal that process's supervisor, start a service of
//! its own where none runs. Never: open a store for writing, write a table itself, or wait without a bound.
//!
//! | file | purpose |
//! |---|---|
//! | `service.rs` | a service of its own |
//! | `users.rs` | who else uses a file |

mod service;
mod users;

use crate::error::{Error, Exit};
use crate::tables::changeable_files;
use crate::words::directory;
use lexopt::Arg::Short;
use lexopt::Parser;
use mapkeep_config_site::files::directory_or_default;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use service::Service;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use users::{User, identity, user_of};

pub(crate) const USAGE: &str = "usage: mapkeep checkpoint [-c CONFIG_DIR]
Writes the file NAME.db of each hash and btree table in proxy_write_maps now. The running proxywrite service does it;
if none runs, one is started for this. A file that another program has locked or has open for writing is left alone.
exit status: 0 all files are written, 1 some are not, 64 wrong usage, 69 no service could be started for this,
75 some are in use by another program (run this again when it has exited), 78 configuration unreadable";

/// How long to wait for all files. Tables may be large, and a disk slow.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a service that is started for this may take until it has the first store open.
const START: Duration = Duration::from_secs(30);
/// How long to wait for another program that uses a file: postmap(1) may be about to end.
const OTHERS: Duration = Duration::from_secs(5);
/// How often to look for such a program, which takes a look at every process.
const SEARCH: Duration = Duration::from_millis(250);
/// How often to check. There is no event to wait for: the service answers only Postfix's clients.
const LOOK: Duration = Duration::from_millis(20);

/// Distinguishes a file from a later one with the same name, which may get its inode: device, inode, time of the last
/// change.
type Version = (u64, u64, i64, i64);

/// One table with a store.
struct Table {
    /// `/DIR/NAME.db`
    file: PathBuf,
    /// `/DIR/NAME.mapkeep`
    store: PathBuf,
    /// The file that was there before.
    before: Option<Version>,
}

/// Runs the command with these words.
pub(crate) fn run(words: &[OsString]) -> Result<Exit, Error> {
    let directory = directory_or_default(understand(words)?);
    // The service would not know where a relative name begins.
    let directory = std::path::absolute(&directory).unwrap_or(directory);
    let files = changeable_files(&directory).map_err(|problem| Error::new(Exit::Config, problem))?;
    let tables: Vec<Table> =
        files.into_iter().filter_map(|file| Table::with_store(file).transpose()).collect::<Result<_, _>>()?;
    checkpoint(&tables, &directory)
}

/// Reads the command line: the directory, if it names one.
fn understand(words: &[OsString]) -> Result<Option<PathBuf>, Error> {
    let (mut words, mut found) = (Parser::from_args(words), None);
    while let Some(word) = words.next()? {
        match word {
            Short('c') => directory(&mut words, &mut found)?,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(found)
}

impl Table {
    /// `None` for a table that has no store: stock has written all there is.
    fn with_store(file: PathBuf) -> Result<Option<Table>, Error> {
        let store = file.with_extension("mapkeep");
        // An lmdb file is the truth itself.
        if file.extension().is_none_or(|extension| extension != "db") {
            return Ok(None);
        }
        match store.symlink_metadata() {
            Ok(_) => Ok(Some(Table { before: version(&file), file, store })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(Error::new(Exit::Failure, format_args!("{}: {error}{}", store.display(), hint())))
            }
        }
    }

    fn is_written(&self) -> bool {
        version(&self.file).is_some_and(|now| Some(now) != self.before)
    }

    /// Who keeps its file from being replaced.
    fn user(&self) -> Option<User> {
        identity(&self.file).and_then(user_of)
    }
}

fn version(path: &Path) -> Option<Version> {
    path.metadata().ok().map(|found| (found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

/// What to do about a lack of rights.
fn hint() -> &'static str {
    if geteuid().is_root() { "" } else { "; run this as root" }
}

fn checkpoint(tables: &[Table], directory: &Path) -> Result<Exit, Error> {
    if tables.is_empty() {
        let text = "nothing to write: no table has changes that are not in its Berkeley DB file";
        writeln!(io::stdout(), "{text}")?;
        return Ok(Exit::Success);
    }
    if let Some(writer) = holder(tables)? {
        let supervisor = supervisor_of(writer)?;
        if ask(supervisor)? && await_files(tables, || is_running(supervisor)) {
            return report(tables);
        }
        // It has ended instead, perhaps because the service was just being stopped.
    }
    let mut service = started(tables, directory)?;
    if ask(service.pid())? {
        await_files(tables, || service.ended().is_none());
    }
    // It writes its checkpoints and exits.
    drop(service);
    report(tables)
}

/// Asks a service to write its files. False: it has ended.
fn ask(supervisor: Pid) -> io::Result<bool> {
    match kill(supervisor, Signal::SIGUSR1) {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(errno) => Err(io::Error::other(format!("process {supervisor}: {}", errno.desc()))),
    }
}

/// Whether a process is there, and not just waiting for its parent to take note of its end.
fn is_running(process: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| !state.trim_start().starts_with(['Z', 'X']))
}

/// Waits until all files are written, or those that are not are in use by other programs that do not end. False: the
/// service has ended before that.
fn await_files(tables: &[Table], mut is_there: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    let mut search = OTHERS;
    while start.elapsed() < TIMEOUT {
        // Looked at before the files: what it does last counts.
        let there = is_there();
        let unwritten: Vec<&Table> = tables.iter().filter(|table| !table.is_written()).collect();
        if unwritten.is_empty() || !there {
            return unwritten.is_empty();
        }
        if start.elapsed() >= search {
            if unwritten.iter().all(|table| table.user().is_some()) {
                return true;
            }
            search = start.elapsed().saturating_add(SEARCH);
        }
        std::thread::sleep(LOOK);
    }
    true
}

/// Says what has become of each table.
fn report(tables: &[Table]) -> Result<Exit, Error> {
    let (mut out, mut exit) = (io::stdout(), Exit::Success);
    for table in tables {
        let file = table.file.display();
        if table.is_written() {
            writeln!(out, "{file}: written")?;
        } else if let Some(user) = table.user() {
            writeln!(
                out,
                "{file}: NOT written, because {user} is using it; nothing is lost: run this again when that program \
                 has exited"
            )?;
            if exit == Exit::Success {
                exit = Exit::Temporary;
            }
        } else {
            writeln!(out, "{file}: NOT written; the mail log says why")?;
            exit = Exit::Failure;
        }
    }
    Ok(exit)
}

/// The writer that has one of the stores open.
fn holder(tables: &[Table]) -> io::Result<Option<Pid>> {
    let stores: Vec<(u64, u64)> = tables.iter().filter_map(|table| identity(&table.store)).collect();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ends meanwhile has nothing open.
        let title = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if title.starts_with(b"mapkeep: writer") && has_open(&entry.path(), &stores) {
            return Ok(Some(Pid::from_raw(pid)));
        }
    }
    Ok(None)
}

/// Whether a process, seen in /proc, has one of these files open.
fn has_open(process: &Path, files: &[(u64, u64)]) -> bool {
    let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| identity(&descriptor.path())).any(|open| files.contains(&open))
}

/// The supervisor of a writer. The title of a process is what it calls itself, so its parent may be anybody: only one that
/// blocks the signal, as supervisors do, is signalled by us.
fn supervisor_of(writer: Pid) -> io::Result<Pid> {
    let status = |pid: Pid| std::fs::read_to_string(format!("/proc/{pid}/status"));
    let parent = line_of(&status(writer)?, "PPid:").and_then(|number| number.parse().ok()).map(Pid::from_raw);
    let parent = parent.ok_or_else(|| io::Error::other("the writer has no parent"))?;
    if blocks_the_signal(&status(parent)?) {
        return Ok(parent);
    }
    let text = format!(
        "process {writer} has the title of a mapkeep writer, but its parent, process {parent}, is not a \
                 supervisor"
    );
    Err(io::Error::other(text))
}

/// Whether a process with this /proc/PID/status blocks SIGUSR1, which would else end a process that knows nothing of it.
fn blocks_the_signal(status: &str) -> bool {
    let blocked = line_of(status, "SigBlk:").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    blocked & (1 << (Signal::SIGUSR1 as u32 - 1)) != 0
}

fn line_of<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// A service that has the stores open.
fn started(tables: &[Table], directory: &Path) -> Result<Service, Error> {
    let failed = |text: String| Error::new(Exit::Unavailable, text);
    let hint = hint();
    let mut service = Service::start(directory)
        .map_err(|error| failed(format!("no service could be started for this: {error}{hint}")))?;
    let until = Instant::now().checked_add(START);
    while holder(tables).map_err(|error| failed(error.to_string()))?.is_none() {
        if let Some(status) = service.ended() {
            return Err(failed(format!(
                "nothing was written: the service that was started for this exited ({status}); its message is \
                 above{hint}"
            )));
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            return Err(failed(format!(
                "nothing was written: the service that was started for this did not open the tables within {} s; its \
                 messages, if any, are above{hint}",
                START.as_secs()
            )));
        }
        std::thread::sleep(LOOK);
    }
    Ok(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_blocks_the_signal_is_signalled() {
        assert!(blocks_the_signal("PPid:\t1\nSigBlk:\t0000000000014203\n"));
        assert!(!blocks_the_signal("PPid:\t1\nSigBlk:\t0000000000014003\nSigIgn:\t0000000000000200\n"));
        assert!(!blocks_the_signal("PPid:\t1\n"));
    }
}
