//! The two files of a store, as SQLite sees them.
//!
//! Purpose: reads, writes, cuts and syncs by descriptor; a checksum on every page of the main file; and the place up to
//! which the log holds what was committed. May: pread, pwrite, ftruncate, fdatasync, fstat, one fcntl for the lock.
//! Never: close a descriptor before its store is dropped. Called by: `handle`, for SQLite; the store.
//!
//! SQLite's own files have checksums in the log only. A page of the main file here ends in one as well, in bytes that
//! SQLite leaves alone (`SQLITE_FCNTL_RESERVE_BYTES`), so that a page that has changed on the disk is an error and never
//! an answer.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::calls;
use crate::StoreError;

/// Bytes in a page. A change of a single entry writes one page; this is the block size of the usual file systems.
pub(super) const PAGE: usize = 4096;

/// Bytes before each page in the log, which begin with the page's number.
pub(super) const FRAME_HEADER: usize = 24;

/// Bytes at the end of each page of the main file that hold its checksum.
pub(super) const CHECKSUM: usize = 8;

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Main,
    Log,
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Whole,
    /// The file ends before; the rest is zeros.
    Short,
    /// A page that does not have its checksum.
    Damaged,
}

/// The descriptors of a store.
#[derive(Debug)]
pub(super) struct Descriptors {
    main: File,
    log: File,
    /// Where in the log the first write since the last commit was.
    floor: AtomicU64,
    /// Where the last write to the log ended.
    logged: AtomicU64,
    /// How many pages the main file has room for.
    room: AtomicU64,
    /// The header of a frame whose page is written next, and its offset.
    head: Mutex<Option<(u64, [u8; FRAME_HEADER])>>,
    /// The last error of the kernel, for the message of SQLite's error.
    errno: AtomicI32,
}

/// Nothing was written to the log since the last commit.
const NO_FLOOR: u64 = u64::MAX;

impl Descriptors {
    pub fn new(main: OwnedFd, log: OwnedFd) -> Descriptors {
        Descriptors {
            main: main.into(),
            log: log.into(),
            floor: AtomicU64::new(NO_FLOOR),
            logged: AtomicU64::new(0),
            room: AtomicU64::new(0),
            head: Mutex::new(None),
            errno: AtomicI32::new(0),
        }
    }

    pub fn into_descriptors(self) -> (OwnedFd, OwnedFd) {
        (self.main.into(), self.log.into())
    }

    fn file(&self, part: Part) -> &File {
        match part {
            Part::Main => &self.main,
            Part::Log => &self.log,
        }
    }

