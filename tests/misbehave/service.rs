//! The service under attack: the real mapkeepd, with the hostile program in the worker's place.
//!
//! May: make one directory under /var/lib, start and end programs of its own. Never: touch the machine's Postfix.

use crate::common::process::{self, Process};
use crate::common::stopwatch::{Stopwatch, poll_promise};
use crate::common::wire::{ANNOUNCEMENT, Received, Wire, bytes};
use crate::common::{PATIENCE, end_of, fresh_directory, poll};
use crate::tables::Tables;
use mapkeep_attacker::{Role, command, hijack};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What an old client gets for the key that each check asks for.
const ANSWER: &str = "status|0|value|there||";

/// A directory in which only root can write, parents included: the trust rules hold here, too.
pub struct Ground(PathBuf);

impl Ground {
    /// Makes it, with the programs: this test program takes the name s under which mapkeepd looks for its worker and its writer.
    pub fn make() -> Ground {
        let own = std::env::current_exe().expect("the path of this program");
        let daemon = Path::new(env!("CARGO_BIN_EXE_mapkeepd"));
        let gateway = Path::new(env!("CARGO_BIN_EXE_mapkeep-gateway"));
        let dialer = Path::new(env!("CARGO_BIN_EXE_mapkeep-dialer"));
        let ground = Ground::bare();
        make_directory(&ground.empty(), 0o755);
        for (from, name) in [
            (daemon, "mapkeepd"),
            (&own, "mapkeep-worker"),
            (&own, "mapkeep-writer"),
            (gateway, "mapkeep-gateway"),
            (dialer, "mapkeep-dialer"),
        ] {
            let to = ground.0.join(name);
            fs::copy(from, &to).expect("a copy of the program");
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        ground
    }

    /// A ground without programs.
    fn bare() -> Ground {
        let ground = Ground(fresh_directory("/var/lib/mapkeep-misbehave"));
        fs::set_permissions(&ground.0, fs::Permissions::from_mode(0o755)).expect("its mode");
        ground
    }

    /// One where this test program takes the place of mapkeepd, too, with an order sheet for the service of this number.
    pub fn hijacked(other: &Ground, number: usize, open: bool) -> Ground {
        let ground = Ground::bare();
        for name in ["mapkeepd", "mapkeep-worker", "mapkeep-writer", "mapkeep-gateway", "mapkeep-dialer"] {
            // The same file under one name more: it is large.
            fs::hard_link(other.0.join("mapkeep-worker"), ground.0.join(name)).expect("a name more");
        }
        let sheet = hijack::sheet(open, &ground.0.join(number.to_string()));
        fs::write(ground.sheet(), sheet).expect("an order sheet");
        ground
    }

    /// The order sheet of hijacked programs.
    pub fn sheet(&self) -> PathBuf {
        self.0.join(hijack::SHEET)
    }

    /// An empty directory.
    pub fn empty(&self) -> PathBuf {
        self.0.join("empty")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running mapkeepd. Dropping it ends all its processes.
pub struct Service {
    daemon: Child,
    folder: PathBuf,
    broker: u32,
    /// Those of the writing service.
    tables: Option<Tables>,
}

/// What a client saw of an attack.
#[derive(Debug)]
pub struct Seen {
    /// The worker in which it ran.
    pub worker: u32,
    /// The attacker's report after the attempt; `None` if it did not survive.
    pub report: Option<String>,
    /// Running since the connection ended.
    pub end: Stopwatch,
}

impl Service {
    /// Starts it and waits until it answers.
    pub fn start(ground: &Ground, number: usize, role: Role) -> Service {
        let folder = ground.0.join(number.to_string());
        make_directory(&folder, 0o755);
        make_directory(&folder.join("private"), 0o700);
        let here = folder.display();
        let write = |name: &str, text: &str| {
            fs::write(folder.join(name), text).expect("a file of the site");
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).expect("its mode");
        };
        let tables = (role == Role::Writer).then(|| Tables::make(&folder, mail_owner()));
        let written = tables.as_ref().map(Tables::configuration).unwrap_or_default();
        write("text", "key there\n");
        write(
            "main.cf",
            &format!(
                "compatibility_level = 3.6\nqueue_directory = {here}\nmail_owner = {}\n\
                 virtual_alias_maps = proxy:texthash:{here}/text\n{written}",
                mail_owner()
            ),
        );
        let root = folder.join("root");
        make_directory(&root, 0o755);
        // One worker, so that it is known which of them attacks.
        write("mapkeep.cf", &format!("chroot_directory = {}\nworkers = 1\n", root.display()));
        let log = fs::File::create(folder.join("log")).expect("a log");
        let mut daemon = Command::new(ground.0.join("mapkeepd"));
        daemon
            .args(["serve", "--stderr", "-v", "-c"])
            .arg(&folder)
            .arg("--socket")
            .arg(folder.join("private/proxymap"));
        if tables.is_some() {
            daemon.args(["-n", "proxywrite"]);
        }
        daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let daemon = daemon.spawn().expect("mapkeepd");
        let mut service = Service { daemon, folder, broker: 0, tables };
        let listens = poll(PATIENCE, || UnixStream::connect(service.socket()).ok());
        assert!(
            listens.is_some() && service.ask(PATIENCE),
            "the service did not start:\n{}",
            service.end_of_log()
        );
        service.broker = service.broker_now().expect("a broker").pid;
        service
    }

    /// Waits until all processes have started and the supervisor has checked each, as its verbose log shows.
    pub fn wait_checked(&self) -> bool {
        let checked = |process: &Process| {
            let text = format!("is locked down: pid={} ", process.pid);
            self.log().contains(&text)
        };
        let all = || {
            let family = process::descendants(self.daemon.id());
            // The broker, the logger, and the one that reads from clients.
            (family.len() >= 3 && family.iter().all(checked)).then_some(())
        };
        poll(PATIENCE, all).is_some()
    }

    /// The signal that has ended the supervisor.
    pub fn ended_by(&mut self) -> Option<String> {
        use std::os::unix::process::ExitStatusExt;
        let signal = self.daemon.try_wait().ok()??.signal()?;
        Some(nix::sys::signal::Signal::try_from(signal).map_or(signal.to_string(), |s| s.as_str().to_owned()))
    }

    /// A file that everybody may write, in a directory of its own where everybody may make more.
    pub fn make_outside(&self) -> PathBuf {
        let elsewhere = self.folder.with_file_name("elsewhere");
        make_directory(&elsewhere, 0o777);
        let outside = elsewhere.join("outside");
        fs::write(&outside, "as it was").expect("a file outside");
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o666)).expect("its mode");
        outside
    }

