//! Entries by bucket.
//!
//! Purpose: put the numbers of all entries in the order of their buckets, in steps. May: allocate. Never: compare keys.

use super::BuildError;
use super::entries::Entries;
use super::sort::Budget;

/// Counts the entries of each bucket, and then gives each entry its place.
pub(super) struct Spread {
    mask: u32,
    /// Entries that have been counted or placed.
    done: u32,
    placing: bool,
    /// For each bucket how many entries it has; then the place of the next one, which in the end is that after the last.
    buckets: Vec<u32>,
    numbers: Vec<u32>,
}

/// The numbers of the entries, bucket after bucket.
pub(super) struct Buckets {
    ends: Vec<u32>,
    numbers: Vec<u32>,
}

impl Spread {
    /// `last` is the last bucket, and the mask that makes a bucket from a hash.
    pub fn new(last: u32, entries: &Entries) -> Result<Spread, BuildError> {
        let buckets = zeros(last.checked_add(1).ok_or(BuildError::FileTooLarge)?)?;
        let numbers = zeros(entries.count())?;
        Ok(Spread { mask: last, done: 0, placing: false, buckets, numbers })
    }

    /// Goes on until all is in its place, or the budget is spent.
    pub fn step(&mut self, entries: &Entries, budget: &mut Budget) -> Result<bool, BuildError> {
        while self.done < entries.count() || !self.placing {
            if budget.is_over() {
                return Ok(false);
            }
            if self.done == entries.count() {
                self.begin_placing();
                continue;
            }
            budget.spend(1);
            let bucket = at(entries.hash(self.done)? & self.mask)?;
            let counter = self.buckets.get_mut(bucket).ok_or(BuildError::Inconsistent)?;
            if self.placing {
                let place = self.numbers.get_mut(at(*counter)?).ok_or(BuildError::Inconsistent)?;
                *place = self.done;
            }
            *counter = counter.saturating_add(1);
            self.done = self.done.saturating_add(1);
        }
        Ok(true)
    }

    /// Makes the place of the first entry of each bucket from the counts.
    fn begin_placing(&mut self) {
        let mut before = 0_u32;
        for bucket in &mut self.buckets {
            let count = std::mem::replace(bucket, before);
            before = before.saturating_add(count);
        }
        self.placing = true;
        self.done = 0;
    }

    /// The result, once [`Spread::step`] has returned that it is finished.
    pub fn into_buckets(self) -> Buckets {
        Buckets { ends: self.buckets, numbers: self.numbers }
    }
}

impl Buckets {
    /// The entries of `bucket`, in the order in which they came.
    pub fn get(&self, bucket: u32) -> Result<&[u32], BuildError> {
        let bucket = at(bucket)?;
        let end = *self.ends.get(bucket).ok_or(BuildError::Inconsistent)?;
        let start = bucket.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.numbers.get(at(start)?..at(end)?).ok_or(BuildError::Inconsistent)
    }
}

fn at(number: u32) -> Result<usize, BuildError> {
    usize::try_from(number).map_err(|_| BuildError::FileTooLarge)
}

fn zeros(count: u32) -> Result<Vec<u32>, BuildError> {
    let mut list = Vec::new();
    list.try_reserve_exact(at(count)?).map_err(|_| BuildError::OutOfMemory)?;
    list.resize(at(count)?, 0);
    Ok(list)
}
