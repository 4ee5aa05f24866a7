//! Hash tables from entries in any order.
//!
//! Purpose: choose the number of buckets, and have their entries found, sorted and written, in steps. May: write.
//! Never: work on for longer than a step.

use super::chains::{Chains, FIRST_BUCKET};
use super::entries::Entries;
use super::file::File;
use super::item::{hash_limit, pair_size};
use super::page::{HEADER, Meta};
use super::sort::Budget;
use super::spread::Spread;
use super::{BuildError, Sink, check_lengths};

const MAGIC: u32 = 0x06_1561;
const META: u8 = 8;
/// libdb makes no table with fewer buckets.
const MIN_BUCKETS: u32 = 2;
/// A table is doubled when it grows, and pages have numbers of 32 bits.
const MAX_BUCKETS: u32 = 1 << 30;

/// What a step does, as a [`Budget`]: up to 128 pages, or some thousand comparisons. That takes about half a
/// millisecond, and a millisecond or two more if an entry of 1 MiB is the last in it.
const STEP: u32 = 1 << 14;

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
        Ok(HashBuilder { page_size, file_id, entries: Entries::default(), bytes: 0 })
    }

    /// Adds an entry, of which a copy is kept until the file is finished, with 20 bytes more. Keys and values are
    /// stored as they are given; Postfix counts a NUL byte at the end of both.
    ///
    /// That a key comes twice is found out by [`HashWriter::step`].
    ///
    /// # Errors
    /// [`BuildError::ItemTooLong`], [`BuildError::OutOfMemory`] and [`BuildError::FileTooLarge`] leave the entry out,
    /// and the builder as it was.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), BuildError> {
        check_lengths(key, value)?;
        self.entries.push(hash(key), key, value)?;
        let size = u64::try_from(pair_size(key, value, hash_limit(self.page_size)));
        self.bytes = self.bytes.saturating_add(size.unwrap_or(u64::MAX));
        Ok(())
    }

    /// Ends the collection. The rest of the work is done by the steps of the value that this returns.
    ///
    /// # Errors
    /// [`BuildError::OutOfMemory`]: 4 more bytes for each entry are needed.
    pub fn finish(self) -> Result<HashWriter, BuildError> {
        let buckets = buckets_for(self.bytes, self.page_size);
        let last_bucket = buckets.saturating_sub(1);
        Ok(HashWriter {
            stage: Stage::Spreading(Spread::new(last_bucket, &self.entries)?),
            entries: self.entries,
            last_bucket,
            file: File::new(self.page_size, buckets.saturating_add(FIRST_BUCKET))?,
            file_id: self.file_id,
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
    entries: Entries,
    /// One less than the number of buckets, a power of two: also the mask that makes a bucket from a hash.
    last_bucket: u32,
    file: File,
    file_id: [u8; 20],
    stage: Stage,
}

enum Stage {
    Spreading(Spread),
    Writing(Chains),
    Over,
}

impl HashWriter {
    /// Does a part of the work: sorts some entries, or writes some pages. The header is written by the last step.
    ///
    /// # Errors
    /// [`BuildError::DuplicateKey`], [`BuildError::Sink`] or [`BuildError::OutOfMemory`]: there is no file, and every
    /// later step returns [`BuildError::Over`], as it does after [`Progress::Done`].
    pub fn step(&mut self, sink: &mut impl Sink) -> Result<Progress, BuildError> {
        let mut budget = Budget(STEP);
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Spreading(mut spread) => {
                self.stage = if spread.step(&self.entries, &mut budget)? {
                    let (page_size, buckets) = (self.file.page_size(), spread.into_buckets());
                    let limit = hash_limit(page_size);
                    Stage::Writing(Chains::new(buckets, self.last_bucket, page_size, limit)?)
                } else {
                    Stage::Spreading(spread)
                };
            }
            Stage::Writing(mut chains) => {
                if chains.step(&self.entries, &mut self.file, &mut budget, sink)? {
                    self.write_meta(sink)?;
                    return Ok(Progress::Done { length: self.file.length() });
                }
                self.stage = Stage::Writing(chains);
            }
            Stage::Over => return Err(BuildError::Over),
        }
        Ok(Progress::More)
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
        let last = self.last_bucket;
        let mut numbers = vec![
            (meta_at::MAX_BUCKET, last),
            (meta_at::HIGH_MASK, last),
            (meta_at::LOW_MASK, last >> 1),
            (meta_at::FILL_FACTOR, 0),
            (meta_at::ENTRIES, self.entries.count()),
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