    /// Keeps all other programs with SQLite off, for as long as the descriptors live.
    ///
    /// This is the range of bytes that SQLite's unix VFS locks (`PENDING_BYTE` and the 511 after it). The lock belongs to
    /// the open file description: unlike a POSIX lock it does not end when this process closes some other descriptor
    /// of the file, and it conflicts with POSIX locks of others in both directions.
    pub fn lock(&self) -> Result<(), StoreError> {
        let range = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0x4000_0000,
            l_len: 512,
            l_pid: 0,
        };
        match fcntl(self.main.as_fd(), FcntlArg::F_OFD_SETLK(&range)) {
            Ok(_) => Ok(()),
            Err(Errno::EAGAIN | Errno::EACCES) => Err(StoreError::Busy),
            Err(error) => Err(StoreError::Io(format!("lock: {error}"))),
        }
    }

    /// Fills `out` from `at` on. Whole pages of the main file are checked.
    pub fn read(&self, part: Part, at: u64, out: &mut [u8]) -> io::Result<Read> {
        self.flush_head(part)?;
        let mut done = 0_usize;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let place = at.saturating_add(done as u64);
            match self.file(part).read_at(rest, place) {
                Ok(0) => {
                    rest.fill(0);
                    // SQLite would treat a missing page as one of zeros.
                    let is_page = part == Part::Main && page_number(at, out.len()).is_some();
                    return Ok(if is_page && self.size(part)? > 0 { Read::Damaged } else { Read::Short });
                }
                Ok(count) => done = done.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.noted(error)),
            }
        }
        let damaged = part == Part::Main && page_number(at, out.len()).is_some_and(|n| !is_sound(n, out));
        Ok(if damaged { Read::Damaged } else { Read::Whole })
    }

    /// Writes `bytes` at `at`; a whole page of the main file with its checksum.
    pub fn write(&self, part: Part, at: u64, bytes: &[u8]) -> io::Result<()> {
        let written = match (part, page_number(at, bytes.len()), <[u8; PAGE]>::try_from(bytes)) {
            (Part::Log, ..) => self.make_room(bytes).and_then(|()| self.write_log(at, bytes)),
            (Part::Main, Some(number), Ok(mut page)) => {
                seal(number, &mut page);
                calls::write(&self.main, at, &page)
            }
            // SQLite writes nothing but pages to its main file; a part of one could not be checked again.
            (Part::Main, ..) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        };
        written.map_err(|error| self.noted(error))
    }

    /// Writes to the log; the head of a frame, which is all that SQLite writes in so few bytes, together with its page.
    fn write_log(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.floor.fetch_min(at, Ordering::Relaxed);
        self.logged.store(at.saturating_add(bytes.len() as u64), Ordering::Relaxed);
        let is_before = |(start, _): &mut (u64, _)| start.checked_add(FRAME_HEADER as u64) == Some(at);
        let head = if bytes.len() == PAGE { self.waiting_head().take_if(is_before) } else { None };
        if let Some((start, head)) = head {
            return calls::write(&self.log, start, &[&head, bytes].concat());
        }
        self.flush_head(Part::Log)?;
        match bytes.try_into() {
            Ok(head) => {
                *self.waiting_head() = Some((at, head));
                Ok(())
            }
            Err(_) => calls::write(&self.log, at, bytes),
        }
    }

    fn waiting_head(&self) -> MutexGuard<'_, Option<(u64, [u8; FRAME_HEADER])>> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the header of a frame whose page has not been written.
    fn flush_head(&self, part: Part) -> io::Result<()> {
        let head = if part == Part::Log { self.waiting_head().take() } else { None };
        head.map_or(Ok(()), |(at, head)| calls::write(&self.log, at, &head))
            .map_err(|error| self.noted(error))
    }

    /// Extends the main file with zeros if this is the header of a frame with a page beyond its end. So even if the log
    /// has filled the file system, it can still be moved to the main file, and then releases its space.
    fn make_room(&self, header: &[u8]) -> io::Result<()> {
        let Ok([a, b, c, d, ..]) = <[u8; FRAME_HEADER]>::try_from(header) else { return Ok(()) };
        let page = u64::from(u32::from_be_bytes([a, b, c, d]));
        for next in self.room.load(Ordering::Relaxed)..page {
            calls::write(&self.main, next.saturating_mul(PAGE as u64), &[0; PAGE])?;
            self.room.store(next.saturating_add(1), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Cuts the file, or grows it by zeros.
    pub fn truncate(&self, part: Part, size: u64) -> io::Result<()> {
        self.flush_head(part)?;
        calls::truncate(self.file(part), size).map_err(|error| self.noted(error))?;
        self.measured(part, size);
        Ok(())
    }

    /// Notes how long a file is, from where on it will be written.
    fn measured(&self, part: Part, size: u64) {
        match part {
            Part::Main => self.room.store(size.div_ceil(PAGE as u64), Ordering::Relaxed),
            Part::Log => drop(self.logged.fetch_min(size, Ordering::Relaxed)),
        }
    }

    /// The contents of the log are obsolete: the next write restarts it, or its offset shows where it continues.
    pub fn log_is_old(&self) {
        self.logged.store(0, Ordering::Relaxed);
    }

    /// How many pages were written to the log since its last restart.
    pub fn logged_pages(&self) -> u64 {
        self.logged.load(Ordering::Relaxed).checked_div(PAGE as u64).unwrap_or(0)
    }

    /// Makes what was written durable.
    pub fn sync(&self, part: Part) -> io::Result<()> {
        self.flush_head(part)?;
        calls::sync(self.file(part)).map_err(|error| self.noted(error))
    }

    /// Length in bytes.
    pub fn size(&self, part: Part) -> io::Result<u64> {
        self.flush_head(part)?;
        let status =
            mapkeep_sys::status::extent(self.file(part).as_fd()).map_err(|error| self.noted(error))?;
        self.measured(part, status.size);
        Ok(status.size)
    }

    /// The contents of the log up to now are committed.
    pub fn committed(&self) {
        self.floor.store(NO_FLOOR, Ordering::Relaxed);
    }

    /// Cuts off what was written to the log since the last commit.
    ///
    /// SQLite forgets a transaction that it could not sync, but leaves its frames behind: after a crash they would be
    /// found, and count.
    pub fn cut(&self) -> io::Result<()> {
        let floor = self.floor.load(Ordering::Relaxed);
        if floor != NO_FLOOR {
            if floor < self.size(Part::Log)? {
                self.truncate(Part::Log, floor)?;
            }
            self.committed();
        }
        Ok(())
    }

    fn noted(&self, error: io::Error) -> io::Error {
        self.errno.store(error.raw_os_error().unwrap_or(libc::EIO), Ordering::Relaxed);
        error
    }

    /// The kernel's last error.
    pub fn reason(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno.load(Ordering::Relaxed))
    }
}

/// The number of the page, from 1, if this range is a whole one.
fn page_number(at: u64, length: usize) -> Option<u64> {
    let size = PAGE as u64;
    (length == PAGE && at.is_multiple_of(size)).then(|| at.checked_div(size))?.map(|n| n.saturating_add(1))
}

/// Writes its checksum into the page.
pub(super) fn seal(number: u64, page: &mut [u8; PAGE]) {
    let (content, place) = page.split_at_mut(PAGE.saturating_sub(CHECKSUM));
    place.copy_from_slice(&checksum(number, content).to_le_bytes());
}

/// Whether the page has its checksum.
pub(super) fn is_sound(number: u64, page: &[u8]) -> bool {
    page.split_last_chunk::<CHECKSUM>()
        .is_some_and(|(content, found)| checksum(number, content) == u64::from_le_bytes(*found))
}

/// Each step is a bijection, so a change within 8 bytes is always found, and any other is missed once in 2^64 times.
/// The page number is included because a page in the place of another is damage, too.
fn checksum(number: u64, content: &[u8]) -> u64 {
    let mut sum = number ^ 0x6d61_706b_6565_7031;
    let (words, _) = content.as_chunks::<8>();
    for word in words {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    sum
}
