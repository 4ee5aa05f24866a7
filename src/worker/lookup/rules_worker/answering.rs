//! From a question to its answer.

use super::pace::LONG;
use crate::contents::Contents;
use mapkeep_proto::{Answered, MAX_VALUE, Manner, TableId};
use mapkeep_query::{
    Folding, MAX_ITEM, NulMode, NulModes, Outcome, Pause, Place, Query, Substitution, TableError, Values,
};
use mapkeep_sys::mapping::Mapping;
use mapkeep_table_lookup::Table;
use mapkeep_worker_answering::Pending;
use mapkeep_worker_session::Failure;
use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// How long one lookup may have the worker in one turn. What cannot be interrupted before, a single pattern, is a temporary
/// error then. Others wait so long for their turn.
const TIME: Duration = Duration::from_millis(300);
/// How long one lookup may take in all its turns. Two thousand ordinary rules take a third of it with the longest header.
const WHOLE: Duration = Duration::from_secs(20);

// What a table gives can be sent.
const _: () = assert!(MAX_ITEM <= MAX_VALUE);

/// A question that waits, and how far it has come.
pub(super) struct Waiting {
    pub(super) ticket: u32,
    asked: Option<(Box<[u8]>, Manner)>,
    interrupted: Interrupted,
}

/// How far an interrupted lookup has come. It goes on in the content that it began with; if that has been replaced, it
/// starts again, in the time that is left to it.
#[derive(Default)]
struct Interrupted {
    content: Weak<Table<Mapping>>,
    place: Place,
    /// The time that it has taken so far.
    used: Duration,
}

impl Waiting {
    /// One that nobody has begun to answer.
    pub(super) fn new(question: Pending) -> Waiting {
        Waiting { ticket: question.ticket, asked: question.asked, interrupted: Interrupted::default() }
    }

    /// Works out the answer, with the value in `value`; nothing if it was interrupted, and is to be continued later.
    pub(super) fn answer(
        &mut self,
        table: TableId,
        contents: &Contents,
        clock: fn() -> Instant,
        value: &mut Vec<u8>,
    ) -> Option<Result<Outcome, Failure>> {
        let table = match contents.table(table) {
            Ok(table) => table,
            Err(failure) => return Some(Err(failure)),
        };
        let Some((key, manner)) = &self.asked else { return Some(Ok(Outcome::Absent)) };
        let Interrupted { content, place, used } = &self.interrupted;
        let goes_on = std::ptr::eq(content.as_ptr(), Rc::as_ptr(table));
        let (place, used) = (Cell::new(if goes_on { *place } else { Place::default() }), *used);
        // The clock is read by tables that take long only; the first question starts it.
        let began = Cell::new(None);
        let time_left = || left(&began, used, clock());
        let query = Query {
            key,
            modes: NulModes { bare: manner.bare, with_nul: manner.with_nul },
            substitution: if manner.substitution { Substitution::Allowed } else { Substitution::Refused },
            // The asker has folded the key.
            folding: Folding::NONE,
            utf8: manner.utf8,
            values: if manner.file_content { Values::FileContent } else { Values::Text },
            // No table of ours draws lots.
            random: 0,
            time_left: &time_left,
            pause: Some(&Pause { below: TIME.saturating_sub(LONG), place: &place }),
        };
        match table.lookup_with(&query, value) {
            Err(TableError::Paused) => {
                let took =
                    began.get().map_or(Duration::ZERO, |began| clock().saturating_duration_since(began));
                let (content, used) = (Rc::downgrade(table), used.saturating_add(took));
                self.interrupted = Interrupted { content, place: place.get(), used };
                None
            }
            Ok(_) if manner.utf8 && std::str::from_utf8(value).is_err() => Some(Err(Failure::ValueNotUtf8)),
            outcome => Some(outcome.map_err(Failure::from)),
        }
    }
}

/// The answer as it is sent. `reason` is where its text is kept.
pub(super) fn answered<'a>(
    outcome: &Result<Outcome, Failure>,
    value: &'a [u8],
    reason: &'a mut String,
) -> Answered<'a> {
    match outcome {
        Ok(Outcome::Found(mode)) => Answered::Found { with_nul: *mode == NulMode::WithNul, value },
        Ok(Outcome::Absent) => Answered::Absent,
        Err(failure) => {
            let (why, text) = failure.report();
            *reason = text;
            Answered::Failed { why, reason }
        }
    }
}

/// What is left of the turn's [`TIME`] for a lookup that `began` at its first question; nothing if it has `used` up all of
/// its turns.
pub(crate) fn left(began: &Cell<Option<Instant>>, used: Duration, now: Instant) -> Duration {
    let start = began.get().unwrap_or(now);
    began.set(Some(start));
    match used < WHOLE {
        true => TIME.saturating_sub(now.saturating_duration_since(start)),
        false => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_has_its_time_from_the_first_question_on() {
        let (began, start) = (Cell::new(None), Instant::now());
        let after = |millis| left(&began, Duration::ZERO, start + Duration::from_millis(millis));
        // Others of the same table wait meanwhile; for a second at most.
        assert!(after(0) > Duration::ZERO && after(0) <= Duration::from_millis(500));
        assert_eq!(after(0) - after(100), Duration::from_millis(100));
        assert_eq!(after(1000), Duration::ZERO);
        // All turns of one lookup together have an end, too.
        let began = Cell::new(None);
        assert!(left(&began, Duration::from_secs(10), start) > Duration::ZERO);
        assert_eq!(left(&began, Duration::from_secs(30), start), Duration::ZERO);
    }
}
