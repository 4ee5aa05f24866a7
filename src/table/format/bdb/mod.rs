//! Berkeley DB hash and btree files, as `hash:` and `btree:` tables.
//!
//! Purpose: lookups and scans in files of Berkeley DB 4.x and 5.x, of either byte order, without libdb.
//! May: borrow from the snapshot. Never: copy more than an answer; follow a page number unchecked.

mod btree;
pub mod build;
mod hash;
mod meta;
mod page;

#[cfg(test)]
mod tests;

use crate::bytes::size;
use crate::cursor::Cursor;
use crate::probe::Probe;
use mapkeep_query::Step;
use mapkeep_query::TableError;
use page::{Item, Pages};

/// Which of the two access methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Extendible hashing.
    Hash,
    /// A tree.
    Btree,
}

/// The fields of the meta page.
#[derive(Debug)]
pub struct Head {
    pages: Pages,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Hash(hash::Hash),
    Btree(btree::Btree),
}

impl Head {
    /// Checks the meta page of the file `data`.
    pub fn read(method: Method, data: &[u8]) -> Result<Head, TableError> {
        meta::read(method, data)
    }

    /// Fills `answer` and returns true if `probe` is there.
    pub fn find(&self, data: &[u8], probe: &Probe<'_>, answer: &mut Vec<u8>) -> Result<bool, TableError> {
        let mut fuel = self.pages.fuel();
        let found = match &self.kind {
            Kind::Hash(hash) => hash.find(&self.pages, data, probe, &mut fuel)?,
            Kind::Btree(btree) => btree.find(&self.pages, data, probe, &mut fuel)?,
        };
        let Some(value) = found else { return Ok(false) };
        self.pages.copy(data, value, answer, &mut fuel)?;
        Ok(true)
    }

    /// One step of a scan.
    pub fn step(
        &self,
        data: &[u8],
        cursor: &mut Cursor,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Step, TableError> {
        match &self.kind {
            Kind::Hash(hash) => hash.step(&self.pages, data, cursor, key, value),
            Kind::Btree(btree) => btree.step(&self.pages, data, cursor, key, value),
        }
    }
}

/// Copies a record out and moves the caller's cursor to `moved`, which is past the record.
fn emit(
    pages: &Pages,
    data: &[u8],
    (stored_key, stored_value): (Item<'_>, Item<'_>),
    cursor: &mut Cursor,
    mut moved: Cursor,
    key: &mut Vec<u8>,
    value: &mut Vec<u8>,
) -> Result<Step, TableError> {
    for item in [stored_key, stored_value] {
        let length = match item {
            Item::Here(stored) => stored.len(),
            Item::Away { length, .. } => size(length)?,
        };
        moved.count_bytes(length, data.len())?;
    }
    let fuel = &mut pages.fuel();
    let copied =
        pages.copy(data, stored_key, key, fuel).and_then(|()| pages.copy(data, stored_value, value, fuel));
    if matches!(copied, Ok(()) | Err(TableError::ItemTooLong)) {
        *cursor = moved;
    }
    copied.map(|()| Step::Record)
}
