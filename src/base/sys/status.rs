//! What the kernel says of an open descriptor, by fstat(2) under its own number.
//!
//! glibc's `fstat` and Rust's `File::metadata` go through `newfstatat` and `statx`, which take a path: a seccomp filter
//! cannot tell them from a path lookup, so neither is allowed after lock-down (save for `statx` without a path, see
//! [`extent`]). The system call `fstat` takes a descriptor only. Decides nothing.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("fstat(2) fills another structure than `libc::stat` on 32-bit systems");

/// The part of a file's status that trust checks and change detection use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Device of the file system that holds the file.
    pub dev: u64,
    /// Inode number, unique within `dev` while the file exists.
    pub ino: u64,
    /// File type and permission bits (`st_mode`).
    pub mode: u32,
    /// Owner's user id.
    pub uid: u32,
    /// Owner's group id.
    pub gid: u32,
    /// Length in bytes; a negative length, which no file system reports, reads as 0.
    pub size: u64,
    /// Number of names (hard links); 0 for a file that was removed or replaced while open.
    pub nlink: u64,
    /// Last change of the contents, in nanoseconds since 1970. The file's owner can set it at will.
    pub mtime_ns: i128,
    /// Last change of contents or status, in nanoseconds since 1970. It cannot be set.
    pub ctime_ns: i128,
}

/// The status of the file behind `descriptor`; works on `O_PATH` descriptors too.
///
/// # Errors
/// Those of fstat(2): for an open descriptor, only a failing (network) file system.
pub fn of(descriptor: BorrowedFd<'_>) -> io::Result<Status> {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the descriptor is open for the length of the borrow, and the pointer is valid for a write of one
    // `libc::stat`, which on 64-bit Linux is the layout this system call fills.
    let result = unsafe { libc::syscall(libc::SYS_fstat, descriptor.as_raw_fd(), status.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every field is an integer, for which all bit patterns are valid, and the memory was zeroed before
    // the kernel filled it.
    let status = unsafe { status.assume_init() };
    Ok(Status {
        dev: status.st_dev,
        ino: status.st_ino,
        mode: status.st_mode,
        uid: status.st_uid,
        gid: status.st_gid,
        size: u64::try_from(status.st_size).unwrap_or(0),
        // The field is 32 bits wide on aarch64.
        #[allow(clippy::useless_conversion)]
        nlink: u64::from(status.st_nlink),
        mtime_ns: nanoseconds(status.st_mtime, status.st_mtime_nsec),
        ctime_ns: nanoseconds(status.st_ctime, status.st_ctime_nsec),
    })
}

/// The length of a file, and its number of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes.
    pub size: u64,
    /// Number of names (hard links); 0 for a file that was removed or replaced while open.
    pub nlink: u64,
}

/// Whether this kernel supports statx(2) without a path, as far as is known.
static WITHOUT_PATH: AtomicBool = AtomicBool::new(true);

/// A part of [`of`], without reading the times of the file.
///
/// Since Linux 6.13 a file whose times have been read gets a fine-grained time with its next change, and each change of
/// time is one more thing for fsync(2) to write: on ext4 without a journal that costs a tenth of a durable update.
/// statx(2) reads only what it is asked for. Its path is a null pointer, so that a filter can distinguish it from a
/// path lookup; kernels before 6.11 refuse that, and fstat(2) is used there.
///
/// # Errors
/// As for [`of`].
pub fn extent(descriptor: BorrowedFd<'_>) -> io::Result<Extent> {
    if WITHOUT_PATH.load(Ordering::Relaxed) {
        let mut status = MaybeUninit::<libc::statx>::zeroed();
        let (wanted, no_path) = (libc::STATX_SIZE | libc::STATX_NLINK, std::ptr::null::<libc::c_char>());
        let (number, empty) = (descriptor.as_raw_fd(), libc::AT_EMPTY_PATH);
        // SAFETY: the descriptor is open for the length of the borrow, a null path is not followed, and the pointer is
        // valid for a write of one `libc::statx`.
        let result =
            unsafe { libc::syscall(libc::SYS_statx, number, no_path, empty, wanted, status.as_mut_ptr()) };
        if result == 0 {
            // SAFETY: every field is an integer, for which all bit patterns are valid, and the memory was zeroed before
            // the kernel filled it.
            let status = unsafe { status.assume_init() };
            return Ok(Extent { size: status.stx_size, nlink: status.stx_nlink.into() });
        }
        let error = io::Error::last_os_error();
        if !matches!(error.raw_os_error(), Some(libc::EFAULT | libc::ENOSYS)) {
            return Err(error);
        }
        WITHOUT_PATH.store(false, Ordering::Relaxed);
    }
    of(descriptor).map(|Status { size, nlink, .. }| Extent { size, nlink })
}

/// Seconds and nanoseconds as one number; 128 bits hold every pair of 64-bit values.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn of_file_agrees_with_metadata() {
        for path in ["/etc/passwd", "/etc", "/dev/null"] {
            let file = std::fs::File::open(path).expect("open");
            let expected = file.metadata().expect("metadata");
            let found = of(file.as_fd()).expect("status");
            assert_eq!((found.dev, found.ino, found.mode), (expected.dev(), expected.ino(), expected.mode()));
            assert_eq!((found.uid, found.gid), (expected.uid(), expected.gid()));
            let extent = Extent { size: expected.size(), nlink: expected.nlink() };
            assert_eq!((found.size, found.nlink), (extent.size, extent.nlink));
            assert_eq!(super::extent(file.as_fd()).expect("extent"), extent);
            assert_eq!(found.mtime_ns, nanoseconds(expected.mtime(), expected.mtime_nsec()));
            assert_eq!(found.ctime_ns, nanoseconds(expected.ctime(), expected.ctime_nsec()));
        }
    }

    #[test]
    fn extent_shows_removal_and_agrees_with_fstat() {
        let path = std::env::temp_dir().join(format!("mapkeep-status-{}", std::process::id()));
        std::fs::write(&path, "four").expect("write");
        let file = std::fs::File::open(&path).expect("open");
        assert_eq!(extent(file.as_fd()).expect("extent"), Extent { size: 4, nlink: 1 });
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(extent(file.as_fd()).expect("extent"), Extent { size: 4, nlink: 0 });
        WITHOUT_PATH.store(false, Ordering::Relaxed);
        assert_eq!(extent(file.as_fd()).expect("by fstat"), Extent { size: 4, nlink: 0 });
        WITHOUT_PATH.store(true, Ordering::Relaxed);
    }

    #[test]
    fn nanoseconds_extreme_times_do_not_overflow() {
        assert!(nanoseconds(i64::MAX, 999_999_999) > 0);
        assert!(nanoseconds(i64::MIN, 0) < 0);
    }
}
