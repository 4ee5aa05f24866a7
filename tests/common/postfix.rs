//! A private Postfix under the real master(8), with chrooted smtpd, cleanup and trivial-rewrite.
//!
//! May: make one fresh directory tree under /var/lib, start a master there, signal processes of that master.
//! Never: read or write the machine's own Postfix. The tree lives under /var/lib because its parents belong to root and
//! are not sticky: tables in /tmp would rightly be refused.

mod place;

use super::process::{self, Process};
use super::smtp::Smtp;
use super::wire::Wire;
use super::{PATIENCE, end_of, fresh_directory, poll};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where Debian keeps the Postfix daemons.
pub const STOCK_DAEMONS: &str = "/usr/lib/postfix/sbin";

/// Which program serves lookups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// proxymap(8) as installed.
    Stock,
    /// mapkeepd of this build.
    Ours,
}

/// How master.cf names that program; master(8) cannot run an absolute path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A path that climbs out of daemon_directory.
    Relative,
    /// A link called `proxymap` in a daemon_directory of the instance.
    Link,
}

/// One private Postfix. Dropping it stops its master and removes its tree.
pub struct Instance {
    pub server: Server,
    way: Way,
    dir: PathBuf,
    port: u16,
    settings: Vec<(String, String)>,
    services: Vec<String>,
}

impl Instance {
    /// Makes the tree and a configuration without tables; nothing runs yet.
    pub fn new(server: Server) -> Self {
        Self::reached_by(server, Way::Relative)
    }

