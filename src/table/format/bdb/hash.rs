//! Berkeley DB hash tables.
//!
//! Purpose: from a key to its bucket, along the bucket's chain of pages, to the value; and the scan over all buckets.
//! May: refuse. Never: copy a key to compare it.

use std::cmp::Ordering;

use super::page::{Fuel, Item, Page, Pages, page_type};
use crate::bytes::{offset, partition, size};
use crate::cursor::{Cursor, Place};
use crate::probe::Probe;
use mapkeep_query::Step;
use mapkeep_query::TableError;

/// The numbers of the meta page that say where a bucket is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hash {
    pub max_bucket: u32,
    pub high_mask: u32,
    pub low_mask: u32,
    /// For each power of two: what to add to a bucket number to get its page.
    pub spares: [u32; 32],
    pub function: Function,
}

/// The hash functions that Berkeley DB has used by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// `h * 33 + byte`, before format version 5.
    Times33,
    /// FNV-1 with a start of 0, since then.
    Fnv,
}

/// Every file keeps the hash of this text, so that a reader can tell which function made it.
const CHARKEY: &[u8] = b"%$sniglet^&\0";

impl Function {
    /// The hash function that maps the well-known text to `charkey`.
    pub fn proven_by(charkey: u32) -> Option<Function> {
        [Function::Fnv, Function::Times33]
            .into_iter()
            .find(|function| function.hash(CHARKEY.iter().copied()) == charkey)
    }

    fn hash(self, bytes: impl Iterator<Item = u8>) -> u32 {
        match self {
            Function::Fnv => bytes.fold(0, |hash: u32, byte| hash.wrapping_mul(16_777_619) ^ u32::from(byte)),
            Function::Times33 => {
                bytes.fold(0, |hash: u32, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
            }
        }
    }
}

impl Hash {
    /// The value of `probe`.
    pub fn find<'a>(
        &self,
        pages: &Pages,
        data: &'a [u8],
        probe: &Probe<'_>,
        fuel: &mut Fuel,
    ) -> Result<Option<Item<'a>>, TableError> {
        let hash = self.function.hash(probe.bytes());
        let wide = hash & self.high_mask;
        let bucket = if wide > self.max_bucket { hash & self.low_mask } else { wide };
        let mut page = pages.get(data, self.page_of(bucket)?, fuel)?;
        loop {
            let count = pairs(&page)?;
            // Since 4.6 the pairs of a page are in the order of their keys.
            let candidates = if page.kind()? == page_type::HASH {
                let first = partition(count, |index| {
                    let order = match key(pages, &page, index)? {
                        Item::Here(stored) => order_on_page(stored, probe),
                        away @ Item::Away { .. } => pages.order_of(data, away, probe, fuel)?,
                    };
                    Ok(order == Ordering::Less)
                })?;
                first..first.saturating_add(1).min(count)
            } else {
                0..count
            };
            for index in candidates {
                let (key, value) = pair(pages, &page, index)?;
                if pages.equals(data, key, probe, fuel)? {
                    return Ok(Some(value));
                }
            }
            match page.next()? {
                0 => return Ok(None),
                next => page = pages.get(data, next, fuel)?,
            }
        }
    }

    /// The next record in the order of Berkeley DB's own cursor: by bucket, by page in its chain, by place in the page.
    pub fn step(
        &self,
        pages: &Pages,
        data: &[u8],
        cursor: &mut Cursor,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Step, TableError> {
        // The walk continues with a copy; the caller's cursor moves only when there is something to return.
        let mut walk = cursor.clone();
        let (mut bucket, mut number, mut index) = match walk.place {
            Place::Start => {
                walk.enter_page(pages.count())?;
                (0, self.page_of(0)?, 0)
            }
            Place::Chain { bucket, page, index } => (bucket, page, index),
            Place::End => return Ok(Step::End),
            _ => return Err(TableError::ForeignCursor),
        };
        loop {
            // One page at a time: entering pages is counted by the cursor, for the scan as a whole.
            let page = pages.get(data, number, &mut pages.fuel())?;
            if index < pairs(&page)? {
                let (stored_key, stored_value) = pair(pages, &page, index)?;
                walk.place = Place::Chain { bucket, page: number, index: index.saturating_add(1) };
                return super::emit(pages, data, (stored_key, stored_value), cursor, walk, key, value);
            }
            index = 0;
            number = page.next()?;
            if number == 0 {
                bucket = bucket.saturating_add(1);
                if bucket > self.max_bucket {
                    walk.place = Place::End;
                    *cursor = walk;
                    return Ok(Step::End);
                }
                number = self.page_of(bucket)?;
            }
            walk.enter_page(pages.count())?;
        }
    }

    /// The first page of a bucket. The buckets of each doubling of the table lie together, and `spares` has the
    /// distance for each doubling.
    fn page_of(&self, bucket: u32) -> Result<u32, TableError> {
        let doubling = size(u32::BITS.saturating_sub(bucket.leading_zeros()))?;
        let spare = self.spares.get(doubling).ok_or(TableError::Damaged("impossible hash bucket"))?;
        // Some releases store distances that are meant to wrap around.
        Ok(bucket.wrapping_add(*spare))
    }
}

