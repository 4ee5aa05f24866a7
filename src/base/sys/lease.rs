//! Leases: by them a process learns who else has a file open (fcntl(2), "Leases").
//!
//! The owner of a file may have a read lease on it while nobody has it open for writing. Whoever wants to open it so while
//! the lease is held waits in open(2) until it is given up, which happens when the descriptor is closed. Its holder is sent
//! SIGIO: see [`crate::signals::ignore_lease_breaks`].

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Takes a read lease on a file that was opened for reading only. False if a process has it open for writing.
///
/// # Errors
/// `EACCES` for a file of another user; `EINVAL` where the file system has no leases.
pub fn take(file: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: fcntl(F_SETLEASE) takes a number and touches no memory of this process.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } {
        0 => Ok(true),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            error => Err(error),
        },
    }
}

/// Whether a process waits in open(2) for the end of the lease that was taken on this file. Only the holder may ask:
/// the kernel gives the same answer if there is no lease.
#[must_use]
pub fn is_awaited(file: BorrowedFd<'_>) -> bool {
    // SAFETY: fcntl(F_GETLEASE) takes nothing and touches no memory of this process.
    let lease = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
    // While the lease is being broken, the kernel returns its future state.
    lease == libc::F_UNLCK
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn lease_shows_writers_and_waiting_programs() {
        crate::signals::ignore_lease_breaks().unwrap();
        let path = std::env::temp_dir().join(format!("mapkeep-lease-{}", std::process::id()));
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(!take(reader.as_fd()).unwrap(), "it is open for writing");
        drop(writer);
        // A child that another test is starting may have it open for a moment longer.
        let start = std::time::Instant::now();
        while !take(reader.as_fd()).unwrap() {
            assert!(start.elapsed() < std::time::Duration::from_secs(60));
            std::thread::yield_now();
        }
        File::open(&path).unwrap();
        assert!(!is_awaited(reader.as_fd()), "readers do not wait");
        let path = &path;
        std::thread::scope(|scope| {
            let opening = scope.spawn(move || File::options().write(true).open(path).unwrap());
            while !is_awaited(reader.as_fd()) {
                std::thread::yield_now();
            }
            assert!(!opening.is_finished());
            drop(reader);
            opening.join().unwrap();
        });
        std::fs::remove_file(path).unwrap();
    }
}
