//! The pages of a file under construction.
//!
//! Purpose: give out page numbers, and write pages and chains of overflow pages. May: refuse. Never: keep a page.

use super::page::{HEADER, Links, fill_overflow};
use super::{BuildError, Sink};
use crate::bdb::page::{Item, page_type};

/// Numbers of pages are given out in ascending order.
pub(super) struct File {
    page_size: usize,
    /// The next page that is free.
    next: u32,
    /// A page for pieces of long items.
    buffer: Vec<u8>,
}

impl File {
    /// A file in which the pages before `first` have their place already.
    pub fn new(page_size: usize, first: u32) -> Result<File, BuildError> {
        // The offset of the first item on an empty page is the page's size, and a 16 bit number: this excludes 65536.
        if !page_size.is_power_of_two() || !(512..=32768).contains(&page_size) {
            return Err(BuildError::PageSize);
        }
        Ok(File { page_size, next: first, buffer: vec![0; page_size] })
    }

    pub fn page_size(&self) -> usize {
        self.page_size
    }

    pub fn allocate(&mut self) -> Result<u32, BuildError> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or(BuildError::FileTooLarge)?;
        Ok(number)
    }

    /// The last page so far.
    pub fn last(&self) -> u32 {
        self.next.saturating_sub(1)
    }

    /// The length of the file in bytes.
    pub fn length(&self) -> u64 {
        self.offset(self.next)
    }

    pub fn write(&self, sink: &mut impl Sink, number: u32, page: &[u8]) -> Result<(), BuildError> {
        sink.write_at(self.offset(number), page).map_err(BuildError::Sink)
    }

    fn offset(&self, number: u32) -> u64 {
        // At most 2^32 pages of 2^15 bytes.
        u64::from(number).saturating_mul(u64::try_from(self.page_size).unwrap_or(u64::MAX))
    }

    /// Stores `bytes`: on the page itself, which is up to the caller, up to `limit` of them; else in a chain of pages.
    pub fn store<'a>(
        &mut self,
        sink: &mut impl Sink,
        bytes: &'a [u8],
        limit: usize,
    ) -> Result<Item<'a>, BuildError> {
        if bytes.len() <= limit {
            return Ok(Item::Here(bytes));
        }
        let length = u32::try_from(bytes.len()).map_err(|_| BuildError::ItemTooLong)?;
        let first = self.next;
        let mut previous = 0;
        let mut pieces = bytes.chunks(self.page_size.saturating_sub(HEADER).max(1)).peekable();
        while let Some(piece) = pieces.next() {
            let number = self.allocate()?;
            let next = if pieces.peek().is_some() { self.next } else { 0 };
            fill_overflow(&mut self.buffer, page_type::OVERFLOW, Links { number, previous, next }, piece)?;
            self.write(sink, number, &self.buffer)?;
            previous = number;
        }
        Ok(Item::Away { page: first, length })
    }
}
