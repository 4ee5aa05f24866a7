//! What can be read of a damaged file.
//!
//! Purpose: the entries of the newest transaction; where its tree is damaged, those of the transaction before, whose
//! pages LMDB has not yet used again; when no meta page is left, those of all pages that hold entries.
//! May: read. Never: fail because of what it reads; visit a page twice; give many more bytes than the file has.
//!
//! Damage inside of a value, or a bit flip in a key that keeps the order, cannot be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use mapkeep_sys::status;

use crate::StoreError;

use super::MAX_KEY;
use super::file::{Source, failed, while_shared};
use super::format::{MAX_DEPTH, Meta, PAGE_HEADER, Page, To, long_value};

/// Entries as they are stored, in ascending order of their keys.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The entries that can be read of the bytes of a damaged lmdb file.
#[must_use]
pub fn salvage(bytes: &[u8]) -> Entries {
    // Reading memory cannot fail; a page outside it counts as damaged.
    Rescue::new(bytes, bytes.len() as u64).run().unwrap_or_default()
}

/// The entries that can be read of a damaged lmdb file, of which `file` is any readable descriptor. It is locked
/// meanwhile; so it must not be a duplicate of a descriptor that an open `LmdbStore` has.
///
/// # Errors
/// [`StoreError::Busy`] and [`StoreError::Io`].
pub fn salvage_file(file: OwnedFd) -> Result<Entries, StoreError> {
    let file = File::from(file);
    while_shared(&file, || {
        let status = status::of(file.as_fd()).map_err(|error| failed("looking at", &error))?;
        Rescue::new(&file, status.size).run()
    })
}

/// The limit of walks through the tree of the previous transaction.
const MOST_RANGES: usize = 64;

/// The limit of the total length of the entries, as a multiple of the length of the file. A damaged length makes an
/// entry longer by a page at most; but nodes that overlap on purpose could give an unbounded result.
const MOST_TIMES: u64 = 16;

/// A range of keys: from this one on, and before that one.
type Range = (Vec<u8>, Option<Vec<u8>>);

struct Rescue<'a, S: ?Sized> {
    source: &'a S,
    length: u64,
    page_size: usize,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Pages and first pages of long values that have been read in this walk.
    seen: BTreeSet<u64>,
    /// What this walk did not find.
    lost: Vec<Range>,
    /// How many bytes of entries may still be taken over.
    room: u64,
}

impl<'a, S: Source + ?Sized> Rescue<'a, S> {
    fn new(source: &'a S, length: u64) -> Self {
        let (entries, seen, lost) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        let room = length.saturating_mul(MOST_TIMES);
        Rescue { source, length, page_size: 4096, entries, seen, lost, room }
    }

    fn run(mut self) -> Result<Entries, StoreError> {
        let metas = self.metas()?;
        let Some(newest) = metas.first() else {
            self.all_pages()?;
            return Ok(self.entries.into_iter().collect());
        };
        self.page_size = newest.page_size;
        let mut wanted = vec![(Vec::new(), None)];
        for meta in metas.iter().filter(|meta| meta.page_size == newest.page_size) {
            let Some(root) = meta.main.root else { break };
            for range in wanted {
                // The ranges may have pages in common.
                self.seen.clear();
                self.tree(root, MAX_DEPTH, &(Vec::new(), None), &range)?;
            }
            wanted = apart(std::mem::take(&mut self.lost));
        }
        Ok(self.entries.into_iter().collect())
    }

    /// The meta pages that can be read, the newest first. The second is looked for where each page size would put it.
    fn metas(&self) -> Result<Vec<Meta>, StoreError> {
        let mut metas: Vec<Meta> = Vec::new();
        for at in [0, 4096, 8192, 16384, 32768] {
            let mut bytes = [0; 152];
            if self.source.fill(at, &mut bytes)?
                && let Ok(meta) = Meta::parse(&bytes)
                && (at == 0 || at == meta.page_size as u64)
            {
                metas.push(meta);
            }
        }
        metas.sort_by_key(|meta| std::cmp::Reverse(meta.transaction));
        Ok(metas)
    }

    /// Imports those entries of the tree below page `number` that are in `wanted`; the keys of that tree are in
    /// `range`.
    fn tree(&mut self, number: u64, height: u16, range: &Range, wanted: &Range) -> Result<(), StoreError> {
        let page = if height > 0 && self.seen.insert(number) { self.page(number)? } else { None };
        let Some(page) = page else {
            self.lose(range, wanted);
            return Ok(());
        };
        let mut whole = true;
        for index in 0..page.nodes {
            let Ok(node) = page.node(index) else { continue };
            match node.to {
                To::Page(child) => {
                    let low = if index == 0 { range.0.clone() } else { node.key.to_vec() };
                    let next = (index + 1 < page.nodes).then(|| page.node(index + 1));
                    let high = match next {
                        None => range.1.clone(),
                        Some(Ok(next)) => Some(next.key.to_vec()),
                        Some(Err(_)) => Some(low.clone()),
                    };
                    // Which keys are behind a damaged separator is not known: those of the page may be missing.
                    whole &= high.as_ref().is_none_or(|high| low < *high);
                    let below = (low, high);
                    if common(&below, wanted).is_some() {
                        self.tree(child, height - 1, &below, wanted)?;
                    }
                }
                _ if !contains(range, node.key) || !contains(wanted, node.key) => {}
                _ if self.entries.contains_key(node.key) => {}
                to => {
                    if let Some(value) = self.value(node.key, &to)? {
                        self.entries.insert(node.key.to_vec(), value);
                    }
                }
            }
        }
        if !whole {
            self.lose(range, wanted);
        }
        Ok(())
    }

