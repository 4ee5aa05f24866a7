//! The tables that this worker holds: names and snapshots from the broker, by table id.
//!
//! May: keep mappings and answer from them. Never: know a path; a name is only compared with what clients ask.

mod handle;
#[cfg(test)]
mod tests;

pub(crate) use handle::{Handle, Interrupted, Scan};

use crate::pace::Pace;
use crate::session;
use crate::wire::Printable;
use mapkeep_proto::{Kind, Listed, TableId, Unavailable, needs_file, split, why_unknown};
use mapkeep_sys::mapping::Mapping;
use mapkeep_table::{Complaint, Composite, Table, TableError};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::SystemTime;

/// Complaints about lines of one table that are logged; the rest is counted.
const SHOWN_COMPLAINTS: usize = 10;
/// Contents of before that one table keeps for clients who are listing it: with more of them, those who began earliest get a
/// temporary error. A client that never goes on could otherwise hold any number of them in memory.
const LISTED: usize = 2;

/// One table.
#[derive(Debug)]
struct Slot {
    name: Vec<u8>,
    nature: session::Nature,
    /// As [`Listed`] has it.
    incomplete: bool,
    content: Content,
    /// Contents of before that somebody is listing, the oldest first.
    listed: VecDeque<Rc<Table<Mapping>>>,
}

#[derive(Debug)]
enum Content {
    /// The table itself, or why it cannot be asked.
    Table(Result<Rc<Table<Mapping>>, Cow<'static, str>>),
    /// A table made of others, with the ids of those.
    Composite(Composite, Vec<Option<u16>>),
}

/// All tables of this worker's class.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    slots: Vec<Slot>,
    /// The approved ones.
    by_name: BTreeMap<Vec<u8>, u16>,
    /// False when the configuration could not be read: then nothing is denied.
    approval_known: bool,
    /// For `randmap:`; moves on with each lookup.
    random: Cell<u64>,
    /// Who may ask tables that can take long.
    pub(crate) pace: Pace,
    /// A lookup that was interrupted, of the client whose turn it is.
    pub(crate) interrupted: RefCell<Option<Interrupted>>,
}

impl Slot {
    /// Whether a lookup can take long, and is measured.
    fn is_measured(&self) -> bool {
        self.nature.kind.has_rules() || self.nature.kind.is_composite()
    }
}

impl Catalogue {
    /// Tables of these names. Those that are their own content are ready at once.
    pub(crate) fn new(tables: Vec<Listed>, approval_known: bool) -> Catalogue {
        let mut catalogue = Catalogue { approval_known, ..Catalogue::default() };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        catalogue.random.set(since.map_or(0, |since| u64::from(since.subsec_nanos())));
        let ids: BTreeMap<Vec<u8>, u16> =
            (0u16..).zip(&tables).map(|(id, table)| (table.name.clone(), id)).collect();
        for (id, Listed { name, approved, incomplete }) in (0u16..).zip(tables) {
            let nature = session::Nature::of(&name);
            let content = first_content(&name, nature.kind, &ids);
            if approved {
                catalogue.by_name.insert(name.clone(), id);
            }
            catalogue.slots.push(Slot { name, nature, incomplete, content, listed: VecDeque::new() });
        }
        catalogue
    }

    /// Of which kind a table is.
    pub(crate) fn kind(&self, id: TableId) -> Option<Kind> {
        self.slots.get(usize::from(id.0)).map(|slot| slot.nature.kind)
    }

    /// Takes a new content into use. False when it does not parse; then the content before it stays.
    pub(crate) fn take(
        &mut self,
        id: TableId,
        opened: Result<Table<Mapping>, TableError>,
        complaints: &[Complaint],
    ) -> bool {
        let Some(slot) = self.slots.get_mut(usize::from(id.0)) else { return false };
        let name = Printable(&slot.name).to_string();
        match opened {
            Ok(table) => {
                report(&name, complaints);
                let table = if slot.incomplete { table.incomplete() } else { table };
                slot.replace(Rc::new(table));
                true
            }
            Err(error) => {
                if matches!(slot.content, Content::Table(Ok(_))) {
                    tracing::warn!(subject = name, "table {name}: {error} -- keeping the content before it");
                } else {
                    tracing::error!(subject = name, "table {name}: {error}");
                    slot.content = Content::Table(Err(Cow::Owned(error.to_string())));
                }
                false
            }
        }
    }

