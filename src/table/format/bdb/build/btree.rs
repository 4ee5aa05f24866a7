//! Btrees from keys in ascending order.
//!
//! Purpose: write leaves as they fill, keep the rightmost page of each level, and write these at the end. May: write.
//! Never: go back to a page.

use super::file::File;
use super::item::{add_to_internal, add_to_leaf, btree_limit, internal_size, leaf_size};
use super::page::{INDEX, Links, Meta, Page};
use super::{BuildError, Sink, check_lengths};
use crate::bdb::page::{Item, page_type};

const MAGIC: u32 = 0x05_3162;
const META: u8 = 9;
/// A file's only tree has its root here.
const ROOT: u32 = 1;
const LEAF_LEVEL: u8 = 1;
/// A page that has no number yet.
const NONE: u32 = 0;

mod meta_at {
    /// How many keys a page must have room for.
    pub const MIN_KEYS: usize = 76;
    /// What to pad records with that have a fixed length (there are none): a space.
    pub const PADDING: usize = 84;
    pub const ROOT: usize = 88;
}

/// Makes a btree file.
///
/// Keys and values are stored as they are given; Postfix counts a NUL byte at the end of both. Memory is needed for one
/// page of each level and for the last key. Pages are filled completely, as libdb does for keys in ascending order.
///
/// A push writes at most the chains of its key and value, and a page or two of each level; with pages of 4 KiB and an
/// entry of 100 bytes that is one page for about forty pushes.
pub struct BtreeBuilder {
    file: File,
    file_id: [u8; 20],
    leaf: Page,
    leaf_number: u32,
    leaf_before: u32,
    /// The rightmost internal page of each level, from the parents of the leaves upwards.
    spine: Vec<Internal>,
    last_key: Vec<u8>,
    begun: bool,
    /// A page was not written, so that the file cannot be finished.
    broken: bool,
}

struct Internal {
    page: Page,
    number: u32,
}

impl BtreeBuilder {
    /// Begins a file.
    ///
    /// `file_id` tells files apart in a process that has several open; libdb makes it from inode, device, time and a
    /// random number.
    ///
    /// # Errors
    /// [`BuildError::PageSize`].
    pub fn new(page_size: usize, file_id: [u8; 20]) -> Result<BtreeBuilder, BuildError> {
        Ok(BtreeBuilder {
            file: File::new(page_size, ROOT.saturating_add(1))?,
            file_id,
            leaf: Page::new(page_size, page_type::BTREE_LEAF, LEAF_LEVEL),
            leaf_number: NONE,
            leaf_before: NONE,
            spine: Vec::new(),
            last_key: Vec::new(),
            begun: false,
            broken: false,
        })
    }

    /// Adds an entry. `key` must be greater than all before it, by its bytes and then by its length.
    ///
    /// # Errors
    /// [`BuildError::NotAscending`] and [`BuildError::ItemTooLong`] leave the entry out, and the builder as it was.
    /// After any other error there is no file.
    pub fn push(&mut self, key: &[u8], value: &[u8], sink: &mut impl Sink) -> Result<(), BuildError> {
        if self.broken {
            return Err(BuildError::Over);
        }
        check_lengths(key, value)?;
        if self.begun && key <= self.last_key.as_slice() {
            return Err(BuildError::NotAscending);
        }
        self.broken = true;
        self.add(key, value, sink)?;
        self.broken = false;
        Ok(())
    }

    fn add(&mut self, key: &[u8], value: &[u8], sink: &mut impl Sink) -> Result<(), BuildError> {
        let limit = btree_limit(self.file.page_size());
        let size = leaf_size(key.len(), limit).saturating_add(leaf_size(value.len(), limit));
        if self.leaf.room() < size.saturating_add(INDEX.saturating_mul(2)) {
            self.next_leaf(key, sink)?;
        }
        for bytes in [key, value] {
            let item = self.file.store(sink, bytes, limit)?;
            add_to_leaf(&mut self.leaf, &item)?;
        }
        self.last_key.clear();
        self.last_key.try_reserve(key.len()).map_err(|_| BuildError::OutOfMemory)?;
        self.last_key.extend_from_slice(key);
        self.begun = true;
        Ok(())
    }

