//! Berkeley DB btrees.
//!
//! Purpose: from the root to the leaf of a key by binary search, and the scan along the leaves.
//! May: refuse. Never: copy a key to compare it.
//!
//! Keys of internal pages are cut to the bytes that tell their neighbours apart; the first of a page counts as
//! lower than every key, whatever it says.

use std::cmp::Ordering;

use super::page::{Fuel, Item, Page, Pages, page_type};
use crate::bytes::{offset, partition};
use crate::cursor::{Cursor, Place};
use crate::probe::Probe;
use mapkeep_query::Step;
use mapkeep_query::TableError;

#[derive(Clone, Copy, Debug)]
pub(super) struct Btree {
    pub root: u32,
}

const LEAF_LEVEL: u8 = 1;

impl Btree {
    /// The value of `probe`.
    pub fn find<'a>(
        &self,
        pages: &Pages,
        data: &'a [u8],
        probe: &Probe<'_>,
        fuel: &mut Fuel,
    ) -> Result<Option<Item<'a>>, TableError> {
        let leaf = self.descend(pages, data, Some(probe), fuel)?;
        let count = leaf.pairs()?;
        let mut found = None;
        partition(count, |pair| {
            let order = pages.order_of(data, leaf_item(&leaf, offset(0, pair, 2)?)?.0, probe, fuel)?;
            if order == Ordering::Equal {
                found = Some(pair);
            }
            Ok(order == Ordering::Less)
        })?;
        let Some(pair) = found else { return Ok(None) };
        let (value, deleted) = leaf_item(&leaf, offset(1, pair, 2)?)?;
        Ok((!deleted).then_some(value))
    }

    /// The next record in ascending order of keys.
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
        let (mut number, mut index) = match walk.place {
            Place::Start => {
                walk.enter_page(pages.count())?;
                (self.descend(pages, data, None, &mut pages.fuel())?.number, 0)
            }
            Place::Leaf { page, index } => (page, index),
            Place::End => return Ok(Step::End),
            _ => return Err(TableError::ForeignCursor),
        };
        loop {
            let leaf = pages.get(data, number, &mut pages.fuel())?;
            if leaf.kind()? != page_type::BTREE_LEAF {
                return Err(TableError::Damaged("a btree leaf is followed by a page of another type"));
            }
            while index < leaf.pairs()? {
                let (stored_key, _) = leaf_item(&leaf, offset(0, index, 2)?)?;
                let (stored_value, deleted) = leaf_item(&leaf, offset(1, index, 2)?)?;
                index = index.saturating_add(1);
                if !deleted {
                    walk.place = Place::Leaf { page: number, index };
                    return super::emit(pages, data, (stored_key, stored_value), cursor, walk, key, value);
                }
            }
            index = 0;
            number = leaf.next()?;
            if number == 0 {
                walk.place = Place::End;
                *cursor = walk;
                return Ok(Step::End);
            }
            walk.enter_page(pages.count())?;
        }
    }

    /// The leaf on which `probe` is, if anywhere; without a probe, the first leaf.
    fn descend<'a>(
        &self,
        pages: &Pages,
        data: &'a [u8],
        probe: Option<&Probe<'_>>,
        fuel: &mut Fuel,
    ) -> Result<Page<'a>, TableError> {
        let mut page = pages.get(data, self.root, fuel)?;
        loop {
            let level = page.level()?;
            match page.kind()? {
                page_type::BTREE_LEAF if level == LEAF_LEVEL => return Ok(page),
                page_type::BTREE_INTERNAL if level > LEAF_LEVEL => {}
                _ => return Err(TableError::Damaged("a page of another type in a btree")),
            }
            let others = page
                .entries()?
                .checked_sub(1)
                .ok_or(TableError::Damaged("an internal btree page without entries"))?;
            // The child of the last entry that is not greater; entry 0 is below everything.
            let child = match probe {
                None => 0,
                Some(probe) => partition(others, |index| {
                    let key = internal_key(&page, page.item_at(offset(1, index, 1)?)?)?;
                    Ok(pages.order_of(data, key, probe, fuel)? != Ordering::Greater)
                })?,
            };
            let number = page.bytes.u32(offset(page.item_at(child)?, 1, 4)?)?;
            let next = pages.get(data, number, fuel)?;
            if next.level()?.checked_add(1) != Some(level) {
                return Err(TableError::Damaged("btree levels out of order"));
            }
            page = next;
        }
    }
}

const ON_PAGE: u8 = 1;
const OFF_PAGE: u8 = 3;
const DELETED: u8 = 0x80;

/// Item `index` of a leaf (length, type, bytes at +3), and whether it is marked as deleted.
fn leaf_item<'a>(page: &Page<'a>, index: usize) -> Result<(Item<'a>, bool), TableError> {
    let start = page.item_at(index)?;
    let kind = page.bytes.u8(offset(start, 2, 1)?)?;
    let item = match kind & !DELETED {
        ON_PAGE => {
            let length = usize::from(page.bytes.u16(start)?);
            Item::Here(page.bytes.slice(offset(start, 3, 1)?, length)?)
        }
        OFF_PAGE => page.away(start)?,
        _ => return Err(TableError::Unsupported("duplicate keys or unknown btree items")),
    };
    Ok((item, kind & DELETED != 0))
}

/// The key of an internal item at `start`: length, type, child page, record count, then bytes at +12.
fn internal_key<'a>(page: &Page<'a>, start: usize) -> Result<Item<'a>, TableError> {
    let body = offset(start, 12, 1)?;
    match page.bytes.u8(offset(start, 2, 1)?)? & !DELETED {
        ON_PAGE => Ok(Item::Here(page.bytes.slice(body, usize::from(page.bytes.u16(start)?))?)),
        OFF_PAGE => page.away(body),
        _ => Err(TableError::Damaged("unknown type of internal btree item")),
    }
}
