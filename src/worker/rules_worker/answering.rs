//! From a question to its answer.

use crate::contents::Contents;
use crate::session::Failure;
use mapkeep_proto::{Answered, Asked, MAX_VALUE, Manner, Question, TableId};
use mapkeep_table::{Folding, MAX_ITEM, NulMode, NulModes, Outcome, Query, Substitution, Values};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long one lookup may take. After that it is a temporary error. Others wait so long for their turn.
const TIME: Duration = Duration::from_millis(300);

// What a table gives can be sent.
const _: () = assert!(MAX_ITEM <= MAX_VALUE);

/// A question that waits.
pub(super) struct Pending {
    pub(super) ticket: u32,
    /// The key, and how to look for it; nothing where the question is whether the table can be asked at all.
    asked: Option<(Box<[u8]>, Manner)>,
}

impl Pending {
    /// What is asked, in memory of its own.
    pub(super) fn of(question: &Question<'_>) -> Pending {
        let asked = match question.asked {
            Asked::Lookup { key, manner } => Some((Box::from(key), manner)),
            Asked::Usable | Asked::Withdrawn => None,
        };
        Pending { ticket: question.ticket, asked }
    }

    /// The length of its key.
    pub(super) fn key(&self) -> usize {
        self.asked.as_ref().map_or(0, |(key, _)| key.len())
    }

    /// Works out the answer, with the value in `value`.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn answer(
        &self,
        table: TableId,
        contents: &Contents,
        clock: fn() -> Instant,
        value: &mut Vec<u8>,
    ) -> Result<Outcome, Failure> {
        let table = contents.table(table)?;
        let Some((key, manner)) = &self.asked else { return Ok(Outcome::Absent) };
        // The clock is read by tables that take long only; the first question starts it.
        let began = Cell::new(None);
        let time_left = || left(&began, clock());
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
            pause: None,
        };
        let outcome = table.lookup_with(&query, value)?;
        if manner.utf8 && std::str::from_utf8(value).is_err() {
            return Err(Failure::ValueNotUtf8);
        }
        Ok(outcome)
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

/// What is left of [`TIME`] for a lookup that `began` at its first question.
pub(crate) fn left(began: &Cell<Option<Instant>>, now: Instant) -> Duration {
    let start = began.get().unwrap_or(now);
    began.set(Some(start));
    TIME.saturating_sub(now.saturating_duration_since(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_has_its_time_from_the_first_question_on() {
        let (began, start) = (Cell::new(None), Instant::now());
        let after = |millis| left(&began, start + Duration::from_millis(millis));
        // Others of the same table wait meanwhile; for a second at most.
        assert!(after(0) > Duration::ZERO && after(0) <= Duration::from_millis(500));
        assert_eq!(after(0) - after(100), Duration::from_millis(100));
        assert_eq!(after(1000), Duration::ZERO);
    }
}
