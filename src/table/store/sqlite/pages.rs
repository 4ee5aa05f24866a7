//! The entries of a damaged Berkeley DB file, page by page.
//!
//! Purpose: find every entry on a page that makes sense by itself, whatever leads there. May: skip. Never: believe a
//! length or a number; read more pages of long items than the file has; take much more from a page than it has bytes.
//!
//! The layout is that of the reader of tables (src/table/format/bdb), which needs a way from the header to each page.

use mapkeep_query::MAX_ITEM;

use super::contents::Contents;

const HEADER: usize = 26;
const BTREE_LEAF: u8 = 5;
const OVERFLOW: u8 = 7;
const HASH: u8 = 13;
const HASH_UNSORTED: u8 = 2;
const DELETED: u8 = 0x80;
const ON_PAGE: u8 = 1;
const OFF_PAGE: u8 = 3;

/// The limit of the total length of the items, as a multiple of the page size. A damaged number makes one or two items
/// longer by a page at most; but items that overlap on purpose could give an unbounded result.
const MOST_TIMES: usize = 16;

/// Adds the entries on the pages of `file`, and returns how many entries cannot be read.
pub(super) fn sweep(file: &[u8], contents: &mut Contents) -> u64 {
    let mut unread = 0_u64;
    let Some(pages) = Pages::guess(file) else { return unread };
    // A long item has its pages for itself.
    let mut fuel = pages.count();
    for number in 1..pages.count() {
        let Some(page) = pages.get(number).filter(Page::has_entries) else { continue };
        let count = usize::from(page.u16(20).unwrap_or(0)) / 2;
        // Each pair has two numbers of two bytes.
        let possible = count.min(pages.size.saturating_sub(HEADER) / 4);
        unread = unread.saturating_add(count.abs_diff(possible) as u64);
        let mut room = pages.size.saturating_mul(MOST_TIMES);
        for pair in 0..possible {
            let (key, value) = (pair.saturating_mul(2), pair.saturating_mul(2).saturating_add(1));
            if page.is_deleted(value) {
                continue;
            }
            let mut whole = |item: Item<'_>| {
                room = room.checked_sub(item.length_here())?;
                pages.whole(item, &mut fuel)
            };
            match (page.item(key), page.item(value)) {
                (Some(key), Some(value)) if key.is_too_long() || value.is_too_long() => {
                    contents.left_out = contents.left_out.saturating_add(1);
                }
                (Some(key), Some(value)) => match (whole(key), whole(value)) {
                    (Some(key), Some(value)) => contents.push(&key, &value),
                    _ => unread = unread.saturating_add(1),
                },
                _ => unread = unread.saturating_add(1),
            }
        }
    }
    unread
}

/// A file, with its guessed page size and byte order.
#[derive(Clone, Copy)]
struct Pages<'a> {
    file: &'a [u8],
    size: usize,
    big: bool,
}

#[derive(Clone, Copy)]
struct Page<'a> {
    bytes: &'a [u8],
    big: bool,
}

/// A key or value: its bytes, or the first page of its chain and its length.
enum Item<'a> {
    Here(&'a [u8]),
    Away(u32, usize),
}

impl Item<'_> {
    fn is_too_long(&self) -> bool {
        matches!(self, Item::Away(_, length) if *length > MAX_ITEM)
    }

    fn length_here(&self) -> usize {
        match self {
            Item::Here(bytes) => bytes.len(),
            Item::Away(..) => 0,
        }
    }
}

impl<'a> Pages<'a> {
    /// The page size and byte order with which most pages of the file have their own number. The header has both, but
    /// may be damaged.
    fn guess(file: &'a [u8]) -> Option<Pages<'a>> {
        let shapes = (9..=16).map(|power| 1_usize << power).flat_map(|size| [(size, false), (size, true)]);
        let known =
            |pages: &Pages<'_>| (1..pages.count()).filter(|number| pages.get(*number).is_some()).count();
        let best = shapes
            .map(|(size, big)| Pages { file, size, big })
            .map(|pages| (known(&pages).saturating_mul(pages.size), pages))
            .max_by_key(|(bytes, _)| *bytes)?;
        (best.0 > 0).then_some(best.1)
    }

    fn count(&self) -> u32 {
        let count = self.file.len().checked_div(self.size).unwrap_or(0);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Page `number`, if that number is in its header.
    fn get(&self, number: u32) -> Option<Page<'a>> {
        let start = usize::try_from(number).ok()?.checked_mul(self.size)?;
        let bytes = self.file.get(start..)?.get(..self.size)?;
        let page = Page { bytes, big: self.big };
        (page.u32(8)? == number).then_some(page)
    }

    /// The bytes of an item.
    fn whole(&self, item: Item<'_>, fuel: &mut u32) -> Option<Vec<u8>> {
        let (mut number, length) = match item {
            Item::Here(bytes) => return Some(bytes.to_vec()),
            Item::Away(number, length) => (number, length),
        };
        let mut bytes = Vec::new();
        while bytes.len() < length {
            *fuel = fuel.checked_sub(1)?;
            let page = self.get(number)?;
            let used = usize::from(page.u16(22)?);
            if page.kind() != OVERFLOW || used == 0 {
                return None;
            }
            bytes.extend_from_slice(page.bytes.get(HEADER..)?.get(..used)?);
            number = page.u32(16)?;
        }
        (bytes.len() == length).then_some(bytes)
    }
}

impl<'a> Page<'a> {
    fn kind(&self) -> u8 {
        self.bytes.get(25).copied().unwrap_or(0)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// Where item `index` begins.
    fn start(&self, index: usize) -> Option<usize> {
        self.u16(index.checked_mul(2)?.checked_add(HEADER)?).map(usize::from)
    }

    fn has_entries(&self) -> bool {
        matches!(self.kind(), BTREE_LEAF | HASH | HASH_UNSORTED)
    }

    /// Whether the value `index` is marked as deleted, which happens in btrees only.
    fn is_deleted(&self, index: usize) -> bool {
        let kind = self.start(index).and_then(|start| self.bytes.get(start.checked_add(2)?));
        self.kind() == BTREE_LEAF && kind.is_some_and(|kind| kind & DELETED != 0)
    }

    /// Item `index` of a page with entries.
    fn item(&self, index: usize) -> Option<Item<'a>> {
        let start = self.start(index)?;
        let bytes = self.bytes.get(start..)?;
        let away = || {
            let length = Page { bytes, ..*self }.u32(8)?;
            Some(Item::Away(Page { bytes, ..*self }.u32(4)?, usize::try_from(length).ok()?))
        };
        match (self.kind(), bytes) {
            (BTREE_LEAF, [_, _, kind, rest @ ..]) if kind & !DELETED == ON_PAGE => {
                Some(Item::Here(rest.get(..usize::from(self.u16(start)?))?))
            }
            (BTREE_LEAF, [_, _, kind, ..]) if kind & !DELETED == OFF_PAGE => away(),
            // Items of a hash page extend to the previous one.
            (HASH | HASH_UNSORTED, [ON_PAGE, ..]) => {
                let end = match index.checked_sub(1) {
                    Some(before) => self.start(before)?,
                    None => self.bytes.len(),
                };
                Some(Item::Here(self.bytes.get(start.checked_add(1)?..end)?))
            }
            (HASH | HASH_UNSORTED, [OFF_PAGE, ..]) => away(),
            _ => None,
        }
    }
}
