//! Copies a trusted table file into a sealed memory file, in steps that never hold up the event loop for long.
//!
//! The copy is made under the lock that the table's writers take, so that it is never half a rebuild; files whose
//! writers take no lock are copied when they have been left alone for a moment and did not change meanwhile.
//! Workers get the sealed copy, never the file: they cannot lock, lease, truncate or reopen what is the
//! administrator's, and a mapping of the copy cannot fault.
//!
//! May: flock, fcntl(F_OFD_SETLK, F_ADD_SEALS), fstat, sendfile, read, write, memfd_create, openat2 of our own
//! descriptor, close, clock_gettime. Never: look into the bytes (account files excepted, which go through the caller's
//! filter), wait for a lock.
//!
//! | file | purpose |
//! |---|---|
//! | `memory.rs` | the memory file: made, sealed, reopened |
//! | `filter.rs` | account files, line by line |
//! | `failure.rs` | messages |
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

pub mod redact;

mod failure;
mod filter;
mod memory;

#[cfg(test)]
mod mounts;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use mapkeep_name::Kind;
use mapkeep_sys::status::{self, Status};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FlockArg, fcntl};
use nix::sys::sendfile::sendfile;

pub use failure::Failure;
use filter::{Filter, uninterrupted};
use mapkeep_broker_trust::Trusted;
pub use mapkeep_broker_trust::{Identity, identity_by_name};

/// Reduces whole lines of an account file to what may leave the broker, and appends it to the second argument. Each
/// call gets complete lines with their newlines (the last line of a file may lack one) and must not append more bytes
/// than it is given.
pub type Redact = fn(&[u8], &mut Vec<u8>);

/// The largest account file, in bytes.
const ACCOUNT_LIMIT: u64 = 64 * 1024 * 1024;

/// How long a file without a writers' lock must have been left alone, in nanoseconds. The kernel may stamp all
/// changes within one timer tick (10 ms at most) with the same time, so a younger file could change once more
/// without a trace in its times.
const SETTLE_NS: i128 = 20_000_000;

/// An lmdb file of this size has two meta pages and nothing else: a valid empty table, and what a new one looks like until
/// its first entries are committed, which may take as long as a sync of the disk.
const LMDB_BLANK: u64 = 8192;
/// How long such a file must have been left alone before its emptiness is believed, in nanoseconds.
const BLANK_NS: i128 = 500_000_000;

/// How a table's writers are kept out during the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// Nothing to copy: the contents are in the table's name.
    None,
    /// Shared flock(2) of the whole file, as Postfix takes for hash, btree and cdb.
    Flock,
    /// Shared open-file-description lock of the whole file; it excludes the fcntl(2) locks of Postfix's lmdb.
    OfdLock,
    /// No lock, as writers of text files take none (or lock another file).
    StableText,
}

impl Discipline {
    /// The discipline for a kind of table (Postfix 3.7: DICT_DB and CDB use the internal style, LMDB fcntl).
    #[must_use]
    pub fn of(kind: Kind) -> Discipline {
        match kind {
            Kind::Hash | Kind::Btree | Kind::Cdb => Discipline::Flock,
            Kind::Lmdb => Discipline::OfdLock,
            Kind::Texthash | Kind::Passwd | Kind::Group | Kind::Cidr | Kind::Regexp | Kind::Pcre => {
                Discipline::StableText
            }
            Kind::Static
            | Kind::Inline
            | Kind::Fail
            | Kind::Internal
            | Kind::Environ
            | Kind::Randmap
            | Kind::Unionmap
            | Kind::Pipemap
            | Kind::Debug
            | Kind::Socketmap
            | Kind::Tcp
            | Kind::Unknown => Discipline::None,
        }
    }
}

/// The result of one step of a copy.
#[derive(Debug)]
pub enum Progress {
    /// A writer is at work, or was a moment ago: try again later. No lock is held meanwhile.
    Busy,
    /// There is more to copy.
    More,
    /// The copy is whole.
    Done(Snapshot),
}

/// A sealed copy of a table file.
#[derive(Debug)]
pub struct Snapshot {
    /// Read-only, sealed against every change. May be passed to any number of workers, which then share its file
    /// offset, so they must map it or read by position.
    pub descriptor: OwnedFd,
    /// Its length in bytes, which may be 0; for account files not the length of the file.
    pub size: u64,
    /// The version of the file that it was made from.
    pub identity: Identity,
}

