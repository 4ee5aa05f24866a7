//! Checkpoints: an empty file for the writer, and the written one in the place of `NAME.db`.
//!
//! `NAME.db` belongs to stock Postfix and to postmap(1) as much as to us. It is replaced only while it is the file that
//! the writer has seen, or that the last checkpoint was; otherwise the writer gets what is there now. And it is replaced
//! only under a claim: a program that goes on writing the previous file would write for nobody.
//!
//! May: what `change` does, fchmod, and open files by `trust`.

use super::change;
use super::claim::Claim;
use super::tables::{Entry, Stamp, Tables};
use super::trouble::{Trouble, text_of};
use mapkeep_broker_trust::{Access, Anchor, Place, Refusal, WriteFile, WriteOpened, settled};
use mapkeep_proto::{BrokerToWriter, Part, TableId};
use mapkeep_sys::status::{self, Status};
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

/// The permissions of a new file, and the widest that a checkpoint can have.
const PRIVATE: u32 = 0o600;
const WIDEST: u32 = 0o644;

/// A message to the writer, and its descriptor.
pub(super) type Answer = (BrokerToWriter, Option<Rc<OwnedFd>>);

/// The result of a checkpoint.
enum Put {
    InPlace,
    /// Another program has written `NAME.db`; this is the file now.
    Foreign(WriteOpened),
}

impl Tables {
    /// Creates an empty file for a checkpoint.
    pub(super) fn want_new(&mut self, id: TableId) -> Answer {
        let Some((entry, anchor, owner)) = self.with_grounds(id) else {
            return (BrokerToWriter::NotReplaced(id), None);
        };
        match entry.make_new(anchor, owner) {
            Ok(new) => (BrokerToWriter::New(id), Some(new)),
            Err(text) => entry.not_replaced(id, text),
        }
    }

    /// Replaces `NAME.db` with the written file.
    pub(super) fn replace(&mut self, id: TableId, now: Instant) -> Answer {
        let Some((entry, anchor, owner)) = self.with_grounds(id) else {
            return (BrokerToWriter::NotReplaced(id), None);
        };
        match entry.replace(anchor, owner, now) {
            Ok(Put::InPlace) => {
                if !std::mem::take(&mut entry.told_checkpoint).is_empty() {
                    tracing::info!(
                        "table {}: its Berkeley DB file is up to date (checkpoint)",
                        entry.shown()
                    );
                }
                (BrokerToWriter::Replaced(id), None)
            }
            Ok(Put::Foreign(now)) => {
                tracing::info!(
                    "table {}: another program has changed its file -- importing its entries",
                    entry.shown()
                );
                entry.present = Some(Stamp::of(&now.status));
                (BrokerToWriter::Changed(id), Some(Rc::new(now.file)))
            }
            Err(text) => entry.not_replaced(id, text),
        }
    }

    /// Removes the file of an abandoned checkpoint.
    pub(super) fn discard(&mut self, id: TableId) {
        let Some((entry, anchor, owner)) = self.with_grounds(id) else { return };
        if let Some(new) = entry.new.take()
            && let Ok(place) = entry.same_place(anchor, owner)
        {
            entry.remove_new(&place, &new);
        }
    }
}

impl Entry {
    fn not_replaced(&mut self, id: TableId, text: String) -> Answer {
        if self.told_checkpoint != text {
            tracing::warn!("table {}: cannot write its checkpoint: {text}", self.shown());
            self.told_checkpoint = text;
        }
        (BrokerToWriter::NotReplaced(id), None)
    }

    fn name_of(&self, file: WriteFile) -> Vec<u8> {
        self.files.as_ref().map(|files| files.name(file)).unwrap_or_default()
    }

    fn make_new(&mut self, anchor: &Anchor, owner: u32) -> Result<Rc<OwnedFd>, String> {
        let place = self.same_place(anchor, owner)?;
        let name = self.name_of(WriteFile::New);
        let failed = |errno: Errno| format!("{}: {}", change::shown(&place, &name), errno.desc());
        // If `NAME.db` cannot be replaced, there is no point in writing a file. It may be in use later even if it is
        // free now, so this is checked again before the replacement.
        if let Err(trouble @ Trouble::InUse(_)) = Claim::of(&place, &self.name_of(WriteFile::Database)) {
            return Err(trouble.text());
        }
        // A leftover of an earlier checkpoint.
        change::remove(&place, &name).map_err(failed)?;
        let created = settled(|| place.create(&name)).map_err(|refusal| text_of(&refusal))?;
        let new = Rc::new(created.file);
        self.new = Some(Rc::clone(&new));
        Ok(new)
    }

    fn replace(&mut self, anchor: &Anchor, owner: u32, now: Instant) -> Result<Put, String> {
        let new = self.new.take().ok_or("there is none in progress")?;
        let place = self.same_place(anchor, owner)?;
        let put = self.put(&place, &new, now);
        if !matches!(put, Ok(Put::InPlace)) {
            self.remove_new(&place, &new);
        }
        put
    }

