//! Hash tables from entries in any order.
//!
//! Purpose: choose the number of buckets, put the entries in the order of buckets and keys, and write bucket after
//! bucket. May: write. Never: work on for longer than a step. Called by: whoever publishes a `hash:` table.

use std::cmp::Ordering;

use super::entries::Entries;
use super::file::File;
use super::item::{add_to_hash, hash_limit, hash_size};
use super::page::{HEADER, INDEX, Links, Meta, Page};
use super::sort::{Budget, Sort};
use super::{BuildError, Sink, check_lengths};
use crate::bdb::page::page_type;

const MAGIC: u32 = 0x06_1561;
const META: u8 = 8;
/// Buckets begin right after the header.
const FIRST_BUCKET: u32 = 1;
/// libdb makes no table with fewer buckets.
const MIN_BUCKETS: u32 = 2;
/// libdb counts pages from 1 to 2^32 - 1, and doubles the table when it grows.
const MAX_BUCKETS: u32 = 1 << 30;

/// What a step does: [`Budget`] units. Some hundred microseconds, or a few milliseconds if an entry of 1 MiB is in it.
const STEP: u32 = 1 << 15;
/// What writing a page costs, compared with moving a number.
const PAGE_COST: usize = 128;

mod meta_at {
    pub const MAX_BUCKET: usize = 72;
    pub const HIGH_MASK: usize = 76;
    pub const LOW_MASK: usize = 80;
    /// Entries to a bucket before it is split; 0, as with Postfix: when a page is full.
    pub const FILL_FACTOR: usize = 84;
    pub const ENTRIES: usize = 88;
    pub const CHARKEY: usize = 92;
    pub const SPARES: usize = 96;
}

/// Collects the entries of a hash table.
pub struct HashBuilder {
    page_size: usize,
    file_id: [u8; 20],
    entries: Entries,
    /// For each entry its hash, shifted by 32, and its number.
    order: Vec<u64>,
    /// What the entries take on pages of buckets.
    bytes: u64,
}

impl HashBuilder {
    /// Begins a table. `file_id` is as for [`super::BtreeBuilder::new`].
    ///
    /// # Errors
    /// [`BuildError::PageSize`].
    pub fn new(page_size: usize, file_id: [u8; 20]) -> Result<HashBuilder, BuildError> {
        File::new(page_size, FIRST_BUCKET)?;
        Ok(HashBuilder { page_size, file_id, entries: Entries::default(), order: Vec::new(), bytes: 0 })
    }

    /// Adds an entry, of which a copy is kept until the file is finished, with 24 bytes more. Keys and values are
    /// stored as they are given; Postfix counts a NUL byte at the end of both.
    ///
    /// That a key comes twice is found out by [`HashWriter::step`].
    ///
    /// # Errors
    /// [`BuildError::ItemTooLong`], [`BuildError::OutOfMemory`] and [`BuildError::FileTooLarge`] leave the entry out,
    /// and the builder as it was.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), BuildError> {
        check_lengths(key, value)?;
        self.order.try_reserve(1).map_err(|_| BuildError::OutOfMemory)?;
        let number = self.entries.push(key, value)?;
        self.order.push(u64::from(hash(key)) << 32 | u64::from(number));
        let size = u64::try_from(pair_size(key, value, hash_limit(self.page_size)));
        self.bytes = self.bytes.saturating_add(size.unwrap_or(u64::MAX));
        Ok(())
    }

    /// Ends the collection. What is left to do is done by the steps of what this returns.
    ///
    /// # Errors
    /// [`BuildError::OutOfMemory`]: 8 more bytes for each entry are needed.
    pub fn finish(self) -> Result<HashWriter, BuildError> {
        let buckets = buckets_for(self.bytes, self.page_size);
        let first_free = buckets.saturating_add(FIRST_BUCKET);
        Ok(HashWriter {
            table: Table {
                entries: self.entries,
                last_bucket: buckets.saturating_sub(1),
                limit: hash_limit(self.page_size),
            },
            file: File::new(self.page_size, first_free)?,
            file_id: self.file_id,
            stage: Stage::Sorting(Sort::new(self.order)?),
        })
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another step is needed.
    More,
    /// The file is complete.
    Done {
        /// Its length in bytes.
        length: u64,
    },
}

