//! Entries on a page of SQLite's, without SQLite.
//!
//! Purpose: read the rows of a page whatever the rest of the database is like. May: refuse a row. Never: believe a
//! length or a page number; follow more pages than a row needs; give more bytes of a page than it has.
//!
//! Source of the format: <https://sqlite.org/fileformat2.html#b_tree_pages> and the sections after it.

use std::ops::Range;

use super::descriptors::{CHECKSUM, PAGE};

/// What SQLite uses of a page.
const USABLE: usize = PAGE.saturating_sub(CHECKSUM);
/// The types of pages that have the rows of a table without row ids.
const INTERIOR: u8 = 0x02;
const LEAF: u8 = 0x0a;
/// The type of a leaf of a table with row ids.
const TABLE_LEAF: u8 = 0x0d;

/// A column of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Null,
    Integer(i64),
    Blob(Range<usize>),
    /// Of a type that no table of a store has.
    Other,
}

/// A row, its columns within its bytes.
pub(super) struct RawRow {
    pub bytes: Vec<u8>,
    pub columns: Vec<Column>,
}

impl RawRow {
    pub fn blob(&self, column: usize) -> Option<&[u8]> {
        match self.columns.get(column)? {
            Column::Blob(range) => self.bytes.get(range.clone()),
            _ => None,
        }
    }

    pub fn integer(&self, column: usize) -> Option<i64> {
        match self.columns.get(column)? {
            Column::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

/// Hands the rows of `page` to `take`, and returns how many could not be read. `other` returns a page by its number,
/// for rows that are longer than a page; it must stop at a cyclic chain.
pub(super) fn each(
    page: &[u8],
    mut other: impl FnMut(u32) -> Option<Vec<u8>>,
    mut take: impl FnMut(RawRow),
) -> u64 {
    let (header, before, long) = match page.first() {
        Some(&LEAF) => (8, 0, index_limits()),
        Some(&INTERIOR) => (12, 4, index_limits()),
        Some(&TABLE_LEAF) => (8, 0, table_limits()),
        _ => return 0,
    };
    let is_table = page.first() == Some(&TABLE_LEAF);
    let count = number(page, 3, 2);
    // Each row has a number of two bytes.
    let possible = count.min(USABLE.saturating_sub(header) / 2);
    let mut unread = count.abs_diff(possible) as u64;
    // Rows that overlap would have more bytes than the page, and there could be a thousand of them.
    let mut room = USABLE;
    for index in 0..possible {
        let start = number(page, index.saturating_mul(2).saturating_add(header), 2).saturating_add(before);
        match row(page, start, is_table, long, &mut room, &mut other) {
            Some(found) => take(found),
            None => unread = unread.saturating_add(1),
        }
    }
    unread
}

/// The longest row that is wholly on its page, and how much of a longer one is there at least.
type Limits = (usize, usize);

fn index_limits() -> Limits {
    let share = |part: usize| {
        USABLE.saturating_sub(12).saturating_mul(part).checked_div(255).unwrap_or(0).saturating_sub(23)
    };
    (share(64), share(32))
}

fn table_limits() -> Limits {
    (USABLE.saturating_sub(35), index_limits().1)
}

/// The row whose cell begins at `start`.
fn row(
    page: &[u8],
    start: usize,
    is_table: bool,
    (longest, least): Limits,
    room: &mut usize,
    other: &mut impl FnMut(u32) -> Option<Vec<u8>>,
) -> Option<RawRow> {
    let mut rest = page.get(start..USABLE)?;
    let size = usize::try_from(varint(&mut rest)?).ok()?;
    if is_table {
        varint(&mut rest)?;
    }
    if size <= longest {
        *room = room.checked_sub(size)?;
        return columns(rest.get(..size)?.to_vec());
    }
    // The rest of it is in a chain of other pages; as much stays here as makes the last of these full.
    let chunk = USABLE.saturating_sub(4);
    let surplus = least.saturating_add(size.checked_sub(least)?.checked_rem(chunk)?);
    let here = if surplus <= longest { surplus } else { least };
    *room = room.checked_sub(here)?;
    let mut bytes = rest.get(..here)?.to_vec();
    let mut next = number(rest, here, 4);
    while bytes.len() < size {
        let overflow = other(u32::try_from(next).ok()?)?;
        let left = size.saturating_sub(bytes.len()).min(chunk);
        bytes.extend_from_slice(overflow.get(4..)?.get(..left)?);
        next = number(&overflow, 0, 4);
    }
    columns(bytes)
}

/// Finds the columns of a row.
fn columns(bytes: Vec<u8>) -> Option<RawRow> {
    let mut rest = bytes.as_slice();
    let header = usize::try_from(varint(&mut rest)?).ok()?;
    let first = bytes.len().saturating_sub(rest.len());
    let mut types = bytes.get(first..header)?;
    let (mut columns, mut at) = (Vec::new(), header);
    while !types.is_empty() {
        let kind = varint(&mut types)?;
        let length = match kind {
            0..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            8 | 9 => 0,
            10 | 11 => return None,
            text_or_blob => usize::try_from(text_or_blob.saturating_sub(12) >> 1).ok()?,
        };
        let end = at.checked_add(length)?;
        let content = bytes.get(at..end)?;
        columns.push(match kind {
            0 => Column::Null,
            1..=6 => Column::Integer(signed(content)),
            8 | 9 => Column::Integer(i64::from(kind == 9)),
            12.. if kind.is_multiple_of(2) => Column::Blob(at..end),
            _ => Column::Other,
        });
        at = end;
    }
    (at == bytes.len()).then_some(RawRow { bytes, columns })
}

/// A big-endian number of `length` bytes, at most 4; 0 outside.
pub(super) fn number(bytes: &[u8], at: usize, length: usize) -> usize {
    let found = at.checked_add(length).and_then(|end| bytes.get(at..end)).unwrap_or_default();
    found.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// A big-endian number in two's complement of at most 8 bytes.
fn signed(bytes: &[u8]) -> i64 {
    let start = if bytes.first().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
    bytes.iter().fold(start, |number: i64, byte| number << 8 | i64::from(*byte))
}

/// A number of 1 to 9 bytes: seven bits in each, all eight in the ninth; the highest bit says that more follow.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for index in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if index == 8 {
            return Some(number << 8 | u64::from(*byte));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
