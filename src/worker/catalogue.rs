//! The tables that clients may ask, by name.
//!
//! May: answer from their contents. Never: know a path; a name is only compared with what clients ask.

#[cfg(test)]
mod tests;

use crate::contents::{Content, Contents, Slot};
use crate::pace::Pace;
use crate::rules_worker::left;
use crate::session;
use mapkeep_proto::{Kind, Listed, TableId};
use mapkeep_sys::mapping::Mapping;
use mapkeep_table::{Cursor, Outcome, Step, Table, TableError};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::{Instant, SystemTime};

/// All tables of this worker's class.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) contents: Contents,
    /// The approved ones.
    by_name: BTreeMap<Vec<u8>, u16>,
    /// False when the configuration could not be read: then nothing is denied.
    approval_known: bool,
    /// For `randmap:`; moves on with each lookup.
    random: Cell<u64>,
    /// Who may ask tables that can take long.
    pub(crate) pace: Pace,
}

impl Catalogue {
    /// Tables of these names. Those that are their own content are ready at once.
    pub(crate) fn new(tables: Vec<Listed>, approval_known: bool) -> Catalogue {
        let approved = (0u16..).zip(&tables).filter(|(_, table)| table.approved);
        let by_name = approved.map(|(id, table)| (table.name.clone(), id)).collect();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let random = Cell::new(since.map_or(0, |since| u64::from(since.subsec_nanos())));
        let contents = Contents::new(tables, |_| true);
        Catalogue { contents, by_name, approval_known, random, pace: Pace::default() }
    }
}

fn elsewhere() -> session::Failure {
    session::Failure::Unavailable(Cow::Borrowed("another worker has it"))
}

/// A table as a request sees it.
#[derive(Debug)]
pub(crate) struct Handle<'c> {
    catalogue: &'c Catalogue,
    id: u32,
    nature: session::Nature,
    /// `None` when nobody knows whether the table is approved.
    slot: Option<&'c Slot>,
}

/// Where a client stands in the scan of a table. It goes on in the content that it began with.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    content: Option<Weak<Table<Mapping>>>,
    cursor: Cursor,
}

impl Handle<'_> {
    fn slot(&self) -> Result<&Slot, session::Failure> {
        let unjudged = || session::Failure::Unavailable(Cow::Borrowed("the configuration cannot be read"));
        self.slot.ok_or_else(unjudged)
    }
}

impl session::LookupTable for Handle<'_> {
    type Cursor = Scan;

    fn nature(&self) -> session::Nature {
        self.nature
    }

    fn lookup(&self, sought: session::Sought<'_>, value: &mut Vec<u8>) -> Result<Outcome, session::Failure> {
        let slot = self.slot()?;
        // The clock is read by tables of rules only, which ask; the first question starts it.
        let began = Cell::new(None);
        let time_left = || left(&began, std::time::Duration::ZERO, Instant::now());
        let query = sought.query(self.catalogue.next_random(), &time_left);
        let outcome = match &slot.content {
            Content::Table(Ok(table)) => table.lookup_with(&query, value),
            Content::Table(Err(reason)) => return Err(session::Failure::Unavailable(reason.clone())),
            Content::Elsewhere => return Err(elsewhere()),
            Content::Composite(composite, leaves) => {
                let resolve = |leaf: usize| self.catalogue.leaf(leaves.get(leaf).copied().flatten());
                composite.lookup_with(&query, &resolve, value)
            }
        };
        if let Some(began) = began.get() {
            let ended = Instant::now();
            self.catalogue.pace.meter.note(self.id, ended.saturating_duration_since(began), ended);
        }
        Ok(outcome?)
    }

    fn usable(&self) -> Result<(), session::Failure> {
        match &self.slot()?.content {
            Content::Table(Ok(table)) if table.kind() == Kind::Fail => Err(session::Failure::OnPurpose),
            Content::Table(Err(reason)) => Err(session::Failure::Unavailable(reason.clone())),
            Content::Elsewhere => Err(elsewhere()),
            Content::Table(Ok(_)) | Content::Composite(..) => Ok(()),
        }
    }

    fn step(
        &self,
        scan: &mut Scan,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Step, session::Failure> {
        if scan.content.is_none() {
            scan.content = match &self.slot()?.content {
                Content::Table(Ok(table)) => Some(Rc::downgrade(table)),
                Content::Table(Err(reason)) => return Err(session::Failure::Unavailable(reason.clone())),
                Content::Elsewhere => return Err(elsewhere()),
                Content::Composite(..) => return Err(session::Failure::Unsupported),
            };
        }
        let Some(table) = scan.content.as_ref().and_then(Weak::upgrade) else {
            let gone = "it has changed several times since its list was begun";
            return Err(session::Failure::Unavailable(Cow::Borrowed(gone)));
        };
        Ok(table.step(&mut scan.cursor, key, value)?)
    }
}

impl Catalogue {
    /// A member of a composite table.
    fn leaf(&self, id: Option<u16>) -> Result<&Table<Mapping>, TableError> {
        let slot = id.and_then(|id| self.contents.get(TableId(id)));
        match slot.map(|slot| &slot.content) {
            Some(Content::Table(Ok(table))) => Ok(table),
            _ => Err(TableError::NoMember),
        }
    }

    /// The next number of a sequence that spreads evenly (a multiplicative generator, Knuth's MMIX constants).
    fn next_random(&self) -> u64 {
        let next =
            self.random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random.set(next);
        next >> 33
    }
}

impl session::Tables for Catalogue {
    type Id = u32;
    type Cursor = Scan;
    type Table<'c> = Handle<'c>;

    fn find(&self, name: &[u8]) -> Option<(u32, Handle<'_>)> {
        let Some(id) = self.by_name.get(name).copied() else {
            let unjudged =
                Handle { catalogue: self, id: u32::MAX, nature: session::Nature::of(name), slot: None };
            return (!self.approval_known).then_some((u32::MAX, unjudged));
        };
        let slot = self.contents.get(TableId(id))?;
        let id = u32::from(id);
        Some((id, Handle { catalogue: self, id, nature: slot.nature, slot: Some(slot) }))
    }

    fn turn_away(&self, name: &[u8]) -> Option<u32> {
        if !self.pace.is_tight() {
            return None;
        }
        let id = *self.by_name.get(session::without_proxy(name))?;
        let measured = self.contents.get(TableId(id)).is_some_and(Slot::is_measured);
        Some(u32::from(id)).filter(|id| measured && self.pace.turns_away(*id))
    }
}