    /// Writes the leaf and begins the next one, on which `key` will be the first.
    fn next_leaf(&mut self, key: &[u8], sink: &mut impl Sink) -> Result<(), BuildError> {
        if self.leaf_number == NONE {
            self.leaf_number = self.file.allocate()?;
        }
        let next = self.file.allocate()?;
        let links = Links { number: self.leaf_number, previous: self.leaf_before, next };
        self.file.write(sink, links.number, self.leaf.finish(links)?)?;
        self.leaf.clear();
        (self.leaf_before, self.leaf_number) = (links.number, next);

        if self.spine.is_empty() {
            self.grow(links.number)?;
        }
        let separator = separator(&self.last_key, key);
        let item = self.file.store(sink, separator, btree_limit(self.file.page_size()))?;
        self.add_child(item, next, sink)
    }

    /// Adds `child`, whose keys are not below `separator`, to the parents of the leaves. A page that is full is
    /// written, and the separator goes up with the number of its successor: the first key of an internal page is never
    /// read, and is left empty.
    fn add_child(
        &mut self,
        separator: Item<'_>,
        mut child: u32,
        sink: &mut impl Sink,
    ) -> Result<(), BuildError> {
        let size = internal_size(&separator).saturating_add(INDEX);
        let mut level = 0_usize;
        loop {
            let internal = self.spine.get_mut(level).ok_or(BuildError::Inconsistent)?;
            if internal.page.room() >= size {
                return add_to_internal(&mut internal.page, &separator, child);
            }
            let first_of_level = internal.number == NONE;
            if first_of_level {
                internal.number = self.file.allocate()?;
            }
            let full = internal.number;
            let next = self.file.allocate()?;
            self.file.write(sink, full, internal.page.finish(alone(full))?)?;
            internal.page.clear();
            add_to_internal(&mut internal.page, &Item::Here(&[]), child)?;
            internal.number = next;
            if first_of_level {
                self.grow(full)?;
            }
            child = next;
            level = level.saturating_add(1);
        }
    }

    /// Puts a level on top, over the page `child`.
    fn grow(&mut self, child: u32) -> Result<(), BuildError> {
        let height = u8::try_from(self.spine.len()).map_err(|_| BuildError::FileTooLarge)?;
        let level = height.checked_add(2).ok_or(BuildError::FileTooLarge)?;
        let mut page = Page::new(self.file.page_size(), page_type::BTREE_INTERNAL, level);
        add_to_internal(&mut page, &Item::Here(&[]), child)?;
        self.spine.push(Internal { page, number: NONE });
        Ok(())
    }

    /// Writes what is left, the header last, and returns the length of the file in bytes.
    ///
    /// # Errors
    /// [`BuildError::Sink`], or [`BuildError::Over`] after an error of that kind: there is no file.
    pub fn finish(mut self, sink: &mut impl Sink) -> Result<u64, BuildError> {
        if self.broken {
            return Err(BuildError::Over);
        }
        // The page on top is the root; it has no number so far, and no other is without.
        let number = if self.spine.is_empty() { ROOT } else { self.leaf_number };
        let links = Links { number, previous: self.leaf_before, next: NONE };
        self.file.write(sink, number, self.leaf.finish(links)?)?;
        for internal in &mut self.spine {
            let number = if internal.number == NONE { ROOT } else { internal.number };
            self.file.write(sink, number, internal.page.finish(alone(number))?)?;
        }
        let meta = Meta {
            magic: MAGIC,
            kind: META,
            page_size: self.file.page_size(),
            last_page: self.file.last(),
            file_id: self.file_id,
        };
        let numbers = [(meta_at::MIN_KEYS, 2), (meta_at::PADDING, u32::from(b' ')), (meta_at::ROOT, ROOT)];
        self.file.write(sink, 0, &meta.page(&numbers)?)?;
        Ok(self.file.length())
    }
}

/// Internal pages are not linked with their neighbours.
fn alone(number: u32) -> Links {
    Links { number, previous: NONE, next: NONE }
}

/// The shortest prefix of `key` that distinguishes it from `last`, the previous key.
fn separator<'a>(last: &[u8], key: &'a [u8]) -> &'a [u8] {
    let common = last.iter().zip(key).take_while(|(a, b)| a == b).count();
    key.get(..common.saturating_add(1)).unwrap_or(key)
}