/// A sealed copy of bytes of our own making, such as the list of approved names.
///
/// # Errors
/// [`Failure::KernelTooOld`], [`Failure::Io`].
pub fn seal_bytes(bytes: &[u8]) -> Result<OwnedFd, Failure> {
    let memory = memory::create()?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = uninterrupted(|| nix::unistd::write(&memory, rest)).map_err(Failure::io("write"))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    memory::seal(memory, u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// A copy in progress. The lock is released when the copy is done, fails or is dropped.
pub struct Copy {
    opened: Status,
    discipline: Discipline,
    limit: u64,
    filter: Option<Filter>,
    stage: Stage,
}

enum Stage {
    /// The file is not yet locked.
    Waiting { file: OwnedFd },
    /// The file is locked.
    Copying(Transfer),
    /// Finished or failed.
    Over,
}

/// The transfer of a locked file. Dropping it closes the file's only descriptor, which releases the lock.
struct Transfer {
    file: OwnedFd,
    memory: OwnedFd,
    /// The file's status under the lock, before the first byte was read.
    start: Status,
    /// Bytes read from the file.
    read: u64,
    /// Bytes written to the memory file.
    written: u64,
}

impl Copy {
    /// Prepares the copy of a table file; no file is read or locked yet. `limit` bounds the file's size in bytes
    /// (account files: 64 MiB at most). `redact` is required for passwd and group, and unused for other kinds.
    ///
    /// # Errors
    /// [`Failure::NoFile`] for a kind without a file, [`Failure::Unfiltered`] for an account file without a
    /// filter, [`Failure::TooLarge`].
    pub fn begin(trusted: Trusted, kind: Kind, limit: u64, redact: Option<Redact>) -> Result<Copy, Failure> {
        let discipline = Discipline::of(kind);
        if discipline == Discipline::None {
            return Err(Failure::NoFile);
        }
        let (filter, limit) = match kind {
            Kind::Passwd | Kind::Group => {
                let redact = redact.ok_or(Failure::Unfiltered)?;
                (Some(Filter::new(redact)), limit.min(ACCOUNT_LIMIT))
            }
            _ => (None, limit),
        };
        let Trusted { file, status: opened, .. } = trusted;
        if opened.size > limit {
            return Err(Failure::TooLarge { size: opened.size, limit });
        }
        Ok(Copy { opened, discipline, limit, filter, stage: Stage::Waiting { file } })
    }

    /// The length of the file as it was opened, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.opened.size
    }

    /// Continues the copy, by about `budget` bytes (at least one).
    ///
    /// # Errors
    /// [`Failure`], after which the copy cannot continue. [`Failure::Changed`] means: open the file again and start
    /// over.
    pub fn step(&mut self, budget: usize) -> Result<Progress, Failure> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Over => Err(Failure::Over),
            Stage::Waiting { file } => self.start(file),
            Stage::Copying(transfer) => self.advance(transfer, budget),
        }
    }

    /// Takes the lock, if no writer has it, and checks the file under the lock.
    fn start(&mut self, file: OwnedFd) -> Result<Progress, Failure> {
        if !lock(&file, self.discipline)? {
            self.stage = Stage::Waiting { file };
            return Ok(Progress::Busy);
        }
        let start = look(&file)?;
        // What was checked when the file was opened must still hold; a link count of 0 means that the name has another
        // file now.
        let proved = |status: &Status| (status.mode, status.uid, status.gid, status.nlink);
        if proved(&start) != proved(&self.opened) {
            return Err(Failure::Changed);
        }
        if start.size > self.limit {
            return Err(Failure::TooLarge { size: start.size, limit: self.limit });
        }
        if self.discipline == Discipline::StableText && !left_alone(&start) {
            self.stage = Stage::Waiting { file };
            return Ok(Progress::Busy);
        }
        if self.discipline != Discipline::StableText && start.size == 0 && !left_alone(&start) {
            // postmap truncates an index first and locks it afterwards: this is the moment between. Closing the file
            // lets the writer take its lock.
            return Err(Failure::Changed);
        }
        if self.discipline == Discipline::OfdLock
            && start.size <= LMDB_BLANK
            && !unchanged_for(BLANK_NS, &start)
        {
            // Its creator may be about to fill it, and changes its lock to a shared one for that.
            return Err(Failure::Changed);
        }
        let memory = memory::create()?;
        self.stage = Stage::Copying(Transfer { file, memory, start, read: 0, written: 0 });
        Ok(Progress::More)
    }

    /// Copies up to `budget` bytes; at the end of the file, finishes.
    fn advance(&mut self, mut transfer: Transfer, budget: usize) -> Result<Progress, Failure> {
        let (read, written) = match &mut self.filter {
            Some(filter) => filter.round(&transfer.file, &transfer.memory, budget)?,
            None => transfer.send(budget)?,
        };
        transfer.read = transfer.read.saturating_add(read);
        transfer.written = transfer.written.saturating_add(written);
        // A file longer than its status says is growing, or is not a stored file at all.
        if transfer.read > transfer.start.size || (read == 0 && transfer.read < transfer.start.size) {
            return Err(Failure::Changed);
        }
        if read > 0 {
            self.stage = Stage::Copying(transfer);
            return Ok(Progress::More);
        }
        let Transfer { file, memory, start, written: size, .. } = transfer;
        if look(&file)? != start {
            return Err(Failure::Changed);
        }
        let descriptor = memory::seal(memory, size)?;
        Ok(Progress::Done(Snapshot { descriptor, size, identity: Identity::from(&start) }))
    }
}

