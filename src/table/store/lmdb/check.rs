//! The check of a whole file, before liblmdb may touch it.
//!
//! Purpose: find all that liblmdb takes for granted and that could lead it astray: pages in bounds and of one use
//! each, nodes that fit, keys in order, long values whole, a list of free pages that names no used one.
//! May: read. Never: repair. Called by: `LmdbStore`, under the lock.
//!
//! A file that passes can still hold other values than were stored: LMDB has no checksums.

use std::cmp::Ordering;

use crate::StoreError;

use super::MAX_KEY;
use super::file::Source;
use super::format::{Flaw, Heads, MAX_DEPTH, Meta, PAGE_HEADER, Page, To, Tree, long_value, u64_at};

/// Checks a file of `length` bytes.
pub(super) fn check(source: &(impl Source + ?Sized), length: u64) -> Result<Heads, StoreError> {
    let heads = Heads::read(source)?;
    let meta = heads.newest();
    // Pages behind the end are free ones that were never written. Each takes eight bytes in the list of free pages.
    let pages = length / meta.page_size as u64;
    if meta.last_page < 1 || meta.last_page > pages.saturating_add(length / 8) {
        return Err(StoreError::Corrupt("it names more pages than it can have".into()));
    }
    let mut walk = Walk { source, meta, pages, seen: Seen::new(meta.last_page), count: Count::default() };
    walk.tree(&meta.main, Kind::Entries)?;
    walk.tree(&meta.free, Kind::FreePages)?;
    Ok(heads)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Entries,
    FreePages,
}

/// The counts found in a tree, for comparison with those recorded in the file.
#[derive(Default)]
struct Count {
    branch_pages: u64,
    leaf_pages: u64,
    overflow_pages: u64,
    entries: u64,
}

struct Walk<'a, S: ?Sized> {
    source: &'a S,
    meta: &'a Meta,
    /// Whole pages in the file.
    pages: u64,
    seen: Seen,
    count: Count,
}

