//! `texthash:` tables: text files with `key value` on each logical line.
//!
//! Purpose: the index of such a file (`build.rs`), lookups that find a key in whatever case it is written, and the scan in file order.
//! May: complain about lines. Never: quote them; keep a copy of a key.

mod build;

use std::borrow::Cow;

pub use build::Builder;

use super::index::{self, Index, Slot};
use super::lines::{Lines, Logical};
use super::{is_space, split_key, trim};
use crate::complaint::Fault;
use crate::cursor::{Cursor, Place};
use mapkeep_query::MAX_ITEM;
use mapkeep_query::Step;
use mapkeep_query::TableError;
use mapkeep_query::put_text;
use mapkeep_query::{casefold, has_capital};

/// Fills `answer` and returns true if `key` is there: in exactly this case, or else the first of the keys that
/// differ from it only by case.
pub fn find(text: &[u8], index: &Index, key: &[u8], answer: &mut Vec<u8>) -> Result<bool, TableError> {
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
pub fn step(
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

    /// The bytes of the line, without those that are ignored.
    fn length(&self) -> usize {
        self.content.len()
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

#[cfg(test)]
mod tests;
