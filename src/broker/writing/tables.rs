//! The tables of the writing service as its broker keeps them: files opened or made for the writer, and what is wrong
//! with those that cannot be.
//!
//! May: open, make, rename and remove files of approved tables in directories that meet the rules (`trust`). Never:
//! read or write one, use a name or a number that came from the writer.

use super::change;
use super::claim::Claim;
use super::opening::{Opened, open_lmdb, open_store};
use super::quarantine::{self, Budget};
use super::trouble::{Trouble, text_of};
use mapkeep_broker_trust::{Access, Anchor, Place, Refusal, Rule, WriteFile, WriteFiles, place_of, settled};
use mapkeep_proto::{BrokerToWriter, Listed, Part, TableId, Unavailable};
use mapkeep_sys::deadline;
use mapkeep_sys::status::Status;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// How soon a table that is not available is checked again.
const RETRY: Duration = Duration::from_secs(1);

/// A table for the writer: the message and the descriptors that go with it.
#[derive(Debug)]
pub(super) struct HandOut {
    pub(super) message: BrokerToWriter,
    pub(super) descriptors: Vec<Rc<OwnedFd>>,
    pub(super) generation: u32,
}

/// Distinguishes one version of `NAME.db` from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    mtime_ns: i128,
}

impl Stamp {
    pub(super) fn of(status: &Status) -> Stamp {
        let Status { dev, ino, size, mtime_ns, .. } = *status;
        Stamp { dev, ino, size, mtime_ns }
    }
}

/// One listed table.
pub(super) struct Entry {
    name: Vec<u8>,
    /// `None` for a type without a file that is written.
    pub(super) files: Option<WriteFiles>,
    approved: bool,
    /// When to open it next, if the writer does not have it.
    due: Option<Instant>,
    /// The last problem that was logged, so that it is logged only once.
    told: String,
    pub(super) told_checkpoint: String,
    generation: u32,
    /// The directory (device and inode number) that its files were last found in.
    place: Option<(u64, u64)>,
    /// The file with its current contents (the store, or the lmdb file), as it was last handed out.
    main: Option<(u64, u64)>,
    /// `NAME.db` as it was last handed out or put in place.
    pub(super) present: Option<Stamp>,
    /// The checkpoint that the writer is writing.
    pub(super) new: Option<Rc<OwnedFd>>,
    /// A damaged file that is still to be set aside.
    pub(super) damaged: Option<Part>,
    budget: Budget,
}

/// All listed tables, by id.
pub(super) struct Tables {
    entries: Vec<Entry>,
    pub(super) anchor: Anchor,
    /// The user who owns and writes the tables.
    pub(super) owner: u32,
}

impl Tables {
    pub(super) fn new(list: impl IntoIterator<Item = Listed>, anchor: Anchor, owner: u32) -> Tables {
        let entry = |Listed { name, approved, .. }: Listed| {
            let files = WriteFiles::of(&name);
            Entry {
                name,
                files,
                approved,
                due: None,
                told: String::new(),
                told_checkpoint: String::new(),
                generation: 0,
                place: None,
                main: None,
                present: None,
                new: None,
                damaged: None,
                budget: Budget::default(),
            }
        };
        Tables { entries: list.into_iter().map(entry).collect(), anchor, owner }
    }

    /// The descriptors of the anchor directories.
    pub(super) fn anchor_descriptors(&self) -> [RawFd; 2] {
        self.anchor.descriptors()
    }

    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// A writer has started or exited: no writer has any table, and all must be handed out.
    pub(super) fn reset(&mut self, now: Instant) {
        for entry in &mut self.entries {
            entry.due = entry.files.is_some().then_some(now);
            // The leftover file is removed once the next writer has the table.
            entry.new = None;
            // The next writer checks it itself.
            entry.damaged.take_if(|part| *part == Part::File);
        }
    }