/// Writes a hash table, a step at a time.
pub struct HashWriter {
    table: Table,
    file: File,
    file_id: [u8; 20],
    stage: Stage,
}

enum Stage {
    Sorting(Sort),
    Writing(Writing),
    Over,
}

/// The entries and where they belong.
struct Table {
    entries: Entries,
    /// One less than the number of buckets, a power of two: also the mask that makes a bucket from a hash.
    last_bucket: u32,
    /// The longest key or value on a page of a bucket.
    limit: usize,
}

/// The page that is being filled.
struct Writing {
    sorted: std::vec::IntoIter<u64>,
    bucket: u32,
    page: Page,
    number: u32,
    previous: u32,
    /// The keys on the page are in chains of their own.
    long_keys: bool,
}

impl HashWriter {
    /// Does a part of the work: sorts some entries, or writes some pages. The header is written by the last step.
    ///
    /// # Errors
    /// [`BuildError::DuplicateKey`] or [`BuildError::Sink`]: there is no file, and every later step gives
    /// [`BuildError::Over`], as it does after [`Progress::Done`].
    pub fn step(&mut self, sink: &mut impl Sink) -> Result<Progress, BuildError> {
        let mut budget = Budget(STEP);
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Sorting(mut sort) => {
                let sorted = sort.step(&mut budget, |a, b, budget| self.table.compare(a, b, budget))?;
                self.stage = if sorted {
                    Stage::Writing(Writing::new(sort.into_numbers(), self.file.page_size()))
                } else {
                    Stage::Sorting(sort)
                };
                Ok(Progress::More)
            }
            Stage::Writing(mut writing) => {
                if writing.step(&self.table, &mut self.file, &mut budget, sink)? {
                    self.write_meta(sink)?;
                    return Ok(Progress::Done { length: self.file.length() });
                }
                self.stage = Stage::Writing(writing);
                Ok(Progress::More)
            }
            Stage::Over => Err(BuildError::Over),
        }
    }

    fn write_meta(&self, sink: &mut impl Sink) -> Result<(), BuildError> {
        /// Every file keeps the hash of this text, so that a reader can tell which function made it.
        const CHARKEY: &[u8] = b"%$sniglet^&\0";
        let meta = Meta {
            magic: MAGIC,
            kind: META,
            page_size: self.file.page_size(),
            last_page: self.file.last(),
            file_id: self.file_id,
        };
        let last = self.table.last_bucket;
        let entries = u32::try_from(self.table.entries.len()).map_err(|_| BuildError::FileTooLarge)?;
        let mut numbers = vec![
            (meta_at::MAX_BUCKET, last),
            (meta_at::HIGH_MASK, last),
            (meta_at::LOW_MASK, last >> 1),
            (meta_at::FILL_FACTOR, 0),
            (meta_at::ENTRIES, entries),
            (meta_at::CHARKEY, hash(CHARKEY)),
        ];
        // The distance from the number of a bucket to that of its page, for each doubling of the table so far: they
        // all lie together. Zero means that pages for a doubling are still to be found.
        let doublings = usize::try_from(last.trailing_ones()).map_err(|_| BuildError::FileTooLarge)?;
        numbers.extend(
            (meta_at::SPARES..).step_by(4).take(doublings.saturating_add(1)).map(|at| (at, FIRST_BUCKET)),
        );
        self.file.write(sink, 0, &meta.page(&numbers)?)
    }
}

impl Table {
    fn bucket(&self, number: u64) -> u32 {
        u32::try_from(number >> 32).unwrap_or(0) & self.last_bucket
    }

    fn entry(&self, number: u64) -> (&[u8], &[u8]) {
        self.entries.get(u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX))
    }

    fn compare(&self, a: u64, b: u64, budget: &mut Budget) -> Ordering {
        self.bucket(a).cmp(&self.bucket(b)).then_with(|| {
            let (a, b) = (self.entry(a).0, self.entry(b).0);
            const AT_ONCE: usize = 64;
            budget.spend((a.len().min(b.len()) / AT_ONCE).saturating_add(8));
            key_order(a, b, self.limit)
        })
    }
}

