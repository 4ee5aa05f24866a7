//! Puts the slots of an index in order, in steps.
//!
//! Purpose: the order of [`Index::sort`], by merging neighbours of growing length. However many keys have the same hash, and
//! however long they are, each step ends after a few comparisons. May: allocate, once, as much again as the index has.

use std::cmp::Ordering;

use super::{Index, Slot, order};
use crate::portion::Portion;
use mapkeep_query::TableError;

/// An index that is being built.
#[derive(Debug)]
pub struct Sorting {
    /// Runs of `width` slots, each in order.
    runs: Vec<Slot>,
    /// Runs of twice that length: those merged so far.
    merged: Vec<Slot>,
    width: usize,
    /// Where the two runs begin that are being merged, and what comes next of each.
    base: usize,
    left: usize,
    right: usize,
}

impl Sorting {
    /// Begins with the slots as they are.
    ///
    /// # Errors
    /// [`TableError::OutOfMemory`].
    pub fn new(index: Index) -> Result<Sorting, TableError> {
        let runs = index.slots;
        let mut merged = Vec::new();
        merged.try_reserve_exact(runs.len()).map_err(|_| TableError::OutOfMemory)?;
        Ok(Sorting { runs, merged, width: 1, base: 0, left: 0, right: 1 })
    }

    /// Continues until the portion is used up. `keys` compares the keys of two slots whose hashes are equal, and
    /// returns how many bytes it has read. True when everything is sorted.
    pub fn step(
        &mut self,
        keys: impl Fn(&Slot, &Slot) -> (Ordering, usize),
        portion: &mut Portion<'_>,
    ) -> bool {
        while self.width < self.runs.len() {
            let middle = self.base.saturating_add(self.width).min(self.runs.len());
            let end = middle.saturating_add(self.width).min(self.runs.len());
            let left = self.runs.get(self.left).filter(|_| self.left < middle);
            let right = self.runs.get(self.right).filter(|_| self.right < end);
            let mut work = size_of::<Slot>();
            let (slot, from) = match (left, right) {
                (Some(left), Some(right)) => {
                    let by_key = |a: &Slot, b: &Slot| {
                        let (order, bytes) = keys(a, b);
                        work = work.saturating_add(bytes);
                        order
                    };
                    match order(left, right, by_key) {
                        Ordering::Greater => (*right, &mut self.right),
                        _ => (*left, &mut self.left),
                    }
                }
                (Some(left), None) => (*left, &mut self.left),
                (None, Some(right)) => (*right, &mut self.right),
                (None, None) => {
                    self.next_pair(end);
                    continue;
                }
            };
            *from = from.saturating_add(1);
            self.merged.push(slot);
            if portion.is_used_up(work) {
                return false;
            }
        }
        true
    }

    /// Goes on with the two runs from `base` on, or with longer runs from the start.
    fn next_pair(&mut self, base: usize) {
        self.base = base;
        if base >= self.runs.len() {
            std::mem::swap(&mut self.runs, &mut self.merged);
            self.merged.clear();
            self.width = self.width.saturating_mul(2);
            self.base = 0;
        }
        self.left = self.base;
        self.right = self.base.saturating_add(self.width);
    }

    /// The index, once all is in order.
    pub fn finish(self) -> Index {
        Index { slots: self.runs }
    }
}
