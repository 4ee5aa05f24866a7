//! Tables for tests: a list of names, each with its type by name and its entries in memory.

use mapkeep_table::{NulMode, Outcome, Step};

use super::{Failure, LookupTable, Nature, Sought, Tables};

/// What a fake table does.
pub(super) enum Content {
    /// Entries in order. Keys are stored as they would be in a file, NUL and all.
    Entries(Vec<(Vec<u8>, Vec<u8>)>),
    /// The same value for every key.
    Same(Vec<u8>),
    /// No answer, for this reason.
    Fails(Failure),
}

/// One fake table.
pub(super) struct FakeTable {
    name: Vec<u8>,
    content: Content,
}

/// The approved tables.
#[derive(Default)]
pub(super) struct FakeTables(Vec<FakeTable>);

impl FakeTables {
    pub(super) fn with(mut self, name: &[u8], content: Content) -> FakeTables {
        self.0.push(FakeTable { name: name.to_vec(), content });
        self
    }

    /// A table with these entries, stored with a NUL after key and value if `nul`.
    pub(super) fn with_entries(self, name: &[u8], nul: bool, entries: &[(&[u8], &[u8])]) -> FakeTables {
        let stored = |text: &[u8]| {
            let mut text = text.to_vec();
            text.extend_from_slice(if nul { b"\0" } else { b"" });
            text
        };
        let entries = entries.iter().map(|(key, value)| (stored(key), stored(value))).collect();
        self.with(name, Content::Entries(entries))
    }
}

impl LookupTable for &FakeTable {
    type Cursor = usize;

    fn nature(&self) -> Nature {
        Nature::of(&self.name)
    }

    fn lookup(&self, sought: Sought<'_>, value: &mut Vec<u8>) -> Result<Outcome, Failure> {
        let Sought { key, modes, .. } = sought;
        assert!(value.is_empty(), "the buffer must be empty");
        let entries = match &self.content {
            Content::Entries(entries) => entries,
            Content::Same(text) => {
                value.extend_from_slice(text);
                return Ok(Outcome::Found(NulMode::Bare));
            }
            Content::Fails(failure) => return Err(failure.clone()),
        };
        let mut find = |key: &[u8]| {
            let found = entries.iter().find(|(stored, _)| stored == key);
            found.map(|(_, text)| value.extend_from_slice(text)).is_some()
        };
        if !self.nature().kind.has_nul_modes() {
            let hit = find(key);
            return Ok(if hit { Outcome::Found(NulMode::Bare) } else { Outcome::Absent });
        }
        if modes.with_nul && find(&[key, b"\0"].concat()) {
            return Ok(Outcome::Found(NulMode::WithNul));
        }
        if modes.bare && find(key) {
            return Ok(Outcome::Found(NulMode::Bare));
        }
        Ok(Outcome::Absent)
    }

    fn step(&self, cursor: &mut usize, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Step, Failure> {
        match &self.content {
            Content::Fails(failure) => Err(failure.clone()),
            Content::Same(_) => Err(Failure::Unsupported),
            Content::Entries(entries) => match entries.get(*cursor) {
                None => Ok(Step::End),
                Some((stored_key, stored_value)) => {
                    *cursor += 1;
                    key.extend_from_slice(stored_key);
                    value.extend_from_slice(stored_value);
                    Ok(Step::Record)
                }
            },
        }
    }
}

impl Tables for FakeTables {
    type Id = usize;
    type Cursor = usize;
    type Table<'t> = &'t FakeTable;

    fn find(&self, name: &[u8]) -> Option<(usize, &FakeTable)> {
        self.0.iter().enumerate().find(|(_, table)| table.name == name)
    }
}
