//! The contents that this worker holds: names and snapshots from the broker, by table id.
//!
//! May: keep mappings. Never: know a path, or who may ask.

use crate::elsewhere::Route;
use mapkeep_name::{Kind, needs_file, remote, split, why_unknown};
use mapkeep_proto::{Listed, TableId, Unavailable};
use mapkeep_query::TableError;
use mapkeep_sys::mapping::Mapping;
use mapkeep_table_format::Complaint;
use mapkeep_table_lookup::{Composite, Table};
use mapkeep_worker_session::wire::Printable;
use mapkeep_worker_session::{Failure, Nature};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Complaints about lines of one table that are logged; the rest is counted.
const SHOWN_COMPLAINTS: usize = 10;
/// Previous contents that one table keeps for clients who are listing it: with more of them, those who began earliest get a
/// temporary error. A client that never goes on could otherwise hold any number of them in memory.
pub(crate) const LISTED: usize = 2;

/// One table.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: Vec<u8>,
    pub(crate) nature: Nature,
    /// As [`Listed`] has it.
    incomplete: bool,
    pub(crate) content: Content,
    /// Previous contents that somebody is listing, the oldest first.
    pub(crate) listed: VecDeque<Rc<Table<Mapping>>>,
}

/// What a table answers from.
#[derive(Debug)]
pub(crate) enum Content {
    /// The table itself, or why it cannot be asked.
    Table(Result<Rc<Table<Mapping>>, Cow<'static, str>>),
    /// A table made of others, with the ids of those.
    Composite(Composite, Vec<Option<u16>>),
    /// Nothing: another process answers for it.
    Elsewhere(Route),
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Contents(Vec<Slot>);

impl Contents {
    /// Those of tables of these names, as far as this worker `holds` tables of their kind. Those that are in the name are
    /// ready at once.
    pub(crate) fn new(tables: Vec<Listed>, holds: impl Fn(Kind) -> bool) -> Contents {
        let ids: BTreeMap<Vec<u8>, u16> =
            (0u16..).zip(&tables).map(|(id, table)| (table.name.clone(), id)).collect();
        let slot = |Listed { name, incomplete, .. }: Listed| {
            let nature = Nature::of(&name);
            let held = holds(nature.kind);
            let content =
                if held { first_content(&name, nature.kind, &ids) } else { Content::Elsewhere(Route::Rules) };
            Slot { name, nature, incomplete, content, listed: VecDeque::new() }
        };
        Contents(tables.into_iter().map(slot).collect())
    }

    /// One table.
    pub(crate) fn get(&self, id: TableId) -> Option<&Slot> {
        self.0.get(usize::from(id.0))
    }

    /// A table that has a content of its own.
    ///
    /// # Errors
    /// It has none, or none for now.
    pub(crate) fn table(&self, id: TableId) -> Result<&Rc<Table<Mapping>>, Failure> {
        match self.get(id).map(|slot| &slot.content) {
            Some(Content::Table(Ok(table))) => Ok(table),
            Some(Content::Table(Err(reason))) => Err(Failure::Unavailable(reason.clone())),
            Some(Content::Composite(..) | Content::Elsewhere(_)) | None => {
                Err(Failure::Content(TableError::WrongKind))
            }
        }
    }

    /// Of which kind a table is whose content this worker may be given.
    pub(crate) fn kind(&self, id: TableId) -> Option<Kind> {
        let held = |slot: &&Slot| !matches!(slot.content, Content::Elsewhere(_));
        let held = self.get(id).filter(held).filter(|slot| !slot.nature.kind.is_remote());
        held.map(|slot| slot.nature.kind)
    }

    /// Switches to a new content. False when it does not parse; then the previous content stays.
    pub(crate) fn take(
        &mut self,
        id: TableId,
        opened: Result<Table<Mapping>, TableError>,
        complaints: &[Complaint],
    ) -> bool {
        let Some(slot) = self.0.get_mut(usize::from(id.0)) else { return false };
        let name = Printable(&slot.name).to_string();
        match opened {
            Ok(table) => {
                report(&name, complaints);
                let table = if slot.incomplete { table.incomplete() } else { table };
                slot.replace(Rc::new(table));
                true
            }
            Err(error) => {
                match slot.content {
                    Content::Table(Err(_)) => {
                        tracing::error!(subject = name, "table {name}: {error}");
                        slot.content = Content::Table(Err(Cow::Owned(error.to_string())));
                    }
                    Content::Table(Ok(_)) | Content::Composite(..) | Content::Elsewhere(_) => {
                        tracing::warn!(
                            subject = name,
                            "table {name}: {error} -- keeping the previous version"
                        );
                    }
                }
                false
            }
        }
    }

    /// Releases previous contents that nobody is listing any more. To be called now and then.
    pub(crate) fn tidy(&mut self) {
        self.0.iter_mut().for_each(Slot::tidy);
    }

    /// How many previous contents are kept.
    #[cfg(test)]
    pub(crate) fn previous(&self) -> usize {
        self.0.iter().map(|slot| slot.listed.len()).sum()
    }

    /// The broker has no content for this table. What is there goes on answering.
    pub(crate) fn unavailable(&mut self, id: TableId, reason: Unavailable) {
        let slot = self.0.get_mut(usize::from(id.0));
        if let Some(slot) = slot.filter(|slot| matches!(slot.content, Content::Table(Err(_)))) {
            slot.content = Content::Table(Err(Cow::Borrowed(sentence(reason))));
        }
    }

    /// From now on this is how a table is asked that a server answers for.
    pub(crate) fn route(&mut self, id: TableId, route: Route) {
        let slot = self.0.get_mut(usize::from(id.0));
        if let Some(slot) = slot.filter(|slot| slot.nature.kind.is_remote()) {
            slot.content = Content::Elsewhere(route);
        }
    }
}

impl Slot {
    /// Switches to a new content, and keeps the one before it for those who are listing that.
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
    if kind.is_remote() {
        // The log of the start has what is wrong with a name, and what to do about it.
        let why = remote(name)
            .err()
            .map_or("no gateway asks its server (the log of the start says why)", |error| error.0);
        return Content::Table(Err(Cow::Borrowed(why)));
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
        Unavailable::Missing => "its file does not exist",
        Unavailable::Refused => {
            "its file, or the way to it, breaks a trust rule (an earlier log line names it)"
        }
        Unavailable::TooLarge => "its file is larger than snapshot_limit",
        Unavailable::Unreadable => "its file cannot be read",
        Unavailable::UnknownType => "unsupported dictionary type",
        Unavailable::Loading => "its file is being written",
        Unavailable::NoRoom => "there is no room on its file system",
        Unavailable::Unloadable => "its content could not be loaded (see the log)",
    }
}
