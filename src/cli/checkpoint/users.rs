//! Who else uses a file: a process that has it open for writing, or holds its exclusive lock.
//!
//! May: read /proc. Without root it sees the user's own processes only.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// O_WRONLY and O_RDWR, as /proc/PID/fdinfo shows them (fcntl(2)): the lowest two bits.
const WRITES: u32 = 0o3;

/// A process that keeps a file from being replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pid: u32,
    name: String,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// Device and inode number of what a path leads to.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// A process that uses this file, but for mapkeep's own, which do not keep each other away.
pub(super) fn user_of(file: (u64, u64)) -> Option<User> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let process = entry.path();
        if !uses(&process, file) || fs::read(process.join("cmdline")).ok()?.starts_with(b"mapkeep") {
            return None;
        }
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        // A name is the process's own choice.
        let name = name.trim_end().escape_default().to_string();
        Some(User { pid, name })
    })
}

/// Whether a process, seen in /proc, has this file open for writing, or has its exclusive flock(2).
fn uses(process: &Path, file: (u64, u64)) -> bool {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    // A descriptor that is closed meanwhile is none.
    descriptors.filter(|one| identity(&one.path()) == Some(file)).any(|one| {
        let information = fs::read_to_string(process.join("fdinfo").join(one.file_name()));
        information.is_ok_and(|text| keeps_away(&text))
    })
}

/// The text of /proc/PID/fdinfo for such a descriptor (proc_pid_fdinfo(5)): its flags, in octal, and its locks, as
/// `lock:\t1: FLOCK ADVISORY WRITE 4711 08:01:42 0 EOF`.
fn keeps_away(information: &str) -> bool {
    information.lines().any(|line| match line.split_once(':') {
        Some(("flags", flags)) => u32::from_str_radix(flags.trim(), 8).is_ok_and(|flags| flags & WRITES != 0),
        Some(("lock", lock)) => lock.contains("FLOCK") && lock.contains(" WRITE "),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_keep_others_away() {
        for (text, expected) in [
            ("pos:\t0\nflags:\t0100000\nmnt_id:\t29\nino:\t7\n", false),
            ("pos:\t0\nflags:\t0100001\n", true),
            ("pos:\t0\nflags:\t02100002\n", true),
            ("pos:\t0\nflags:\t0100000\nlock:\t1: FLOCK  ADVISORY  WRITE 42 08:01:7 0 EOF\n", true),
            ("pos:\t0\nflags:\t0100000\nlock:\t1: FLOCK  ADVISORY  READ 42 08:01:7 0 EOF\n", false),
            ("pos:\t0\nflags:\t0100000\nlock:\t1: LEASE  ACTIVE    READ 42 08:01:7 0 EOF\n", false),
            ("", false),
        ] {
            assert_eq!(keeps_away(text), expected, "{text:?}");
        }
    }

    #[test]
    fn user_of_a_file_is_found_and_named() {
        let path = std::env::temp_dir().join(format!("mapkeep-users-{}", std::process::id()));
        let own = |file: (u64, u64)| user_of(file).filter(|user| user.pid == std::process::id());
        let writing = fs::File::create(&path).unwrap();
        let file = identity(&path).unwrap();
        let found = own(file).map(|user| user.to_string());
        assert!(found.is_some_and(|text| text.ends_with(&format!(" (process {})", std::process::id()))));
        drop(writing);
        let reading = fs::File::open(&path).unwrap();
        assert_eq!(own(file), None);
        reading.lock().unwrap();
        assert!(own(file).is_some());
        fs::remove_file(&path).unwrap();
    }
}