    /// Removes the new file, if its name still denotes it.
    fn remove_new(&self, place: &Place<'_>, new: &OwnedFd) {
        let name = self.name_of(WriteFile::New);
        let identity = |status: &Status| (status.dev, status.ino);
        let named = place.status(&name).ok().flatten().as_ref().map(identity);
        let ours = status::of(new.as_fd()).ok().as_ref().map(identity);
        if named.is_some()
            && named == ours
            && let Err(errno) = change::remove(place, &name)
        {
            tracing::warn!("{} cannot be removed: {}", change::shown(place, &name), errno.desc());
        }
    }

    fn put(&mut self, place: &Place<'_>, new: &OwnedFd, now: Instant) -> Result<Put, String> {
        let (fresh, database) = (self.name_of(WriteFile::New), self.name_of(WriteFile::Database));
        let refused = |refusal: Refusal| text_of(&refusal);
        let failed = |errno: Errno| format!("{}: {}", change::shown(place, &database), errno.desc());
        let written = status::of(new.as_fd()).map_err(|error| error.to_string())?;
        if written.size == 0 {
            // Even if the writer has been hijacked, an empty file must not replace one with entries.
            return Err(format!("{} is empty", change::shown(place, &fresh)));
        }
        let named = settled(|| place.look(&fresh, Access::Write)).map_err(refused)?;
        if named.is_none_or(|named| (named.dev, named.ino) != (written.dev, written.ino)) {
            return Err(format!("{} has been removed or replaced", change::shown(place, &fresh)));
        }
        if self.damaged == Some(Part::File) {
            // A damaged file is preserved, so it must be set aside before it is replaced.
            self.set_aside(place, now).map_err(|trouble| trouble.text())?;
        }
        self.set_directory_aside(place, &database, now).map_err(|trouble| trouble.text())?;
        let claim = Claim::of(place, &database).map_err(|trouble| trouble.text())?;
        if claim.as_ref().is_some_and(|claim| Some(Stamp::of(&claim.status)) != self.present) {
            return self.foreign(place);
        }
        let mode = mode_for(claim.as_ref().map(|claim| &claim.status), &written);
        if mode != PRIVATE {
            fchmod(new, Mode::from_bits_truncate(mode)).map_err(failed)?;
        }
        let renamed = match &claim {
            None => change::rename_to_free(place, &fresh, &database),
            Some(_) => change::exchange(place, &fresh, &database),
        };
        match (renamed, &claim) {
            (Ok(()), Some(claim)) if claim.is_awaited() => {
                // The program that waits looked the name up before, and is about to write the previous file.
                change::exchange(place, &fresh, &database).map_err(failed)?;
                return Err(Trouble::InUse(place.path_of(&database)).text());
            }
            (Ok(()), Some(_)) if !self.is_replaced(place, &fresh).map_err(refused)? => {
                change::exchange(place, &fresh, &database).map_err(failed)?;
                return self.foreign(place);
            }
            (Ok(()), _) => {}
            (Err(Errno::EEXIST), _) => return self.foreign(place),
            // A file system that cannot exchange names: the claim excludes programs that lock the file; a change by any
            // other is noticed only by the check above.
            (Err(Errno::EINVAL), _) => change::rename_over(place, &fresh, &database).map_err(failed)?,
            (Err(errno), _) => return Err(failed(errno)),
        }
        self.present = Some(Stamp::of(&written));
        change::sync(place).map_err(failed)?;
        Ok(Put::InPlace)
    }

    /// After an exchange: removes the previous file, if it is the one that was to be replaced. False if it is another.
    fn is_replaced(&self, place: &Place<'_>, fresh: &[u8]) -> Result<bool, Refusal> {
        if place.status(fresh)?.as_ref().map(Stamp::of) != self.present {
            return Ok(false);
        }
        if let Err(errno) = change::remove(place, fresh) {
            // It does no harm, and is removed before the next checkpoint.
            tracing::warn!("{} cannot be removed: {}", change::shown(place, fresh), errno.desc());
        }
        Ok(true)
    }

    /// `NAME.db` as another program has written it.
    fn foreign(&self, place: &Place<'_>) -> Result<Put, String> {
        let name = self.name_of(WriteFile::Database);
        match settled(|| place.open(&name, Access::Read)) {
            Ok(Some(opened)) => Ok(Put::Foreign(opened)),
            Ok(None) => Err(format!("{} existed and is gone", change::shown(place, &name))),
            Err(refusal) => Err(text_of(&refusal)),
        }
    }
}

/// The permissions of a checkpoint: those of the file that it replaces, as far as they let others read it.
///
/// The new file's group may be different (the broker's own). It gets no permission that the old file does not give to
/// everybody.
fn mode_for(before: Option<&Status>, new: &Status) -> u32 {
    let Some(before) = before else { return PRIVATE };
    let mode = before.mode & WIDEST | PRIVATE;
    let same_group = before.gid == new.gid || mode & 0o004 != 0;
    if same_group { mode } else { mode & !0o040 }
}

#[cfg(test)]
pub(super) mod tests;
