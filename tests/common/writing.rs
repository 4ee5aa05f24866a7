//! What the tests of the writing service share: a place for its tables, either server as proxywrite, and a client.
//!
//! May: make tables in the data directory of a site, and ask `postmap -s`, `db5.3_verify` and `db5.3_dump` what a file
//! says. Never: touch tables of the machine's.
#![allow(unused_imports)] // every test program compiles this module and uses its own part of it

mod client;
mod random;

pub use client::{Client, Reply, Request};
pub use random::Random;

use super::master::{Master, Site, set_mode};
use super::postfix::{STOCK_DAEMONS, Server, account};
use super::{PATIENCE, poll};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// The statuses of the protocol (dict_proxy(3)).
pub const OK: u32 = 0;
pub const NOKEY: u32 = 1;
pub const RETRY: u32 = 2;
pub const BAD: u32 = 3;
pub const DENY: u32 = 4;
pub const CONFIG: u32 = 5;

/// What verify(8) sends: UTF8_REQUEST, OPEN_LOCK, SYNC_UPDATE, DUP_REPLACE.
pub const CACHE: u32 = 0x9_0180;
/// The same with LOCK in the place of OPEN_LOCK, under which stock keeps everybody else out of the file: what a client sends
/// for lmdb, which has safe concurrent writers.
pub const SHARED: u32 = 0x8_01c0;
/// The bits that a client of Postfix up to 3.10 sends with `open`.
pub const INSTANCE: u32 = 0xFFF3_060C;

/// What a table holds, as `sequence` and `postmap -s` show it.
pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// A site with a data directory that belongs to the mail owner. Dropping it removes the tree.
pub struct Place {
    pub site: Site,
}

impl Place {
    pub fn new() -> Self {
        let place = Place { site: Site::new() };
        // Shown when a test fails before anything was started.
        fs::write(place.site.path("stderr"), "").unwrap();
        place.dir("data");
        place
    }

