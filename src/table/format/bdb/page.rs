//! Pages of a Berkeley DB file, and items that may be stored off their page.
//!
//! Purpose: bounded access to a page by its number, and comparing and copying of items.
//! May: refuse. Never: visit more pages in one request than the file has.

use std::cmp::Ordering;

use crate::bytes::{Bytes, Order, fetch, offset, size};
use crate::probe::Probe;
use mapkeep_query::MAX_ITEM;
use mapkeep_query::TableError;
use mapkeep_query::{append, put_text, text_of};

/// Page types that lookups meet.
pub(super) mod page_type {
    /// A page that was reserved and never written.
    pub const INVALID: u8 = 0;
    /// Hash pages before Berkeley DB 4.6: pairs in the order of their insertion.
    pub const HASH_UNSORTED: u8 = 2;
    pub const BTREE_INTERNAL: u8 = 3;
    pub const BTREE_LEAF: u8 = 5;
    pub const OVERFLOW: u8 = 7;
    pub const HASH: u8 = 13;
}

const HEADER: usize = 26;
mod at {
    pub const NUMBER: usize = 8;
    pub const NEXT: usize = 16;
    pub const ENTRIES: usize = 20;
    pub const USED: usize = 22;
    pub const LEVEL: usize = 24;
    pub const TYPE: usize = 25;
}

/// The shape of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    /// Bytes in a page: a power of two from 512 to 65536.
    pub size: usize,
    /// The number of the last page. The header is page 0.
    pub last: u32,
    pub order: Order,
}

/// How many pages one request may still visit.
///
/// A sound lookup visits no page more than twice (a long btree key may be shared by a leaf and the page
/// above it), so the limit never stops one, and no arrangement of pages costs more than reading the file twice.
#[derive(Debug)]
pub(super) struct Fuel(u64);

/// One page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    pub number: u32,
    pub bytes: Bytes<'a>,
}

/// A key or value: on its page, or in a chain of overflow pages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'a> {
    Here(&'a [u8]),
    Away { page: u32, length: u32 },
}

impl Pages {
    /// How many pages there are, the header included.
    pub fn count(&self) -> u64 {
        u64::from(self.last).saturating_add(1)
    }

    pub fn fuel(&self) -> Fuel {
        Fuel(self.count().saturating_mul(2))
    }

    /// Page `number` of the file `data`.
    pub fn get<'a>(&self, data: &'a [u8], number: u32, fuel: &mut Fuel) -> Result<Page<'a>, TableError> {
        fuel.0 = fuel.0.checked_sub(1).ok_or(TableError::Damaged("the pages form a loop"))?;
        if number == 0 || number > self.last {
            return Err(TableError::Damaged("a page number outside the file"));
        }
        let start = offset(0, size(number)?, self.size)?;
        let whole = Bytes::new(data, self.order);
        let page = Page { number, bytes: Bytes::new(whole.slice(start, self.size)?, self.order) };
        fetch(page.bytes.data);
        if page.bytes.u32(at::NUMBER)? != number && page.kind()? != page_type::INVALID {
            return Err(TableError::Damaged("a page has the number of another"));
        }
        Ok(page)
    }

    /// How the stored `item` compares with `probe`.
    pub fn order_of(
        &self,
        data: &[u8],
        item: Item<'_>,
        probe: &Probe<'_>,
        fuel: &mut Fuel,
    ) -> Result<Ordering, TableError> {
        let (page, length) = match item {
            Item::Here(stored) => return Ok(probe.order_of(stored)),
            Item::Away { page, length } => (page, length),
        };
        let mut order = Ordering::Equal;
        let mut seen = 0_usize;
        self.each_piece(data, page, length, fuel, |piece| {
            order = probe.order_of_piece(seen, piece);
            seen = seen.saturating_add(piece.len());
            Ok(order == Ordering::Equal)
        })?;
        Ok(order.then_with(|| seen.cmp(&probe.length())))
    }

    /// Whether the stored `item` is `probe`. Looks at other pages only when the length is right.
    pub fn equals(
        &self,
        data: &[u8],
        item: Item<'_>,
        probe: &Probe<'_>,
        fuel: &mut Fuel,
    ) -> Result<bool, TableError> {
        match item {
            Item::Here(stored) => Ok(probe.equals(stored)),
            Item::Away { length, .. } if size(length)? != probe.length() => Ok(false),
            Item::Away { .. } => Ok(self.order_of(data, item, probe, fuel)? == Ordering::Equal),
        }
    }

    /// Copies the text of `item` to `out`.
    pub fn copy(
        &self,
        data: &[u8],
        item: Item<'_>,
        out: &mut Vec<u8>,
        fuel: &mut Fuel,
    ) -> Result<(), TableError> {
        out.clear();
        let (page, length) = match item {
            Item::Here(stored) => return put_text(out, stored),
            Item::Away { page, length } => (page, length),
        };
        if size(length)? > MAX_ITEM {
            return Err(TableError::ItemTooLong);
        }
        self.each_piece(data, page, length, fuel, |piece| {
            let text = text_of(piece);
            append(out, text)?;
            Ok(text.len() == piece.len())
        })
    }

    /// Hands the pieces of an off-page item to `take` until it returns false.
    fn each_piece(
        &self,
        data: &[u8],
        first: u32,
        length: u32,
        fuel: &mut Fuel,
        mut take: impl FnMut(&[u8]) -> Result<bool, TableError>,
    ) -> Result<(), TableError> {
        let (mut number, mut rest) = (first, size(length)?);
        while rest > 0 {
            let page = self.get(data, number, fuel)?;
            if page.kind()? != page_type::OVERFLOW {
                return Err(TableError::Damaged("a long item continues on a page of another type"));
            }
            let used = usize::from(page.bytes.u16(at::USED)?);
            rest = rest.checked_sub(used).ok_or(TableError::Damaged("a long item is longer than it says"))?;
            if used == 0 {
                return Err(TableError::Damaged("an empty overflow page"));
            }
            if !take(page.bytes.slice(HEADER, used)?)? {
                return Ok(());
            }
            number = page.next()?;
        }
        Ok(())
    }
}

impl<'a> Page<'a> {
    pub fn kind(&self) -> Result<u8, TableError> {
        self.bytes.u8(at::TYPE)
    }

    /// The next page of a chain or of the leaves; 0 is the end.
    pub fn next(&self) -> Result<u32, TableError> {
        self.bytes.u32(at::NEXT)
    }

    /// The distance to the leaves; these are at 1.
    pub fn level(&self) -> Result<u8, TableError> {
        self.bytes.u8(at::LEVEL)
    }

    /// How many items the page has: keys and values counted each.
    pub fn entries(&self) -> Result<usize, TableError> {
        Ok(usize::from(self.bytes.u16(at::ENTRIES)?))
    }

    /// How many key and value pairs the page has.
    pub fn pairs(&self) -> Result<usize, TableError> {
        let entries = self.entries()?;
        if !entries.is_multiple_of(2) {
            return Err(TableError::Damaged("a key without a value"));
        }
        Ok(entries >> 1)
    }

    /// Where item `index` begins on the page.
    pub fn item_at(&self, index: usize) -> Result<usize, TableError> {
        Ok(usize::from(self.bytes.u16(offset(HEADER, index, 2)?)?))
    }

    /// The off-page item whose description begins at `start`: its first page at +4, its length at +8.
    pub fn away(&self, start: usize) -> Result<Item<'a>, TableError> {
        let page = self.bytes.u32(offset(start, 1, 4)?)?;
        let length = self.bytes.u32(offset(start, 2, 4)?)?;
        Ok(Item::Away { page, length })
    }
}
