//! LMDB files, as `lmdb:` tables.
//!
//! Purpose: lookups and scans in the main database of an LMDB file, without liblmdb.
//! May: borrow from the snapshot. Never: copy more than an answer; follow a page number unchecked.
//!
//! The format is data version 1 as liblmdb 0.9 writes it on 64-bit little-endian machines; its numbers are those of
//! the machine, so files of other machines cannot be read by liblmdb either. Source: files made by Postfix, and
//! the structures documented in liblmdb's mdb.c.

use std::cmp::Ordering;

use crate::bytes::{Bytes, Order, fetch, offset, partition, size};
use crate::cursor::{Cursor, Place};
use crate::probe::Probe;
use mapkeep_query::Step;
use mapkeep_query::TableError;
use mapkeep_query::put_text;

const MAGIC: u32 = 0xBEEF_C0DE;
const META_SIZE: usize = 152;
const PAGE_HEADER: usize = 16;
const NODE_HEADER: usize = 8;
/// The root of an empty tree.
const NO_PAGE: u64 = u64::MAX;
/// liblmdb's own limit on the depth of a tree.
const MAX_DEPTH: usize = 32;
/// Longer keys cannot be stored; nor can empty ones.
const MAX_KEY: usize = 511;

mod at {
    pub const PAGE_FLAGS: usize = 10;
    pub const PAGE_LOWER: usize = 12;
    pub const PAGE_UPPER: usize = 14;
    pub const OVERFLOW_PAGES: usize = 12;
    pub const MAGIC: usize = 16;
    pub const MAGIC_OF_32_BITS: usize = 12;
    pub const VERSION: usize = 20;
    pub const PAGE_SIZE: usize = 40;
    pub const MAIN_FLAGS: usize = 92;
    pub const MAIN_ROOT: usize = 128;
    pub const LAST_PAGE: usize = 136;
    pub const TRANSACTION: usize = 144;
}

mod page_flag {
    pub const BRANCH: u16 = 0x01;
    pub const LEAF: u16 = 0x02;
    pub const OVERFLOW: u16 = 0x04;
    pub const META: u16 = 0x08;
    /// The bits that say what a page is (the others are left over from its transaction).
    pub const TYPE: u16 = 0x6f;
}

mod node_flag {
    pub const BIG: u16 = 0x01;
}

/// The fields of the valid meta page with the latest transaction.
#[derive(Debug)]
pub struct Head {
    page_size: usize,
    last_page: u64,
    root: Option<u64>,
}

/// A branch or leaf page.
#[derive(Clone, Copy, Debug)]
struct Page<'a> {
    bytes: Bytes<'a>,
    leaf: bool,
    nodes: usize,
}

/// A node of a page: where it begins, its key, and the two fields whose meaning depends on the page.
#[derive(Clone, Copy, Debug)]
struct Node<'a> {
    key: &'a [u8],
    low: u64,
    flags: u16,
    data_at: usize,
}

impl Head {
    /// Checks the two meta pages and the root of the tree of the file `data`.
    pub fn read(data: &[u8]) -> Result<Head, TableError> {
        let file = Bytes::new(data, Order::Little);
        let first = Meta::read(&file, 0)?;
        let second = Meta::read(&file, first.page_size);
        // The two are written alternately. If the second is not valid, it was being written, and the first is used.
        let meta = match second {
            Ok(second) if second.transaction > first.transaction && second.page_size == first.page_size => {
                second
            }
            _ => first,
        };
        if meta.flags != 0 {
            return Err(TableError::Unsupported("an LMDB file with duplicates or special keys"));
        }
        let root = (meta.root != NO_PAGE).then_some(meta.root);
        let head = Head { page_size: meta.page_size, last_page: meta.last_page, root };
        if let Some(root) = head.root {
            head.check_branches(data, root)?;
        }
        Ok(head)
    }

    /// Checks that every page of the tree lies inside the file: a file that was cut short is then refused as a
    /// whole, instead of answering for the keys that are left. Reads the branch pages only.
    fn check_branches(&self, data: &[u8], root: u64) -> Result<(), TableError> {
        let mut height = 0_usize;
        let mut number = root;
        loop {
            let page = self.page(data, number)?;
            if page.leaf {
                break;
            }
            height = height.saturating_add(1);
            if height > MAX_DEPTH {
                return Err(TableError::Damaged("the tree is too deep"));
            }
            number = page.node(0)?.child();
        }
        let pages = data.len().checked_div(self.page_size).unwrap_or_default();
        let mut budget = pages;
        let mut branches = vec![(root, height)];
        while let Some((number, height)) = branches.pop() {
            if height == 0 {
                continue;
            }
            budget = budget.checked_sub(1).ok_or(TableError::Damaged("a tree that contains itself"))?;
            let page = self.page(data, number)?;
            if page.leaf {
                return Err(TableError::Damaged("a tree of uneven height"));
            }
            for index in 0..page.nodes {
                let child = page.node(index)?.child();
                if size(child)? >= pages {
                    return Err(TableError::Damaged("a page beyond the end of the file"));
                }
                if height > 1 {
                    branches.push((child, height.saturating_sub(1)));
                }
            }
        }
        Ok(())
    }

