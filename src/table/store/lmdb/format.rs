//! The pages of an lmdb file, with every number checked before it is used.
//!
//! Purpose: meta pages, branch and leaf pages, nodes, the heads of long values. May: compute. Never: I/O; follow a
//! number that leads out of its page.
//!
//! Data version 1 as liblmdb writes it on 64-bit little-endian machines (structures in liblmdb's mdb.c; files made by
//! Postfix). src/table/format/lmdb.rs reads the same for lookups; here are also the parts that only a writer depends on.

use crate::StoreError;

use super::file::Source;

const META_SIZE: usize = 152;
pub(super) const PAGE_HEADER: usize = 16;
const NODE_HEADER: usize = 8;
const MAGIC: u32 = 0xBEEF_C0DE;
/// liblmdb stacks no more pages than this.
pub(super) const MAX_DEPTH: u16 = 32;
/// The flag of the list of free pages: its keys are numbers.
const INTEGER_KEY: u16 = 0x08;
/// The flags that change how a tree is ordered or what its nodes are.
const ORDER_FLAGS: u16 = 0x7e;
const LEAF: u16 = 0x02;
const BRANCH: u16 = 0x01;
const OVERFLOW: u16 = 0x04;
const META: u16 = 0x08;
/// A leaf node whose value is in overflow pages.
const BIG: u16 = 0x01;

/// Why a page is invalid.
pub(super) type Flaw = &'static str;

/// A tree: the entries, or the list of free pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    flags: u16,
    pub depth: u16,
    pub branch_pages: u64,
    pub leaf_pages: u64,
    pub overflow_pages: u64,
    pub entries: u64,
    pub root: Option<u64>,
}

/// One of the two meta pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub page_size: usize,
    pub free: Tree,
    pub main: Tree,
    pub last_page: u64,
    pub transaction: u64,
}

impl Meta {
    pub fn parse(bytes: &[u8]) -> Result<Meta, Flaw> {
        let short = "it is cut short";
        if u32_at(bytes, 16).ok_or(short)? != MAGIC {
            return Err("this is not an LMDB file of such a machine");
        }
        if u32_at(bytes, 20).ok_or(short)? != 1 {
            return Err("this is an LMDB data version other than 1");
        }
        if u16_at(bytes, 10).ok_or(short)? != META {
            return Err("it is a page of another kind");
        }
        // liblmdb itself writes pages of the size of the machine's, up to 32 KiB; smaller ones than 4 KiB cannot
        // take two entries with the longest keys.
        let page_size = u32_at(bytes, 40).and_then(|size| usize::try_from(size).ok()).ok_or(short)?;
        if !page_size.is_power_of_two() || !(4096..=32768).contains(&page_size) {
            return Err("the page size is impossible");
        }
        let tree = |at: usize| -> Option<Tree> {
            let root = u64_at(bytes, at + 40)?;
            Some(Tree {
                flags: u16_at(bytes, at + 4)?,
                depth: u16_at(bytes, at + 6)?,
                branch_pages: u64_at(bytes, at + 8)?,
                leaf_pages: u64_at(bytes, at + 16)?,
                overflow_pages: u64_at(bytes, at + 24)?,
                entries: u64_at(bytes, at + 32)?,
                root: (root != u64::MAX).then_some(root),
            })
        };
        let meta = Meta {
            page_size,
            free: tree(40).ok_or(short)?,
            main: tree(88).ok_or(short)?,
            last_page: u64_at(bytes, 136).ok_or(short)?,
            transaction: u64_at(bytes, 144).ok_or(short)?,
        };
        if meta.free.flags & ORDER_FLAGS != INTEGER_KEY || meta.main.flags != 0 {
            return Err("it names duplicates or special keys, which Postfix tables do not have");
        }
        Ok(meta)
    }

    /// How long the file must be for all its pages, in bytes.
    pub fn end(&self) -> u64 {
        self.last_page.saturating_add(1).saturating_mul(self.page_size as u64)
    }
}

/// Both meta pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heads {
    metas: [Meta; 2],
}

impl Heads {
    pub fn read(source: &(impl Source + ?Sized)) -> Result<Heads, StoreError> {
        let first = Heads::meta(source, 0, 0)?;
        let second = Heads::meta(source, 1, first.page_size)?;
        if second.page_size != first.page_size {
            return Err(StoreError::Corrupt("the two meta pages name different page sizes".into()));
        }
        let heads = Heads { metas: [first, second] };
        let newest = heads.newest();
        // Transactions write the two in turn. The newest in the wrong place would be overwritten by the next one.
        if heads.metas.get(usize::from(newest.transaction & 1 == 1)) != Some(newest) {
            return Err(StoreError::Corrupt("the meta pages have changed places".into()));
        }
        Ok(heads)
    }

    fn meta(source: &(impl Source + ?Sized), number: u64, at: usize) -> Result<Meta, StoreError> {
        let mut bytes = [0; META_SIZE];
        let whole = source.fill(at as u64, &mut bytes)?;
        let meta = if whole { Meta::parse(&bytes) } else { Err("the file ends before it") };
        let meta = meta.and_then(|meta| match u64_at(&bytes, 0) {
            Some(found) if found == number => Ok(meta),
            _ => Err("it has the number of another"),
        });
        meta.map_err(|flaw| StoreError::Corrupt(format!("meta page {number}: {flaw}")))
    }

