//! The pages of buckets.
//!
//! Purpose: put the entries of a bucket in order, and write them to its chain of pages; bucket after bucket, in steps.
//! May: write. Never: work on for longer than the budget and one entry.

use std::cmp::Ordering;

use super::entries::Entries;
use super::file::File;
use super::item::{add_to_hash, pair_size};
use super::page::{Links, Page};
use super::sort::{Budget, Sort};
use super::spread::Buckets;
use super::{BuildError, Sink};
use crate::bdb::page::page_type;

/// Buckets begin right after the header.
pub(super) const FIRST_BUCKET: u32 = 1;
/// What writing a page costs, compared with moving a number.
const PAGE_COST: usize = 128;
/// What comparing two keys costs, without the bytes of long ones.
const COMPARE_COST: usize = 4;

/// Writes the buckets.
pub(super) struct Chains {
    buckets: Buckets,
    last_bucket: u32,
    /// The longest key or value on a page of a bucket.
    limit: usize,
    bucket: u32,
    work: Work,
    page: Page,
    number: u32,
    previous: u32,
    /// The keys on the page are in chains of their own.
    long_keys: bool,
}

/// The state of the current bucket.
enum Work {
    Sorting(Sort),
    Filling(std::vec::IntoIter<u32>),
}

impl Chains {
    pub fn new(
        buckets: Buckets,
        last_bucket: u32,
        page_size: usize,
        limit: usize,
    ) -> Result<Chains, BuildError> {
        Ok(Chains {
            work: Work::Sorting(Sort::new(buckets.get(0)?)?),
            buckets,
            last_bucket,
            limit,
            bucket: 0,
            page: Page::new(page_size, page_type::HASH, 0),
            number: FIRST_BUCKET,
            previous: 0,
            long_keys: false,
        })
    }

    /// Goes on until the last bucket is written, which is true, or the budget is spent.
    pub fn step(
        &mut self,
        entries: &Entries,
        file: &mut File,
        budget: &mut Budget,
        sink: &mut impl Sink,
    ) -> Result<bool, BuildError> {
        while !budget.is_over() {
            match &mut self.work {
                Work::Sorting(sort) => {
                    let limit = self.limit;
                    if sort.step(budget, |a, b, budget| compare(entries, a, b, limit, budget))? {
                        self.work = Work::Filling(sort.take().into_iter());
                    }
                }
                Work::Filling(numbers) => match numbers.next() {
                    Some(number) => self.add(entries.get(number)?, file, budget, sink)?,
                    None => {
                        self.write_page(0, file, budget, sink)?;
                        if self.bucket >= self.last_bucket {
                            return Ok(true);
                        }
                        self.next_bucket()?;
                    }
                },
            }
        }
        Ok(false)
    }

    fn next_bucket(&mut self) -> Result<(), BuildError> {
        self.bucket = self.bucket.saturating_add(1);
        self.number = self.bucket.saturating_add(FIRST_BUCKET);
        self.previous = 0;
        self.work = Work::Sorting(Sort::new(self.buckets.get(self.bucket)?)?);
        Ok(())
    }

    /// Adds an entry to the bucket, on another page if it must be.
    fn add(
        &mut self,
        (key, value): (&[u8], &[u8]),
        file: &mut File,
        budget: &mut Budget,
        sink: &mut impl Sink,
    ) -> Result<(), BuildError> {
        let long_key = key.len() > self.limit;
        let full = self.page.room() < pair_size(key, value, self.limit);
        if full || (long_key && !self.long_keys && !self.page.is_empty()) {
            let next = file.allocate()?;
            self.write_page(next, file, budget, sink)?;
            self.previous = std::mem::replace(&mut self.number, next);
        }
        self.long_keys = long_key;
        budget.spend(COMPARE_COST);
        for bytes in [key, value] {
            let item = file.store(sink, bytes, self.limit)?;
            add_to_hash(&mut self.page, &item)?;
            if bytes.len() > self.limit {
                let pages = bytes.len().checked_div(file.page_size()).unwrap_or(0).saturating_add(1);
                budget.spend(pages.saturating_mul(PAGE_COST));
            }
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

fn compare(
    entries: &Entries,
    a: u32,
    b: u32,
    limit: usize,
    budget: &mut Budget,
) -> Result<Ordering, BuildError> {
    const AT_ONCE: usize = 64;
    let ((a, _), (b, _)) = (entries.get(a)?, entries.get(b)?);
    budget.spend((a.len().min(b.len()) / AT_ONCE).saturating_add(COMPARE_COST));
    Ok(key_order(a, b, limit))
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
