//! How far a scan has come.
//!
//! Purpose: plain data that the caller keeps for each scan; it borrows nothing from the table. May: count what a scan
//! has used. Never: point into memory.
//!
//! A snapshot never changes, so a position stays right for as long as the snapshot is served. After a swap of
//! snapshots the caller starts a new cursor; an old one is still safe to use, but may skip or repeat records.

use mapkeep_query::TableError;

/// The position of a scan. [`Cursor::default`] is before the first record.
///
/// After an error it stays where it was, except after [`TableError::ItemTooLong`], where it is past that record.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    pub(crate) place: Place,
    /// Pages entered so far.
    pages: u64,
    /// Bytes of keys and values so far.
    bytes: u64,
}

/// Where, in the terms of a format.
#[derive(Clone, Debug, Default)]
pub enum Place {
    #[default]
    Start,
    /// Berkeley DB hash: the pair `index` of `page`, in the chain of `bucket`.
    Chain {
        bucket: u32,
        page: u32,
        index: usize,
    },
    /// Berkeley DB btree: the pair `index` of the leaf `page`.
    Leaf {
        page: u32,
        index: usize,
    },
    /// lmdb: just after this key.
    After(Vec<u8>),
    /// cdb and text: the file offset of the next record. inline: its number.
    At(usize),
    End,
}

impl Cursor {
    /// Counts a page that the scan enters. A scan enters each page once, so more than the file has is a loop.
    pub fn enter_page(&mut self, pages_in_file: u64) -> Result<(), TableError> {
        self.pages = self.pages.saturating_add(1);
        if self.pages > pages_in_file {
            return Err(TableError::Damaged("the pages form a loop"));
        }
        Ok(())
    }

    /// Counts the bytes of a record. All records together cannot be longer than the file that holds them;
    /// if they are, they overlap, and a small file could be made to list terabytes.
    pub fn count_bytes(&mut self, more: usize, file: usize) -> Result<(), TableError> {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(more);
        if u128::from(self.bytes) > file as u128 {
            return Err(TableError::Damaged("records overlap"));
        }
        Ok(())
    }
}
