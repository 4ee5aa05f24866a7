//! `mapkeep checkpoint`: has the Berkeley DB files of tables that can be changed written now.
//!
//! Purpose: before a roll-back to stock Postfix, or for a backup, bring `NAME.db` to what the service has acknowledged. May:
//! read the configuration, look which writer has a store open, signal that process's supervisor, start a service of
//! its own where none runs. Never: open a store for writing, or write a table itself.
//! Called by: the `mapkeep` program.

use crate::tables::changeable_files;
use crate::words::{Usage, Word, Words, help};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const USAGE: &str = "usage: mapkeep checkpoint [-c CONFIG_DIR]
Has the file NAME.db of each hash and btree table in proxy_write_maps written now, by the running proxywrite
service, or where none runs by one that is started for this.
exit status: 0 all are written, 1 some are not, 64 wrong usage, 78 configuration unreadable";

/// The exit status for a configuration that cannot be read (sysexits).
const CONFIG: u8 = 78;
/// How long to wait for all files. Tables may be large, and a disk slow.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often to look. There is no event to wait for: the service answers nobody but Postfix.
const LOOK: Duration = Duration::from_millis(20);

/// One table with a store.
struct Table {
    /// `/DIR/NAME.db`
    file: PathBuf,
    /// `/DIR/NAME.mapkeep`
    store: PathBuf,
    /// The file that was there before: device and inode.
    before: Option<(u64, u64)>,
}

/// Runs the command with these words.
pub(crate) fn run(words: &[OsString]) -> ExitCode {
    if let Some(status) = help(words, USAGE) {
        return status;
    }
    let directory = match directory(words) {
        Ok(directory) => directory,
        Err(usage) => return usage.print("mapkeep checkpoint"),
    };
    // The service would not know where a relative name begins.
    let directory = std::path::absolute(&directory).unwrap_or(directory);
    let files = match changeable_files(&directory) {
        Ok(files) => files,
        Err(problem) => {
            let _ = writeln!(io::stderr(), "mapkeep checkpoint: {problem}");
            return ExitCode::from(CONFIG);
        }
    };
    let tables: Vec<Table> = files.into_iter().filter_map(Table::with_store).collect();
    match checkpoint(&tables, &directory) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "mapkeep checkpoint: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line.
fn directory(words: &[OsString]) -> Result<PathBuf, Usage> {
    let mut directory = None;
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        match word {
            Word::Option(option) if option == "-c" && directory.is_none() => {
                directory = Some(PathBuf::from(words.value(option)?));
            }
            Word::Option(option) if option == "-c" => return Err(Usage::unexpected(option)),
            Word::Option(option) => return Err(Usage::unknown(option)),
            Word::Argument(argument) => return Err(Usage::unexpected(argument)),
        }
    }
    let named = || std::env::var_os("MAIL_CONFIG").filter(|name| !name.is_empty());
    Ok(directory.or_else(|| named().map(PathBuf::from)).unwrap_or_else(|| "/etc/postfix".into()))
}

impl Table {
    /// `None` for a table that has no store: stock has written all there is.
    fn with_store(file: PathBuf) -> Option<Table> {
        let store = file.with_extension("mapkeep");
        // An lmdb file is the truth itself.
        let has_store = file.extension().is_some_and(|extension| extension == "db") && store.is_file();
        has_store.then(|| Table { before: identity(&file), file, store })
    }

    fn is_written(&self) -> bool {
        identity(&self.file).is_some_and(|now| Some(now) != self.before)
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// True if every file has been written.
fn checkpoint(tables: &[Table], directory: &Path) -> io::Result<bool> {
    let mut out = io::stdout();
    if tables.is_empty() {
        writeln!(out, "no table has changes that only mapkeep knows of")?;
        return Ok(true);
    }
    let mut own = None;
    let supervisor = match holder(tables)? {
        Some(writer) => supervisor_of(writer)?,
        None => {
            let service = Service::start(directory)?;
            let pid = service.pid();
            own = Some(service);
            await_holder(tables, pid)?;
            pid
        }
    };
    kill(supervisor, Signal::SIGUSR1)?;
    let until = Instant::now().checked_add(PATIENCE);
    while !tables.iter().all(Table::is_written) && until.is_some_and(|until| Instant::now() < until) {
        std::thread::sleep(LOOK);
    }
    drop(own);
    let mut all = true;
    for table in tables {
        let written = table.is_written();
        all &= written;
        let what = if written { "written" } else { "NOT written: see the mail log" };
        writeln!(out, "{}: {what}", table.file.display())?;
    }
    Ok(all)
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

/// The supervisor of a writer.
fn supervisor_of(writer: Pid) -> io::Result<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{writer}/status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    parent.map(Pid::from_raw).ok_or_else(|| io::Error::other("the writer has no parent"))
}

/// Waits until the service that was started has the stores open.
fn await_holder(tables: &[Table], service: Pid) -> io::Result<()> {
    let until = Instant::now().checked_add(PATIENCE);
    while holder(tables)?.is_none() {
        let there = kill(service, None).is_ok();
        if !there || until.is_none_or(|until| Instant::now() >= until) {
            return Err(io::Error::other("the service that was started for this does not open the tables"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// A proxywrite service that lives as long as this command, on a socket that nobody knows.
struct Service {
    child: Child,
    socket: PathBuf,
}

impl Service {
    fn start(directory: &Path) -> io::Result<Service> {
        let daemon = std::fs::canonicalize(std::env::current_exe()?)?.with_file_name("mapkeepd");
        let socket = PathBuf::from(format!("/run/mapkeep-checkpoint-{}", std::process::id()));
        let child = Command::new(daemon)
            .args(["serve", "-n", "proxywrite", "--stderr", "-c"])
            .arg(directory)
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Service { child, socket })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It writes what is left, and leaves.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