/// How a stored key and `probe` follow each other on a sorted page: of two keys of which one begins the other, libdb
/// puts the longer one first.
fn order_on_page(stored: &[u8], probe: &Probe<'_>) -> Ordering {
    let common = stored.get(..probe.length()).unwrap_or(stored);
    probe.order_of_piece(0, common).then_with(|| probe.length().cmp(&stored.len()))
}

/// How many pairs a page of a bucket has.
fn pairs(page: &Page<'_>) -> Result<usize, TableError> {
    match page.kind()? {
        page_type::HASH | page_type::HASH_UNSORTED => page.pairs(),
        // Reserved with its whole doubling and never written, because its bucket is empty.
        page_type::INVALID if page.next()? == 0 => Ok(0),
        _ => Err(TableError::Damaged("a hash bucket leads to a page of another type")),
    }
}

/// Pair `index` of a page.
fn pair<'a>(pages: &Pages, page: &Page<'a>, index: usize) -> Result<(Item<'a>, Item<'a>), TableError> {
    let (first, second) = (offset(0, index, 2)?, offset(1, index, 2)?);
    let value = item(page, page.item_at(second)?, page.item_at(first)?)?;
    Ok((key(pages, page, index)?, value))
}

/// The key of pair `index` of a page. Items are stored downwards from the end of the page, without gaps.
fn key<'a>(pages: &Pages, page: &Page<'a>, index: usize) -> Result<Item<'a>, TableError> {
    let first = offset(0, index, 2)?;
    let end = match first.checked_sub(1) {
        Some(previous) => page.item_at(previous)?,
        None => pages.size,
    };
    item(page, page.item_at(first)?, end)
}

/// The item from `start` to `end`: a type byte, then the bytes or where they are.
fn item<'a>(page: &Page<'a>, start: usize, end: usize) -> Result<Item<'a>, TableError> {
    const ON_PAGE: u8 = 1;
    const DUPLICATES: u8 = 2;
    const OFF_PAGE: u8 = 3;
    const OFF_PAGE_DUPLICATES: u8 = 4;
    if start >= end {
        return Err(TableError::Damaged("hash items overlap"));
    }
    match page.bytes.u8(start)? {
        ON_PAGE => Ok(Item::Here(page.bytes.range(offset(start, 1, 1)?, end)?)),
        OFF_PAGE => page.away(start),
        DUPLICATES | OFF_PAGE_DUPLICATES => Err(TableError::Unsupported("duplicate keys")),
        _ => Err(TableError::Damaged("unknown type of hash item")),
    }
}