impl<S: Source + ?Sized> Walk<'_, S> {
    fn tree(&mut self, tree: &Tree, kind: Kind) -> Result<(), StoreError> {
        self.count = Count::default();
        if let Some(root) = tree.root {
            if tree.depth == 0 || tree.depth > MAX_DEPTH {
                return Err(StoreError::Corrupt("a tree has an impossible depth".into()));
            }
            self.page(root, tree.depth, kind, None, None)?;
        }
        let Count { branch_pages, leaf_pages, overflow_pages, entries } = self.count;
        let agrees = tree.branch_pages == branch_pages
            && tree.leaf_pages == leaf_pages
            && tree.overflow_pages == overflow_pages
            && tree.entries == entries
            && (tree.root.is_some() || tree.depth == 0);
        if agrees {
            Ok(())
        } else {
            Err(StoreError::Corrupt("a tree does not hold what its header says".into()))
        }
    }

    /// Checks the tree below page `number`, `height` pages high. Its keys are at least `low`, and less than `high`.
    fn page(
        &mut self,
        number: u64,
        height: u16,
        kind: Kind,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let flaw = |flaw: Flaw| StoreError::Corrupt(format!("page {number}: {flaw}"));
        self.claim(number, 1).map_err(flaw)?;
        let mut bytes = vec![0; self.meta.page_size];
        self.fill(number, &mut bytes)?;
        let page = Page::parse(bytes, number).map_err(flaw)?;
        page.check_room().map_err(flaw)?;
        if page.leaf != (height == 1) {
            return Err(flaw("the tree is of uneven height"));
        }
        if page.leaf {
            self.count.leaf_pages += 1;
        } else {
            self.count.branch_pages += 1;
        }
        let mut before = low;
        for index in 0..page.nodes {
            let node = page.node(index).map_err(flaw)?;
            // The first key of a branch page stands for "all before", and may be anything.
            let first_of_branch = index == 0 && !page.leaf;
            if !first_of_branch {
                // Before the first key comes one of the page above, which the first may be.
                let strictly = index > usize::from(!page.leaf);
                in_order(kind, before, node.key, high, strictly).map_err(flaw)?;
                before = Some(node.key);
            }
            match node.to {
                To::Page(child) => {
                    let low = if first_of_branch { low } else { Some(node.key) };
                    let next = (index + 1 < page.nodes).then(|| page.node(index + 1)).transpose();
                    let high = next.map_err(flaw)?.map_or(high, |next| Some(next.key));
                    self.page(child, height - 1, kind, low, high)?;
                }
                To::Here(value) => {
                    self.entry(kind, node.key, value).map_err(flaw)?;
                }
                To::Pages(first, length) => self.long_entry(kind, node.key, first, length)?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, kind: Kind, key: &[u8], value: &[u8]) -> Result<(), Flaw> {
        self.count.entries += 1;
        if kind == Kind::FreePages { self.free_pages(key, value) } else { Ok(()) }
    }

    /// A value in pages of its own.
    fn long_entry(&mut self, kind: Kind, key: &[u8], first: u64, length: usize) -> Result<(), StoreError> {
        let flaw = |flaw: Flaw| StoreError::Corrupt(format!("page {first}: {flaw}"));
        self.claim(first, 1).map_err(flaw)?;
        let mut header = [0; PAGE_HEADER];
        self.fill(first, &mut header)?;
        let pages = long_value(&header, first).map_err(flaw)?;
        let end = (PAGE_HEADER as u64).saturating_add(length as u64);
        if pages == 0 || end > pages.saturating_mul(self.meta.page_size as u64) {
            return Err(flaw("a long value is longer than its pages"));
        }
        self.claim(first.saturating_add(1), pages - 1).map_err(flaw)?;
        self.count.overflow_pages += pages;
        let mut value = Vec::new();
        if kind == Kind::FreePages {
            // Its pages are in the file, so it is no longer than that.
            value.resize(length, 0);
            self.source.fill(self.start(first).saturating_add(PAGE_HEADER as u64), &mut value)?;
        }
        self.entry(kind, key, &value).map_err(flaw)
    }

    /// One record of the list of free pages: how many, and their numbers, descending. Room may be left behind them.
    fn free_pages(&mut self, key: &[u8], value: &[u8]) -> Result<(), Flaw> {
        let transaction = u64_at(key, 0).unwrap_or(0);
        if transaction == 0 || transaction > self.meta.transaction {
            return Err("the list of free pages names a transaction that does not exist");
        }
        let short = "the list of free pages is cut short";
        let count = u64_at(value, 0).and_then(|count| usize::try_from(count).ok()).ok_or(short)?;
        let numbers = value.get(8..).and_then(|rest| rest.get(..count.checked_mul(8)?)).ok_or(short)?;
        let mut before = u64::MAX;
        for at in (0..numbers.len()).step_by(8) {
            let number = u64_at(numbers, at).ok_or(short)?;
            if number >= before {
                return Err("the list of free pages is not in order");
            }
            before = number;
            if number < 2 || !self.seen.add(number) {
                return Err("a free page is in use, listed twice, or does not exist");
            }
        }
        Ok(())
    }

    /// Notes that pages are in use, which no others may be, and which must be in the file.
    fn claim(&mut self, first: u64, count: u64) -> Result<(), Flaw> {
        let end = first.saturating_add(count);
        if first < 2 || end > self.pages {
            return Err("it is outside the file");
        }
        for number in first..end {
            if !self.seen.add(number) {
                return Err("it is used twice, or was never allocated");
            }
        }
        Ok(())
    }

    fn start(&self, number: u64) -> u64 {
        number.saturating_mul(self.meta.page_size as u64)
    }

    fn fill(&self, number: u64, into: &mut [u8]) -> Result<(), StoreError> {
        match self.source.fill(self.start(number), into)? {
            true => Ok(()),
            false => Err(StoreError::Corrupt(format!("page {number}: the file ends before it"))),
        }
    }
}

/// Whether `key` is possible and lies behind `before` (or may be it, unless `strictly`) and before `high`.
fn in_order(
    kind: Kind,
    before: Option<&[u8]>,
    key: &[u8],
    high: Option<&[u8]>,
    strictly: bool,
) -> Result<(), Flaw> {
    let order: fn(&[u8], &[u8]) -> Ordering = match kind {
        Kind::Entries if (1..=MAX_KEY).contains(&key.len()) => Ord::cmp,
        Kind::FreePages if key.len() == 8 => |a, b| u64_at(a, 0).cmp(&u64_at(b, 0)),
        _ => return Err("a key is of an impossible length"),
    };
    let behind = before.is_none_or(|before| match order(before, key) {
        Ordering::Less => true,
        Ordering::Equal => !strictly,
        Ordering::Greater => false,
    });
    if behind && high.is_none_or(|high| order(key, high) == Ordering::Less) {
        Ok(())
    } else {
        Err("keys are not in order")
    }
}

/// One bit for each page up to the last.
struct Seen {
    last: u64,
    bits: Vec<u64>,
}

impl Seen {
    fn new(last: u64) -> Seen {
        Seen { last, bits: vec![0; usize::try_from(last / 64).map_or(0, |words| words.saturating_add(1))] }
    }

    /// False: this page was added before, or is behind the last.
    fn add(&mut self, number: u64) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|word| self.bits.get_mut(word));
        let Some(word) = word.filter(|_| number <= self.last) else { return false };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}
