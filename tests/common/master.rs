//! A stand-in for master(8): one mapkeepd under the test's own hands, with the status channel and the listening socket
//! that master would share with it, and a log service that keeps every line.
//!
//! May: make one fresh directory tree under /var/lib, start mapkeepd there, signal it and its descendants. Never: touch
//! the machine's Postfix. The tree lives under /var/lib because its parents belong to root and are not sticky.
//!
//! Source of the facts: master(5); descriptors, environment and status records as seen with strace under Postfix 3.7.11.

use super::process::{self, Process};
use super::wire::Wire;
use super::{PATIENCE, end_of, fresh_directory, poll};
use std::fs;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What mapkeepd finds in GENERATION; an octal number, 15 in decimal.
pub const GENERATION: &str = "17";

/// A directory tree with configuration, tables and a log service. Dropping it removes the tree.
pub struct Site {
    dir: PathBuf,
    log: Log,
}

/// Every line that the log service was sent, in order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

/// A line of the log, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub pid: u32,
    /// `warning: ` and the like included.
    pub text: String,
}

impl Site {
    /// Makes the tree, with a main.cf that names its log, and starts the log service.
    pub fn new() -> Site {
        let dir = fresh_directory("/var/lib/mapkeep-life");
        for part in ["", "etc", "tables", "empty", "spool", "spool/public", "spool/private"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).unwrap();
            set_mode(&path, 0o755);
        }
        let log = Log::default();
        log.serve(&dir.join("spool/public/postlog"));
        let site = Site { dir, log };
        site.main("");
        site.keep("");
        site
    }

    /// A path inside the tree.
    pub fn path(&self, part: &str) -> PathBuf {
        self.dir.join(part)
    }

    /// Writes main.cf: what every site needs, then these lines.
    pub fn main(&self, lines: &str) {
        let dir = self.dir.display();
        let base = format!(
            "compatibility_level = 3.6\nmail_owner = postfix\nqueue_directory = {dir}/spool\n\
             maillog_file = {dir}/log\ndata_directory = {dir}\n"
        );
        fs::write(self.path("etc/main.cf"), base + lines).unwrap();
        fs::write(self.path("etc/master.cf"), "").unwrap();
    }

    /// main.cf that approves these tables, then more lines.
    pub fn approve(&self, tables: &[&str], lines: &str) {
        let names: Vec<String> = tables.iter().map(|table| format!("proxy:{table}")).collect();
        self.main(&format!("proxy_read_maps = {}\n{lines}", names.join(", ")));
    }

    /// Writes mapkeep.cf. Unless these lines say otherwise, there is one worker of a kind, which most scenarios watch, and
    /// the root directory of workers is of this site, not one that may be there from before.
    pub fn keep(&self, lines: &str) {
        let root = format!("chroot_directory = {}\n", self.path("empty").display());
        let root = if lines.contains("chroot_directory") { "" } else { &root };
        let workers = if lines.contains("workers =") { "" } else { "workers = 1\n" };
        fs::write(self.path("etc/mapkeep.cf"), format!("{lines}{root}{workers}")).unwrap();
    }

    /// Writes a table's source, builds what its type needs, and returns its `type:name`.
    pub fn table(&self, kind: &str, name: &str, source: &str) -> String {
        let path = self.path("tables").join(name);
        fs::write(&path, source).unwrap();
        set_mode(&path, 0o644);
        let full = format!("{kind}:{}", path.display());
        if matches!(kind, "hash" | "btree" | "lmdb" | "cdb") {
            let made = Command::new("postmap").arg("-c").arg(self.path("etc")).arg(&full).output().unwrap();
            assert!(made.status.success(), "postmap {full}: {}", String::from_utf8_lossy(&made.stderr));
        }
        full
    }

    /// Starts mapkeepd as master(8) would, for the service `proxymap`.
    pub fn start(&self) -> Master<'_> {
        self.start_with(&[])
    }

    /// As `start`, with further words behind master's own.
    pub fn start_with(&self, words: &[&str]) -> Master<'_> {
        let mut all = vec!["-n", "proxymap", "-t", "unix", "-u"];
        all.extend(words);
        self.start_program(Path::new(env!("CARGO_BIN_EXE_mapkeepd")), &all)
    }

    /// Starts a program with exactly these words. A failure shows in its exit status and in the log.
    pub fn start_program(&self, program: &Path, words: &[&str]) -> Master<'_> {
        self.start_through("", program, words)
    }

    /// As `start_program`, after the shell has run `first`.
    pub fn start_through(&self, first: &str, program: &Path, words: &[&str]) -> Master<'_> {
        let service = words.iter().skip_while(|word| **word != "-n").nth(1).unwrap_or(&"proxymap");
        let socket = self.path("spool/private").join(service);
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let words = words.iter().map(ToString::to_string).collect();
        let way = Start { first: first.to_string(), program: program.to_path_buf(), words, socket };
        let (status, shared, child) = self.launch(&way, &listener.into());
        Master { site: self, way, status: Some(status), shared, child, ended: None, heard: Vec::new() }
    }

    /// Starts a process with this listening socket and a new status channel. Returns our end of the channel, copies of
    /// what we share with it, and the process.
    fn launch(&self, way: &Start, listener: &OwnedFd) -> (UnixStream, [OwnedFd; 2], Child) {
        let (status, theirs) = UnixStream::pair().unwrap();
        // Copies of ours that show whether the mode of what we share was changed.
        let shared = [theirs.try_clone().unwrap().into(), listener.try_clone().unwrap()];
        let errors = fs::File::create(self.path("stderr")).unwrap();
        let first = &way.first;
        // The shell moves the descriptors to master's numbers; exec keeps the process id. 3 and 4 are the flow control
        // pipe, which is not ours to use.
        let script =
            format!("{first}exec 5<&0 6<&1 </dev/null >/dev/null 3</dev/null 4>/dev/null; exec \"$@\"");
        let child = Command::new("/bin/sh")
            .args(["-c", &script, "sh"])
            .arg(&way.program)
            .args(&way.words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("MAIL_CONFIG", self.path("etc"))
            .env("MAIL_LOGTAG", "postfix")
            .env("LANG", "C")
            .env("POSTLOG_SERVICE", self.path("spool/public/postlog"))
            .env("POSTLOG_HOSTNAME", "mx.example.org")
            .env("GENERATION", GENERATION)
            .current_dir(self.path("spool"))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(listener.try_clone().unwrap()))
            .stderr(Stdio::from(errors))
            .spawn()
            .unwrap();
        (status, shared, child)
    }

    /// Everything logged so far.
    pub fn log(&self) -> Vec<Line> {
        self.log.0.lock().unwrap().iter().filter_map(|raw| Line::read(raw)).collect()
    }

    /// Everything that any program has logged so far, unchanged. Stock logs the machine's name where `log` requires
    /// master's.
    pub fn raw_log(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }

    /// Waits for a line, among those after the first `seen`, that contains all of these texts.
    pub fn wait_for_log(&self, seen: usize, texts: &[&str]) -> Line {
        let fits = |line: &Line| texts.iter().all(|text| line.text.contains(text));
        poll(PATIENCE, || self.log().into_iter().skip(seen).find(fits))
            .unwrap_or_else(|| panic!("no log line with {texts:?}"))
    }

    /// The last lines of the log, for the message of a test that fails.
    pub fn end_of_log(&self) -> String {
        end_of(self.raw_log().iter().map(String::as_str))
    }

    /// What the program wrote to standard error.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let errors = self.errors();
            let errors = end_of(errors.lines());
            eprintln!("--- log of {}\n{}\n--- stderr\n{errors}", self.dir.display(), self.end_of_log());
        }
        // The log service leaves at an empty datagram.
        let end = UnixDatagram::unbound().unwrap();
        let _ = end.send_to(b"", self.path("spool/public/postlog"));
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Log {
    fn serve(&self, path: &Path) {
        let socket = UnixDatagram::bind(path).unwrap();
        // As master(8) makes it: stock logs as the mail owner.
        set_mode(path, 0o666);
        let lines = Arc::clone(&self.0);
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let length = match socket.recv(&mut buffer) {
                    Ok(0) => return,
                    Ok(length) => length,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(_) => return,
                };
                lines.lock().unwrap().push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        });
    }
}

