//! The limits of all kinds of lines of a process.
//!
//! A kind is a place in the code, and a subject where the line has one. Never: keep more than [`SUBJECTS`] of them
//! apart at one place; those beyond share a limit.

use crate::limit::Limiter;
use std::collections::BTreeMap;
use std::time::Instant;
use tracing::callsite::Identifier;

/// The number of subjects of one place in the code that get their own limit.
const SUBJECTS: usize = 1000;

/// Limits by kind.
pub(crate) struct Kinds {
    each_second: u32,
    places: Vec<(Identifier, BTreeMap<String, Kind>)>,
    /// When the first count is due: the event loops ask in every turn.
    due: Option<Instant>,
}

struct Kind {
    limiter: Limiter,
    /// The first dropped line, so that a reader knows what the count is about.
    first: String,
}

impl Kinds {
    pub(crate) fn new(each_second: u32) -> Kinds {
        Kinds { each_second, places: Vec::new(), due: None }
    }

    /// Whether to write this line. One without a subject has the empty one.
    pub(crate) fn passes(&mut self, place: &Identifier, subject: String, line: &str, now: Instant) -> bool {
        let index = match self.places.iter().position(|(known, _)| known == place) {
            Some(index) => index,
            None => {
                self.places.push((place.clone(), BTreeMap::new()));
                self.places.len().saturating_sub(1)
            }
        };
        let Some((_, subjects)) = self.places.get_mut(index) else { return false };
        if subjects.len() >= SUBJECTS && !subjects.contains_key(&subject) {
            subjects.retain(|_, kind| !kind.limiter.is_idle(now));
        }
        let subject = if subjects.len() < SUBJECTS || subjects.contains_key(&subject) {
            subject
        } else {
            String::new()
        };
        let new = || Kind { limiter: Limiter::new(self.each_second, now), first: String::new() };
        let kind = subjects.entry(subject).or_insert_with(new);
        if kind.limiter.passes(now) {
            return true;
        }
        if kind.first.is_empty() {
            line.clone_into(&mut kind.first);
        }
        self.due = self.due.into_iter().chain(kind.limiter.due()).min();
        false
    }

    /// Reports the counts of dropped lines for seconds that have ended; returns when the next count is due.
    pub(crate) fn settle(&mut self, now: Instant, mut tell: impl FnMut(&str)) -> Option<Instant> {
        if self.due.is_none_or(|due| now < due) {
            return self.due;
        }
        self.due = None;
        for kind in self.places.iter_mut().flat_map(|(_, subjects)| subjects.values_mut()) {
            if let Some(count) = kind.limiter.left_out(now) {
                let lines = if count == 1 { "line" } else { "lines" };
                tell(&format!(
                    "{count} more {lines} like this suppressed: {}",
                    std::mem::take(&mut kind.first)
                ));
            }
            self.due = self.due.into_iter().chain(kind.limiter.due()).min();
        }
        self.due
    }
}
