//! Looks at running processes through /proc, so that tests can say what belongs to an instance.
//!
//! May: read /proc, and send a signal to one process by its id. Never: choose processes by name alone.

use super::{BEAT, PATIENCE, poll};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// One process as /proc shows it at the moment of the look.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// The short name from `/proc/PID/status`.
    pub name: String,
    /// `/proc/PID/cmdline`, its arguments joined by blanks.
    pub command: String,
    /// Where `/proc/PID/exe` points; empty when it cannot be read.
    pub program: PathBuf,
    /// Where `/proc/PID/root` points; empty when it cannot be read.
    pub root: PathBuf,
    pub zombie: bool,
}

impl Process {
    /// Reads one process; `None` when it is gone.
    pub fn read(pid: u32) -> Option<Self> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read_to_string(dir.join("status")).ok()?;
        let field = |wanted: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(wanted))?;
            Some(line.trim_start_matches(':').trim().to_string())
        };
        let link = |what: &str| fs::read_link(dir.join(what)).unwrap_or_default();
        let raw = fs::read(dir.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&raw).replace('\0', " ").trim().to_string();
        Some(Self {
            pid,
            parent: field("PPid")?.parse().ok()?,
            name: field("Name")?,
            command,
            program: link("exe"),
            root: link("root"),
            zombie: field("State")?.starts_with('Z'),
        })
    }

    /// Whether the process has anything to do with a directory: program, root, working directory, arguments, open files.
    pub fn touches(&self, dir: &Path) -> bool {
        let proc_dir = PathBuf::from(format!("/proc/{}", self.pid));
        let cwd = fs::read_link(proc_dir.join("cwd")).unwrap_or_default();
        let text = dir.to_string_lossy();
        let open_file = || {
            let entries = fs::read_dir(proc_dir.join("fd")).ok();
            entries
                .into_iter()
                .flatten()
                .flatten()
                .any(|e| fs::read_link(e.path()).is_ok_and(|to| to.starts_with(dir)))
        };
        self.program.starts_with(dir)
            || self.root.starts_with(dir)
            || cwd.starts_with(dir)
            || self.command.contains(&*text)
            || open_file()
    }
}

/// Every process of the machine that this look could read.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).filter_map(Process::read).collect()
}

/// The descendants of a process, nearest first, without itself.
pub fn descendants(pid: u32) -> Vec<Process> {
    let everyone = all();
    let mut family = vec![pid];
    let mut found: Vec<Process> = Vec::new();
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        next += 1;
        for child in everyone.iter().filter(|p| p.parent == parent && !p.zombie) {
            family.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

/// Whether the process is there and not merely waiting to be collected.
pub fn alive(pid: u32) -> bool {
    Process::read(pid).is_some_and(|p| !p.zombie)
}

/// Sends one signal, named as kill(1) names it, to one process. A process that is gone already is no error.
pub fn signal(name: &str, pid: u32) {
    assert!(pid > 1, "refusing to signal process {pid}");
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).output();
}

/// Waits until every process of the list has exited; returns those that still exist after `within`.
pub fn wait_gone(pids: &[u32], within: Duration) -> Vec<u32> {
    let left = || pids.iter().copied().filter(|&p| alive(p)).collect::<Vec<_>>();
    poll(within.max(BEAT), || left().is_empty().then_some(())).map_or_else(left, |()| Vec::new())
}

/// Ends a service by SIGTERM. It must take all its processes along.
pub fn end_family(service: &mut Child) {
    let family: Vec<u32> = descendants(service.id()).iter().map(|p| p.pid).collect();
    signal("TERM", service.id());
    if poll(PATIENCE, || service.try_wait().ok().flatten()).is_none() {
        let _ = service.kill();
        let _ = service.wait();
    }
    let left = wait_gone(&family, PATIENCE);
    for pid in &left {
        signal("KILL", *pid);
    }
    assert!(std::thread::panicking() || left.is_empty(), "left behind: {left:?}");
}