/// The order of two keys of a bucket.
///
/// When libdb looks for a key on a sorted page, it takes a key that begins another one for the greater of the two if
/// both lie on the page, and for the lesser if the longer one lies in a chain. No order does justice to both, so that
/// keys in chains come after all others, and on pages of their own.
fn key_order(a: &[u8], b: &[u8], limit: usize) -> Ordering {
    let (long_a, long_b) = (a.len() > limit, b.len() > limit);
    long_a.cmp(&long_b).then_with(|| {
        if long_a {
            return a.cmp(b);
        }
        let common = a.len().min(b.len());
        a.get(..common).cmp(&b.get(..common)).then(b.len().cmp(&a.len()))
    })
}

impl Writing {
    fn new(sorted: Vec<u64>, page_size: usize) -> Writing {
        Writing {
            sorted: sorted.into_iter(),
            bucket: 0,
            page: Page::new(page_size, page_type::HASH, 0),
            number: FIRST_BUCKET,
            previous: 0,
            long_keys: false,
        }
    }

    /// Writes until the last bucket is complete, which is true, or the budget is spent.
    fn step(
        &mut self,
        table: &Table,
        file: &mut File,
        budget: &mut Budget,
        sink: &mut impl Sink,
    ) -> Result<bool, BuildError> {
        while !budget.is_over() {
            let here = |number: &&u64| table.bucket(**number) == self.bucket;
            if let Some(number) = self.sorted.as_slice().first().filter(here).copied() {
                self.sorted.next();
                self.add(table, number, file, budget, sink)?;
                continue;
            }
            self.write_page(0, file, budget, sink)?;
            if self.bucket >= table.last_bucket {
                return Ok(true);
            }
            self.bucket = self.bucket.saturating_add(1);
            self.number = self.bucket.saturating_add(FIRST_BUCKET);
            self.previous = 0;
        }
        Ok(false)
    }

    /// Adds an entry to the bucket, on another page if it must be.
    fn add(
        &mut self,
        table: &Table,
        number: u64,
        file: &mut File,
        budget: &mut Budget,
        sink: &mut impl Sink,
    ) -> Result<(), BuildError> {
        let (key, value) = table.entry(number);
        let long_key = key.len() > table.limit;
        let full = self.page.room() < pair_size(key, value, table.limit);
        if full || (long_key && !self.long_keys && !self.page.is_empty()) {
            let next = file.allocate()?;
            self.write_page(next, file, budget, sink)?;
            self.previous = std::mem::replace(&mut self.number, next);
        }
        self.long_keys = long_key;
        for bytes in [key, value] {
            let item = file.store(sink, bytes, table.limit)?;
            add_to_hash(&mut self.page, &item)?;
        }
        budget.spend(8);
        if key.len().max(value.len()) > table.limit {
            let pages = key.len().saturating_add(value.len()).checked_div(file.page_size()).unwrap_or(0);
            budget.spend(pages.saturating_add(1).saturating_mul(PAGE_COST));
        }
        Ok(())
    }

    fn write_page(
        &mut self,
        next: u32,
        file: &File,
        budget: &mut Budget,
        sink: &mut impl Sink,
    ) -> Result<(), BuildError> {
        let links = Links { number: self.number, previous: self.previous, next };
        file.write(sink, self.number, self.page.finish(links)?)?;
        self.page.clear();
        budget.spend(PAGE_COST);
        Ok(())
    }
}

/// What a pair takes on the page of its bucket.
fn pair_size(key: &[u8], value: &[u8], limit: usize) -> usize {
    let items = hash_size(key.len(), limit).saturating_add(hash_size(value.len(), limit));
    items.saturating_add(INDEX.saturating_mul(2))
}

/// As many buckets as let pages be filled to between 40 and 80 per cent, on average: few buckets need a second page.
fn buckets_for(bytes: u64, page_size: usize) -> u32 {
    let room = u64::try_from(page_size.saturating_sub(HEADER)).unwrap_or(u64::MAX);
    let good = (room / 5).saturating_mul(4).max(1);
    let count = bytes.div_ceil(good).clamp(u64::from(MIN_BUCKETS), u64::from(MAX_BUCKETS));
    u32::try_from(count.next_power_of_two()).unwrap_or(MAX_BUCKETS)
}

/// FNV-1 with a start of 0, libdb's default since format version 5.
fn hash(key: &[u8]) -> u32 {
    key.iter().fold(0, |hash: u32, byte| hash.wrapping_mul(16_777_619) ^ u32::from(*byte))
}
