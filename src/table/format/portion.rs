//! How much of a long piece of work is done in one go.
//!
//! Purpose: tables are opened in steps, between which others are served; when a step has been long enough is for the
//! caller to say, who has a clock. May: count. Never: measure.

use std::fmt;

/// Work between two questions to the caller, in bytes looked at or moved.
const SHARE: usize = 64 << 10;

/// What a step may use.
pub struct Portion<'e> {
    enough: &'e dyn Fn() -> bool,
    left: usize,
}

impl<'e> Portion<'e> {
    /// Ends when `enough` returns true; it is called now and then.
    pub fn until(enough: &'e dyn Fn() -> bool) -> Portion<'e> {
        Portion { enough, left: SHARE }
    }

    /// All of the work.
    pub fn whole() -> Portion<'static> {
        Portion { enough: &|| false, left: usize::MAX }
    }

    /// Notes that so much has been done. True if that is all for now.
    pub fn is_used_up(&mut self, done: usize) -> bool {
        self.left = self.left.saturating_sub(done);
        if self.left > 0 {
            return false;
        }
        self.left = SHARE;
        (self.enough)()
    }
}

impl fmt::Debug for Portion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portion").field("left", &self.left).finish_non_exhaustive()
    }
}
