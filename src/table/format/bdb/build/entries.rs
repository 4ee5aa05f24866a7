//! Entries in memory.
//!
//! Purpose: hold keys and values for a table that is written in another order than it is filled. May: allocate. Never:
//! move what it holds, so that no push takes long.

use super::BuildError;

/// Bytes of keys and values that are allocated at once.
const CHUNK: usize = 256 * 1024;
/// Places that are allocated at once: 2 to this power.
const PLACES_BITS: u32 = 12;

/// Keys and values, numbered in the order in which they came.
#[derive(Default)]
pub(super) struct Entries {
    chunks: Vec<Vec<u8>>,
    places: Vec<Vec<Place>>,
    count: u32,
}

/// Where the key and, after it, the value are; and the hash of the key.
#[derive(Clone, Copy)]
struct Place {
    chunk: u32,
    start: u32,
    key: u32,
    value: u32,
    hash: u32,
}

impl Entries {
    /// Adds an entry.
    pub fn push(&mut self, hash: u32, key: &[u8], value: &[u8]) -> Result<(), BuildError> {
        let count = self.count.checked_add(1).ok_or(BuildError::FileTooLarge)?;
        let length = key.len().saturating_add(value.len());
        make_room(&mut self.chunks, length, CHUNK)?;
        make_room(&mut self.places, 1, 1 << PLACES_BITS)?;
        let last = self.chunks.len().saturating_sub(1);
        let chunk = self.chunks.last_mut().ok_or(BuildError::Inconsistent)?;
        let places = self.places.last_mut().ok_or(BuildError::Inconsistent)?;
        places.push(Place {
            chunk: small(last)?,
            start: small(chunk.len())?,
            key: small(key.len())?,
            value: small(value.len())?,
            hash,
        });
        chunk.extend_from_slice(key);
        chunk.extend_from_slice(value);
        self.count = count;
        Ok(())
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// The hash of the key of entry `number`.
    pub fn hash(&self, number: u32) -> Result<u32, BuildError> {
        self.place(number).map(|place| place.hash).ok_or(BuildError::Inconsistent)
    }

    /// Key and value of entry `number`.
    pub fn get(&self, number: u32) -> Result<(&[u8], &[u8]), BuildError> {
        self.find(number).ok_or(BuildError::Inconsistent)
    }

    fn find(&self, number: u32) -> Option<(&[u8], &[u8])> {
        let place = self.place(number)?;
        let chunk = self.chunks.get(usize::try_from(place.chunk).ok()?)?;
        let rest = chunk.get(usize::try_from(place.start).ok()?..)?;
        let (key, rest) = rest.split_at_checked(usize::try_from(place.key).ok()?)?;
        Some((key, rest.get(..usize::try_from(place.value).ok()?)?))
    }

    fn place(&self, number: u32) -> Option<&Place> {
        let within = number & ((1 << PLACES_BITS) - 1);
        let places = self.places.get(usize::try_from(number >> PLACES_BITS).ok()?)?;
        places.get(usize::try_from(within).ok()?)
    }
}

/// Sees to it that the last of `lists` takes `more` without being moved. A list has room for `usual`, or for one lot
/// that is larger.
fn make_room<T>(lists: &mut Vec<Vec<T>>, more: usize, usual: usize) -> Result<(), BuildError> {
    let fits = |list: &Vec<T>| list.len().saturating_add(more) <= usual;
    if lists.last().is_some_and(fits) {
        return Ok(());
    }
    let mut list = Vec::new();
    list.try_reserve_exact(more.max(usual)).map_err(|_| BuildError::OutOfMemory)?;
    lists.try_reserve(1).map_err(|_| BuildError::OutOfMemory)?;
    lists.push(list);
    Ok(())
}

fn small(number: usize) -> Result<u32, BuildError> {
    u32::try_from(number).map_err(|_| BuildError::FileTooLarge)
}
