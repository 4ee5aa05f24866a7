//! Keys and values as they lie on pages.
//!
//! Purpose: the sizes and bytes of the items of each type of page. May: compute. Never: decide where an item goes.

use super::BuildError;
use super::page::{HEADER, INDEX, Page, short};
use crate::bdb::page::Item;

/// Bytes of an item that says where the key or value is.
const AWAY: usize = 12;
/// Bytes before the key or value on a leaf of a btree: length, type.
const LEAF_HEAD: usize = 3;
/// Bytes before the key on an internal page: length, type, unused, child, number of records (not kept).
const INTERNAL_HEAD: usize = 12;

const ON_PAGE: u8 = 1;
const OFF_PAGE: u8 = 3;

/// The longest key or value that lies on a btree page of `page_size` bytes: two pairs must always fit.
pub(super) fn btree_limit(page_size: usize) -> usize {
    const OVERHEAD: usize = 10;
    (page_size.saturating_sub(HEADER) >> 2).saturating_sub(OVERHEAD)
}

/// The longest key or value that lies on a hash page.
pub(super) fn hash_limit(page_size: usize) -> usize {
    page_size >> 2
}

/// The size of a key or value of `length` bytes on a leaf. Items of btrees begin at multiples of 4.
pub(super) fn leaf_size(length: usize, limit: usize) -> usize {
    if length <= limit { aligned(LEAF_HEAD.saturating_add(length)) } else { AWAY }
}

/// The size of a key on an internal page.
pub(super) fn internal_size(item: &Item<'_>) -> usize {
    aligned(INTERNAL_HEAD.saturating_add(match item {
        Item::Here(key) => key.len(),
        Item::Away { .. } => AWAY,
    }))
}

/// What a pair takes on a hash page, its part of the index included. A type byte goes before each item.
pub(super) fn pair_size(key: &[u8], value: &[u8], limit: usize) -> usize {
    let size = |length: usize| if length <= limit { length.saturating_add(1) } else { AWAY };
    let items = size(key.len()).saturating_add(size(value.len()));
    items.saturating_add(INDEX.saturating_mul(2))
}

pub(super) fn add_to_leaf(page: &mut Page, item: &Item<'_>) -> Result<(), BuildError> {
    match item {
        Item::Here(bytes) => {
            let size = aligned(LEAF_HEAD.saturating_add(bytes.len()));
            page.add(size, &[&short(bytes.len())?, &[ON_PAGE], bytes])
        }
        Item::Away { page: first, length } => {
            page.add(AWAY, &[&[0, 0, OFF_PAGE, 0], &first.to_le_bytes(), &length.to_le_bytes()])
        }
    }
}

pub(super) fn add_to_internal(page: &mut Page, item: &Item<'_>, child: u32) -> Result<(), BuildError> {
    const NO_RECORDS: [u8; 4] = [0; 4];
    let (size, child) = (internal_size(item), child.to_le_bytes());
    match item {
        Item::Here(key) => page.add(size, &[&short(key.len())?, &[ON_PAGE, 0], &child, &NO_RECORDS, key]),
        Item::Away { page: first, length } => page.add(
            size,
            &[
                &short(AWAY)?,
                &[OFF_PAGE, 0],
                &child,
                &NO_RECORDS,
                &[0, 0, OFF_PAGE, 0],
                &first.to_le_bytes(),
                &length.to_le_bytes(),
            ],
        ),
    }
}

pub(super) fn add_to_hash(page: &mut Page, item: &Item<'_>) -> Result<(), BuildError> {
    match item {
        Item::Here(bytes) => page.add(bytes.len().saturating_add(1), &[&[ON_PAGE], bytes]),
        Item::Away { page: first, length } => {
            page.add(AWAY, &[&[OFF_PAGE, 0, 0, 0], &first.to_le_bytes(), &length.to_le_bytes()])
        }
    }
}

fn aligned(size: usize) -> usize {
    size.saturating_add(3) & !3
}