impl Line {
    /// `Nov 21 04:05:06 host postfix/proxymap[42]: text`
    fn read(raw: &str) -> Option<Line> {
        // The host is the first label of master's name, never the machine's own name.
        let (_, rest) = raw.split_once(" mx postfix/")?;
        let (tag, text) = rest.split_once("]: ")?;
        let (service, pid) = tag.split_once('[')?;
        matches!(service, "proxymap" | "proxywrite").then_some(())?;
        Some(Line { pid: pid.parse().ok()?, text: text.to_string() })
    }
}

/// A record of the status protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub pid: i32,
    pub generation: u32,
    /// 0: taken, 1: available.
    pub available: i32,
}

/// How a process was started.
struct Start {
    first: String,
    program: PathBuf,
    words: Vec<String>,
    socket: PathBuf,
}

/// A started mapkeepd. Dropping it ends it, and panics when a descendant of it stays.
pub struct Master<'s> {
    pub site: &'s Site,
    way: Start,
    /// Our end of the status channel; `None` once closed.
    pub status: Option<UnixStream>,
    shared: [OwnedFd; 2],
    child: Child,
    ended: Option<ExitStatus>,
    heard: Vec<u8>,
}

impl Master<'_> {
    /// The process that master would know.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn socket(&self) -> PathBuf {
        self.way.socket.clone()
    }

    /// Starts the program again after it has ended, as master(8) does for the next client: with the same listening
    /// socket, on which clients may be waiting, and a new status channel.
    pub fn restart(&mut self) {
        assert!(!self.runs(), "process {} still runs", self.pid());
        let (status, shared, child) = self.site.launch(&self.way, &self.shared[1]);
        (self.status, self.shared, self.child) = (Some(status), shared, child);
        (self.ended, self.heard) = (None, Vec::new());
    }

    /// A connection to the service, past the announcement: from then on everything is up.
    pub fn wire(&self) -> Wire {
        Wire::open(&self.socket())
    }

    /// The processes below the service.
    pub fn family(&self) -> Vec<Process> {
        process::descendants(self.pid())
    }

    /// The processes of one role: `broker`, `logger`, `lookup worker`.
    pub fn of_role(&self, role: &str) -> Vec<u32> {
        let title = format!("mapkeep: {role}");
        self.family().iter().filter(|p| p.command.starts_with(&title)).map(|p| p.pid).collect()
    }

    /// The only process of a role.
    pub fn only(&self, role: &str) -> u32 {
        let found = self.of_role(role);
        assert_eq!(found.len(), 1, "{role}: {found:?}");
        found[0]
    }

    /// Waits until there is exactly one process of a role, and another than `before`.
    pub fn wait_for_other(&self, role: &str, before: u32) -> u32 {
        let look = || match self.of_role(role).as_slice() {
            [one] if *one != before => Some(*one),
            _ => None,
        };
        poll(PATIENCE, look)
            .unwrap_or_else(|| panic!("no new {role} after {before}: {:?}", self.of_role(role)))
    }

    /// The status records that have come within `within`, or earlier.
    pub fn records(&mut self, count: usize, within: Duration) -> Vec<Record> {
        let wanted = count * 12;
        let status = self.status.as_mut().unwrap();
        status.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 120];
        while self.heard.len() < wanted {
            match status.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
                Ok(length) => self.heard.extend_from_slice(&buffer[..length]),
            }
        }
        assert_eq!(self.heard.len() % 12, 0, "whole records only");
        let number = |bytes: &[u8]| i32::from_ne_bytes(bytes.try_into().unwrap());
        let record = |raw: &[u8]| Record {
            pid: number(&raw[0..4]),
            generation: number(&raw[4..8]).cast_unsigned(),
            available: number(&raw[8..12]),
        };
        self.heard.drain(..).collect::<Vec<u8>>().chunks(12).map(record).collect()
    }

    /// The flags (octal, as the kernel shows them) of the status channel and the listening socket that we share.
    pub fn shared_flags(&self) -> [String; 2] {
        let flags = |number: RawFd| {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
            info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_string()
        };
        [flags(self.shared[0].as_raw_fd()), flags(self.shared[1].as_raw_fd())]
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = poll(PATIENCE, || self.child.try_wait().unwrap());
        self.ended = ended;
        ended.unwrap_or_else(|| panic!("process {} does not end", self.pid()))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.ended = self.child.try_wait().unwrap();
        self.ended.is_none()
    }
}

impl Drop for Master<'_> {
    fn drop(&mut self) {
        if self.ended.is_some() || matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        process::end_family(&mut self.child);
    }
}

/// Sets the permission bits of a file.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
