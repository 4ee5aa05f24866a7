//! Choices that are the same in each run.

#[path = "../random.rs"]
mod numbers;

pub use numbers::Random;

impl Random {
    /// True in this many of a hundred cases.
    pub fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, these: &'a [T]) -> &'a T {
        &these[self.below(these.len())]
    }
}
