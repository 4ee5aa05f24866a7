//! Writes Berkeley DB hash and btree files, complete and from the start, without libdb.
//!
//! Purpose: turn entries into a file that programs with libdb 5.3 read and update, in bounded steps. May: allocate, and
//! hand finished pages to a [`Sink`]. Never: open, read back, or write a page twice.
//!
//! Source of the format: files made by Postfix 3.7 with Berkeley DB 5.3.28, and what its db5.3_verify insists on.
//! Files are little-endian, of format version 9, without checksums, encryption, duplicates or named databases, and
//! all pages have the log position 0/1, which says that changes were not logged.

mod btree;
mod chains;
mod entries;
mod file;
mod hash;
mod item;
mod page;
mod sort;
mod spread;

use std::fmt;
use std::io;

pub use btree::BtreeBuilder;
pub use hash::{HashBuilder, HashWriter, Progress};

/// The page size that Postfix gets on a file system with blocks of 4 KiB.
pub const PAGE_SIZE: usize = 4096;

/// The longest key or value, in bytes and with the NUL byte that Postfix stores with it: 1 MiB.
pub const MAX_ITEM: usize = mapkeep_query::MAX_ITEM;

/// Where the pages of a file go.
///
/// Pages come in no particular order, each of them once. What holds the bytes is empty at first. The header, at
/// offset 0, comes last: until then the file begins with zeros, or is empty, and no reader takes it for a table.
pub trait Sink {
    /// Writes all of `bytes` at `offset`. Both are multiples of the page size.
    ///
    /// # Errors
    /// The bytes cannot be written; the file is given up.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// A file in memory.
impl Sink for Vec<u8> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        if let Some(more) = end.checked_sub(self.len()) {
            self.try_reserve(more).map_err(|_| io::ErrorKind::OutOfMemory)?;
            self.resize(end, 0);
        }
        let place = self.get_mut(start..end).ok_or(io::ErrorKind::FileTooLarge)?;
        place.copy_from_slice(bytes);
        Ok(())
    }
}

/// Why a file is not made.
#[derive(Debug)]
pub enum BuildError {
    /// The sink did not take a page.
    Sink(io::Error),
    /// The page size is not a power of two from 512 to 32768.
    PageSize,
    /// A key or value is longer than [`MAX_ITEM`].
    ItemTooLong,
    /// A key for a btree is not greater than the previous one.
    NotAscending,
    /// A key for a hash table was given twice.
    DuplicateKey,
    /// More entries or pages than the format has numbers for.
    FileTooLarge,
    /// The entries do not fit in memory.
    OutOfMemory,
    /// The file is finished, or was given up after an error.
    Over,
    /// The builder contradicts itself, which is a mistake in it. The file is not to be used.
    Inconsistent,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Sink(error) => write!(f, "cannot write a page: {error}"),
            BuildError::PageSize => f.write_str("the page size is not a power of two from 512 to 32768"),
            BuildError::ItemTooLong => f.write_str("key or value longer than 1 MiB"),
            BuildError::NotAscending => f.write_str("the keys of a btree are not in ascending order"),
            BuildError::DuplicateKey => f.write_str("a key of a hash table was given twice"),
            BuildError::FileTooLarge => f.write_str("more entries or pages than a file can have"),
            BuildError::OutOfMemory => f.write_str("out of memory"),
            BuildError::Over => f.write_str("the file is finished, or was given up after an error"),
            BuildError::Inconsistent => f.write_str("mistake in the program: inconsistent page"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildError::Sink(error) => Some(error),
            _ => None,
        }
    }
}

/// Refuses keys and values that are too long to be looked up again.
fn check_lengths(key: &[u8], value: &[u8]) -> Result<(), BuildError> {
    if key.len() > MAX_ITEM || value.len() > MAX_ITEM {
        return Err(BuildError::ItemTooLong);
    }
    Ok(())
}
