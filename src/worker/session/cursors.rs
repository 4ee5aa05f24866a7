//! Where each table's sequence stands, for one connection.
//!
//! Stock has one cursor for each table, shared by all clients, so that one client's scan resets
//! another's. Here each connection has its own, and no more of them than a client could need.

use std::collections::VecDeque;

/// How many tables one connection can list at the same time. A further one replaces the one begun first, whose next
/// step then returns that there are no more entries.
pub const CURSORS_MAX: usize = 16;

/// The open sequences of one connection, oldest first.
#[derive(Debug)]
pub struct Cursors<I, C> {
    open: VecDeque<(I, C)>,
}

impl<I, C> Default for Cursors<I, C> {
    fn default() -> Self {
        Cursors { open: VecDeque::new() }
    }
}

impl<I: Copy + Eq, C: Default> Cursors<I, C> {
    /// Puts the cursor of `table` before the first entry.
    pub(super) fn start(&mut self, table: I) {
        self.forget(table);
        if self.open.len() >= CURSORS_MAX {
            self.open.pop_front();
        }
        self.open.push_back((table, C::default()));
    }

    /// The cursor of `table`, if it has one.
    pub(super) fn get(&mut self, table: I) -> Option<&mut C> {
        self.open.iter_mut().find(|(id, _)| *id == table).map(|(_, cursor)| cursor)
    }

    /// Ends the sequence of `table`.
    pub fn forget(&mut self, table: I) {
        self.open.retain(|(id, _)| *id != table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_twice_begins_again() {
        let mut cursors = Cursors::<u8, u32>::default();
        cursors.start(1);
        *cursors.get(1).unwrap() = 7;
        assert_eq!(cursors.get(1), Some(&mut 7));
        cursors.start(1);
        assert_eq!(cursors.get(1), Some(&mut 0));
        assert_eq!(cursors.open.len(), 1);
    }

    #[test]
    fn start_beyond_the_limit_drops_the_oldest() {
        let mut cursors = Cursors::<usize, u32>::default();
        for table in 0..=CURSORS_MAX {
            cursors.start(table);
        }
        assert_eq!(cursors.open.len(), CURSORS_MAX);
        assert_eq!(cursors.get(0), None);
        assert!(cursors.get(1).is_some());
        assert!(cursors.get(CURSORS_MAX).is_some());
    }
}