    /// As `new`, with the choice of how master.cf names the server.
    pub fn reached_by(server: Server, way: Way) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let dir = fresh_directory("/var/lib/mapkeep-test");
        let instance = Self {
            server,
            way,
            dir,
            port: free_port(pid, count),
            settings: Vec::new(),
            services: Vec::new(),
        };
        for part in ["", "etc", "tables", "log", "lib", "empty", "spool", "data"] {
            let path = instance.path(part);
            fs::create_dir_all(&path).expect("a directory of the instance");
            set_mode(&path, 0o755);
        }
        let (uid, gid) = account("postfix");
        chown(instance.path("data"), Some(uid), Some(gid)).expect("data_directory goes to mail_owner");
        set_mode(&instance.path("data"), 0o700);
        instance.fill_chroot();
        instance.install_server();
        let keep = format!("chroot_directory = {}\n", instance.path("empty").display());
        fs::write(instance.path("etc/mapkeep.cf"), keep).expect("configuration can be written");
        instance.write_config();
        instance
    }

    /// Sets one main.cf parameter; takes effect at `start`, or at `reload` when it already runs.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_string(), value.to_string()));
        self.write_config();
        self
    }

    /// Adds a line to master.cf; takes effect as `set` does.
    pub fn service(&mut self, line: &str) -> &mut Self {
        self.services.push(line.to_string());
        self.write_config();
        self
    }

    /// From `start` on, every process of the instance sees this text as /etc/nsswitch.conf, in a mount namespace of their
    /// own.
    pub fn see_nsswitch(&self, text: &str) {
        let path = self.path("nsswitch.conf");
        fs::write(&path, text).expect("nsswitch.conf of the instance");
        set_mode(&path, 0o644);
    }

    /// A path inside the tree.
    pub fn path(&self, part: &str) -> PathBuf {
        if part.is_empty() { self.dir.clone() } else { self.dir.join(part) }
    }

    /// The path of a table's source text.
    pub fn table_path(&self, name: &str) -> PathBuf {
        self.path("tables").join(name)
    }

    /// Writes a table's source, builds what its type needs with postmap(1), and returns its `type:name`.
    pub fn table(&self, kind: &str, name: &str, source: &str) -> String {
        let path = self.table_path(name);
        fs::write(&path, source).expect("a table's source can be written");
        set_mode(&path, 0o644);
        let full = format!("{kind}:{}", path.display());
        if matches!(kind, "hash" | "btree" | "lmdb" | "cdb") {
            self.run("postmap", &full);
        }
        full
    }

    /// The name that a table of this type and file has, without making it.
    pub fn table_name(&self, kind: &str, name: &str) -> String {
        format!("{kind}:{}", self.table_path(name).display())
    }

    /// Starts master(8) and waits until the SMTP port greets.
    pub fn start(&self) {
        self.run("postfix", "start");
        let ready = poll(PATIENCE, || Smtp::greets(self.smtp_address()).then_some(()));
        assert!(ready.is_some(), "no SMTP greeting on port {}", self.port);
    }

    /// `postfix reload`, as an administrator would.
    pub fn reload(&self) {
        self.run("postfix", "reload");
    }

    /// `postfix stop`, as an administrator would; master must be gone afterwards.
    pub fn stop(&self) {
        let master = self.master();
        self.run("postfix", "stop");
        assert!(process::wait_gone(&[master], PATIENCE).is_empty(), "master {master} outlived postfix stop");
    }

    /// Where the instance speaks SMTP.
    pub fn smtp_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// A new SMTP session, past EHLO.
    pub fn smtp(&self) -> Smtp {
        Smtp::open(self.smtp_address())
    }

    /// Where the read service listens.
    pub fn socket(&self) -> PathBuf {
        self.path("spool/private/proxymap")
    }

    /// A raw connection to the read service, past the announcement.
    pub fn wire(&self) -> Wire {
        Wire::open(&self.socket())
    }

    /// The process id of this instance's master.
    pub fn master(&self) -> u32 {
        self.running_master().expect("the instance has a master")
    }

    /// The processes of master's own, without master.
    pub fn processes(&self) -> Vec<Process> {
        process::descendants(self.master())
    }

    /// The children of master that run a program of this name.
    pub fn daemons(&self, program: &str) -> Vec<Process> {
        let master = self.master();
        let wanted = |p: &Process| p.parent == master && p.program.file_name().is_some_and(|n| n == program);
        self.processes().into_iter().filter(wanted).collect()
    }

    /// Every process on the machine that uses something inside the tree, zombies left out.
    pub fn users_of_tree(&self) -> Vec<Process> {
        process::all()
            .into_iter()
            .filter(|p| !p.zombie && p.pid != std::process::id() && p.touches(&self.dir))
            .collect()
    }

    /// Processes under master's lookup server with the title of a lookup worker (mapkeep only).
    pub fn lookup_workers(&self) -> Vec<Process> {
        let servers = self.daemons("mapkeepd");
        let below = servers.iter().flat_map(|s| process::descendants(s.pid));
        below.filter(|p| p.name.contains("lookup") || p.command.contains("lookup")).collect()
    }

    /// All that the instance has logged so far, in whole lines: of a line that is being written, nothing.
    pub fn log_text(&self) -> String {
        let mut raw = fs::read(self.log_file()).unwrap_or_default();
        raw.truncate(raw.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        String::from_utf8_lossy(&raw).into_owned()
    }

    /// The log, line by line.
    pub fn log_lines(&self) -> Vec<String> {
        self.log_text().lines().map(str::to_string).collect()
    }

    /// Whether a line with this text has been logged.
    pub fn log_contains(&self, text: &str) -> bool {
        self.log_text().contains(text)
    }

    /// Waits for a log line that contains every one of these texts, and returns it.
    pub fn wait_for_log(&self, texts: &[&str], within: Duration) -> String {
        self.wait_for_later_log(0, texts, within)
    }

    /// As `wait_for_log`, for a line after the first `seen` ones.
    pub fn wait_for_later_log(&self, seen: usize, texts: &[&str], within: Duration) -> String {
        let look =
            || self.log_lines().into_iter().skip(seen).find(|line| texts.iter().all(|t| line.contains(t)));
        poll(within, look).unwrap_or_else(|| panic!("no log line with {texts:?}"))
    }

    /// Runs one of Postfix's commands on this instance to its end; it must succeed. Its words go to a file, not a pipe:
    /// the master that `postfix start` leaves behind could hold a pipe open.
    fn run(&self, program: &str, word: &str) {
        let words = self.path("log/commands");
        let open = || {
            fs::File::options().create(true).append(true).open(&words).expect("a file for what commands say")
        };
        let nsswitch = self.path("nsswitch.conf");
        let mut command = Command::new(program);
        if word == "start" && nsswitch.exists() {
            command = Command::new("unshare");
            command.args(["-m", "/bin/sh", "-c", "mount --bind \"$0\" /etc/nsswitch.conf && exec \"$@\""]);
            command.arg(nsswitch).arg(program);
        }
        command.arg("-c").arg(self.path("etc")).arg(word).stdin(Stdio::null()).stdout(open()).stderr(open());
        let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let said = || fs::read_to_string(&words).unwrap_or_default();
        assert!(status.success(), "{command:?}: {status}\n{}", end_of(said().lines()));
    }

    fn log_file(&self) -> PathBuf {
        self.path("log/maillog")
    }

    /// The id in master's pid file, when that process really is a master of this tree: the file outlives its process,
    /// and an id may have a new owner.
    fn running_master(&self) -> Option<u32> {
        let text = fs::read_to_string(self.path("spool/pid/master.pid")).ok()?;
        let process = Process::read(text.trim().parse().ok()?)?;
        let cwd = fs::read_link(format!("/proc/{}/cwd", process.pid)).ok()?;
        (!process.zombie && cwd == self.path("spool")).then_some(process.pid)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(master) = self.running_master() {
            // SIGTERM to master is what `postfix stop` sends, without that script's one-second steps.
            let mut family: Vec<u32> = process::descendants(master).iter().map(|p| p.pid).collect();
            family.push(master);
            process::signal("TERM", master);
            for pid in process::wait_gone(&family, Duration::from_secs(5)) {
                process::signal("KILL", pid);
            }
        }
        if std::thread::panicking() {
            let log = end_of(self.log_text().lines());
            eprintln!("--- log of {} ({:?})\n{log}", self.dir.display(), self.server);
        }
        if std::env::var_os("MAPKEEP_TEST_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// A loopback port below the range that the kernel hands to outgoing connections, so that it stays free until master
/// binds it. Process id and count keep concurrent tests apart, as a rule; an abstract name, kept to the end of this
/// process, claims the port against those that would take it before master has bound it.
pub fn free_port(pid: u32, count: u32) -> u16 {
    static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let first = pid.wrapping_mul(37).wrapping_add(count.wrapping_mul(251)) % 20_000;
    let candidates =
        (0..20_000).map(|step| 10_000 + (first + step) % 20_000).filter_map(|p| u16::try_from(p).ok());
    let claimed = candidates.filter_map(|port| {
        let name = format!("mapkeep-test-port-{port}");
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).expect("an abstract name");
        Some((port, UnixListener::bind_addr(&address).ok()?))
    });
    let mut free = claimed.filter(|&(port, _)| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let (port, claim) = free.next().expect("a free loopback port");
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
    port
}

/// User and group id of an account, from /etc/passwd.
pub fn account(name: &str) -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = passwd.lines().find(|l| l.split(':').next() == Some(name)).expect("the account exists");
    let mut ids = line.split(':').skip(2).map(|f| f.parse().expect("a numeric id"));
    (ids.next().expect("a user id"), ids.next().expect("a group id"))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
