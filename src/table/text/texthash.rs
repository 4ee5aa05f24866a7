//! `texthash:` tables: text files with `key value` on each logical line.
//!
//! Purpose: the index of such a file, lookups that find a key in whatever case it is written, and the scan in file order.
//! May: complain about lines. Never: quote them; keep a copy of a key. Called by: `Table`.

use std::borrow::Cow;

use super::index::{self, Index, Slot};
use super::lines::{Lines, Logical, count_starts};
use super::{is_space, split_key, trim};
use crate::bytes::put_text;
use crate::cursor::{Cursor, Place, Step};
use crate::error::{Complaint, Fault, TableError, complain};
use crate::fold::{casefold, has_capital};
use crate::{MAX_CASE_VARIANTS, MAX_ITEM};

/// Reads `text` once and indexes its entries.
///
/// # Errors
/// The same key on two lines, as in Postfix without the DUP flags; too many keys that differ only by case;
/// a text over 4 GiB; no memory.
pub(crate) fn build(text: &[u8], complaints: &mut Vec<Complaint>) -> Result<Index, TableError> {
    let mut index = Index::with_room(count_starts(text), text.len())?;
    for logical in Lines::from(text, 0) {
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
    }
    index.sort(|a, b| {
        let (a, b) = (entry_at(text, a), entry_at(text, b));
        casefold(a.key()).cmp(&casefold(b.key())).then_with(|| a.key().cmp(b.key()))
    });
    check_equal_keys(text, &index, complaints)?;
    Ok(index)
}

/// Fills `answer` and returns true if `key` is there: in exactly this case, or else the first of the keys that
/// differ from it only by case.
pub(crate) fn find(text: &[u8], index: &Index, key: &[u8], answer: &mut Vec<u8>) -> Result<bool, TableError> {
    let hash = hash_folded(key);
    // Nearly always the first entry with this hash is the one.
    if let Some(entry) = index.first(hash).map(|slot| entry_at(text, slot)).filter(|entry| entry.key() == key)
    {
        return put_text(answer, entry.value()).map(|()| true);
    }
    let folded = casefold(key);
    let same = index.equal(hash, |slot| casefold(entry_at(text, slot).key()).cmp(&folded));
    // Stored keys match in whatever case. A key with a capital, though, comes from a client that asked for no
    // folding, and means just itself.
    let best = same
        .map(|slot| (slot.at(), entry_at(text, slot)))
        .min_by_key(|(at, entry)| (entry.key() != key, *at));
    match best.filter(|(_, entry)| entry.key() == key || !has_capital(key)) {
        Some((_, entry)) => put_text(answer, entry.value()).map(|()| true),
        None => Ok(false),
    }
}

/// One step of a scan, in the order of the file.
pub(crate) fn step(
    text: &[u8],
    cursor: &mut Cursor,
    key: &mut Vec<u8>,
    value: &mut Vec<u8>,
) -> Result<Step, TableError> {
    let start = match cursor.place {
        Place::Start => 0,
        Place::At(start) => start,
        Place::End => return Ok(Step::End),
        _ => return Err(TableError::ForeignCursor),
    };
    let mut lines = Lines::from(text, start);
    while let Some(logical) = lines.next() {
        if logical.is_too_long() {
            continue;
        }
        let Ok(entry) = parse(&logical) else { continue };
        cursor.place = Place::At(lines.position());
        put_text(key, entry.key())?;
        put_text(value, entry.value())?;
        return Ok(Step::Record);
    }
    cursor.place = Place::End;
    Ok(Step::End)
}

/// A logical line, cut into key and value.
struct Entry<'a> {
    content: Cow<'a, [u8]>,
    key_length: usize,
}

impl Entry<'_> {
    fn key(&self) -> &[u8] {
        self.content.get(..self.key_length).unwrap_or_default()
    }

    fn value(&self) -> &[u8] {
        trim(self.content.get(self.key_length..).unwrap_or_default())
    }
}

fn parse<'a>(logical: &Logical<'a>) -> Result<Entry<'a>, Fault> {
    if logical.is_orphan() {
        return Err(Fault::NothingToContinue);
    }
    let content = logical.content();
    let (key, _, open_quote) = split_key(&content, is_space);
    if open_quote {
        return Err(Fault::UnbalancedQuote);
    }
    let entry = Entry { key_length: key.len(), content };
    if entry.key().is_empty() || entry.value().is_empty() {
        return Err(Fault::NoValue);
    }
    if entry.key().len() > MAX_ITEM {
        return Err(Fault::LineTooLong);
    }
    Ok(entry)
}

/// The entry of a slot. Only entries that parse have slots, and a snapshot does not change, so the empty entry
/// is never seen; it stands here instead of a panic.
fn entry_at<'a>(text: &'a [u8], slot: &Slot) -> Entry<'a> {
    Logical::at(text, slot.at(), slot.mark())
        .and_then(|logical| parse(&logical).ok())
        .unwrap_or(Entry { content: Cow::Borrowed(&[]), key_length: 0 })
}

/// The hash of the folded key, without an allocation for ASCII keys.
fn hash_folded(key: &[u8]) -> u32 {
    if key.is_ascii() {
        index::hash(key.iter().map(u8::to_ascii_lowercase))
    } else {
        index::hash(casefold(key).iter().copied())
    }
}

/// Refuses a table that has a key twice; complains about keys that differ only by case.
fn check_equal_keys(text: &[u8], index: &Index, complaints: &mut Vec<Complaint>) -> Result<(), TableError> {
    let same = |a: &Slot, b: &Slot| {
        a.hash() == b.hash() && casefold(entry_at(text, a).key()) == casefold(entry_at(text, b).key())
    };
    let mut duplicate: Option<(usize, usize)> = None;
    let mut crowd: Option<usize> = None;
    let mut variants = Vec::new();
    for group in index.slots().chunk_by(same).filter(|group| group.len() > 1) {
        // Exactly equal keys are neighbours, in the order of their lines.
        for pair in group.windows(2) {
            let [a, b] = pair else { continue };
            if entry_at(text, a).key() == entry_at(text, b).key() {
                duplicate = Some(duplicate.unwrap_or((a.at(), b.at())).min((a.at(), b.at())));
            }
        }
        let first = group.iter().map(Slot::at).min().unwrap_or_default();
        if group.len() > MAX_CASE_VARIANTS {
            crowd = Some(crowd.unwrap_or(first).min(first));
        }
        let others = group.iter().map(Slot::at).filter(|at| *at != first);
        variants.extend(others.take(MAX_CASE_VARIANTS.saturating_sub(variants.len())));
    }
    if let Some((first, second)) = duplicate {
        let lines = line_numbers(text, &[first, second]);
        let line = |place: usize| lines.get(place).copied().unwrap_or_default();
        return Err(TableError::DuplicateKey { first: line(0), second: line(1) });
    }
    if let Some(first) = crowd {
        let line = line_numbers(text, &[first]).first().copied().unwrap_or_default();
        return Err(TableError::TooManyCaseVariants { line });
    }
    variants.sort_unstable();
    for line in line_numbers(text, &variants) {
        complain(complaints, line, Fault::CaseVariant);
    }
    Ok(())
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

#[cfg(test)]
mod tests;