    /// Fills `answer` and returns true if `probe` is there.
    pub fn find(&self, data: &[u8], probe: &Probe<'_>, answer: &mut Vec<u8>) -> Result<bool, TableError> {
        if probe.length() == 0 || probe.length() > MAX_KEY {
            return Ok(false);
        }
        let node = self.seek(data, |stored, on_leaf| {
            let order = probe.order_of(stored);
            if on_leaf { order == Ordering::Less } else { order != Ordering::Greater }
        })?;
        match node {
            Some((page, node)) if probe.equals(node.key) => {
                put_text(answer, self.value(data, &page, &node)?).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// One step of a scan in ascending order of keys: to the first key after the last one.
    pub fn step(
        &self,
        data: &[u8],
        cursor: &mut Cursor,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Step, TableError> {
        let last: &[u8] = match &cursor.place {
            Place::Start => &[],
            Place::After(last) => last,
            Place::End => return Ok(Step::End),
            _ => return Err(TableError::ForeignCursor),
        };
        let Some((page, node)) = self.seek(data, |stored, _| stored <= last)? else {
            cursor.place = Place::End;
            return Ok(Step::End);
        };
        if node.key <= last {
            return Err(TableError::Damaged("keys are not in ascending order"));
        }
        let stored = self.value(data, &page, &node)?;
        let mut moved = cursor.clone();
        moved.count_bytes(node.key.len().saturating_add(stored.len()), data.len())?;
        moved.place = Place::After(node.key.to_vec());
        let copied = put_text(key, node.key).and_then(|()| put_text(value, stored));
        if matches!(copied, Ok(()) | Err(TableError::ItemTooLong)) {
            *cursor = moved;
        }
        copied.map(|()| Step::Record)
    }

    /// The first leaf node for which `before` is false. `before` gets a stored key and whether it is a leaf's.
    fn seek<'a>(
        &self,
        data: &'a [u8],
        mut before: impl FnMut(&[u8], bool) -> bool,
    ) -> Result<Option<(Page<'a>, Node<'a>)>, TableError> {
        let Some(root) = self.root else { return Ok(None) };
        let mut page = self.page(data, root)?;
        // The subtree to the right of the path, for when the leaf has nothing that late.
        let mut right = None;
        for _ in 0..MAX_DEPTH {
            if page.leaf {
                let index = partition(page.nodes, |index| Ok(before(page.node(index)?.key, true)))?;
                if index < page.nodes {
                    return Ok(Some((page, page.node(index)?)));
                }
                let Some(next) = right else { return Ok(None) };
                return self.leftmost(data, next).map(Some);
            }
            // Node 0 of a branch has no key: it is below everything.
            let others =
                page.nodes.checked_sub(1).ok_or(TableError::Damaged("a branch page without nodes"))?;
            let child =
                partition(others, |index| Ok(before(page.node(index.saturating_add(1))?.key, false)))?;
            if child < others {
                right = Some(page.node(child.saturating_add(1))?.child());
            }
            page = self.page(data, page.node(child)?.child())?;
        }
        Err(TableError::Damaged("the tree is too deep"))
    }

    /// The first node of the subtree below page `number`.
    fn leftmost<'a>(&self, data: &'a [u8], number: u64) -> Result<(Page<'a>, Node<'a>), TableError> {
        let mut page = self.page(data, number)?;
        for _ in 0..MAX_DEPTH {
            let first = page.node(0)?;
            if page.leaf {
                return Ok((page, first));
            }
            page = self.page(data, first.child())?;
        }
        Err(TableError::Damaged("the tree is too deep"))
    }

    /// Where page `number` begins in the file.
    fn start_of(&self, number: u64) -> Result<usize, TableError> {
        if number < 2 || number > self.last_page {
            return Err(TableError::Damaged("a page number outside the file"));
        }
        offset(0, size(number)?, self.page_size)
    }

    fn page<'a>(&self, data: &'a [u8], number: u64) -> Result<Page<'a>, TableError> {
        let file = Bytes::new(data, Order::Little);
        let bytes = Bytes::new(file.slice(self.start_of(number)?, self.page_size)?, Order::Little);
        if bytes.u64(0)? != number {
            return Err(TableError::Damaged("a page has the number of another"));
        }
        let leaf = match bytes.u16(at::PAGE_FLAGS)? & page_flag::TYPE {
            page_flag::BRANCH => false,
            page_flag::LEAF => true,
            _ => return Err(TableError::Damaged("a page of another type in the tree")),
        };
        let lower = usize::from(bytes.u16(at::PAGE_LOWER)?);
        let offsets = lower.checked_sub(PAGE_HEADER).filter(|_| lower <= self.page_size);
        let nodes = offsets.ok_or(TableError::Damaged("an impossible number of nodes in a page"))? >> 1;
        // The nodes are at the end of the page; before them is free space.
        fetch(bytes.data.get(usize::from(bytes.u16(at::PAGE_UPPER)?)..).unwrap_or_default());
        Ok(Page { bytes, leaf, nodes })
    }