    /// Makes a directory of the mail owner's, mode 0700.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.site.path(name);
        fs::create_dir(&path).unwrap();
        give(&path);
        set_mode(&path, 0o700);
        path
    }

    /// A path in the data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.site.path("data").join(name)
    }

    /// `KIND:/.../data/NAME`; types without a file are only named.
    pub fn name(&self, kind: &str, name: &str) -> String {
        match kind {
            "internal" => format!("internal:{name}"),
            _ => format!("{kind}:{}", self.data(name).display()),
        }
    }

    /// Writes main.cf: these tables may be written. Then more lines.
    pub fn approve(&self, tables: &[&str], lines: &str) {
        let names: Vec<String> = tables.iter().map(|table| format!("proxy:{table}")).collect();
        let dir = self.site.path("");
        let dir = dir.display();
        let main = format!(
            "compatibility_level = 3.6\nmail_owner = postfix\nqueue_directory = {dir}spool\n\
             maillog_file = {dir}log\ndata_directory = {dir}data\nproxy_write_maps = {}\n\
             max_idle = 3600s\nmax_use = 1000000\n{lines}",
            names.join(", ")
        );
        let path = self.site.path("etc/main.cf");
        fs::write(&path, main).unwrap();
        // Stock reads a main.cf that changed within the last second again and again until it is older.
        let old = SystemTime::now() - Duration::from_secs(60);
        fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }

    /// Makes a table with these entries through postmap(1), owned as proxywrite would own it.
    pub fn make(&self, table: &str, content: &Content) {
        let (_, source) = table.split_once(':').unwrap();
        fs::write(source, lines(content)).unwrap();
        // In one go: `postmap -i` waits for the disk after each entry of lmdb.
        let out = self.postmap(&[table]);
        assert!(out.status.success(), "postmap {table}: {}", String::from_utf8_lossy(&out.stderr));
        fs::remove_file(source).unwrap();
        give(&file_of(table));
        set_mode(&file_of(table), 0o600);
    }

    /// Waits for a log line, among those after the first `seen`, that contains all of these texts.
    pub fn wait_for_log(&self, seen: usize, texts: &[&str]) -> String {
        let fits = |line: &String| texts.iter().all(|text| line.contains(text));
        poll(PATIENCE, || self.site.raw_log().into_iter().skip(seen).find(fits))
            .unwrap_or_else(|| panic!("no log line with {texts:?}"))
    }

    /// The output of `postmap -s` for a table: its lines, sorted, so that the order of the file does not matter.
    pub fn listed(&self, table: &str) -> Vec<Vec<u8>> {
        let out = self.postmap(&["-s", table]);
        assert!(out.status.success(), "postmap -s {table}: {}", String::from_utf8_lossy(&out.stderr));
        let mut lines: Vec<Vec<u8>> = out.stdout.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        lines.sort();
        lines
    }

    /// Runs postmap(1) with the configuration of this place, to its end.
    pub fn postmap(&self, words: &[&str]) -> std::process::Output {
        self.postmap_command(words).output().unwrap()
    }

    /// postmap(1) with the configuration of this place. It waits for locks without end, so its time is limited.
    fn postmap_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["60", "postmap", "-c"]).arg(self.site.path("etc")).args(words);
        command
    }

    /// Adds entries to a table with `postmap -i`, or replaces them; the others stay.
    pub fn put(&self, table: &str, content: &Content) {
        let mut command = self.postmap_command(&["-i", "-r", table]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let written = child.stdin.take().unwrap().write_all(&lines(content));
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && written.is_ok(), "postmap -i {table}: {}: {said}", out.status);
    }

    /// Waits until `postmap -s` of the table shows these entries.
    pub fn wait_listed(&self, table: &str, content: &Content) {
        let wanted = listing(content);
        let same = poll(PATIENCE, || (self.listed(table) == wanted).then_some(()));
        assert!(same.is_some(), "{table}: {}", compared(&self.listed(table), &wanted));
    }

    /// Asserts that `postmap -s` of the table shows these entries, and that its file passes the checks of its format.
    pub fn assert_file(&self, table: &str, content: &Content) {
        let wanted = listing(content);
        let shown = self.listed(table);
        assert!(shown == wanted, "{table}: {}", compared(&shown, &wanted));
        self.assert_sound(table);
    }

    /// Asserts that a hash or btree file passes `db5.3_verify`; for lmdb, `postmap -s` has walked every entry.
    pub fn assert_sound(&self, table: &str) {
        if table.starts_with("lmdb:") {
            return;
        }
        let out = Command::new("db5.3_verify").arg(file_of(table)).output().unwrap();
        assert!(out.status.success(), "db5.3_verify {table}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// The entries of a hash or btree file as they are stored, with any NUL bytes at the end, as `db5.3_dump` shows them.
    pub fn stored(&self, table: &str) -> Vec<(String, String)> {
        let out = Command::new("db5.3_dump").arg("-p").arg(file_of(table)).output().unwrap();
        assert!(out.status.success(), "db5.3_dump {table}: {}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).unwrap();
        let items: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(' ')).collect();
        let mut pairs: Vec<(String, String)> =
            items.chunks_exact(2).map(|pair| (pair[0].to_string(), pair[1].to_string())).collect();
        pairs.sort();
        pairs
    }

    /// Starts a server as master(8) would, for the service `proxywrite`.
    pub fn start(&self, server: Server) -> Service<'_> {
        self.start_after("", server)
    }

    /// The same, under strace(1): these calls of each process go to a file of its own, `trace` and its process id. The
    /// tracer is no child of the service, and no parent of it.
    pub fn start_traced(&self, server: Server, calls: &str, trace: &Path) -> Service<'_> {
        let trace = trace.display();
        let way = format!("set -- strace -D -ff -qq -y -s 300 -e trace={calls} -o {trace} \"$@\"; ");
        self.start_after(&way, server)
    }

    fn start_after(&self, first: &str, server: Server) -> Service<'_> {
        let program = match server {
            Server::Stock => Path::new(STOCK_DAEMONS).join("proxymap"),
            Server::Ours => PathBuf::from(env!("CARGO_BIN_EXE_mapkeepd")),
        };
        // master(8) takes all rights away from files that others make.
        let words = ["-l", "-n", "proxywrite", "-t", "unix", "-u"];
        let master = self.site.start_through(&format!("umask 077; {first}"), &program, &words);
        let mut service = Service { master, status: None };
        service.read_status();
        service
    }
}

