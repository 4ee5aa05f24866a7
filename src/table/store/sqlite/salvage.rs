//! What can be read of a damaged store.
//!
//! Purpose: every entry that is on a page with the right checksum, in its newest version. May: read every page.
//! Never: change the damaged files; give out an entry of which a bit may be wrong. Called by: the writer, after
//! [`crate::StoreError::Corrupt`].

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use super::descriptors::{Descriptors, PAGE, Part, Read};
use super::log::{Log, page_place};
use super::meta::Meta;
use super::rows::{self, Column, RawRow, number};
use super::{PUT_NEWER, SqliteStore};
use crate::{Stamp, StoreError};

/// What was found in a damaged store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Entries, deleted ones and older versions included.
    pub entries: u64,
    /// Pages that cannot be read, and rows that make no sense.
    pub lost: u64,
}

/// An entry of a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RescuedEntry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value; none if the entry was deleted.
    pub value: Option<&'a [u8]>,
    /// The change that made it. The same key may come more than once; the highest version counts.
    pub version: i64,
}

/// Where the newest good version of each page is.
struct Pages {
    files: Descriptors,
    in_log: BTreeMap<u32, usize>,
    in_main: u32,
}

impl Pages {
    fn new(files: Descriptors) -> Pages {
        let log = Log::read(&files).unwrap_or_default();
        let last = log.frames.iter().rposition(|frame| frame.present && frame.commits);
        let counting = log.frames.iter().enumerate().take(last.map_or(0, |last| last.saturating_add(1)));
        let good = counting.filter(|(_, frame)| frame.present && frame.sound);
        let in_log: BTreeMap<u32, usize> = good.map(|(index, frame)| (frame.page, index)).collect();
        let size = files.size(Part::Main).unwrap_or(0);
        let in_main = u32::try_from(size.div_ceil(PAGE as u64)).unwrap_or(u32::MAX);
        Pages { files, in_log, in_main }
    }

    /// The numbers of the pages that are there, from 2 on.
    fn present(&self) -> impl Iterator<Item = u32> {
        (2..=self.in_main).chain(self.in_log.keys().copied().filter(|page| *page > self.in_main.max(1)))
    }

    fn get(&self, page: u32) -> Option<Vec<u8>> {
        let mut bytes = vec![0_u8; PAGE];
        let read = match self.in_log.get(&page) {
            Some(index) => self.files.read(Part::Log, page_place(*index), &mut bytes),
            None => {
                let at = u64::from(page.checked_sub(1)?).saturating_mul(PAGE as u64);
                self.files.read(Part::Main, at, &mut bytes)
            }
        };
        matches!(read, Ok(Read::Whole)).then_some(bytes)
    }

    /// The pages that are not in use, as far as they can be found. Entries on them were deleted or moved.
    fn free(&self) -> BTreeSet<u32> {
        let mut free = BTreeSet::new();
        let Some(first) = self.get(1) else { return free };
        let mut trunk = number(&first, 32, 4);
        while let Ok(page) = u32::try_from(trunk)
            && page != 0
            && free.insert(page)
            && let Some(bytes) = self.get(page)
        {
            let leaves = number(&bytes, 4, 4).min(PAGE / 4);
            let leaf = |index: usize| number(&bytes, index.saturating_mul(4).saturating_add(8), 4);
            free.extend((0..leaves).filter_map(|index| u32::try_from(leaf(index)).ok()));
            trunk = number(&bytes, 0, 4);
        }
        free
    }

    /// The store's record about its Berkeley DB file. Its table has a single row, on the page after the header and the
    /// root of the entries.
    fn meta(&self) -> Option<Meta> {
        const PAGE_OF_META: u32 = 3;
        let mut found = None;
        rows::each(&self.get(PAGE_OF_META)?, |_| None, |row| found = meta_of(&row));
        found
    }

    fn each_entry(&self, mut take: impl FnMut(RescuedEntry<'_>)) -> Rescued {
        let (count, last) =
            self.present().fold((0_usize, 1), |(count, _), page| (count.saturating_add(1), u64::from(page)));
        let missing = last.saturating_sub(1).saturating_sub(count as u64);
        let mut rescued = Rescued { entries: 0, lost: missing };
        let free = self.free();
        // A page of a long row belongs to that row alone; to two, where one of them is on an earlier page.
        let mut fuel = count.saturating_mul(2);
        for page in self.present().filter(|page| !free.contains(page)) {
            let Some(bytes) = self.get(page) else {
                rescued.lost = rescued.lost.saturating_add(1);
                continue;
            };
            let unread = rows::each(
                &bytes,
                |page| {
                    fuel = fuel.checked_sub(1)?;
                    self.get(page)
                },
                |row| {
                    if let Some(entry) = entry_of(&row) {
                        rescued.entries = rescued.entries.saturating_add(1);
                        take(entry);
                    }
                },
            );
            rescued.lost = rescued.lost.saturating_add(unread);
        }
        rescued
    }
}

fn entry_of(row: &RawRow) -> Option<RescuedEntry<'_>> {
    let (key, version) = (row.blob(0)?, row.integer(2)?);
    let value = row.blob(1);
    let fits = row.columns.len() == 3 && (value.is_some() || row.columns.get(1) == Some(&Column::Null));
    fits.then_some(RescuedEntry { key, value, version })
}

fn meta_of(row: &RawRow) -> Option<Meta> {
    let stamp = |column| row.blob(column).and_then(Stamp::from_bytes);
    (row.columns.len() == 5).then_some(())?;
    let pending = stamp(3).zip(row.integer(4));
    Some(Meta { saved: row.integer(1)?, recorded: stamp(2), pending })
}

/// Hands every entry that can be read of a damaged store to `take`, in no particular order.
pub fn salvage(main: OwnedFd, log: OwnedFd, take: impl FnMut(RescuedEntry<'_>)) -> Rescued {
    Pages::new(Descriptors::new(main, log)).each_entry(take)
}

impl SqliteStore {
    /// Takes over what can be read of the damaged store in `main` and `log`, with what it knew of the Berkeley DB file,
    /// and commits it. For a store that is empty. The file, if there is one, should be imported afterwards, whether or
    /// not it is known: it has, of what could not be read, what it was when the file was written.
    ///
    /// # Errors
    /// It cannot be stored: nothing has been taken over. What cannot be read is no error.
    pub fn rescue(&mut self, main: OwnedFd, log: OwnedFd) -> Result<Rescued, StoreError> {
        let pages = Pages::new(Descriptors::new(main, log));
        let saved = pages.meta().map_or(-1, |meta| meta.saved);
        // Without the stamps, so that `NAME.db` is taken over once more, even if this process ends before that: it may
        // have what could not be read here.
        let meta = Meta { saved, recorded: None, pending: None };
        let rescued = self.alone(|store| {
            store.write_meta(&meta)?;
            let mut failed = None;
            let rescued = pages.each_entry(|entry| {
                let RescuedEntry { key, value, version } = entry;
                if failed.is_none() {
                    failed = store.run(PUT_NEWER, (key, value, version)).err();
                    store.seen(version);
                }
            });
            failed.map_or(Ok(rescued), Err)
        })?;
        self.meta = meta;
        self.has_tombstones = true;
        self.empty_log();
        Ok(rescued)
    }
}