    /// The value of a leaf node, which may be in a run of pages of its own.
    fn value<'a>(&self, data: &'a [u8], page: &Page<'a>, node: &Node<'a>) -> Result<&'a [u8], TableError> {
        let length = size(node.low)?;
        match node.flags {
            0 => page.bytes.slice(node.data_at, length),
            node_flag::BIG => {
                let number = page.bytes.u64(node.data_at)?;
                let start = self.start_of(number)?;
                let run = Bytes::new(data.get(start..).unwrap_or_default(), Order::Little);
                let pages = size(run.u32(at::OVERFLOW_PAGES)?)?;
                let own = run.u64(0)? == number
                    && run.u16(at::PAGE_FLAGS)? & page_flag::TYPE == page_flag::OVERFLOW
                    && offset(PAGE_HEADER, length, 1)? <= offset(0, pages, self.page_size)?;
                if !own {
                    return Err(TableError::Damaged("a long value leads to a page of another type"));
                }
                run.slice(PAGE_HEADER, length)
            }
            _ => Err(TableError::Unsupported("an LMDB file with named databases or duplicates")),
        }
    }
}

impl<'a> Page<'a> {
    /// Node `index`: low and high half of a number, flags, key length (16 bits each), key, data.
    fn node(&self, index: usize) -> Result<Node<'a>, TableError> {
        if index >= self.nodes {
            return Err(TableError::Damaged("a page without nodes"));
        }
        let start = usize::from(self.bytes.u16(offset(PAGE_HEADER, index, 2)?)?);
        let low = u64::from(self.bytes.u32(start)?);
        let flags = self.bytes.u16(offset(start, 2, 2)?)?;
        let key_length = usize::from(self.bytes.u16(offset(start, 3, 2)?)?);
        let key_at = offset(start, NODE_HEADER, 1)?;
        let key = self.bytes.slice(key_at, key_length)?;
        Ok(Node { key, low, flags, data_at: offset(key_at, key_length, 1)? })
    }
}

impl Node<'_> {
    /// The page below a branch node: 48 bits, the upper ones in the place of a leaf's flags.
    fn child(&self) -> u64 {
        self.low | u64::from(self.flags) << 32
    }
}

/// One of the two meta pages.
struct Meta {
    page_size: usize,
    flags: u16,
    root: u64,
    last_page: u64,
    transaction: u64,
}

impl Meta {
    fn read(file: &Bytes<'_>, start: usize) -> Result<Meta, TableError> {
        let meta = Bytes::new(file.slice(start, META_SIZE)?, Order::Little);
        match meta.u32(at::MAGIC)? {
            MAGIC => {}
            magic if magic.swap_bytes() == MAGIC => {
                return Err(TableError::Unsupported("an LMDB file of a big-endian machine"));
            }
            _ if meta.u32(at::MAGIC_OF_32_BITS)? == MAGIC => {
                return Err(TableError::Unsupported("an LMDB file of a 32-bit machine"));
            }
            _ => return Err(TableError::Damaged("not an LMDB file")),
        }
        if meta.u32(at::VERSION)? != 1 {
            return Err(TableError::Unsupported("an LMDB data version other than 1"));
        }
        if meta.u16(at::PAGE_FLAGS)? & page_flag::META == 0 {
            return Err(TableError::Damaged("not an LMDB header page"));
        }
        let page_size = size(meta.u32(at::PAGE_SIZE)?)?;
        if !page_size.is_power_of_two() || !(512..=65536).contains(&page_size) {
            return Err(TableError::Damaged("impossible page size"));
        }
        Ok(Meta {
            page_size,
            flags: meta.u16(at::MAIN_FLAGS)?,
            root: meta.u64(at::MAIN_ROOT)?,
            last_page: meta.u64(at::LAST_PAGE)?,
            transaction: meta.u64(at::TRANSACTION)?,
        })
    }
}

#[cfg(test)]
mod tests;