    /// The meta page that counts.
    pub fn newest(&self) -> &Meta {
        let [first, second] = &self.metas;
        if second.transaction > first.transaction { second } else { first }
    }

    /// Whether these are what LMDB can have made of `before`, one or more transactions later.
    pub fn follow(&self, before: &Heads) -> bool {
        let (old, new) = (before.newest(), self.newest());
        // After one transaction, the meta page that counted before is the other one.
        let next = old.transaction.checked_add(1) != Some(new.transaction) || self.metas.contains(old);
        old.page_size == new.page_size && new.transaction > old.transaction && next
    }
}

/// A branch or leaf page.
#[derive(Debug)]
pub(super) struct Page {
    bytes: Vec<u8>,
    pub leaf: bool,
    pub nodes: usize,
    upper: usize,
}

/// A node: its key, and where it leads.
#[derive(Debug)]
pub(super) struct Node<'p> {
    pub key: &'p [u8],
    pub to: To<'p>,
    at: usize,
    end: usize,
}

/// Where a node leads.
#[derive(Debug)]
pub(super) enum To<'p> {
    /// A branch node: to this page.
    Page(u64),
    /// A leaf node: to the value beside it.
    Here(&'p [u8]),
    /// A leaf node: a value of this length, in bytes, in pages of its own from this page on.
    Pages(u64, usize),
}

impl Page {
    /// Checks that the page has the expected type and its own number. Its nodes are checked one by one by
    /// [`Page::node`].
    pub fn parse(bytes: Vec<u8>, number: u64) -> Result<Page, Flaw> {
        let short = "it is cut short";
        if u64_at(&bytes, 0).ok_or(short)? != number {
            return Err("it has the number of another");
        }
        // A stored page has no other flag; "dirty" would make liblmdb write to the map.
        let leaf = match u16_at(&bytes, 10).ok_or(short)? {
            BRANCH => false,
            LEAF => true,
            _ => return Err("it is of another kind"),
        };
        let lower = usize::from(u16_at(&bytes, 12).ok_or(short)?);
        let upper = usize::from(u16_at(&bytes, 14).ok_or(short)?);
        if lower < PAGE_HEADER || lower & 1 != 0 || lower > upper || upper > bytes.len() {
            return Err("its free space is impossible");
        }
        let nodes = (lower - PAGE_HEADER) / 2;
        if nodes < if leaf { 1 } else { 2 } {
            return Err("it has too few nodes");
        }
        Ok(Page { bytes, leaf, nodes, upper })
    }

    /// Node `index`: two halves of a length or of a page number, flags, length of the key, key, value.
    pub fn node(&self, index: usize) -> Result<Node<'_>, Flaw> {
        let bytes = &self.bytes;
        let outside = "a node leads out of it";
        let at = index.checked_mul(2).and_then(|at| u16_at(bytes, PAGE_HEADER.checked_add(at)?));
        let at = usize::from(at.ok_or(outside)?);
        let low = u32_at(bytes, at).ok_or(outside)?;
        let flags = u16_at(bytes, at + 4).ok_or(outside)?;
        let key_length = usize::from(u16_at(bytes, at + 6).ok_or(outside)?);
        let value_at = at + NODE_HEADER + key_length;
        let key = bytes.get(at + NODE_HEADER..value_at).ok_or(outside)?;
        if !self.leaf {
            let child = u64::from(low) | u64::from(flags) << 32;
            return Ok(Node { key, to: To::Page(child), at, end: value_at });
        }
        let length = usize::try_from(low).map_err(|_| outside)?;
        let (to, end) = match flags {
            0 => {
                let end = value_at.checked_add(length).ok_or(outside)?;
                (To::Here(bytes.get(value_at..end).ok_or(outside)?), end)
            }
            BIG => (To::Pages(u64_at(bytes, value_at).ok_or(outside)?, length), value_at + 8),
            _ => return Err("it has a named database or duplicates"),
        };
        Ok(Node { key, to, at, end })
    }

    /// Checks that the nodes fill the upper part of the page without gap and overlap, as liblmdb takes for granted
    /// when it moves them, and that none is longer than it lets them be.
    pub fn check_room(&self) -> Result<(), Flaw> {
        let longest = (((self.bytes.len() - PAGE_HEADER) / 2) & !1) - 2;
        let mut rooms = Vec::with_capacity(self.nodes);
        for index in 0..self.nodes {
            let node = self.node(index)?;
            if node.end - node.at > longest {
                return Err("a node is too long");
            }
            rooms.push((node.at, node.end.next_multiple_of(2)));
        }
        rooms.sort_unstable();
        let mut end = self.upper;
        for (from, to) in rooms {
            if from != end {
                return Err("its nodes overlap or leave gaps");
            }
            end = to;
        }
        if end == self.bytes.len() { Ok(()) } else { Err("its nodes do not fill it") }
    }
}

/// The number of pages that the long value at page `number` has, by its first page.
pub(super) fn long_value(header: &[u8], number: u64) -> Result<u64, Flaw> {
    match (u64_at(header, 0), u16_at(header, 10), u32_at(header, 12)) {
        (Some(found), Some(OVERFLOW), Some(pages)) if found == number => Ok(u64::from(pages)),
        _ => Err("it is not the first page of a long value"),
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