    /// The process that reads from clients.
    pub fn victim(&self) -> Option<Process> {
        self.child(if self.tables.is_some() { "writer" } else { "lookup worker" })
    }

    /// The name of that process in the log.
    pub fn role_name(&self) -> &'static str {
        if self.tables.is_some() { "writer" } else { "lookup worker" }
    }

    /// Whether this is a path of a file that a table of the writing service has.
    pub fn is_table_file(&self, path: &str) -> bool {
        self.tables.as_ref().is_some_and(|tables| tables.has(Path::new(path)))
    }

    fn broker_now(&self) -> Option<Process> {
        self.child(if self.tables.is_some() { "write broker" } else { "broker" })
    }

    /// The process with this title.
    fn child(&self, role: &str) -> Option<Process> {
        let title = format!("mapkeep: {role}");
        process::descendants(self.daemon.id()).into_iter().find(|process| process.command.starts_with(&title))
    }

    /// All that it has logged, in whole lines: of a line that is being written, nothing.
    pub fn log(&self) -> String {
        let mut text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        text
    }

    /// The last lines of it, for the report of what failed.
    pub fn end_of_log(&self) -> String {
        end_of(self.log().lines())
    }

    /// Waits for a log line with this text after the first `from` bytes.
    pub fn logged(&self, from: usize, text: &str) -> bool {
        poll(PATIENCE, || self.log().get(from..)?.contains(text).then_some(())).is_some()
    }

    /// Whether a lookup is answered within this time, taken with a stopwatch; a client that is turned away comes back, as
    /// Postfix does. In the writing service: lookups of what was acknowledged, and an update.
    pub fn ask(&mut self, within: Duration) -> bool {
        let socket = self.socket();
        if let Some(tables) = &mut self.tables {
            let watch = Stopwatch::start();
            let answered = || tables.ask(&socket).map(|()| watch.elapsed() <= within);
            return poll_promise(within, answered) == Some(true);
        }
        let request =
            format!("request|lookup|table|texthash:{}/text|flags|0|key|key||", self.folder.display());
        let watch = Stopwatch::start();
        // An answer that comes late is heard, and is late.
        let answered = || {
            UnixStream::connect(self.socket()).ok()?;
            let mut wire = Wire::connect(&self.socket());
            matches!(wire.receive(PATIENCE), Received::Reply(_)).then_some(())?;
            wire.send(&bytes(&request)).ok()?;
            (wire.receive(PATIENCE) == Received::Reply(ANSWER.to_owned())).then(|| watch.elapsed() <= within)
        };
        poll_promise(within, answered) == Some(true)
    }

    /// Has an attempt made by the worker, and listens until the connection ends.
    pub fn attack(&self, attack: usize, attempt: usize) -> Seen {
        let mut stream = UnixStream::connect(self.socket()).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        let mut announcement = [0; ANNOUNCEMENT.len()];
        stream.read_exact(&mut announcement).expect("an announcement");
        stream.write_all(command(attack, attempt, self.broker).as_bytes()).expect("a worker that reads");
        let mut text = Vec::new();
        match stream.read_to_end(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the attack did not end: {error}"),
        }
        let end = Stopwatch::start();
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let worker = first.strip_prefix("begin ").and_then(|pid| pid.parse().ok());
        let worker = worker.unwrap_or_else(|| panic!("the attack did not begin; heard {text:?}"));
        Seen { worker, report: lines.next().map(str::to_owned), end }
    }

    /// What an attack must not have done to the processes above the worker; nothing if all is well.
    pub fn damage(&mut self) -> Option<String> {
        if let Ok(Some(status)) = self.daemon.try_wait() {
            return Some(format!("mapkeepd has ended: {status}"));
        }
        match self.broker_now() {
            Some(broker) if broker.pid == self.broker => self.tables.as_mut().and_then(Tables::damage),
            _ => Some("the broker has ended".to_owned()),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("private/proxymap")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Each of its processes dies with its parent.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

pub fn make_directory(path: &Path, mode: u32) {
    fs::create_dir(path).unwrap_or_else(|error| panic!("{} must be fresh: {error}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

/// A user that exists: Postfix's own where there is one.
fn mail_owner() -> &'static str {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    if passwd.lines().any(|line| line.starts_with("postfix:")) { "postfix" } else { "nobody" }
}
