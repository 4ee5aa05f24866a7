//! A table in memory, for `internal:`.
//!
//! Purpose: an engine without a file: nothing outlives the process. May: allocate. Never: I/O.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::{Store, StoreError};

/// A table in memory. A commit makes nothing durable; it only ends the group that can be undone.
#[derive(Debug, Default)]
pub struct MemoryStore {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the changes since the last commit have replaced, the oldest first.
    before: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Store for MemoryStore {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StoreError> {
        let found = self.entries.get(key);
        value.extend_from_slice(found.map(Vec::as_slice).unwrap_or_default());
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let old = self.entries.insert(key.to_vec(), value.to_vec());
        self.before.push((key.to_vec(), old));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, StoreError> {
        let Some(old) = self.entries.remove(key) else { return Ok(false) };
        self.before.push((key.to_vec(), Some(old)));
        Ok(true)
    }

    fn after(
        &mut self,
        last: Option<&[u8]>,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let Some(found) = self.entries.range::<[u8], _>((from, Bound::Unbounded)).next() else {
            return Ok(false);
        };
        key.extend_from_slice(found.0);
        value.extend_from_slice(found.1);
        Ok(true)
    }

    fn is_open(&self) -> bool {
        !self.before.is_empty()
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.before.clear();
        Ok(())
    }

    fn undo(&mut self) {
        while let Some((key, old)) = self.before.pop() {
            match old {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::testing::{Model, Numbers};

    #[test]
    fn random_operations_as_the_model() {
        for seed in 0..20 {
            let (mut store, mut model) = (MemoryStore::default(), Model::default());
            let mut numbers = Numbers(seed);
            for _ in 0..2_000 {
                model.operation(&mut store, &mut numbers);
            }
            model.assert_same(&mut store);
        }
    }
}
