//! The memory file that a snapshot lives in: made, sealed, reopened read-only.
//!
//! The kernel gives a memfd the mode 0777, less the execute bits with MFD_NOEXEC_SEAL: 0666, whatever the umask,
//! and changing it would take a system call that the broker does not have. The seals carry the protection, not
//! the mode: nobody, root and the owner included, can write, resize, punch, map writable or make executable.
//! What the mode alone leaves to a worker of another uid is to touch the times, to set user attributes and to
//! flock the copy: none changes a byte of it, and its system call filter allows none.
//!
//! May: memfd_create, fcntl(F_ADD_SEALS), openat2 of our own descriptor.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mapkeep_sys::status;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, OpenHow, SealFlag, fcntl, openat2};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::Failure;

/// The name that shows in /proc/PID/fd and /proc/PID/maps of every process that holds a snapshot.
const NAME: &std::ffi::CStr = c"mapkeep-table";

/// An empty, writable memory file that can never become executable.
pub(super) fn create() -> Result<OwnedFd, Failure> {
    let never_executable = MFdFlags::from_bits_retain(nix::libc::MFD_NOEXEC_SEAL);
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING | never_executable;
    memfd_create(NAME, flags).map_err(|errno| match errno {
        // The name is short and the other flags are old: only the new flag can be unknown.
        Errno::EINVAL => Failure::KernelTooOld,
        errno => Failure::Io { action: "create a memory file", errno },
    })
}

/// Seals the contents and returns a read-only descriptor of them; `size` is the number of bytes written.
pub(super) fn seal(memory: OwnedFd, size: u64) -> Result<OwnedFd, Failure> {
    // F_SEAL_WRITE includes what F_SEAL_FUTURE_WRITE promises, and fails if a writable mapping exists.
    let seals =
        SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals)).map_err(Failure::io("seal the memory file"))?;

    // A new open of the same file, which can only read. The link in /proc is the kernel's and leads to the descriptor
    // itself, so nobody can redirect this path.
    let link = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC);
    let reader =
        openat2(AT_FDCWD, link.as_str(), how).map_err(Failure::io("reopen the memory file read-only"))?;
    let look = |descriptor: &OwnedFd| {
        status::of(descriptor.as_fd()).map_err(|error| Failure::Io {
            action: "look at the memory file",
            errno: Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        })
    };
    let (written, reopened) = (look(&memory)?, look(&reader)?);
    if (written.dev, written.ino, size) != (reopened.dev, reopened.ino, reopened.size) {
        return Err(Failure::Changed);
    }
    Ok(reader)
}
