//! Sorting in steps.
//!
//! Purpose: order numbers that stand for entries without ever working for long. May: compare. Never: accept two that
//! are equal.

use std::cmp::Ordering;

use super::BuildError;

/// How much a step may still do. One unit is about what moving a number costs: some ten nanoseconds.
#[derive(Debug)]
pub(super) struct Budget(pub u32);

impl Budget {
    pub fn spend(&mut self, units: usize) {
        self.0 = self.0.saturating_sub(u32::try_from(units).unwrap_or(u32::MAX));
    }

    pub fn is_over(&self) -> bool {
        self.0 == 0
    }
}

/// A merge sort from runs of one upwards, which can stop after every number.
pub(super) struct Sort {
    /// Sorted runs of `width`, the last one perhaps shorter.
    from: Vec<u32>,
    /// Runs of twice the width, as far as they are merged.
    to: Vec<u32>,
    width: usize,
    /// The merge in progress: the run from `left` on with the run from `right` on.
    left: usize,
    right: usize,
    middle: usize,
    end: usize,
}

impl Sort {
    pub fn new(numbers: &[u32]) -> Result<Sort, BuildError> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for list in [&mut from, &mut to] {
            list.try_reserve_exact(numbers.len()).map_err(|_| BuildError::OutOfMemory)?;
        }
        from.extend_from_slice(numbers);
        let mut sort = Sort { from, to, width: 1, left: 0, right: 0, middle: 0, end: 0 };
        sort.merge_from(0);
        Ok(sort)
    }

    /// Goes on until all is in order, which is true, or the budget is spent. `compare` spends what it costs.
    ///
    /// # Errors
    /// Those of `compare`. [`BuildError::DuplicateKey`] when two compare as equal: since neighbours in the final order
    /// are always compared, this is not missed.
    pub fn step(
        &mut self,
        budget: &mut Budget,
        compare: impl Fn(u32, u32, &mut Budget) -> Result<Ordering, BuildError>,
    ) -> Result<bool, BuildError> {
        while self.width < self.from.len() {
            if budget.is_over() {
                return Ok(false);
            }
            budget.spend(1);
            let left = self.from.get(self.left..self.middle).and_then(<[u32]>::first).copied();
            let right = self.from.get(self.right..self.end).and_then(<[u32]>::first).copied();
            let take_left = match (left, right) {
                (Some(left), Some(right)) => match compare(left, right, budget)? {
                    Ordering::Less => true,
                    Ordering::Greater => false,
                    Ordering::Equal => return Err(BuildError::DuplicateKey),
                },
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => {
                    self.next_runs();
                    continue;
                }
            };
            if take_left {
                self.to.extend(left);
                self.left = self.left.saturating_add(1);
            } else {
                self.to.extend(right);
                self.right = self.right.saturating_add(1);
            }
        }
        Ok(true)
    }

    fn next_runs(&mut self) {
        if self.end < self.from.len() {
            self.merge_from(self.end);
        } else {
            std::mem::swap(&mut self.from, &mut self.to);
            self.to.clear();
            self.width = self.width.saturating_mul(2);
            self.merge_from(0);
        }
    }

    fn merge_from(&mut self, start: usize) {
        let length = self.from.len();
        self.left = start;
        self.middle = start.saturating_add(self.width).min(length);
        self.right = self.middle;
        self.end = self.middle.saturating_add(self.width).min(length);
    }

    /// Takes the numbers out; in order, if [`Sort::step`] has said so.
    pub fn take(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(numbers: Vec<u32>, units: u32) -> Result<Vec<u32>, BuildError> {
        let (mut sort, mut steps) = (Sort::new(&numbers)?, 0);
        while !sort.step(&mut Budget(units), |a, b, _| Ok(a.cmp(&b)))? {
            steps += 1;
            assert!(steps < 1_000_000, "no end");
        }
        Ok(sort.take())
    }

    /// Every number below `count` once, in mixed order: 7919 is prime.
    fn mixed(count: u32) -> Vec<u32> {
        (0..count).map(|number| number * 7919 % count).collect()
    }

    #[test]
    fn step_any_count_any_budget_sorts_all() {
        for count in (0..70).chain([1000, 1023, 1024, 1025]) {
            for units in [1, 7, u32::MAX] {
                let expected: Vec<u32> = (0..count).collect();
                assert_eq!(sorted(mixed(count), units).unwrap(), expected, "{count} {units}");
            }
        }
    }

    #[test]
    fn step_equal_numbers_anywhere_refused() {
        for count in 2..70_u32 {
            for place in 0..count {
                let mut numbers = mixed(count);
                let other = usize::try_from((place + count / 2) % count).unwrap();
                let place = usize::try_from(place).unwrap();
                if place != other {
                    numbers[place] = numbers[other];
                    assert!(matches!(sorted(numbers, 3), Err(BuildError::DuplicateKey)), "{count} {place}");
                }
            }
        }
    }

    #[test]
    fn step_budget_bounds_comparisons() {
        let mut sort = Sort::new(&mixed(5000)).unwrap();
        let count = std::cell::Cell::new(0);
        let compare = |a: u32, b: u32, budget: &mut Budget| {
            count.set(count.get() + 1);
            budget.spend(9);
            Ok(a.cmp(&b))
        };
        while !sort.step(&mut Budget(1000), compare).unwrap() {
            assert!(count.replace(0) <= 100);
        }
    }
}
