//! The meta page of a Berkeley DB file.
//!
//! Purpose: decide whether a file is one that can be read, and take from its first 512 bytes what lookups need.
//! May: refuse. Never: look at another page.
//!
//! Source of the offsets: measured on files of Berkeley DB 5.3.28 in both byte orders; they agree with the structures
//! DBMETA, HMETA and BTMETA of libdb's headers. Versions 8 to 10 of both access methods have them in common.

use super::btree::Btree;
use super::hash::{self, Hash};
use super::page::Pages;
use super::{Head, Method};
use crate::bytes::{Bytes, Order, offset, size};
use mapkeep_query::TableError;

const HASH_MAGIC: u32 = 0x06_1561;
const BTREE_MAGIC: u32 = 0x05_3162;
const HASH_META: u8 = 8;
const BTREE_META: u8 = 9;
const META_SIZE: usize = 512;

mod at {
    pub const MAGIC: usize = 12;
    pub const VERSION: usize = 16;
    pub const PAGE_SIZE: usize = 20;
    pub const ENCRYPTION: usize = 24;
    pub const PAGE_TYPE: usize = 25;
    pub const META_FLAGS: usize = 26;
    pub const LAST_PAGE: usize = 32;
    pub const PARTITIONS: usize = 36;
    pub const FLAGS: usize = 48;
    pub const HASH_MAX_BUCKET: usize = 72;
    pub const HASH_HIGH_MASK: usize = 76;
    pub const HASH_LOW_MASK: usize = 80;
    pub const HASH_CHARKEY: usize = 92;
    pub const HASH_SPARES: usize = 96;
    pub const BTREE_ROOT: usize = 88;
}

/// Reads the meta page of `data`, which must be a file of the access method `method`.
pub(super) fn read(method: Method, data: &[u8]) -> Result<Head, TableError> {
    let first = data.get(..META_SIZE).ok_or(TableError::Damaged("shorter than a Berkeley DB header"))?;
    let meta = Bytes::new(first, order_of(first)?);
    let found = match meta.u32(at::MAGIC)? {
        HASH_MAGIC => Method::Hash,
        _ => Method::Btree,
    };
    if found != method {
        return Err(TableError::Unsupported(match found {
            Method::Hash => "a Berkeley DB hash file where a btree is expected",
            Method::Btree => "a Berkeley DB btree file where a hash is expected",
        }));
    }
    refuse_variants(method, &meta)?;

    let pages = pages_of(&meta, data.len())?;
    let head = match method {
        Method::Hash => Head { pages, kind: super::Kind::Hash(hash_of(&meta, &pages)?) },
        Method::Btree => Head { pages, kind: super::Kind::Btree(Btree { root: meta.u32(at::BTREE_ROOT)? }) },
    };
    Ok(head)
}

/// The file is in the byte order in which its magic number makes sense.
fn order_of(first: &[u8]) -> Result<Order, TableError> {
    [Order::Little, Order::Big]
        .into_iter()
        .find(|order| matches!(Bytes::new(first, *order).u32(at::MAGIC), Ok(HASH_MAGIC) | Ok(BTREE_MAGIC)))
        .ok_or(TableError::Damaged("not a Berkeley DB hash or btree file"))
}

/// Refuses what Postfix never writes: each of these changes what the other pages mean.
fn refuse_variants(method: Method, meta: &Bytes<'_>) -> Result<(), TableError> {
    let expected_type = match method {
        Method::Hash => HASH_META,
        Method::Btree => BTREE_META,
    };
    if meta.u8(at::PAGE_TYPE)? != expected_type {
        return Err(TableError::Damaged("the first page is not a header page"));
    }
    if !(8..=10).contains(&meta.u32(at::VERSION)?) {
        return Err(TableError::Unsupported("a Berkeley DB format version other than 8, 9 and 10"));
    }
    if meta.u8(at::ENCRYPTION)? != 0 {
        return Err(TableError::Unsupported("an encrypted Berkeley DB file"));
    }
    let meta_flags = meta.u8(at::META_FLAGS)?;
    if meta_flags & 1 != 0 {
        return Err(TableError::Unsupported("a Berkeley DB file with checksums"));
    }
    if meta_flags != 0 || meta.u32(at::PARTITIONS)? != 0 {
        return Err(TableError::Unsupported("a partitioned Berkeley DB file"));
    }
    match meta.u32(at::FLAGS)? {
        0 => Ok(()),
        flags if flags & 1 != 0 => Err(TableError::Unsupported("a Berkeley DB file with duplicate keys")),
        _ => Err(TableError::Unsupported(
            "a Berkeley DB file with named databases, record numbers, sorted duplicates or compression",
        )),
    }
}

fn pages_of(meta: &Bytes<'_>, file: usize) -> Result<Pages, TableError> {
    let page = size(meta.u32(at::PAGE_SIZE)?)?;
    if !page.is_power_of_two() || !(512..=65536).contains(&page) {
        return Err(TableError::Damaged("impossible page size"));
    }
    let last = meta.u32(at::LAST_PAGE)?;
    if offset(page, size(last)?, page)? > file {
        return Err(TableError::Damaged("the file is shorter than its header says"));
    }
    Ok(Pages { size: page, last, order: meta.order })
}

fn hash_of(meta: &Bytes<'_>, pages: &Pages) -> Result<Hash, TableError> {
    let max_bucket = meta.u32(at::HASH_MAX_BUCKET)?;
    // Every bucket has a page of its own, so this bounds a walk over all buckets by the size of the file.
    if max_bucket > pages.last {
        return Err(TableError::Damaged("more hash buckets than pages"));
    }
    let mut spares = [0; 32];
    for (number, spare) in spares.iter_mut().enumerate() {
        *spare = meta.u32(offset(at::HASH_SPARES, number, 4)?)?;
    }
    Ok(Hash {
        max_bucket,
        high_mask: meta.u32(at::HASH_HIGH_MASK)?,
        low_mask: meta.u32(at::HASH_LOW_MASK)?,
        spares,
        function: hash::Function::proven_by(meta.u32(at::HASH_CHARKEY)?)
            .ok_or(TableError::Unsupported("an unknown Berkeley DB hash function"))?,
    })
}
