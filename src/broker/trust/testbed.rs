//! A private directory for tests that need root: every directory on the way to it is root's alone. For the tests of other
//! rooms, too, with the feature of this name.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests only"
)]

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Anchor, Owners, Refusal, Trusted, open_table};

/// A user id that owns nothing on the machine and is never trusted.
pub const STRANGER: u32 = 64_321;
/// A user id that tests declare as an owner.
pub const OWNER: u32 = 64_322;
/// The size limit that tests use, in bytes.
pub const LIMIT: u64 = 1 << 20;

/// The directory, removed when dropped, also by a failing test.
pub struct Bed {
    base: PathBuf,
}

impl Bed {
    /// Runs the test of this name, which is ignored otherwise, in a mount namespace of its own; it finds the path of
    /// this directory in `MAPKEEP_TEST_BED`. Prints a notice if there can be none (and fails if CI is set).
    pub fn in_mount_namespace(&self, test: &str) {
        let can = Command::new("unshare").args(["--mount", "true"]).status();
        if !can.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "CI may make mount namespaces");
            eprintln!("SKIPPED: this test needs a mount namespace (unshare --mount)");
            return;
        }
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(std::env::current_exe().expect("own path"))
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env("MAPKEEP_TEST_BED", self.path(""))
            .status();
        assert!(status.is_ok_and(|status| status.success()), "failed in the mount namespace");
    }

    /// A new empty directory; `None`, and a notice, without root (a failure if CI is set).
    pub fn new() -> Option<Bed> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "CI runs these tests as root");
            eprintln!("SKIPPED: this test needs root");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Not below /tmp: a sticky directory is refused.
        let base = PathBuf::from(format!("/run/mapkeep-test-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir(&base).expect("a directory in /run");
        let bed = Bed { base };
        bed.mode("", 0o755);
        Some(bed)
    }

    /// The absolute path of `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.base.clone() } else { self.base.join(name) }
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.path(name).into_os_string().into_encoded_bytes()
    }

    /// A directory and its missing parents, all root's with mode 0755.
    pub fn directory(&self, name: &str) {
        let mut path = self.base.clone();
        for part in Path::new(name).components() {
            path.push(part);
            if !path.exists() {
                fs::create_dir(&path).expect("create directory");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
            }
        }
    }

    /// A root-owned file with mode 0644.
    pub fn file(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).expect("write");
        self.mode(name, 0o644);
    }

    pub fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("chmod");
    }

    pub fn owner(&self, name: &str, uid: u32) {
        chown(self.path(name), Some(uid), None).expect("chown");
    }

    pub fn link(&self, target: &str, name: &str) {
        symlink(target, self.path(name)).expect("symlink");
    }

    pub fn link_owner(&self, name: &str, uid: u32) {
        lchown(self.path(name), Some(uid), None).expect("lchown");
    }

    pub fn remove(&self, name: &str) {
        let path = self.path(name);
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(path).expect("remove");
        } else {
            fs::remove_file(path).expect("remove");
        }
    }

    /// Opens the table at `name` with root as the only owner.
    pub fn open(&self, name: &str) -> Result<Trusted, Refusal> {
        self.open_for(name, &Owners::root())
    }

    pub fn open_for(&self, name: &str, owners: &Owners) -> Result<Trusted, Refusal> {
        let anchor = Anchor::host().expect("anchor");
        open_table(&anchor, &self.bytes(name), owners, LIMIT)
    }
}

/// The path of the opened file, according to the kernel.
pub fn path_of(trusted: &Trusted) -> Vec<u8> {
    let link = format!("/proc/self/fd/{}", trusted.file.as_raw_fd());
    fs::read_link(link).expect("an open file").into_os_string().into_encoded_bytes()
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}

/// Runs `act` with the file access rights of [`OWNER`] only, without capabilities. Other threads keep their rights.
pub fn as_owner<T>(act: impl FnOnce() -> T) -> T {
    use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
    let group = setfsgid(Gid::from_raw(OWNER));
    let user = setfsuid(Uid::from_raw(OWNER));
    let result = act();
    setfsuid(user);
    setfsgid(group);
    result
}