impl Transfer {
    /// Copies up to `budget` bytes within the kernel. Returns the bytes read and written; 0 at the end of the file.
    fn send(&self, budget: usize) -> Result<(u64, u64), Failure> {
        let mut position = i64::try_from(self.read).map_err(|_| Failure::Changed)?;
        let count = uninterrupted(|| sendfile(&self.memory, &self.file, Some(&mut position), budget.max(1)))
            .map_err(Failure::io("copy the file"))?;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        Ok((count, count))
    }
}

/// Takes the shared lock without waiting; false if a writer has it. The lock belongs to our own open file description,
/// which no other process shares, and is released when the descriptor is closed.
fn lock(file: &OwnedFd, discipline: Discipline) -> Result<bool, Failure> {
    let result = match discipline {
        Discipline::None | Discipline::StableText => return Ok(true),
        Discipline::Flock => uninterrupted(|| {
            // nix's guard type panics when its unlocking fails; closing the descriptor cannot.
            #[allow(deprecated)]
            nix::fcntl::flock(file.as_raw_fd(), FlockArg::LockSharedNonblock)
        }),
        Discipline::OfdLock => {
            let whole_file =
                nix::libc::flock { l_type: SHARED, l_whence: FROM_START, l_start: 0, l_len: 0, l_pid: 0 };
            uninterrupted(|| fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file)).map(drop))
        }
    };
    match result {
        Ok(()) => Ok(true),
        Err(Errno::EWOULDBLOCK | Errno::EACCES) => Ok(false),
        Err(errno) => Err(Failure::Io { action: "lock the file", errno }),
    }
}

fn look(file: &OwnedFd) -> Result<Status, Failure> {
    status::of(file.as_fd()).map_err(|error| Failure::Io {
        action: "look at the file",
        errno: Errno::from_raw(error.raw_os_error().unwrap_or_default()),
    })
}

/// `F_RDLCK` and `SEEK_SET` in the width of the lock structure's fields.
#[allow(clippy::cast_possible_truncation)]
const SHARED: nix::libc::c_short = nix::libc::F_RDLCK as nix::libc::c_short;
#[allow(clippy::cast_possible_truncation)]
const FROM_START: nix::libc::c_short = nix::libc::SEEK_SET as nix::libc::c_short;

/// Whether the file's last change is old enough for the next one to show in its times. A change in the future means
/// that the clock was set back; it counts as old.
fn left_alone(status: &Status) -> bool {
    unchanged_for(SETTLE_NS, status)
}

fn unchanged_for(nanoseconds: i128, status: &Status) -> bool {
    let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else { return true };
    let age = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX).saturating_sub(status.ctime_ns);
    !(0..nanoseconds).contains(&age)
}