    /// When the next table is due to be opened.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.due).min()
    }

    /// The tables that are due to be opened now.
    pub(super) fn due(&self, now: Instant) -> Vec<TableId> {
        let ids = (0..).map(TableId).zip(&self.entries);
        ids.filter(|(_, entry)| entry.due.is_some_and(|due| due <= now)).map(|(id, _)| id).collect()
    }

    /// Opens a table's files, creates missing ones, and returns what to hand out; or why the table is not available,
    /// and then tries again later.
    pub(super) fn open(&mut self, id: TableId, now: Instant) -> Result<HandOut, Unavailable> {
        let Tables { entries, anchor, owner } = self;
        let Some((before, [entry, ..])) = entries.split_at_mut_checked(usize::from(id.0)) else {
            return Err(Unavailable::Missing);
        };
        match entry.open(anchor, *owner, before, now) {
            Ok((message, descriptors)) => {
                entry.due = None;
                entry.generation = entry.generation.wrapping_add(1);
                let generation = entry.generation;
                Ok(HandOut { message: message(id, generation), descriptors, generation })
            }
            Err(trouble) => Err(entry.trouble(&trouble, now)),
        }
    }

    /// The writer serves this table, and holds the locks that exclude every other service: so nobody uses what an
    /// earlier checkpoint has left over.
    pub(super) fn opened(&mut self, id: TableId) {
        let Some((entry, anchor, owner)) = self.with_grounds(id) else { return };
        if !std::mem::take(&mut entry.told).is_empty() {
            tracing::info!("table {} is available", entry.shown());
        }
        if let Some(files) = entry.files.as_ref().filter(|files| !files.is_lmdb())
            && let Ok(place) = entry.same_place(anchor, owner)
        {
            // If it cannot be removed, the next checkpoint reports that.
            let _ = change::remove(&place, &files.name(WriteFile::New));
        }
    }

    /// The writer could not use this table, through no fault of its files.
    pub(super) fn failed(&mut self, id: TableId, now: Instant) {
        if let Some(entry) = self.get_mut(id) {
            entry.new = None;
            entry.due = Some(deadline::after(now, RETRY));
        }
    }

    /// The writer has found this file damaged: it is set aside, now or when the table is opened again.
    pub(super) fn corrupt(&mut self, id: TableId, part: Part, now: Instant) {
        let Tables { entries, anchor, owner } = self;
        let Some(entry) = entries.get_mut(usize::from(id.0)) else { return };
        entry.damaged = Some(part);
        match part {
            Part::Lmdb | Part::Store => {
                entry.new = None;
                entry.due = Some(now);
            }
            Part::File => {
                let Some(files) = entry.files.clone() else { return };
                let place = settled(|| place_of(anchor, &files, *owner)).map_err(Trouble::from);
                if let Err(trouble) = place.and_then(|place| entry.set_aside(&place, now)) {
                    let text = trouble.text();
                    tracing::warn!("table {}: cannot set its damaged file aside: {text}", entry.shown());
                }
            }
        }
    }

    pub(super) fn get_mut(&mut self, id: TableId) -> Option<&mut Entry> {
        self.entries.get_mut(usize::from(id.0))
    }

    /// A table, with what its checkpoints need.
    pub(super) fn with_grounds(&mut self, id: TableId) -> Option<(&mut Entry, &Anchor, u32)> {
        let Tables { entries, anchor, owner } = self;
        entries.get_mut(usize::from(id.0)).map(|entry| (entry, &*anchor, *owner))
    }
}

type Message = fn(TableId, u32) -> BrokerToWriter;

impl Entry {
    /// Its name, for the log.
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    fn open(
        &mut self,
        anchor: &Anchor,
        owner: u32,
        before: &[Entry],
        now: Instant,
    ) -> Result<(Message, Vec<Rc<OwnedFd>>), Trouble> {
        let missing = || Refusal::Missing { component: self.name.clone() };
        let files = self.files.clone().ok_or_else(missing)?;
        let configured = files.path(files.configured());
        if !self.approved {
            let problem = "belongs to a table that the list names only as a member of another one".to_owned();
            let remedy = "add the table to proxy_write_maps, or name it there instead".to_owned();
            return Err(Refusal::Untrusted { component: configured, rule: Rule::W7, problem, remedy }.into());
        }
        let place = settled(|| place_of(anchor, &files, owner))?;
        self.place = Some(place.identity());
        if let Some(other) = before.iter().find(|other| other.shares(self)) {
            let problem = format!("is already the file of the table {}", other.shown());
            let remedy = "name another file for one of them, or remove one from proxy_write_maps".to_owned();
            return Err(Refusal::Untrusted { component: configured, rule: Rule::W6, problem, remedy }.into());
        }
        if matches!(self.damaged, Some(Part::Lmdb | Part::Store)) {
            self.set_aside(&place, now)?;
        }
        for file in files.lasting() {
            self.set_directory_aside(&place, &files.name(*file), now)?;
        }
        if files.is_lmdb() {
            let (lmdb, synced) = settled(|| open_lmdb(&place, &files))?;
            self.main = Some((lmdb.status.dev, lmdb.status.ino));
            let descriptors = vec![Rc::new(lmdb.file), Rc::new(synced.file)];
            return Ok((|id, generation| BrokerToWriter::Lmdb { id, generation }, descriptors));
        }
        self.set_stale_log_aside(&place, &files, now)?;
        let Opened { store, log, database } = settled(|| open_store(&place, &files))?;
        self.main = Some((store.status.dev, store.status.ino));
        self.present = database.as_ref().map(|database| Stamp::of(&database.status));
        let mut descriptors = vec![Rc::new(store.file), Rc::new(log.file)];
        Ok(match database {
            None => (|id, generation| BrokerToWriter::Store { id, generation }, descriptors),
            Some(database) => {
                descriptors.push(Rc::new(database.file));
                (|id, generation| BrokerToWriter::StoreBeside { id, generation }, descriptors)
            }
        })
    }

