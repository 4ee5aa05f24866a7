//! The index of a `texthash:` file, in steps.
//!
//! A file of some millions of lines takes a second, in which nobody could be answered.
//!
//! Purpose: read the lines, put them in order, look for keys that are there twice. May: complain about lines; hold the index
//! twice while it is put in order. Never: quote a line.

use super::{entry_at, hash_folded, parse};
use crate::MAX_CASE_VARIANTS;
use crate::complaint::{Complaint, Fault, complain};
use crate::portion::Portion;
use crate::text::index::{Index, Slot, Sorting};
use crate::text::lines::{Found, Lines, Place, count_starts};
use mapkeep_query::TableError;
use mapkeep_query::casefold;
use std::cmp::Ordering;

/// How many bytes of work a line is, beside its length.
const LINE: usize = 32;
/// Bytes of lines that are counted in one go.
const COUNTED: usize = 64 << 10;

/// An index that is being built.
#[derive(Debug)]
pub struct Builder(Stage);

#[derive(Debug)]
enum Stage {
    /// Counts lines, for the room that the index takes.
    Count {
        at: usize,
        count: usize,
    },
    Read(Place, Index),
    Sort(Sorting),
    Check(Index, Check),
}

impl Default for Builder {
    /// Nothing is looked at yet.
    fn default() -> Builder {
        Builder(Stage::Count { at: 0, count: 0 })
    }
}

impl Builder {
    /// Goes on with `text`, which is the same each time, until the portion is used up or the index is there.
    ///
    /// # Errors
    /// The same key on two lines, as in Postfix without the DUP flags; too many keys that differ only by case;
    /// a text over 4 GiB; no memory.
    pub fn step(
        self,
        text: &[u8],
        complaints: &mut Vec<Complaint>,
        portion: &mut Portion<'_>,
    ) -> Result<Result<Index, Builder>, TableError> {
        let mut now = self.0;
        loop {
            let (next, is_done) = match now {
                Stage::Count { at, count } => count_some(text, at, count, portion)?,
                Stage::Read(place, index) => read_some(text, place, index, complaints, portion)?,
                Stage::Sort(mut sorting) => match sorting.step(|a, b| compare(text, a, b), portion) {
                    true => (Stage::Check(sorting.finish(), Check::default()), true),
                    false => (Stage::Sort(sorting), false),
                },
                Stage::Check(index, mut check) => {
                    if check.step(text, &index, portion) {
                        check.finish(text, complaints)?;
                        return Ok(Ok(index));
                    }
                    (Stage::Check(index, check), false)
                }
            };
            if !is_done {
                return Ok(Err(Builder(next)));
            }
            now = next;
        }
    }
}

/// Counts lines, and returns whether all are counted.
fn count_some(
    text: &[u8],
    mut at: usize,
    mut count: usize,
    portion: &mut Portion<'_>,
) -> Result<(Stage, bool), TableError> {
    loop {
        let rest = text.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok((Stage::Read(Place::START, Index::with_room(count, text.len())?), true));
        }
        let some = rest.get(COUNTED..).and_then(|after| memchr::memchr(b'\n', after));
        let length = some.map_or(rest.len(), |newline| newline.saturating_add(COUNTED).saturating_add(1));
        count = count.saturating_add(count_starts(rest.get(..length).unwrap_or_default()));
        at = at.saturating_add(length);
        // Cheaper by far than reading them.
        if portion.is_used_up(length / 16) {
            return Ok((Stage::Count { at, count }, false));
        }
    }
}

/// Reads lines, and returns whether all are read.
fn read_some(
    text: &[u8],
    place: Place,
    mut index: Index,
    complaints: &mut Vec<Complaint>,
    portion: &mut Portion<'_>,
) -> Result<(Stage, bool), TableError> {
    let mut lines = Lines::resume(text, place);
    loop {
        let logical = match lines.find(portion) {
            Found::Line(logical) => logical,
            Found::Later => return Ok((Stage::Read(lines.place(), index), false)),
            Found::End => return Ok((Stage::Sort(Sorting::new(index)?), true)),
        };
        if logical.is_too_long() {
            complain(complaints, logical.line, Fault::LineTooLong);
            continue;
        }
        if logical.has_nul() {
            complain(complaints, logical.line, Fault::EmbeddedNul);
        }
        match parse(&logical) {
            Ok(entry) => {
                let key = entry.key();
                if key.ends_with(b":") {
                    complain(complaints, logical.line, Fault::KeyEndsInColon);
                }
                index.add(hash_folded(key), logical.start, logical.continued)?;
            }
            Err(fault) => complain(complaints, logical.line, fault),
        }
        if portion.is_used_up(LINE) {
            return Ok((Stage::Read(lines.place(), index), false));
        }
    }
}

