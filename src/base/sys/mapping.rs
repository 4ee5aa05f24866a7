//! Read-only mappings of sealed snapshots.

use nix::libc::{MADV_COLLAPSE, MADV_POPULATE_READ, c_int, madvise};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// A large page of the processor, in bytes: what one entry of the second level of page tables maps on x86-64, and on
/// aarch64 with small pages of 4 KiB. Elsewhere the kernel refuses, and nothing changes.
const LARGE_PAGE: usize = 2 << 20;
/// Bytes that are put into large pages in one go: 2 to 3 ms.
const STEP: usize = 4 * LARGE_PAGE;
/// No step of one mapping begins once the previous ones have taken this long in total. On a machine with enough free
/// memory, 1 GiB takes 0.3 s.
const PATIENCE: Duration = Duration::from_millis(500);

/// The bytes of a sealed memfd, mapped read-only and shared: in memory once, however many processes map it.
#[derive(Debug)]
pub struct Mapping {
    /// `None` for an empty snapshot: the kernel does not map zero bytes.
    start: Option<NonNull<c_void>>,
    length: usize,
}

impl Mapping {
    /// Maps the first `size` bytes of `memfd` and populates the pages at once, which avoids a fault for each page at
    /// its first use.
    ///
    /// The descriptor must be a memfd with F_SEAL_SHRINK and F_SEAL_WRITE (the broker makes no other), so that
    /// the bytes neither change nor vanish under the mapping. It may be closed afterwards.
    ///
    /// # Errors
    /// Those of mmap(2); `InvalidInput` when `size` is larger than the file or the address space.
    pub fn of(memfd: BorrowedFd<'_>, size: u64) -> io::Result<Mapping> {
        let Some(room) = room(memfd, size)? else { return Ok(Mapping { start: None, length: 0 }) };
        map(None, room, MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE, memfd)
    }

    /// The same, in large pages as far as the kernel provides them within [`PATIENCE`], and in steps, because it takes
    /// a while. With large pages, a lookup in a gigabyte has fewer TLB misses, and the page tables are small. The bytes
    /// move to other memory for that, for every process that maps them; tables of less than 2 MiB are not moved.
    ///
    /// # Errors
    /// As [`Mapping::of`]; a lack of large pages is no error.
    pub fn in_large_pages(memfd: BorrowedFd<'_>, size: u64) -> io::Result<Settling> {
        let Some(room) = room(memfd, size)?.filter(|room| room.get() >= LARGE_PAGE) else {
            return Ok(Settling {
                mapping: Mapping::of(memfd, size)?,
                spent: Duration::ZERO,
                next: Next::Nothing,
            });
        };
        let mapping = map(Some(aligned_place(room, memfd)?), room, MapFlags::MAP_SHARED, memfd)?;
        Ok(Settling { mapping, spent: Duration::ZERO, next: Next::Collapse(0) })
    }

    /// Tells the kernel how `length` bytes from offset `at` are used.
    fn advise(&self, at: usize, length: usize, advice: c_int) -> io::Result<()> {
        let end = at.checked_add(length).filter(|end| *end <= self.length);
        let (Some(start), Some(_)) = (self.start, end) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // SAFETY: `start` maps `length` bytes until drop, and `at + length` is not beyond them. Neither advice used
        // here changes a byte of it, or its address.
        let done = unsafe { madvise(start.as_ptr().wrapping_byte_add(at), length, advice) };
        nix::errno::Errno::result(done)?;
        Ok(())
    }
}

/// A mapping that is being moved to large pages.
#[derive(Debug)]
pub struct Settling {
    mapping: Mapping,
    /// How long the steps have taken.
    spent: Duration,
    next: Next,
}

/// The next step, and the offset at which it begins.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Have the kernel copy the bytes to large pages, until it has no more or takes too long.
    Collapse(usize),
    /// Populate what could not be moved to large pages.
    Populate(usize),
    Nothing,
}

impl Settling {
    /// Takes one step of some milliseconds. True when there is nothing left to do.
    pub fn step(&mut self) -> bool {
        let length = self.mapping.length;
        self.next = match self.next {
            Next::Nothing => return true,
            Next::Collapse(at) => {
                let whole = length.saturating_sub(length % LARGE_PAGE);
                let began = Instant::now();
                let done = self.mapping.advise(at, STEP.min(whole.saturating_sub(at)), MADV_COLLAPSE);
                self.spent = self.spent.saturating_add(began.elapsed());
                let end = at.saturating_add(STEP);
                match done.is_ok() && self.spent <= PATIENCE && end < whole {
                    true => Next::Collapse(end),
                    false => Next::Populate(0),
                }
            }
            Next::Populate(at) => {
                // As with MAP_POPULATE, a page that fails is loaded at its first use.
                let _ = self.mapping.advise(at, STEP.min(length.saturating_sub(at)), MADV_POPULATE_READ);
                let end = at.saturating_add(STEP);
                if end < length { Next::Populate(end) } else { Next::Nothing }
            }
        };
        matches!(self.next, Next::Nothing)
    }

    /// The mapping, whether or not all steps are done.
    #[must_use]
    pub fn finish(self) -> Mapping {
        self.mapping
    }
}