    fn lose(&mut self, range: &Range, wanted: &Range) {
        self.lost.extend(common(range, wanted));
        if self.lost.len() > 4 * MOST_RANGES {
            self.lost = apart(std::mem::take(&mut self.lost));
        }
    }

    /// The value of an entry. `None`: there is none that can be read, or no room for it.
    fn value(&mut self, key: &[u8], to: &To<'_>) -> Result<Option<Vec<u8>>, StoreError> {
        let length = match to {
            To::Page(_) => return Ok(None),
            To::Here(value) => value.len(),
            To::Pages(_, length) => *length,
        };
        let left = self.room.checked_sub((key.len() as u64).saturating_add(length as u64));
        let Some(left) = left.filter(|_| (1..=MAX_KEY).contains(&key.len())) else { return Ok(None) };
        let value = match to {
            To::Pages(first, length) => self.long_value(*first, *length)?,
            To::Here(value) => Some(value.to_vec()),
            To::Page(_) => None,
        };
        if value.is_some() {
            self.room = left;
        }
        Ok(value)
    }

    /// Imports the entries of every page that has some. A key with different values is left out: which is the newest
    /// cannot be known.
    fn all_pages(&mut self) -> Result<(), StoreError> {
        let mut doubtful = BTreeSet::new();
        for number in 2..self.length / self.page_size as u64 {
            let Some(page) = self.page(number)?.filter(|page| page.leaf) else { continue };
            // The list of free pages looks alike: all its keys are numbers of transactions, eight bytes long.
            for index in 0..page.nodes {
                let Ok(node) = page.node(index) else { continue };
                let Some(value) = self.value(node.key, &node.to)? else { continue };
                if is_free_list(node.key, &value) {
                    continue;
                }
                if self.entries.get(node.key).is_some_and(|other| *other != value) {
                    doubtful.insert(node.key.to_vec());
                }
                self.entries.insert(node.key.to_vec(), value);
            }
        }
        self.entries.retain(|key, _| !doubtful.contains(key));
        Ok(())
    }

    /// `None`: damaged.
    fn page(&self, number: u64) -> Result<Option<Page>, StoreError> {
        let mut bytes = vec![0; self.page_size];
        let at = number.saturating_mul(self.page_size as u64);
        let whole = number >= 2 && self.source.fill(at, &mut bytes)?;
        Ok(if whole { Page::parse(bytes, number).ok() } else { None })
    }

    /// `None`: damaged, or read before.
    fn long_value(&mut self, first: u64, length: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let at = first.saturating_mul(self.page_size as u64);
        let mut header = [0; PAGE_HEADER];
        if first < 2 || !self.source.fill(at, &mut header)? {
            return Ok(None);
        }
        let end = (PAGE_HEADER as u64).saturating_add(length as u64);
        let whole = long_value(&header, first)
            .is_ok_and(|pages| end <= pages.saturating_mul(self.page_size as u64))
            && at.saturating_add(end) <= self.length;
        // Each of its pages is its own.
        let pages = first..first.saturating_add(end.div_ceil(self.page_size as u64));
        if !whole || self.seen.range(pages.clone()).next().is_some() {
            return Ok(None);
        }
        self.seen.extend(pages);
        let mut value = vec![0; length];
        let filled = self.source.fill(at + PAGE_HEADER as u64, &mut value)?;
        Ok(filled.then_some(value))
    }
}

fn contains((low, high): &Range, key: &[u8]) -> bool {
    low.as_slice() <= key && high.as_deref().is_none_or(|high| key < high)
}

/// What two ranges have in common.
fn common(a: &Range, b: &Range) -> Option<Range> {
    let low = a.0.clone().max(b.0.clone());
    let high = match (&a.1, &b.1) {
        (Some(a), Some(b)) => Some(a.min(b).clone()),
        (one, other) => one.clone().or_else(|| other.clone()),
    };
    high.as_ref().is_none_or(|high| low < *high).then_some((low, high))
}

/// Ranges that have nothing in common, in ascending order. The last one takes in what would be too many.
fn apart(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut apart: Vec<Range> = Vec::new();
    for (low, high) in ranges {
        let full = apart.len() >= MOST_RANGES;
        match apart.last_mut() {
            Some((_, end)) if full || end.as_ref().is_none_or(|end| low <= *end) => {
                *end = end.take().zip(high).map(|(end, high)| end.max(high));
            }
            _ => apart.push((low, high)),
        }
    }
    apart
}

/// Whether an entry is one of the list of free pages: a number, and a count followed by as many numbers.
fn is_free_list(key: &[u8], value: &[u8]) -> bool {
    let count = super::format::u64_at(value, 0).and_then(|count| usize::try_from(count).ok());
    key.len() == 8 && value.len().is_multiple_of(8) && count.is_some_and(|count| count < value.len() / 8)
}
