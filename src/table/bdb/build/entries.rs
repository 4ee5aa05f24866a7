//! Entries in memory.
//!
//! Purpose: hold keys and values for a table that is written in another order than it is filled. May: allocate.
//! Never: move what it holds, so that no push takes long. Called by: the builder of hash tables.

use super::BuildError;

const CHUNK: usize = 256 * 1024;

/// Keys and values, numbered in the order in which they came.
#[derive(Default)]
pub(super) struct Entries {
    chunks: Vec<Vec<u8>>,
    places: Vec<Place>,
}

/// The key and, after it, the value.
#[derive(Clone, Copy)]
struct Place {
    chunk: u32,
    start: u32,
    key: u32,
    value: u32,
}

impl Entries {
    /// Adds an entry and returns its number.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<u32, BuildError> {
        let number = u32::try_from(self.places.len()).map_err(|_| BuildError::FileTooLarge)?;
        let length = key.len().saturating_add(value.len());
        let fits = |chunk: &Vec<u8>| chunk.capacity().saturating_sub(chunk.len()) >= length;
        if !self.chunks.last().is_some_and(fits) {
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(length.max(CHUNK)).map_err(|_| BuildError::OutOfMemory)?;
            self.chunks.try_reserve(1).map_err(|_| BuildError::OutOfMemory)?;
            self.chunks.push(chunk);
        }
        let last = u32::try_from(self.chunks.len().saturating_sub(1));
        let chunk = self.chunks.last_mut().ok_or(BuildError::Inconsistent)?;
        let place = Place {
            chunk: last.map_err(|_| BuildError::FileTooLarge)?,
            start: small(chunk.len())?,
            key: small(key.len())?,
            value: small(value.len())?,
        };
        self.places.try_reserve(1).map_err(|_| BuildError::OutOfMemory)?;
        self.places.push(place);
        chunk.extend_from_slice(key);
        chunk.extend_from_slice(value);
        Ok(number)
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Key and value of an entry; both are empty if there is no such entry.
    pub fn get(&self, number: u32) -> (&[u8], &[u8]) {
        self.find(number).unwrap_or_default()
    }

    fn find(&self, number: u32) -> Option<(&[u8], &[u8])> {
        let place = self.places.get(usize::try_from(number).ok()?)?;
        let chunk = self.chunks.get(usize::try_from(place.chunk).ok()?)?;
        let rest = chunk.get(usize::try_from(place.start).ok()?..)?;
        let (key, rest) = rest.split_at_checked(usize::try_from(place.key).ok()?)?;
        Some((key, rest.get(..usize::try_from(place.value).ok()?)?))
    }
}

fn small(number: usize) -> Result<u32, BuildError> {
    u32::try_from(number).map_err(|_| BuildError::ItemTooLong)
}