/// The order of two keys: folded, then as they are. And how many bytes that took.
fn compare(text: &[u8], a: &Slot, b: &Slot) -> (Ordering, usize) {
    let (a, b) = (entry_at(text, a), entry_at(text, b));
    let order = casefold(a.key()).cmp(&casefold(b.key())).then_with(|| a.key().cmp(b.key()));
    (order, a.length().saturating_add(b.length()))
}

/// Looks for keys that are there twice, in an index that is in order: equal keys are neighbours.
#[derive(Debug, Default)]
struct Check {
    at: usize,
    /// The entries that differ only by case, up to here: where the first of them begins, and how many there are.
    first: usize,
    count: usize,
    duplicate: Option<(usize, usize)>,
    crowd: Option<usize>,
    variants: Vec<usize>,
}

impl Check {
    /// Goes on until the portion is used up. True at the end.
    fn step(&mut self, text: &[u8], index: &Index, portion: &mut Portion<'_>) -> bool {
        loop {
            let Some(slot) = index.slots().get(self.at) else { return true };
            let before = self.at.checked_sub(1).and_then(|at| index.slots().get(at));
            self.at = self.at.saturating_add(1);
            let mut work = size_of::<Slot>();
            match before.filter(|before| before.hash() == slot.hash()) {
                Some(before) => work = work.saturating_add(self.look(text, before, slot)),
                None => (self.first, self.count) = (slot.at(), 1),
            }
            if portion.is_used_up(work) {
                return false;
            }
        }
    }

    /// Compares two neighbours with the same hash. Returns the bytes that were read.
    fn look(&mut self, text: &[u8], before: &Slot, slot: &Slot) -> usize {
        let (a, b) = (entry_at(text, before), entry_at(text, slot));
        if casefold(a.key()) != casefold(b.key()) {
            (self.first, self.count) = (slot.at(), 1);
        } else {
            self.count = self.count.saturating_add(1);
            if a.key() == b.key() {
                let pair = (before.at(), slot.at());
                self.duplicate = Some(self.duplicate.unwrap_or(pair).min(pair));
            }
            let (first, later) = (self.first.min(slot.at()), self.first.max(slot.at()));
            self.first = first;
            if self.variants.len() < MAX_CASE_VARIANTS {
                self.variants.push(later);
            }
            if self.count > MAX_CASE_VARIANTS {
                self.crowd = Some(self.crowd.unwrap_or(first).min(first));
            }
        }
        a.length().saturating_add(b.length())
    }

    /// Refuses a table that has a key twice; complains about keys that differ only by case.
    fn finish(mut self, text: &[u8], complaints: &mut Vec<Complaint>) -> Result<(), TableError> {
        if let Some((first, second)) = self.duplicate {
            let lines = line_numbers(text, &[first, second]);
            let line = |place: usize| lines.get(place).copied().unwrap_or_default();
            return Err(TableError::DuplicateKey { first: line(0), second: line(1) });
        }
        if let Some(first) = self.crowd {
            let line = line_numbers(text, &[first]).first().copied().unwrap_or_default();
            return Err(TableError::TooManyCaseVariants { line });
        }
        self.variants.sort_unstable();
        for line in line_numbers(text, &self.variants) {
            complain(complaints, line, Fault::CaseVariant);
        }
        Ok(())
    }
}

/// The numbers of the lines that begin at `offsets`, which ascend. Counted only for complaints.
fn line_numbers(text: &[u8], offsets: &[usize]) -> Vec<u32> {
    let (mut line, mut from) = (1_u32, 0_usize);
    let mut numbers = Vec::new();
    for at in offsets {
        let newlines = text.get(from..*at).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
        line = line.saturating_add(u32::try_from(newlines).unwrap_or(u32::MAX));
        from = *at;
        numbers.push(line);
    }
    numbers
}