/// The length to map; `None` for zero bytes, which the kernel does not map.
fn room(memfd: BorrowedFd<'_>, size: u64) -> io::Result<Option<NonZeroUsize>> {
    let actual = crate::status::of(memfd)?.size;
    let length = usize::try_from(size).ok().filter(|_| size <= actual);
    Ok(NonZeroUsize::new(length.ok_or(io::ErrorKind::InvalidInput)?))
}

fn map(
    place: Option<NonZeroUsize>,
    room: NonZeroUsize,
    flags: MapFlags,
    memfd: BorrowedFd<'_>,
) -> io::Result<Mapping> {
    // SAFETY: without MAP_FIXED a new mapping disturbs no other memory: the kernel treats the address as a hint, and
    // chooses another if it is in use.
    let start = unsafe { mmap(place, room, ProtFlags::PROT_READ, flags, memfd, 0) }?;
    Ok(Mapping { start: Some(start), length: room.get() })
}

/// A free address range for a mapping that begins at a large page.
fn aligned_place(room: NonZeroUsize, memfd: BorrowedFd<'_>) -> io::Result<NonZeroUsize> {
    let more = room.checked_add(LARGE_PAGE).ok_or(io::ErrorKind::InvalidInput)?;
    // A mapping that reserves the range, and is unmapped before the range is used.
    let roomy = map(None, more, MapFlags::MAP_SHARED, memfd)?;
    let start = roomy.start.map_or(0, |start| start.as_ptr().addr());
    start
        .checked_next_multiple_of(LARGE_PAGE)
        .and_then(NonZeroUsize::new)
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        match self.start {
            None => &[],
            // SAFETY: `start` maps `length` readable bytes until drop; the file holds at least that many
            // (checked in `room`), cannot shrink and cannot be written, for its seals forbid both.
            Some(start) => unsafe { std::slice::from_raw_parts(start.as_ptr().cast(), self.length) },
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(start) = self.start {
            // SAFETY: this is the mapping made in `map`, and no borrow of it can outlive `self`.
            let unmapped = unsafe { munmap(start, self.length) };
            debug_assert!(unmapped.is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    fn memory_with(bytes: &[u8]) -> std::fs::File {
        let memfd = nix::sys::memfd::memfd_create(c"test", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap();
        let mut file = std::fs::File::from(memfd);
        file.write_all(bytes).unwrap();
        file
    }

    fn with_large_pages(memfd: BorrowedFd<'_>, size: u64) -> io::Result<Mapping> {
        let mut settling = Mapping::in_large_pages(memfd, size)?;
        let mut steps = 1;
        while !settling.step() {
            steps += 1;
        }
        let mapping = settling.finish();
        assert!(steps >= mapping.length / STEP, "{steps} steps for {} bytes", mapping.length);
        Ok(mapping)
    }

    #[test]
    fn mapping_shows_bytes_and_refuses_more_than_there_are() {
        let file = memory_with(b"hello");
        for of in [Mapping::of, with_large_pages] {
            let mapping = of(file.as_fd(), 5).unwrap();
            assert_eq!(mapping.as_ref(), b"hello");
            assert!(of(file.as_fd(), 6).is_err());
            assert_eq!(of(file.as_fd(), 0).unwrap().as_ref(), b"");
        }
    }

    #[test]
    fn large_pages_show_the_same_bytes_in_all_mappings() {
        for length in [
            LARGE_PAGE - 1,
            LARGE_PAGE,
            LARGE_PAGE + 1,
            STEP - 5,
            STEP + LARGE_PAGE,
            STEP + LARGE_PAGE + 4097,
        ] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let file = memory_with(&bytes);
            let small = Mapping::of(file.as_fd(), length as u64).unwrap();
            let large = [(); 2].map(|()| with_large_pages(file.as_fd(), length as u64).unwrap());
            for mapping in large.iter().chain([&small]) {
                assert!(mapping.as_ref() == bytes, "{length} bytes");
            }
            for mapping in large {
                // Another thread of the tests may have taken the aligned range, and the machine may have no large pages
                // left. But the requests to the kernel must be valid.
                let aligned = mapping.start.unwrap().as_ptr().addr().is_multiple_of(LARGE_PAGE);
                let known = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
                if aligned && known && length >= LARGE_PAGE {
                    let again = mapping.advise(0, length / LARGE_PAGE * LARGE_PAGE, MADV_COLLAPSE);
                    let refused = again.err().and_then(|error| error.raw_os_error());
                    assert_ne!(refused, Some(nix::libc::EINVAL), "{length} bytes");
                }
            }
        }
    }

    #[test]
    fn advice_stays_within_the_mapping() {
        let file = memory_with(&[1; 8192]);
        let mapping = Mapping::of(file.as_fd(), 8192).unwrap();
        assert!(mapping.advise(4096, 4096, MADV_POPULATE_READ).is_ok());
        assert!(mapping.advise(4096, 4097, MADV_POPULATE_READ).is_err());
        assert!(mapping.advise(4096, usize::MAX, MADV_POPULATE_READ).is_err());
    }
}
