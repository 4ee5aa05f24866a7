//! What the kernel says, live, of each process of the service.

use crate::error::Error;
use std::fs;
use std::io::Write;

/// Which layers of confinement need root.
pub(crate) const WITHOUT_ROOT: &str = "
You are not root. Three layers of confinement need root, and the service says so in its log:
  - a user id of its own for each process (all run as you),
  - an empty root directory for the workers (Landlock alone keeps them from files),
  - an empty capability bounding set (no_new_privs keeps them from gaining any).
The system call filters, Landlock, no_new_privs and the limits are in force as they are for root.";

/// A process of the service.
struct Process {
    pid: i32,
    parent: i32,
    title: String,
    status: String,
}

/// Prints a table of the service's processes.
pub(crate) fn show(out: &mut dyn Write, service: u32) -> Result<(), Error> {
    writeln!(out, "\n== Live confinement (from /proc)")?;
    writeln!(
        out,
        "  {:<24} {:>6} {:>6} {:>17} {:>13} {:>8} {:>8}  root and descriptors",
        "process", "pid", "uid", "capabilities", "no_new_privs", "seccomp", "filters"
    )?;
    for process in family(service) {
        let field = |name: &str| process.field(name);
        writeln!(
            out,
            "  {:<24} {:>6} {:>6} {:>17} {:>13} {:>8} {:>8}  {}",
            process.title,
            process.pid,
            field("Uid"),
            field("CapEff"),
            field("NoNewPrivs"),
            if field("Seccomp") == "2" { "filter" } else { "NONE" },
            field("Seccomp_filters"),
            process.reach()
        )?;
    }
    Ok(())
}

/// The pid of a lookup worker of the service.
pub(crate) fn lookup_worker(service: u32) -> Option<i32> {
    family(service).into_iter().find(|process| process.title.contains("lookup")).map(|process| process.pid)
}

/// The service's main process and its children, in the order of their pids.
fn family(service: u32) -> Vec<Process> {
    let service = i32::try_from(service).unwrap_or_default();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut family: Vec<Process> = pids
        .filter_map(Process::read)
        .filter(|process| process.pid == service || process.parent == service)
        .collect();
    family.sort_by_key(|process| process.pid);
    family
}

impl Process {
    fn read(pid: i32) -> Option<Process> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let title = String::from_utf8_lossy(line.split(|byte| *byte == 0).next()?).into_owned();
        // The main process is shown by its name, not by the path that it was started with.
        let title = match title.strip_prefix("mapkeep: ") {
            Some(role) => role.to_owned(),
            None => "supervisor".to_owned(),
        };
        let mut process = Process { pid, parent: 0, title, status };
        process.parent = process.field("PPid").parse().ok()?;
        Some(process)
    }

    /// The first word of a line of /proc/PID/status.
    fn field(&self, name: &str) -> String {
        let value = self.status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.split_whitespace().next()).unwrap_or("-").to_owned()
    }

    /// Its root directory and its open descriptors, where we may see them.
    fn reach(&self) -> String {
        let pid = self.pid;
        let Ok(root) = fs::read_link(format!("/proc/{pid}/root")) else {
            return "(not visible to you)".to_owned();
        };
        let count = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        format!("{} with {count} descriptors", root.display())
    }
}
