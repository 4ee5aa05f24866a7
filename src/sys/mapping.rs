//! Read-only mappings of sealed snapshots.

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// The bytes of a sealed memfd, mapped read-only and shared: in memory once, however many processes map it.
#[derive(Debug)]
pub struct Mapping {
    /// `None` for an empty snapshot: the kernel does not map zero bytes.
    start: Option<NonNull<c_void>>,
    length: usize,
}

impl Mapping {
    /// Maps the first `size` bytes of `memfd`.
    ///
    /// The descriptor must be a memfd with F_SEAL_SHRINK and F_SEAL_WRITE (the broker makes no other), so that
    /// the bytes neither change nor vanish under the mapping. It may be closed afterwards.
    ///
    /// # Errors
    /// Those of mmap(2); `InvalidInput` when `size` is larger than the file or the address space.
    pub fn of(memfd: BorrowedFd<'_>, size: u64) -> io::Result<Mapping> {
        let actual = crate::status::of(memfd)?.size;
        let length = usize::try_from(size).ok().filter(|_| size <= actual);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let Some(room) = NonZeroUsize::new(length) else { return Ok(Mapping { start: None, length: 0 }) };
        // The pages are in memory already; mapping them all at once spares a fault for each at the first lookups.
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other memory.
        let start = unsafe { mmap(None, room, ProtFlags::PROT_READ, flags, memfd, 0) }?;
        Ok(Mapping { start: Some(start), length })
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        match self.start {
            None => &[],
            // SAFETY: `start` maps `length` readable bytes until drop; the file holds at least that many
            // (checked in `of`), cannot shrink and cannot be written, for its seals forbid both.
            Some(start) => unsafe { std::slice::from_raw_parts(start.as_ptr().cast(), self.length) },
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(start) = self.start {
            // SAFETY: this is the mapping made in `of`, and no borrow of it can outlive `self`.
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

    #[test]
    fn mapping_shows_bytes_and_refuses_more_than_there_are() {
        let memfd = nix::sys::memfd::memfd_create(c"test", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap();
        let mut file = std::fs::File::from(memfd);
        file.write_all(b"hello").unwrap();
        let mapping = Mapping::of(file.as_fd(), 5).unwrap();
        assert_eq!(mapping.as_ref(), b"hello");
        assert!(Mapping::of(file.as_fd(), 6).is_err());
        assert_eq!(Mapping::of(file.as_fd(), 0).unwrap().as_ref(), b"");
    }
}
