//! Help for tests that ask the installed Postfix: a private configuration directory, and its answers.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

pub const PROXYMAP: &str = "/usr/lib/postfix/sbin/proxymap";
pub const POSTCONF: &str = "/usr/sbin/postconf";

/// A user and group that own nothing.
const NOBODY: u32 = 65_534;

/// What every sample needs so that stock starts.
pub const HEAD: &str = "compatibility_level = 3.6\nmyhostname = host.example\nmydomain = example\n\
    mynetworks = 127.0.0.0/8\nmail_owner = postfix\nsetgid_group = postdrop\nqueue_directory = /var/spool/postfix\n";

/// Is Postfix here? Its absence is loud, and a failure in continuous integration.
pub fn postfix_is_here() -> bool {
    let here = Path::new(PROXYMAP).exists() && Path::new(POSTCONF).exists();
    if !here {
        assert!(std::env::var_os("CI").is_none(), "Postfix is not installed");
        eprintln!("SKIPPED: Postfix is not installed, nothing was compared");
    }
    here
}

/// A configuration directory of its own, gone when dropped.
pub struct ConfigDir {
    path: PathBuf,
}

impl ConfigDir {
    pub fn new(main_cf: &str) -> ConfigDir {
        ConfigDir::with_master(main_cf, "")
    }

    pub fn with_master(main_cf: &str, master_cf: &str) -> ConfigDir {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mapkeep-config-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let dir = ConfigDir { path };
        let main = dir.path.join("main.cf");
        std::fs::write(&main, main_cf).unwrap();
        std::fs::write(dir.path.join("master.cf"), master_cf).unwrap();
        // Stock reads a file again for as long as it is younger than a second.
        let old = SystemTime::now() - Duration::from_secs(3600);
        std::fs::File::options().write(true).open(&main).unwrap().set_modified(old).unwrap();
        dir
    }

    /// What `postconf -xh name` says, `None` when it ends with an error.
    pub fn expanded(&self, name: &str) -> Option<String> {
        let output = Command::new(POSTCONF).arg("-c").arg(&self.path).args(["-xh", name]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| text.strip_suffix('\n').unwrap_or(&text).to_string())
    }

    /// What postconf prints with these options, one entry on a line.
    pub fn postconf(&self, options: &[&str]) -> Vec<String> {
        let output = Command::new(POSTCONF).arg("-c").arg(&self.path).args(options).output().unwrap();
        assert!(output.status.success(), "postconf {options:?}");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks stock proxymap to open `table`: `None` when it dies, else whether the table is approved.
    pub fn approves(&self, table: &str) -> Option<bool> {
        self.approves_with(&[], table)
    }

    /// The same for a service with these arguments.
    pub fn approves_with(&self, arguments: &[Vec<u8>], table: &str) -> Option<bool> {
        let mut command = Command::new(PROXYMAP);
        if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            // It makes the file of a cache that it opens, in the machine's data_directory: nobody cannot.
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command
            .arg("-S")
            .args(arguments.iter().map(|argument| OsStr::from_bytes(argument)))
            .env_clear()
            .env("MAIL_CONFIG", &self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let request = format!("request\0open\0table\0{table}\0flags\0{flags}\0\0", flags = 0);
        // It may have died already; its silence says so.
        let _ = child.stdin.take().unwrap().write_all(request.as_bytes());
        let output = child.wait_with_output().unwrap();
        match output.stdout.split(|byte| *byte == 0).nth(1) {
            Some(b"4") => Some(false),
            Some(b"0") => Some(true),
            Some(other) => panic!("{table}: unexpected status {:?}", String::from_utf8_lossy(other)),
            None => None,
        }
    }
}

impl Drop for ConfigDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// The defaults of the installed Postfix.
pub fn postconf_defaults() -> Vec<u8> {
    Command::new(POSTCONF).arg("-d").output().unwrap().stdout
}

/// postconf(1) prints each run of whitespace as one blank.
pub fn normalised(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs `check` on every item, several at a time: stock sleeps a second before it dies.
pub fn for_each<T: Sync>(items: &[T], check: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(item);
                }
            });
        }
    });
}

/// A count that several threads add to.
#[derive(Default)]
pub struct Count(AtomicU32);

impl Count {
    pub fn add(&self, condition: bool) {
        self.0.fetch_add(u32::from(condition), Ordering::Relaxed);
    }

    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}
