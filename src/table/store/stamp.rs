//! How a file is recognised.
//!
//! Purpose: tell whether `NAME.db` is still the file that was read or written last. May: fstat. Never: read the file.
//! Called by: the writer; the store, which keeps stamps.

use std::io;
use std::os::fd::BorrowedFd;

/// What changes when another program writes a file or replaces it; a rename changes none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The device of its file system.
    pub dev: u64,
    /// Its inode, unique within `dev` while the file exists.
    pub ino: u64,
    /// Its length in bytes.
    pub size: u64,
    /// When its contents last changed, in nanoseconds since 1970.
    pub mtime_ns: i128,
}

impl Stamp {
    /// The stamp of the file behind `descriptor`.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn of(descriptor: BorrowedFd<'_>) -> io::Result<Stamp> {
        let status = mapkeep_sys::status::of(descriptor)?;
        Ok(Stamp { dev: status.dev, ino: status.ino, size: status.size, mtime_ns: status.mtime_ns })
    }

    /// The four numbers, little-endian.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let (dev, ino, size) = (self.dev.to_le_bytes(), self.ino.to_le_bytes(), self.size.to_le_bytes());
        [&dev[..], &ino, &size, &self.mtime_ns.to_le_bytes()].concat()
    }

    /// The stamp of bytes that [`Stamp::to_bytes`] gave.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Stamp> {
        let (dev, rest) = bytes.split_first_chunk()?;
        let (ino, rest) = rest.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        let mtime: &[u8; 16] = rest.try_into().ok()?;
        Some(Stamp {
            dev: u64::from_le_bytes(*dev),
            ino: u64::from_le_bytes(*ino),
            size: u64::from_le_bytes(*size),
            mtime_ns: i128::from_le_bytes(*mtime),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn stamp_of_changed_and_renamed_files() {
        let scratch = crate::sqlite::testing::Scratch::new();
        let (old, new) = (scratch.path("old"), scratch.path("new"));
        let mut file = File::create(&old).unwrap();
        let before = Stamp::of(file.as_fd()).unwrap();
        std::fs::rename(&old, &new).unwrap();
        assert_eq!(Stamp::of(file.as_fd()).unwrap(), before);
        assert_eq!(Stamp::of(File::open(&new).unwrap().as_fd()).unwrap(), before);
        file.write_all(b"x").unwrap();
        assert_ne!(Stamp::of(file.as_fd()).unwrap(), before);
    }

    #[test]
    fn stamp_as_bytes_and_back() {
        let stamp = Stamp { dev: 1, ino: u64::MAX - 2, size: 3, mtime_ns: -4 << 70 };
        assert_eq!(Stamp::from_bytes(&stamp.to_bytes()), Some(stamp));
        for length in [0, 39, 41] {
            assert_eq!(Stamp::from_bytes(&vec![0; length]), None);
        }
    }
}
