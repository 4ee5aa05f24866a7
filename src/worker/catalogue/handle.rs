//! A table as a request sees it: lookups, their time, and scans.
//!
//! May: read the clock for tables that are measured. Never: decide who waits; that is `pace`.

use super::{Catalogue, Content, Slot};
use crate::pace::LONG;
use crate::session;
use mapkeep_proto::Kind;
use mapkeep_sys::mapping::Mapping;
use mapkeep_table::{Cursor, Outcome, Pause, Place, Query, Step, Table, TableError};
use std::borrow::Cow;
use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// How long one lookup may have the worker in one turn. What cannot be interrupted before is a temporary error then: one
/// pattern, or a composite table. Everybody else waits so long, so that it is well below the second that a client of
/// another table may have to wait.
const TIME: Duration = Duration::from_millis(300);
/// How long one lookup in a table of patterns may take in all its turns. Two thousand ordinary rules take a third of it with
/// the longest header.
const WHOLE: Duration = Duration::from_secs(20);

/// A table as a request sees it.
#[derive(Debug)]
pub(crate) struct Handle<'c> {
    pub(super) catalogue: &'c Catalogue,
    pub(super) id: u32,
    pub(super) nature: session::Nature,
    /// `None` when nobody knows whether the table is approved.
    pub(super) slot: Option<&'c Slot>,
}

/// How far an interrupted lookup has come. It goes on in the content that it began with; if that has been replaced, it
/// begins anew, in the time that is left to it.
#[derive(Debug, Default)]
pub(crate) struct Interrupted {
    content: Weak<Table<Mapping>>,
    place: Place,
    /// The time that it has taken so far.
    used: Duration,
}

/// Where a client stands in the scan of a table. It goes on in the content that it began with.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(super) content: Option<Weak<Table<Mapping>>>,
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
        let interrupted = if slot.nature.kind.has_rules() { self.catalogue.interrupted.take() } else { None };
        let Interrupted { content, place, used } = interrupted.unwrap_or_default();
        let place = if slot.holds(&content) { place } else { Place::default() };
        // The clock is read by tables of rules only, which ask; the first question starts it.
        let (began, place) = (Cell::new(None), Cell::new(place));
        let time_left = || left(&began, used, Instant::now());
        let pause = Pause { below: TIME.saturating_sub(LONG), place: &place };
        let query = sought.query(self.catalogue.next_random(), &time_left);
        let outcome = match &slot.content {
            Content::Table(Ok(table)) => table.lookup_with(&Query { pause: Some(&pause), ..query }, value),
            Content::Table(Err(reason)) => return Err(session::Failure::Unavailable(reason.clone())),
            Content::Composite(composite, leaves) => {
                let resolve = |leaf: usize| self.catalogue.leaf(leaves.get(leaf).copied().flatten());
                composite.lookup_with(&query, &resolve, value)
            }
        };
        if let Some(began) = began.get() {
            let ended = Instant::now();
            let took = ended.saturating_duration_since(began);
            self.catalogue.pace.meter.note(self.id, took, ended);
            if let (Err(TableError::Paused), Content::Table(Ok(table))) = (outcome, &slot.content) {
                let (content, used) = (Rc::downgrade(table), used.saturating_add(took));
                let interrupted = Interrupted { content, place: place.get(), used };
                self.catalogue.interrupted.replace(Some(interrupted));
            }
        }
        Ok(outcome?)
    }

    fn usable(&self) -> Result<(), session::Failure> {
        match &self.slot()?.content {
            Content::Table(Ok(table)) if table.kind() == Kind::Fail => Err(session::Failure::OnPurpose),
            Content::Table(Err(reason)) => Err(session::Failure::Unavailable(reason.clone())),
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

impl Slot {
    /// Whether this is the content that answers now.
    fn holds(&self, content: &Weak<Table<Mapping>>) -> bool {
        match &self.content {
            Content::Table(Ok(table)) => std::ptr::eq(content.as_ptr(), Rc::as_ptr(table)),
            Content::Table(Err(_)) | Content::Composite(..) => false,
        }
    }
}

/// What is left of the turn's [`TIME`] for a lookup that `began` at its first question; nothing if it has `used` up all of
/// its turns.
pub(super) fn left(began: &Cell<Option<Instant>>, used: Duration, now: Instant) -> Duration {
    let start = began.get().unwrap_or(now);
    began.set(Some(start));
    match used < WHOLE {
        true => TIME.saturating_sub(now.saturating_duration_since(start)),
        false => Duration::ZERO,
    }
}