    /// Lets go of contents of before that nobody is listing any more. To be called now and then.
    pub(crate) fn tidy(&mut self) {
        self.slots.iter_mut().for_each(Slot::tidy);
    }

    /// The broker has no content for this table. What is there goes on answering.
    pub(crate) fn unavailable(&mut self, id: TableId, reason: Unavailable) {
        let slot = self.slots.get_mut(usize::from(id.0));
        if let Some(slot) = slot.filter(|slot| matches!(slot.content, Content::Table(Err(_)))) {
            slot.content = Content::Table(Err(Cow::Borrowed(sentence(reason))));
        }
    }
}

impl Slot {
    /// Takes a new content into use, and keeps the one before it for those who are listing that.
    fn replace(&mut self, table: Rc<Table<Mapping>>) {
        if let Content::Table(Ok(before)) = std::mem::replace(&mut self.content, Content::Table(Ok(table))) {
            self.listed.push_back(before);
        }
        self.tidy();
        let surplus = self.listed.len().saturating_sub(LISTED);
        self.listed.drain(..surplus);
    }

    fn tidy(&mut self) {
        self.listed.retain(|content| Rc::weak_count(content) > 0);
    }
}

/// What a table is before the broker has sent anything for it.
fn first_content(name: &[u8], kind: Kind, ids: &BTreeMap<Vec<u8>, u16>) -> Content {
    let shown = Printable(name).to_string();
    if kind.is_composite() {
        return match Composite::parse(name) {
            Ok(composite) => {
                let leaves = composite.leaves().iter().map(|leaf| ids.get(leaf).copied()).collect();
                Content::Composite(composite, leaves)
            }
            Err(error) => {
                tracing::error!(subject = shown, "table {shown}: {error}");
                Content::Table(Err(Cow::Owned(error.to_string())))
            }
        };
    }
    if needs_file(name) {
        return Content::Table(Err(Cow::Borrowed(sentence(Unavailable::Loading))));
    }
    if kind == Kind::Unknown {
        return Content::Table(Err(Cow::Borrowed(why_unknown(name))));
    }
    let (_, rest) = split(name);
    let mut complaints = Vec::new();
    let table = Table::from_name_with(kind, rest, &mut complaints);
    report(&shown, &complaints);
    Content::Table(table.map(Rc::new).map_err(|error| {
        tracing::error!(subject = shown, "table {shown}: {error}");
        Cow::Owned(error.to_string())
    }))
}

/// Names what is wrong in a table: its first faults, then how many there are besides. The log's limit counts for each
/// table by itself, so that one with many faults does not hide those of another.
fn report(name: &str, complaints: &[Complaint]) {
    for complaint in complaints.iter().take(SHOWN_COMPLAINTS) {
        tracing::warn!(subject = name, "table {name}, {complaint}");
    }
    let more: u32 = complaints.iter().skip(SHOWN_COMPLAINTS).map(|complaint| complaint.fault.count()).sum();
    if more > 0 {
        tracing::warn!(subject = name, "table {name}: {more} more faults like these");
    }
}

fn sentence(reason: Unavailable) -> &'static str {
    match reason {
        Unavailable::Missing => "its file is not there",
        Unavailable::Refused => "its file, or the way to it, breaks a trust rule (see the log of the start)",
        Unavailable::TooLarge => "its file is larger than snapshot_limit",
        Unavailable::Unreadable => "its file cannot be read",
        Unavailable::UnknownType => "unsupported dictionary type",
        Unavailable::Loading => "its file is being written",
        Unavailable::NoRoom => "there is no room on its file system",
        Unavailable::Unloadable => "its content could not be loaded (see the log)",
    }
}

impl Catalogue {
    /// A member of a composite table.
    fn leaf(&self, id: Option<u16>) -> Result<&Table<Mapping>, TableError> {
        let slot = id.and_then(|id| self.slots.get(usize::from(id)));
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
        let slot = self.slots.get(usize::from(id))?;
        let id = u32::from(id);
        Some((id, Handle { catalogue: self, id, nature: slot.nature, slot: Some(slot) }))
    }

    fn turn_away(&self, name: &[u8]) -> Option<u32> {
        if !self.pace.is_tight() {
            return None;
        }
        let id = *self.by_name.get(session::without_proxy(name))?;
        let measured = self.slots.get(usize::from(id)).is_some_and(Slot::is_measured);
        Some(u32::from(id)).filter(|id| measured && self.pace.turns_away(*id))
    }
}
