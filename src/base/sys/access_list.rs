//! Whether a file has a POSIX access list, by getxattr(2).
//!
//! While it has one, the group bits of its mode are the upper limit of what named users may do (acl(5)), so that they
//! do not say who can write. Decides nothing.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether the file behind `descriptor` has an access list; works on `O_PATH` descriptors too.
///
/// The file is named by /proc/self/fd, since fgetxattr(2) does not take an `O_PATH` descriptor.
///
/// # Errors
/// Those of getxattr(2): `EOPNOTSUPP` if the file system has no such lists (it may have others), `ENOENT` without
/// /proc.
pub fn is_there(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    let path = CString::new(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))?;
    let name = c"system.posix_acl_access";
    // SAFETY: both names are NUL-terminated and outlive the call; with a length of 0 nothing is written.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) };
    if length >= 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENODATA) => Ok(false),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::OpenOptionsExt;

    #[test]
    fn is_there_after_setfacl_only() {
        let path = std::env::temp_dir().join(format!("mapkeep-acl-{}", std::process::id()));
        std::fs::write(&path, "x").expect("write");
        let open =
            || std::fs::File::options().read(true).custom_flags(libc::O_PATH).open(&path).expect("open");
        let before = is_there(open().as_fd());
        let set = std::process::Command::new("setfacl").args(["-m", "u:1:rw"]).arg(&path).status();
        let after = is_there(open().as_fd());
        std::fs::remove_file(&path).expect("remove");
        if !set.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: no setfacl, or no access lists here");
            return;
        }
        assert!(!before.expect("before"));
        assert!(after.expect("after"));
    }
}
