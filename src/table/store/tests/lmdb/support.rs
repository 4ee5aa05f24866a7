//! What the tests of this program have in common: directories, tables, Postfix's commands, children, chance.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

#[path = "../../../../../tests/common/random.rs"]
mod random;

use mapkeep_table_store::lmdb::Entries;
use mapkeep_table_store::{LmdbStore, Store, StoreError};
pub use random::Random as Chance;

/// The variable that tells a child what to do.
pub const ROLE: &str = "MAPKEEP_TEST_ROLE";

pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// A fresh directory, removed when dropped.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("lmdb-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    /// The path of a table in it, with `.lmdb`.
    pub fn table(&self) -> PathBuf {
        self.0.join("table.lmdb")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The two descriptors of a file, which is made if there is none.
pub fn descriptors(path: &Path) -> (OwnedFd, OwnedFd) {
    let data = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    let meta = OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(path).unwrap();
    (data.into(), meta.into())
}

pub fn try_open(path: &Path) -> Result<LmdbStore, StoreError> {
    let (data, meta) = descriptors(path);
    LmdbStore::open(data, meta)
}

pub fn open(path: &Path) -> LmdbStore {
    try_open(path).unwrap()
}

pub fn get(store: &mut LmdbStore, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    store.get(key, &mut value).unwrap().then_some(value)
}

/// All entries, in the order in which they come.
pub fn content(store: &mut LmdbStore) -> Result<Entries, StoreError> {
    let (mut entries, mut last) = (Vec::new(), None);
    loop {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        if !store.after(last.as_deref(), &mut key, &mut value)? {
            store.rest();
            return Ok(entries);
        }
        last = Some(key.clone());
        entries.push((key, value));
    }
}

/// `text` as Postfix stores it.
pub fn stored(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Whether Postfix with lmdb tables is installed; otherwise prints a notice, and fails if CI is set.
pub fn has_postmap(test: &str) -> bool {
    let types = Command::new("postconf").arg("-m").stderr(Stdio::null()).output();
    if types.is_ok_and(|output| output.stdout.split(|byte| *byte == b'\n').any(|line| line == b"lmdb")) {
        return true;
    }
    cannot_run(test, "there is no Postfix with lmdb tables")
}

/// Says that a test is left out; under CI that is a failure. False.
pub fn cannot_run(test: &str, reason: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "{test} cannot run in CI: {reason}");
    eprintln!("LEFT OUT: {test}: {reason}");
    false
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|status| status.uid() == 0)
}

/// Postfix's `postmap`, with a configuration of its own; what it is to read; its exit status and output.
pub fn postmap(directory: &Directory, arguments: &[&str], table: &Path, input: &str) -> (bool, String) {
    let configuration = directory.0.join("etc");
    if !configuration.exists() {
        fs::create_dir(&configuration).unwrap();
        // The machine's own directory is named for the list of libraries with table types only.
        let settings = "compatibility_level = 3.6\nmeta_directory = /etc/postfix\n";
        fs::write(configuration.join("main.cf"), settings).unwrap();
    }
    let mut child = Command::new("postmap")
        .arg("-c")
        .arg(&configuration)
        .args(arguments)
        .arg(format!("lmdb:{}", table.with_extension("").display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What `postmap -s` lists, as it is stored.
pub fn listed(directory: &Directory, table: &Path) -> Entries {
    let (fine, output) = postmap(directory, &["-s"], table, "");
    assert!(fine, "postmap -s refuses the table");
    let entry = |line: &str| line.split_once('\t').map(|(key, value)| (stored(key), stored(value)));
    output.lines().map(|line| entry(line).expect("a key and a value")).collect()
}

/// This program again, in a role (a word and its arguments, none of which contains a space).
pub fn child(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture", "--quiet"]).env(ROLE, role);
    command
}

impl Chance {
    /// Text of letters and digits.
    pub fn text(&mut self, length: usize) -> String {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        (0..length).map(|_| char::from(LETTERS[self.below(LETTERS.len())])).collect()
    }
}
