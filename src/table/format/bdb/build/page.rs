//! One page in memory.
//!
//! Purpose: the header and the items of a page, and the header page of a file. May: refuse. Never: write outside its
//! page.

use super::BuildError;

/// The bytes before the index of a page.
pub(super) const HEADER: usize = 26;

/// Each item costs this much more in the index.
pub(super) const INDEX: usize = 2;

const META_LENGTH: usize = 512;

/// The second half of the log position of a page whose changes are not logged; the first is 0.
const NOT_LOGGED: u32 = 1;

/// Where numbers are in the header of a page.
mod at {
    pub const NOT_LOGGED: usize = 4;
    pub const NUMBER: usize = 8;
    pub const PREVIOUS: usize = 12;
    pub const NEXT: usize = 16;
    pub const ENTRIES: usize = 20;
    pub const LOWEST: usize = 22;
    pub const LEVEL: usize = 24;
    pub const TYPE: usize = 25;
}

/// Where numbers are in the header of a file. `NOT_LOGGED` and `TYPE` are where other pages have them.
mod meta_at {
    pub const MAGIC: usize = 12;
    pub const VERSION: usize = 16;
    pub const PAGE_SIZE: usize = 20;
    pub const LAST_PAGE: usize = 32;
    pub const FILE_ID: usize = 52;
}

/// The page's number and its neighbours in a chain; 0 where there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub number: u32,
    pub previous: u32,
    pub next: u32,
}

/// A page that items are added to, from its end downwards.
pub(super) struct Page {
    bytes: Vec<u8>,
    kind: u8,
    level: u8,
    entries: usize,
    /// Where the last item begins.
    lowest: usize,
}

impl Page {
    /// An empty page. `level` is 0 for pages that are not part of a btree.
    pub fn new(size: usize, kind: u8, level: u8) -> Page {
        Page { bytes: vec![0; size], kind, level, entries: 0, lowest: size }
    }

    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// How many bytes are left for items, the [`INDEX`] of each included.
    pub fn room(&self) -> usize {
        self.lowest.saturating_sub(HEADER.saturating_add(self.entries.saturating_mul(INDEX)))
    }

    /// Adds an item that takes `size` bytes: `parts`, one after the other, and zeros.
    pub fn add(&mut self, size: usize, parts: &[&[u8]]) -> Result<(), BuildError> {
        if self.room() < size.saturating_add(INDEX) {
            return Err(BuildError::Inconsistent);
        }
        let start = self.lowest.checked_sub(size).ok_or(BuildError::Inconsistent)?;
        let mut at = start;
        for part in parts {
            put(&mut self.bytes, at, part)?;
            at = at.saturating_add(part.len());
        }
        if at > self.lowest {
            return Err(BuildError::Inconsistent);
        }
        let index = HEADER.saturating_add(self.entries.saturating_mul(INDEX));
        put(&mut self.bytes, index, &short(start)?)?;
        self.entries = self.entries.saturating_add(1);
        self.lowest = start;
        Ok(())
    }

    /// Writes the header and gives the whole page.
    pub fn finish(&mut self, links: Links) -> Result<&[u8], BuildError> {
        let (entries, lowest) = (short(self.entries)?, short(self.lowest)?);
        put_header(&mut self.bytes, links, entries, lowest, self.level, self.kind)?;
        Ok(&self.bytes)
    }

    /// Takes all items off.
    pub fn clear(&mut self) {
        self.bytes.fill(0);
        self.entries = 0;
        self.lowest = self.bytes.len();
    }
}

/// Fills `page` with a piece of an item that is too long for the page that it belongs to.
pub(super) fn fill_overflow(page: &mut [u8], kind: u8, links: Links, piece: &[u8]) -> Result<(), BuildError> {
    // The number of items is here the number of references to the chain.
    put_header(page, links, 1_u16.to_le_bytes(), short(piece.len())?, 0, kind)?;
    put(page, HEADER, piece)?;
    let rest = HEADER.saturating_add(piece.len());
    page.get_mut(rest..).ok_or(BuildError::Inconsistent)?.fill(0);
    Ok(())
}

fn put_header(
    page: &mut [u8],
    links: Links,
    entries: [u8; 2],
    lowest: [u8; 2],
    level: u8,
    kind: u8,
) -> Result<(), BuildError> {
    put(page, 0, &[0; HEADER])?;
    put(page, at::NOT_LOGGED, &NOT_LOGGED.to_le_bytes())?;
    put(page, at::NUMBER, &links.number.to_le_bytes())?;
    put(page, at::PREVIOUS, &links.previous.to_le_bytes())?;
    put(page, at::NEXT, &links.next.to_le_bytes())?;
    put(page, at::ENTRIES, &entries)?;
    put(page, at::LOWEST, &lowest)?;
    put(page, at::LEVEL, &[level])?;
    put(page, at::TYPE, &[kind])
}

/// What the header pages of both access methods have in common.
pub(super) struct Meta {
    pub magic: u32,
    pub kind: u8,
    pub page_size: usize,
    pub last_page: u32,
    pub file_id: [u8; 20],
}

impl Meta {
    /// The header page of a file, with `numbers` at their offsets.
    pub fn page(&self, numbers: &[(usize, u32)]) -> Result<Vec<u8>, BuildError> {
        const VERSION: u32 = 9;
        let size = u32::try_from(self.page_size).map_err(|_| BuildError::PageSize)?;
        let mut page = vec![0; self.page_size.max(META_LENGTH)];
        let common = [
            (at::NOT_LOGGED, NOT_LOGGED),
            (meta_at::MAGIC, self.magic),
            (meta_at::VERSION, VERSION),
            (meta_at::PAGE_SIZE, size),
            (meta_at::LAST_PAGE, self.last_page),
        ];
        for (offset, number) in common.iter().chain(numbers) {
            put(&mut page, *offset, &number.to_le_bytes())?;
        }
        put(&mut page, at::TYPE, &[self.kind])?;
        put(&mut page, meta_at::FILE_ID, &self.file_id)?;
        Ok(page)
    }
}

fn put(page: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), BuildError> {
    let end = at.saturating_add(bytes.len());
    page.get_mut(at..end).ok_or(BuildError::Inconsistent)?.copy_from_slice(bytes);
    Ok(())
}

/// An offset or a count within a page, as it is stored.
pub(super) fn short(number: usize) -> Result<[u8; 2], BuildError> {
    u16::try_from(number).map(u16::to_le_bytes).map_err(|_| BuildError::Inconsistent)
}
