//! Tables for tests: a list of names, each with its type by name and its entries in memory.

use std::sync::{Mutex, MutexGuard};

use mapkeep_proto::Answered as Reported;
use mapkeep_query::{NulMode, NulModes, Outcome, Step};

use super::{Failure, Got, LookupTable, Nature, Search, Sought, Tables, outcome_of};

/// Keys and values as they would be in a file, NUL and all.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What a fake table does.
pub(super) enum Content {
    /// Entries in order.
    Entries(Mutex<Entries>),
    /// Entries of a table that takes changes; with a limit, only those whose keys have at most this number of bytes, and at least one.
    Changeable(Mutex<Entries>, Option<usize>),
    /// The same value for every key.
    Same(Vec<u8>),
    /// No answer, for this reason.
    Fails(Failure),
    /// Another process answers, out of this.
    Elsewhere(Box<Content>),
}

/// The state of a request while another process has to answer, and what it will answer.
pub(super) struct FakeSearch {
    name: Vec<u8>,
    pub(super) answer: Result<(Outcome, Vec<u8>), Failure>,
}

impl Search for FakeSearch {
    fn held(&self) -> usize {
        1
    }
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
        self.with(name, Content::Entries(Mutex::new(entries)))
    }
}

impl FakeTables {
    /// What a table that takes changes has stored.
    pub(super) fn entries(&self, name: &[u8]) -> Entries {
        match self.find(name) {
            Some((_, FakeTable { content: Content::Changeable(entries, _), .. })) => locked(entries).clone(),
            _ => panic!("no such table"),
        }
    }
}

impl Content {
    fn lookup(&self, nature: Nature, sought: Sought<'_>, value: &mut Vec<u8>) -> Result<Outcome, Failure> {
        let Sought { key, modes, .. } = sought;
        assert!(value.is_empty(), "the buffer must be empty");
        let entries = match self {
            Content::Entries(entries) | Content::Changeable(entries, _) => locked(entries),
            Content::Same(text) => {
                value.extend_from_slice(text);
                return Ok(Outcome::Found(NulMode::Bare));
            }
            Content::Fails(failure) => return Err(failure.clone()),
            Content::Elsewhere(_) => panic!("two processes away"),
        };
        let mut find = |key: &[u8]| {
            let found = entries.iter().find(|(stored, _)| stored == key);
            found.map(|(_, text)| value.extend_from_slice(text)).is_some()
        };
        if !nature.kind.has_nul_modes() {
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

    fn usable(&self) -> Result<(), Failure> {
        match self {
            Content::Fails(failure) => Err(failure.clone()),
            _ => Ok(()),
        }
    }
}

impl LookupTable for &FakeTable {
    type Cursor = usize;
    type Search = FakeSearch;

    fn nature(&self) -> Nature {
        Nature::of(&self.name)
    }

    fn lookup(&self, sought: Sought<'_>, value: &mut Vec<u8>) -> Result<Got<Outcome, FakeSearch>, Failure> {
        let Content::Elsewhere(content) = &self.content else {
            return self.content.lookup(self.nature(), sought, value).map(Got::Now);
        };
        let mut found = Vec::new();
        let outcome = content.lookup(self.nature(), sought, &mut found);
        let answer = outcome.map(|outcome| (outcome, found));
        Ok(Got::Later(FakeSearch { name: self.name.clone(), answer }))
    }

    fn step(&self, cursor: &mut usize, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Step, Failure> {
        match &self.content {
            Content::Fails(failure) => Err(failure.clone()),
            Content::Same(_) | Content::Elsewhere(_) => Err(Failure::Unsupported),
            Content::Entries(entries) | Content::Changeable(entries, _) => match locked(entries).get(*cursor)
            {
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

    fn usable(&self) -> Result<Got<(), FakeSearch>, Failure> {
        let Content::Elsewhere(content) = &self.content else {
            return self.content.usable().map(Got::Now);
        };
        let answer = content.usable().map(|()| (Outcome::Absent, Vec::new()));
        Ok(Got::Later(FakeSearch { name: self.name.clone(), answer }))
    }

    fn put(&self, key: &[u8], value: &[u8], mode: NulMode) -> Result<(), Failure> {
        match &self.content {
            Content::Fails(failure) => Err(failure.clone()),
            Content::Entries(_) | Content::Same(_) | Content::Elsewhere(_) => Err(Failure::Unsupported),
            Content::Changeable(entries, limit) => {
                let (key, value) = (stored(key, mode), stored(value, mode));
                match *limit {
                    Some(_) if key.is_empty() => return Err(Failure::KeyEmpty),
                    Some(limit) if key.len() > limit => {
                        return Err(Failure::TooLong { what: "key", length: key.len(), limit });
                    }
                    _ => {}
                }
                let mut entries = locked(entries);
                entries.retain(|(old, _)| *old != key);
                entries.push((key, value));
                entries.sort();
                Ok(())
            }
        }
    }

    fn remove(&self, key: &[u8], modes: NulModes) -> Result<Outcome, Failure> {
        let entries = match &self.content {
            Content::Fails(failure) => return Err(failure.clone()),
            Content::Entries(_) | Content::Same(_) | Content::Elsewhere(_) => {
                return Err(Failure::Unsupported);
            }
            Content::Changeable(entries, _) => entries,
        };
        let plain = !self.nature().kind.has_nul_modes();
        let ways = [(modes.with_nul && !plain, NulMode::WithNul), (modes.bare || plain, NulMode::Bare)];
        for (wanted, mode) in ways {
            let key = stored(key, mode);
            let found = wanted.then(|| locked(entries).iter().position(|(old, _)| *old == key)).flatten();
            if let Some(place) = found {
                locked(entries).remove(place);
                return Ok(Outcome::Found(mode));
            }
        }
        Ok(Outcome::Absent)
    }
}

fn locked(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap()
}

/// As it would be in a file.
fn stored(text: &[u8], mode: NulMode) -> Vec<u8> {
    let nul: &[u8] = if mode == NulMode::WithNul { b"\0" } else { b"" };
    [text, nul].concat()
}

impl Tables for FakeTables {
    type Id = usize;
    type Cursor = usize;
    type Search = FakeSearch;
    type Table<'t> = &'t FakeTable;

    fn find(&self, name: &[u8]) -> Option<(usize, &FakeTable)> {
        self.0.iter().enumerate().find(|(_, table)| table.name == name)
    }

    fn name(&self, search: &FakeSearch) -> &[u8] {
        self.find(&search.name).map(|(_, table)| table.name.as_slice()).unwrap()
    }

    fn resume(
        &self,
        _: FakeSearch,
        reported: Reported<'_>,
        value: &mut Vec<u8>,
    ) -> Result<Got<Outcome, FakeSearch>, Failure> {
        outcome_of(reported, value).map(Got::Now)
    }
}