/// A running writing service. Dropping it ends it cleanly.
pub struct Service<'p> {
    pub master: Master<'p>,
    status: Option<JoinHandle<()>>,
}

impl Service<'_> {
    /// A new connection, past the announcement.
    pub fn client(&self) -> Client {
        Client::open(&self.master.socket())
    }

    /// Ends the service as the end of master's status channel does, and waits until it and all its processes are gone.
    pub fn stop(mut self) {
        let family: Vec<u32> = self.master.family().iter().map(|p| p.pid).collect();
        let status = self.master.status.take().unwrap();
        status.shutdown(std::net::Shutdown::Both).unwrap();
        drop(status);
        self.master.wait();
        let left = super::process::wait_gone(&family, PATIENCE);
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// Kills every process of the service at once, the service itself first, and waits until all are gone.
    pub fn kill(mut self) {
        self.kill_all();
    }

    fn kill_all(&mut self) {
        let family: Vec<u32> = self.master.family().iter().map(|p| p.pid).collect();
        super::process::signal("KILL", self.master.pid());
        family.iter().for_each(|pid| super::process::signal("KILL", *pid));
        self.master.wait();
        let left = super::process::wait_gone(&family, PATIENCE);
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// Starts the service again after it has ended; the listening socket is still the same.
    pub fn restart(&mut self) {
        self.master.restart();
        self.read_status();
    }

    /// Stock reports to master(8) before and after each request; unread reports would stop it.
    fn read_status(&mut self) {
        let mut reports = self.master.status.as_ref().unwrap().try_clone().unwrap();
        self.status = Some(std::thread::spawn(move || {
            let _ = std::io::copy(&mut reports, &mut std::io::sink());
        }));
    }
}

/// The source text from which postmap(1) makes a table with these entries.
fn lines(content: &Content) -> Vec<u8> {
    content.iter().flat_map(|(k, v)| [k.as_slice(), b" ", v.as_slice(), b"\n"].concat()).collect()
}

/// The file that stock Postfix reads for a table.
pub fn file_of(table: &str) -> PathBuf {
    let (kind, path) = table.split_once(':').unwrap();
    PathBuf::from(format!("{path}.{}", if kind == "lmdb" { "lmdb" } else { "db" }))
}

/// The lines in which `postmap -s` shows these entries, sorted.
pub fn listing(content: &Content) -> Vec<Vec<u8>> {
    let text: Vec<Vec<u8>> = content.iter().map(|(k, v)| [k, &b"\t"[..], v, b"\n"].concat()).collect();
    let text = text.concat();
    // A value may contain the end of a line; so the text is split, not the entries.
    let mut lines: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    lines.sort();
    lines
}

/// Which lines two listings do not have in common, shortened.
pub fn compared(left: &[Vec<u8>], right: &[Vec<u8>]) -> String {
    let only = |these: &[Vec<u8>], those: &[Vec<u8>]| -> Vec<String> {
        let missing = these.iter().filter(|line| those.binary_search(line).is_err());
        missing.take(5).map(|line| line[..line.len().min(80)].escape_ascii().to_string()).collect()
    };
    format!(
        "{} and {} lines; only in the first {:?}; only in the second {:?}",
        left.len(),
        right.len(),
        only(left, right),
        only(right, left)
    )
}

/// Makes the mail owner the owner of a file.
pub fn give(path: &Path) {
    let (uid, gid) = account("postfix");
    chown(path, Some(uid), Some(gid)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Files in the directory of a path whose names begin with its name, sorted.
pub fn beside(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        entries.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(&name)).collect();
    found.sort();
    found
}

/// The number of a file on its file system.
pub fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).ino()
}

/// How often the long form of a test does something: the number in an environment variable, or else `usual`.
pub fn how_many(variable: &str, usual: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => usual,
    }
}
