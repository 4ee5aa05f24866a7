//! A sorted index of entries in a text.
//!
//! Purpose: find an entry of a text in the snapshot by its key, at 8 bytes an entry and without a copy of any key.
//! May: allocate, once, through try_reserve. Never: take longer than a binary search for a lookup, whatever the
//! keys are: the order is by hash first and by the keys themselves where hashes are equal, so that keys chosen
//! to have the same hash gain nothing.

use std::cmp::Ordering;

use mapkeep_query::TableError;

mod sort;

pub use sort::Sorting;

/// Where an entry is, and 31 bits of its hash. The lowest bit of `word` is free for the owner's use.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    word: u32,
    at: u32,
}

/// Slots in the order of [`Slot::hash`] and then of their keys.
#[derive(Debug)]
pub struct Index {
    slots: Vec<Slot>,
}

impl Slot {
    /// Its hash; the lowest bit is 0.
    #[must_use]
    pub fn hash(&self) -> u32 {
        self.word & !1
    }

    /// The bit that its owner has set.
    #[must_use]
    pub fn mark(&self) -> bool {
        self.word & 1 != 0
    }

    /// The offset of the entry in the text.
    pub fn at(&self) -> usize {
        usize::try_from(self.at).unwrap_or(usize::MAX)
    }
}

impl Index {
    /// Room for `count` entries of a text of `length` bytes.
    pub fn with_room(count: usize, length: usize) -> Result<Index, TableError> {
        if u32::try_from(length).is_err() {
            return Err(TableError::FileTooLarge);
        }
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).map_err(|_| TableError::OutOfMemory)?;
        Ok(Index { slots })
    }

    /// Adds an entry; [`Index::sort`] puts it into place.
    pub fn add(&mut self, hash: u32, at: usize, mark: bool) -> Result<(), TableError> {
        let at = u32::try_from(at).map_err(|_| TableError::FileTooLarge)?;
        self.slots.try_reserve(1).map_err(|_| TableError::OutOfMemory)?;
        self.slots.push(Slot { word: hash & !1 | u32::from(mark), at });
        Ok(())
    }

    /// Sorts in place by hash, then by `keys`, then by place in the text.
    pub fn sort(&mut self, keys: impl Fn(&Slot, &Slot) -> Ordering) {
        self.slots.sort_unstable_by(|a, b| order(a, b, &keys));
    }

    /// The first slot of this hash.
    pub fn first(&self, hash: u32) -> Option<&Slot> {
        self.from(hash & !1).first().filter(|slot| slot.hash() == hash & !1)
    }

    /// The slots of this hash, and of all greater ones.
    fn from(&self, hash: u32) -> &[Slot] {
        let start = self.slots.partition_point(|slot| slot.hash() < hash);
        self.slots.get(start..).unwrap_or_default()
    }

    /// The slots for which `key` says `Equal`, which are neighbours. `key` compares a slot's key with the one that is
    /// searched for, in the order of [`Index::sort`].
    pub fn equal(&self, hash: u32, key: impl Fn(&Slot) -> Ordering) -> impl Iterator<Item = &Slot> {
        let hash = hash & !1;
        let rest = self.from(hash);
        // Nearly always there is one slot with this hash, or none, and nothing more to search.
        let start = match rest.get(1).is_some_and(|slot| slot.hash() == hash) {
            true => rest.partition_point(|slot| slot.hash() == hash && key(slot) == Ordering::Less),
            false => 0,
        };
        let rest = rest.get(start..).unwrap_or_default().iter();
        rest.take_while(move |slot| slot.hash() == hash && key(slot) == Ordering::Equal)
    }

    /// All of them.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }
}

/// The order of an index.
fn order(a: &Slot, b: &Slot, keys: impl FnOnce(&Slot, &Slot) -> Ordering) -> Ordering {
    a.hash().cmp(&b.hash()).then_with(|| keys(a, b)).then_with(|| a.at.cmp(&b.at))
}

/// A hash of a key: FNV-1a, 64 bits folded to 32.
pub fn hash(bytes: impl Iterator<Item = u8>) -> u32 {
    let wide = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, f, g, h] = wide.to_le_bytes();
    u32::from_le_bytes([a ^ e, b ^ f, c ^ g, d ^ h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_equal_hashes_are_distinguished() {
        let text = b"cabbage";
        let mut index = Index::with_room(7, 7).unwrap();
        for at in 0..7 {
            index.add(42, at, at == 0).unwrap();
        }
        index.sort(|a, b| text[a.at()].cmp(&text[b.at()]));
        let at = |byte: u8| -> Vec<usize> {
            index.equal(42, |slot| text[slot.at()].cmp(&byte)).map(Slot::at).collect()
        };
        assert_eq!(at(b'b'), [2, 3]);
        assert_eq!(at(b'a'), [1, 4]);
        assert_eq!(at(b'g'), [5]);
        assert!(at(b'd').is_empty());
        assert_eq!(index.equal(44, |_| Ordering::Equal).count(), 0);
        assert!(index.slots().iter().all(|slot| slot.mark() == (slot.at() == 0)));
    }

    #[test]
    fn slot_size_eight_bytes() {
        assert_eq!(size_of::<Slot>(), 8);
    }
}