    /// Whether both have a file in common.
    fn shares(&self, other: &Entry) -> bool {
        let (Some(files), Some(others)) = (&self.files, &other.files) else { return false };
        let main = |files: &WriteFiles| files.name(files.main());
        self.place.is_some() && self.place == other.place && main(files) == main(others)
    }

    /// The directory of its files, if the file with its current contents is still the one that the writer has. The
    /// error says why not.
    pub(super) fn same_place<'a>(&self, anchor: &'a Anchor, owner: u32) -> Result<Place<'a>, String> {
        let files = self.files.as_ref().ok_or("it has no file")?;
        let place = settled(|| place_of(anchor, files, owner)).map_err(|refusal| text_of(&refusal))?;
        let name = files.name(files.main());
        let status = place.status(&name).map_err(|refusal| text_of(&refusal))?;
        if status.map(|status| (status.dev, status.ino)) != self.main {
            let path = place.path_of(&name);
            return Err(format!(
                "{} is not the file that is in use: it, or its directory, has been replaced; restart the service \
                 (\"postfix reload\", or \"systemctl restart\" of its own unit)",
                String::from_utf8_lossy(&path)
            ));
        }
        Ok(place)
    }

    /// Sets the damaged file aside, unless another program has replaced it since.
    pub(super) fn set_aside(&mut self, place: &Place<'_>, now: Instant) -> Result<(), Trouble> {
        let (Some(files), Some(part)) = (&self.files, self.damaged) else { return Ok(()) };
        let (file, log) = match part {
            Part::Lmdb => (WriteFile::Lmdb, None),
            Part::Store => (WriteFile::Store, Some(files.name(WriteFile::Log))),
            Part::File => (WriteFile::Database, None),
        };
        let name = files.name(file);
        let status = place.status(&name)?;
        let is_it = match part {
            Part::File => status.is_some() && status.as_ref().map(Stamp::of) == self.present,
            _ => status.is_some() && status.map(|status| (status.dev, status.ino)) == self.main,
        };
        if is_it {
            // A store has locks of its own; `NAME.db` may be written by other programs.
            let _claim = if part == Part::File { Claim::of(place, &name)? } else { None };
            self.rename_aside(place, &name, log.as_deref(), "is damaged", now)?;
        }
        if part == Part::File && (is_it || status.is_none()) {
            self.present = None;
        }
        self.damaged = None;
        Ok(())
    }

    /// A log without its store would be taken for the log of the new store, so it is set aside like a damaged file.
    fn set_stale_log_aside(
        &mut self,
        place: &Place<'_>,
        files: &WriteFiles,
        now: Instant,
    ) -> Result<(), Trouble> {
        let log = files.name(WriteFile::Log);
        let has_content = place.look(&log, Access::Write)?.is_some_and(|status| status.size > 0);
        if has_content && place.status(&files.name(WriteFile::Store))?.is_none() {
            self.rename_aside(place, &log, None, "has lost its store", now)?;
        }
        Ok(())
    }

    /// A directory of the owner in the place of a file is treated as a damaged file.
    pub(super) fn set_directory_aside(
        &mut self,
        place: &Place<'_>,
        name: &[u8],
        now: Instant,
    ) -> Result<(), Trouble> {
        if place.holds_directory(name)? {
            self.rename_aside(place, name, None, "is a directory", now)?;
        }
        Ok(())
    }

    fn rename_aside(
        &mut self,
        place: &Place<'_>,
        name: &[u8],
        log: Option<&[u8]>,
        what: &str,
        now: Instant,
    ) -> Result<(), Trouble> {
        self.budget.take(now).map_err(Trouble::TooOften)?;
        let failed = |errno| Trouble::Rename(place.path_of(name), errno);
        let aside = quarantine::set_aside(place, name, log, SystemTime::now()).map_err(failed)?;
        change::sync(place).map_err(failed)?;
        tracing::warn!(
            "table {}: {} {what} -- set aside as {}; a new one takes its place",
            self.shown(),
            String::from_utf8_lossy(&place.path_of(name)),
            String::from_utf8_lossy(&aside)
        );
        Ok(())
    }

    /// Records and logs why it is not available.
    fn trouble(&mut self, trouble: &Trouble, now: Instant) -> Unavailable {
        self.due = match trouble {
            Trouble::TooOften(again) => Some(*again),
            // A permanent consequence of the configuration.
            Trouble::Refusal(Refusal::Untrusted { rule: Rule::W7, .. }) => None,
            _ => now.checked_add(RETRY),
        };
        let text = trouble.text();
        if self.told != text {
            tracing::warn!("open table {}: {text}", self.shown());
            self.told = text;
        }
        trouble.reason()
    }
}

#[cfg(test)]
pub(super) mod tests;
