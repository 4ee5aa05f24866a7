//! The two descriptors of an lmdb file, and the lock that Postfix programs honour.
//!
//! Purpose: lock, measure, read and sync. May: fcntl(F_OFD_SETLK, F_DUPFD_CLOEXEC), statx without a path, fstat, pread,
//! fdatasync, ftruncate, and sleep for a lock. Never: write.
//!
//! Postfix programs lock the whole file with F_SETLK, shared to read and exclusive to write. Those locks belong to a
//! process and are lost when it closes any descriptor of the file; the locks of an open file description, used here,
//! conflict with them and are not (fcntl(2)).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::thread::sleep;
use std::time::Duration;

use mapkeep_sys::{inherit, status};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::StoreError;

/// How long one turn may wait for locks, all in all.
const PATIENCE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// Which lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lock {
    None,
    Shared,
    Exclusive,
}

/// Something with the bytes of an lmdb file.
pub(super) trait Source {
    /// Fills `into` from offset `at`. False: the file ends before.
    fn fill(&self, at: u64, into: &mut [u8]) -> Result<bool, StoreError>;
}

impl Source for File {
    fn fill(&self, at: u64, into: &mut [u8]) -> Result<bool, StoreError> {
        // The kernel's offsets are signed, and it treats larger ones as an error of the caller.
        if i64::try_from(at).is_err() {
            return Ok(false);
        }
        match self.read_exact_at(into, at) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(failed("reading", &error)),
        }
    }
}

impl Source for [u8] {
    fn fill(&self, at: u64, into: &mut [u8]) -> Result<bool, StoreError> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..at.checked_add(into.len())?));
        if let Some(from) = from {
            into.copy_from_slice(from);
        }
        Ok(from.is_some())
    }
}

/// The descriptors of one file. They are kept for as long as the table is open; liblmdb gets duplicates.
#[derive(Debug)]
pub(super) struct Held {
    data: File,
    meta: OwnedFd,
    lock: Lock,
    patience: Duration,
}

impl Held {
    pub fn new(data: OwnedFd, meta: OwnedFd) -> Held {
        Held { data: data.into(), meta, lock: Lock::None, patience: PATIENCE }
    }

    /// Takes this lock, or keeps one that is stronger. Waits for other programs, once a turn for a second at most.
    pub fn lock(&mut self, want: Lock) -> Result<(), StoreError> {
        if self.lock >= want {
            return Ok(());
        }
        let mut pause = FIRST_PAUSE;
        while !set_lock(&self.data, want)? {
            // Two programs that hold the shared lock and want the exclusive one would wait for each other.
            self.unlock();
            if self.patience.is_zero() {
                return Err(StoreError::Busy);
            }
            let pausing = pause.min(self.patience);
            sleep(pausing);
            self.patience = self.patience.saturating_sub(pausing);
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        self.lock = want;
        Ok(())
    }

    /// Releases the lock. No transaction may be open.
    pub fn unlock(&mut self) {
        if self.lock != Lock::None {
            // Giving a lock of the whole file up can fail for a closed descriptor only.
            let _ = set_lock(&self.data, Lock::None);
            self.lock = Lock::None;
        }
    }

    /// A turn ends: the next one may wait again.
    pub fn end_turn(&mut self) {
        self.patience = PATIENCE;
    }

    pub fn bytes(&self) -> &File {
        &self.data
    }

    /// The length of the file in bytes.
    pub fn length(&self) -> Result<u64, StoreError> {
        let status = status::extent(self.data.as_fd()).map_err(|error| failed("looking at", &error))?;
        if status.nlink == 0 {
            return Err(StoreError::Io("it has been removed, or replaced by another file".into()));
        }
        Ok(status.size)
    }

    /// Descriptors for liblmdb, which closes them: data, meta.
    pub fn duplicates(&self) -> Result<(OwnedFd, OwnedFd), StoreError> {
        let duplicate = |file: &dyn AsFd| inherit::copy(file.as_fd());
        let both = duplicate(&self.data).and_then(|data| Ok((data, duplicate(&self.meta)?)));
        both.map_err(|error| failed("duplicating the descriptors of", &error))
    }

    /// Makes everything that can be read from the file durable, including changes by other programs.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.data.sync_data().map_err(|error| failed("syncing", &error))
    }

    /// Makes the file empty again, after a failure in making a table of an empty one.
    pub fn clear(&self) {
        // The failure that led here is reported; a file that stays is found damaged and set aside.
        let _ = self.data.set_len(0);
    }
}

/// The shared lock of a file for as long as it lives, without waiting longer than a turn may.
pub(super) fn while_shared<T>(
    file: &File,
    act: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut left = PATIENCE;
    while !set_lock(file, Lock::Shared)? {
        if left.is_zero() {
            return Err(StoreError::Busy);
        }
        sleep(LONGEST_PAUSE);
        left = left.saturating_sub(LONGEST_PAUSE);
    }
    let result = act();
    set_lock(file, Lock::None)?;
    result
}

/// False: another program holds a lock that this one conflicts with.
fn set_lock(file: &File, lock: Lock) -> Result<bool, StoreError> {
    let kind = match lock {
        Lock::None => libc::F_UNLCK,
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
    };
    // From the start, without an end: the same range as Postfix locks.
    let whole = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    loop {
        return match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(Errno::EINTR) => continue,
            Err(error) => Err(failed("locking", &error.into())),
        };
    }
}

/// What went wrong with the file, by the kernel's word.
pub(super) fn failed(doing: &str, error: &io::Error) -> StoreError {
    let what = format!("{doing} it: {error}");
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => StoreError::NoRoom(what),
        _ => StoreError::Io(what),
    }
}
