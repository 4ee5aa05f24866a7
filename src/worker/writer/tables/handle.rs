//! What a request may ask of a table, and what a store's error is for its client.

use super::{Named, Slot, State, Tables};
use crate::engine::Engine;
use mapkeep_proto::Answered;
use mapkeep_query::{MAX_ITEM, NulMode, NulModes, Outcome, Step, TableError, Values, put_text};
use mapkeep_table_store::StoreError;
use mapkeep_worker_session as session;
use mapkeep_worker_session::{Failure, Got, Nature, Sought};
use std::borrow::Cow;
use std::convert::Infallible;

/// A table as a request sees it.
pub(crate) struct Handle<'t> {
    tables: &'t Tables,
    nature: Nature,
    /// `None` if it is not known whether the table is approved.
    slot: Option<(u16, &'t Slot)>,
}

/// Where a scan stands: on this key, as stored, which may be gone by now. Nothing: before the first.
#[derive(Debug, Default)]
pub(crate) struct Position(Option<Vec<u8>>);

impl Handle<'_> {
    /// Does something with what answers for the table.
    fn ask<T>(
        &self,
        named: impl FnOnce(&Named) -> Result<T, Failure>,
        open: impl FnOnce(&mut dyn Engine) -> Result<T, StoreError>,
    ) -> Result<T, Failure> {
        let unjudged = || Failure::Unavailable(Cow::Borrowed("the configuration cannot be read"));
        let (id, slot) = self.slot.ok_or_else(unjudged)?;
        let mut state =
            slot.state.try_borrow_mut().map_err(|_| Failure::NotDone("it is in use".to_owned()))?;
        match &mut *state {
            State::Closed(reason) => Err(Failure::Unavailable(reason.clone())),
            State::Named(table) => named(table),
            State::Open(engine) => {
                self.tables.touch(id, slot)?;
                open(engine.as_mut()).map_err(|error| {
                    if matches!(error, StoreError::Corrupt(_)) {
                        // Answers of a damaged store cannot be relied on.
                        slot.turn.borrow_mut().lost = Some(error.clone());
                    }
                    failure(error)
                })
            }
        }
    }

    /// Changes the store. Any error but that of a key ends its group.
    fn change<T>(
        &self,
        named: impl FnOnce(&Named) -> Result<T, Failure>,
        change: impl FnOnce(&mut dyn Engine) -> Result<T, StoreError>,
    ) -> Result<T, Failure> {
        self.ask(named, |engine| {
            let changed = change(engine);
            if let (Err(error), Some((_, slot))) = (&changed, self.slot)
                && !matches!(error, StoreError::KeyTooLong { .. } | StoreError::KeyEmpty)
            {
                slot.turn.borrow_mut().lost = Some(error.clone());
            }
            changed
        })
    }

    /// Calls `act` with each form of the key to be tried, until one is found.
    fn find(
        &self,
        key: &[u8],
        modes: NulModes,
        mut act: impl FnMut(&[u8]) -> Result<bool, StoreError>,
    ) -> Result<Outcome, StoreError> {
        let plain = !self.nature.kind.has_nul_modes();
        let forms = [(modes.with_nul && !plain, NulMode::WithNul), (modes.bare || plain, NulMode::Bare)];
        for (_, mode) in forms.into_iter().filter(|(wanted, _)| *wanted) {
            match act(&stored(key, mode)) {
                Ok(true) => return Ok(Outcome::Found(mode)),
                // What cannot be stored is not there.
                Ok(false) | Err(StoreError::KeyTooLong { .. } | StoreError::KeyEmpty) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Outcome::Absent)
    }
}

/// Key or value as the file has it.
fn stored(text: &[u8], mode: NulMode) -> Cow<'_, [u8]> {
    match mode {
        NulMode::Bare => Cow::Borrowed(text),
        NulMode::WithNul => Cow::Owned([text, b"\0"].concat()),
    }
}

/// The one place that decides what a store's error is for the client.
fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::KeyTooLong { length, limit } => Failure::TooLong { what: "key", length, limit },
        StoreError::KeyEmpty => Failure::KeyEmpty,
        other => Failure::NotDone(other.to_string()),
    }
}

fn unsupported<T>(table: &Named) -> Result<T, Failure> {
    match table {
        Named::Fail => Err(Failure::OnPurpose),
        Named::Static(_) => Err(Failure::Unsupported),
    }
}

/// The answer of a table that is its name.
fn answer(table: &Named, values: Values, found: &mut Vec<u8>) -> Result<Outcome, TableError> {
    match (table, values) {
        (Named::Fail, _) => Err(TableError::AlwaysFails),
        (Named::Static(_), Values::FileContent) => Err(TableError::ValueNamesFiles),
        (Named::Static(value), Values::Text) => {
            put_text(found, value).map(|()| Outcome::Found(NulMode::Bare))
        }
    }
}

impl session::LookupTable for Handle<'_> {
    type Cursor = Position;
    type Search = Infallible;

    fn nature(&self) -> Nature {
        self.nature
    }

    fn lookup(&self, sought: Sought<'_>, value: &mut Vec<u8>) -> Result<Got<Outcome, Infallible>, Failure> {
        let mut found = Vec::new();
        let outcome = self.ask(
            |table| Ok(answer(table, sought.values, &mut found)?),
            |engine| self.find(sought.key, sought.modes, |key| engine.entries_mut().get(key, value)),
        );
        value.append(&mut found);
        outcome.map(Got::Now)
    }

    fn step(&self, position: &mut Position, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Step, Failure> {
        let found =
            self.ask(unsupported, |engine| engine.entries_mut().after(position.0.as_deref(), key, value))?;
        if !found {
            return Ok(Step::End);
        }
        position.0 = Some(key.clone());
        Ok(Step::Record)
    }

    fn usable(&self) -> Result<Got<(), Infallible>, Failure> {
        self.ask(|table| if matches!(table, Named::Fail) { unsupported(table) } else { Ok(()) }, |_| Ok(()))
            .map(Got::Now)
    }

    fn put(&self, key: &[u8], value: &[u8], mode: NulMode) -> Result<(), Failure> {
        let mode = if self.nature.kind.has_nul_modes() { mode } else { NulMode::Bare };
        let value = stored(value, mode);
        if value.len() > MAX_ITEM {
            return Err(Failure::TooLong { what: "value", length: value.len(), limit: MAX_ITEM });
        }
        self.change(unsupported, |engine| engine.entries_mut().put(&stored(key, mode), &value))
    }

    fn remove(&self, key: &[u8], modes: NulModes) -> Result<Outcome, Failure> {
        self.change(unsupported, |engine| self.find(key, modes, |key| engine.entries_mut().delete(key)))
    }
}

impl session::Tables for Tables {
    type Id = u32;
    type Cursor = Position;
    type Search = Infallible;
    type Table<'t> = Handle<'t>;

    fn find(&self, name: &[u8]) -> Option<(u32, Handle<'_>)> {
        let Some(id) = self.by_name.get(name).copied() else {
            let unjudged = Handle { tables: self, nature: Nature::of(name), slot: None };
            return (!self.approval_known).then_some((u32::MAX, unjudged));
        };
        let slot = self.slots.get(usize::from(id))?;
        Some((u32::from(id), Handle { tables: self, nature: slot.nature, slot: Some((id, slot)) }))
    }

    fn name(&self, search: &Infallible) -> &[u8] {
        match *search {}
    }

    fn resume(
        &self,
        search: Infallible,
        _: Answered<'_>,
        _: &mut Vec<u8>,
    ) -> Result<Got<Outcome, Infallible>, Failure> {
        match search {}
    }
}
