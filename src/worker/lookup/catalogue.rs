//! The tables that clients may ask, by name.
//!
//! May: answer from their contents, and say what is to be asked elsewhere. Never: know a path; a name is only compared with
//! what clients ask.

mod search;
#[cfg(test)]
pub(crate) mod tests;

use crate::contents::{Content, Contents, Slot};
use crate::rules_worker::left;
use mapkeep_name::Kind;
use mapkeep_proto::{Answered as Reported, Duty, Listed, TableId};
use mapkeep_query::{Outcome, Step};
use mapkeep_sys::mapping::Mapping;
use mapkeep_table_format::Cursor;
use mapkeep_table_lookup::Table;
use mapkeep_worker_session as session;
use mapkeep_worker_session::{Failure, Got};
pub(crate) use search::Search;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant, SystemTime};

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
}

impl Catalogue {
    /// Tables of these names. Those that are their own content are ready at once.
    pub(crate) fn new(tables: Vec<Listed>, approval_known: bool) -> Catalogue {
        let approved = (0u16..).zip(&tables).filter(|(_, table)| table.approved);
        let by_name = approved.map(|(id, table)| (table.name.clone(), id)).collect();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let random = Cell::new(since.map_or(0, |since| u64::from(since.subsec_nanos())));
        let contents = Contents::new(tables, |kind| Duty::of(kind) != Duty::Rules);
        Catalogue { contents, by_name, approval_known, random }
    }
}

/// A table as a request sees it.
#[derive(Debug)]
pub(crate) struct Handle<'c> {
    catalogue: &'c Catalogue,
    id: TableId,
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
    fn slot(&self) -> Result<&Slot, Failure> {
        let unjudged = || Failure::Unavailable(Cow::Borrowed("the configuration cannot be read"));
        self.slot.ok_or_else(unjudged)
    }
}

impl session::LookupTable for Handle<'_> {
    type Cursor = Scan;
    type Search = Search;

    fn nature(&self) -> session::Nature {
        self.nature
    }

    fn lookup(
        &self,
        sought: session::Sought<'_>,
        value: &mut Vec<u8>,
    ) -> Result<Got<Outcome, Search>, Failure> {
        match &self.slot()?.content {
            Content::Table(Ok(table)) => {
                // Only cidr tables ask for the time.
                let began = Cell::new(None);
                let time_left = || left(&began, Duration::ZERO, Instant::now());
                let query = sought.query(self.catalogue.next_random(), &time_left);
                Ok(Got::Now(table.lookup_with(&query, value)?))
            }
            Content::Table(Err(reason)) => Err(Failure::Unavailable(reason.clone())),
            Content::Composite(composite, _) => self.catalogue.begin(self.id, composite, &sought, value),
            Content::Elsewhere(route) => Ok(Got::Later(Search::value(self.id, *route, &sought)?)),
        }
    }

    fn usable(&self) -> Result<Got<(), Search>, Failure> {
        match &self.slot()?.content {
            Content::Table(Ok(table)) if table.kind() == Kind::Fail => Err(Failure::OnPurpose),
            Content::Table(Err(reason)) => Err(Failure::Unavailable(reason.clone())),
            Content::Elsewhere(route) => Ok(Got::Later(Search::usable(self.id, *route))),
            Content::Table(Ok(_)) | Content::Composite(..) => Ok(Got::Now(())),
        }
    }

    fn step(&self, scan: &mut Scan, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Step, Failure> {
        if scan.content.is_none() {
            scan.content = match &self.slot()?.content {
                Content::Table(Ok(table)) => Some(Rc::downgrade(table)),
                Content::Table(Err(reason)) => return Err(Failure::Unavailable(reason.clone())),
                Content::Composite(..) | Content::Elsewhere(_) => return Err(Failure::Unsupported),
            };
        }
        let Some(table) = scan.content.as_ref().and_then(Weak::upgrade) else {
            let gone = "it has changed several times since the client began to list it";
            return Err(Failure::Unavailable(Cow::Borrowed(gone)));
        };
        Ok(table.step(&mut scan.cursor, key, value)?)
    }
}

impl Catalogue {
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
    type Search = Search;
    type Table<'c> = Handle<'c>;

    fn find(&self, name: &[u8]) -> Option<(u32, Handle<'_>)> {
        let Some(id) = self.by_name.get(name).copied() else {
            let (id, nature) = (TableId(u16::MAX), session::Nature::of(name));
            let unjudged = Handle { catalogue: self, id, nature, slot: None };
            return (!self.approval_known).then_some((u32::MAX, unjudged));
        };
        let slot = self.contents.get(TableId(id))?;
        let handle = Handle { catalogue: self, id: TableId(id), nature: slot.nature, slot: Some(slot) };
        Some((u32::from(id), handle))
    }

    fn name(&self, search: &Search) -> &[u8] {
        self.contents.get(search.table).map(|slot| slot.name.as_slice()).unwrap_or_default()
    }

    fn resume(
        &self,
        search: Search,
        reported: Reported<'_>,
        value: &mut Vec<u8>,
    ) -> Result<Got<Outcome, Search>, Failure> {
        self.go_on_with(search, reported, value)
    }
}
