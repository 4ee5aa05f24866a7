//! Damaged stores: each is found damaged or answers right, and gives out what is left of it.

use std::fs;

use super::super::descriptors::{PAGE, seal};
use super::super::testing::{Entries, Numbers, Scratch, list, reopen};
use crate::sqlite::{RescuedEntry, salvage};
use crate::{Stamp, Store, StoreError};

/// A store after a kill, partly in the main file and partly in the log, and all states that it has acknowledged.
struct Sample {
    scratch: Scratch,
    main: Vec<u8>,
    log: Vec<u8>,
    /// What was committed, from the first commit after the log was empty.
    states: Vec<Entries>,
    /// The length of the log in each of these states.
    ends: Vec<usize>,
    stamp: Stamp,
}

fn sample(entries_in_main: usize, commits_in_log: usize) -> Sample {
    let scratch = Scratch::new();
    let mut store = scratch.open("made");
    let mut numbers = Numbers(3);
    let stamp = Stamp { dev: 9, ino: 8, size: 7, mtime_ns: 6 };
    let all: Entries = (0..entries_in_main)
        .map(|number| (format!("{number:06}").into_bytes(), numbers.bytes(number % 300)))
        .collect();
    store.import(all.iter().map(|(key, value)| (&key[..], &value[..])), stamp).unwrap();
    store.put(b"long", &numbers.bytes(30_000)).unwrap();
    store.commit().unwrap();
    store.empty_log();
    let mut states = vec![list(&mut store)];
    let mut ends = vec![0];
    for number in 0..commits_in_log {
        let key = format!("{:06}", numbers.below(entries_in_main));
        match number % 4 {
            0 => drop(store.delete(key.as_bytes()).unwrap()),
            _ => store.put(key.as_bytes(), format!("in the log {number}").as_bytes()).unwrap(),
        }
        store.commit().unwrap();
        states.push(list(&mut store));
        ends.push(usize::try_from(fs::metadata(&scratch.files("made")[1]).unwrap().len()).unwrap());
    }
    let [main, log] = scratch.files("made").map(|path| fs::read(path).unwrap());
    Sample { scratch, main, log, states, ends, stamp }
}

impl Sample {
    fn last(&self) -> &Entries {
        self.states.last().unwrap()
    }

    /// Opens a store with these files. Its entries must be one of the states from `oldest` on.
    fn assert_right_or_corrupt(&self, main: &[u8], log: &[u8], oldest: usize, what: &str) -> bool {
        let files = self.scratch.files("bad");
        fs::write(&files[0], main).unwrap();
        fs::write(&files[1], log).unwrap();
        match self.scratch.try_open("bad") {
            Ok(mut store) => {
                let found = list(&mut store);
                let state = self.states.iter().position(|state| *state == found);
                assert!(state.is_some_and(|state| state >= oldest), "{what}: {state:?} {}", found.len());
                // It also continues to work.
                store.put(b"more", b"value").unwrap();
                store.commit().unwrap();
                true
            }
            Err(refused) => {
                assert!(matches!(refused.error, StoreError::Corrupt(_)), "{what}: {:?}", refused.error);
                assert!(fs::read(&files[0]).unwrap() == main, "{what}");
                let (main, log) = refused.files.unwrap();
                let mut rescued = self.scratch.open("rescue");
                rescued.rescue(main, log).unwrap();
                let found = list(&mut rescued);
                let was_ever = |(key, value): (&Vec<u8>, &Vec<u8>)| {
                    self.states.iter().any(|state| state.get(key).is_some_and(|known| known == value))
                };
                assert!(found.iter().all(was_ever), "{what}");
                drop(rescued);
                self.scratch.files("rescue").iter().for_each(|path| fs::remove_file(path).unwrap());
                false
            }
        }
    }

    /// The oldest state that a store may be in if these bytes of its log are damaged. A damaged last commit cannot be
    /// distinguished from an unfinished one; and if its commit mark is damaged as well, a single later commit may seem
    /// to belong to it.
    fn oldest(&self, bytes: std::ops::Range<usize>) -> usize {
        let last = self.states.len() - 1;
        let first = self.ends.iter().rposition(|end| *end <= bytes.start).unwrap();
        let hits_header = bytes.start < self.ends[first] + 24;
        let is_hidden = bytes.end > self.ends[last - 1] || bytes.end > self.ends[last - 2] && hits_header;
        if is_hidden { first } else { last }
    }
}

#[test]
fn bits_flipped_in_the_main_file() {
    let sample = sample(700, 12);
    let mut numbers = Numbers(1);
    let (mut refused, last) = (0, sample.states.len() - 1);
    for round in 0..180 {
        let mut main = sample.main.clone();
        // Every byte of the header, and others.
        let at = if round < 100 { round } else { numbers.below(main.len()) };
        main[at] ^= 1 << numbers.below(8);
        refused +=
            usize::from(!sample.assert_right_or_corrupt(&main, &sample.log, last, &format!("main {at}")));
    }
    // A page whose newest version is in the log is not read from the main file; and free pages are never read.
    assert!(refused > 130, "{refused}");
}

#[test]
fn bits_flipped_in_the_log() {
    let sample = sample(500, 40);
    let mut numbers = Numbers(2);
    let mut refused = 0;
    for round in 0..250 {
        let mut log = sample.log.clone();
        let at = if round < 60 { round } else { numbers.below(log.len()) };
        log[at] ^= 1 << numbers.below(8);
        let what = format!("log {at} of {}", log.len());
        refused += usize::from(!sample.assert_right_or_corrupt(
            &sample.main,
            &log,
            sample.oldest(at..at + 1),
            &what,
        ));
    }
    assert!(refused > 215, "{refused}");
}

#[test]
fn pages_zeroed_swapped_and_overwritten() {
    let sample = sample(700, 12);
    let mut numbers = Numbers(4);
    let last = sample.states.len() - 1;
    let mut refused = 0;
    for round in 0..200 {
        let (mut main, mut log) = (sample.main.clone(), sample.log.clone());
        let in_log = round % 4 == 3;
        let file = if in_log { &mut log } else { &mut main };
        let pages = file.len() / PAGE;
        let (from, to) = (numbers.below(pages) * PAGE, numbers.below(pages) * PAGE);
        match round % 3 {
            0 => file[to..to + PAGE].fill(0),
            1 => file.copy_within(from..from + PAGE, to),
            _ => file[to..to + PAGE].copy_from_slice(&numbers.bytes(PAGE)),
        }
        let oldest = if in_log { sample.oldest(to..to + PAGE) } else { last };
        refused += usize::from(!sample.assert_right_or_corrupt(
            &main,
            &log,
            oldest,
            &format!("{round} {from} {to}"),
        ));
    }
    assert!(refused > 120, "{refused}");
}

#[test]
fn files_cut_short() {
    let sample = sample(700, 12);
    let mut numbers = Numbers(5);
    let last = sample.states.len() - 1;
    for round in 0..100 {
        let size = if round % 2 == 0 {
            numbers.below(sample.main.len())
        } else {
            numbers.below(sample.main.len() / PAGE) * PAGE
        };
        let answers = sample.assert_right_or_corrupt(
            &sample.main[..size],
            &sample.log,
            last,
            &format!("main cut to {size}"),
        );
        assert!(!answers || size + PAGE > sample.main.len(), "{size}");
        // The length of the log is not recorded elsewhere: such a store has the state of some commits ago.
        let size = numbers.below(sample.log.len());
        sample.assert_right_or_corrupt(&sample.main, &sample.log[..size], 0, &format!("log cut to {size}"));
    }
    assert!(!sample.assert_right_or_corrupt(b"", &sample.log, last, "no main file"));
    for less in [1, 100, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE] {
        let size = sample.main.len() - less;
        sample.assert_right_or_corrupt(
            &sample.main[..size],
            &sample.log,
            last,
            &format!("last {less} bytes"),
        );
    }
}

#[test]
fn garbage_and_foreign_files() {
    let sample = sample(100, 3);
    let mut numbers = Numbers(6);
    for length in [2, 100, 511, 512, 4_095, 4_096, 4_097, 20_000] {
        let garbage = numbers.bytes(length);
        assert!(!sample.assert_right_or_corrupt(&garbage, &sample.log, 0, &format!("garbage {length}")));
        assert!(!sample.assert_right_or_corrupt(&garbage, b"", 0, &format!("garbage alone {length}")));
        sample.assert_right_or_corrupt(&sample.main, &garbage, 0, "garbage in the log");
    }
}

#[test]
fn database_with_other_tables_is_refused() {
    for statement in [
        "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE INDEX i ON entries (version)",
        "ALTER TABLE meta ADD COLUMN x INTEGER",
        "UPDATE meta SET format = 2",
        "DELETE FROM meta",
    ] {
        let scratch = Scratch::new();
        let store = scratch.open("t");
        store.connection.execute_batch(statement).unwrap();
        drop(store);
        let error = scratch.try_open("t").err().unwrap().error;
        assert!(matches!(error, StoreError::Corrupt(_)), "{statement}: {error:?}");
    }
}

#[test]
fn salvage_gives_every_row_of_a_good_page() {
    let sample = sample(700, 12);
    let mut numbers = Numbers(7);
    let files = sample.scratch.files("bad");
    for _ in 0..60 {
        let mut main = sample.main.clone();
        let at = PAGE + numbers.below(main.len() - PAGE);
        main[at] ^= 1 << numbers.below(8);
        fs::write(&files[0], &main).unwrap();
        fs::write(&files[1], &sample.log).unwrap();
        let (main, log) = sample.scratch.descriptors("bad");
        let mut newest = std::collections::BTreeMap::new();
        let rescued = salvage(main, log, |RescuedEntry { key, value, version }| {
            let entry = newest.entry(key.to_vec()).or_insert((version, value.map(<[u8]>::to_vec)));
            if version > entry.0 {
                *entry = (version, value.map(<[u8]>::to_vec));
            }
        });
        let found: Entries = newest.into_iter().filter_map(|(key, (_, value))| Some((key, value?))).collect();
        assert!(rescued.lost <= 2, "{rescued:?}");
        // A leaf has at most as many rows as fit into it with the shortest values.
        assert!(found.len() + 120 >= sample.last().len(), "{} of {}", found.len(), sample.last().len());
        let missing = sample.last().iter().filter(|(key, value)| found.get(*key) != Some(value)).count();
        assert!(missing <= 120, "{missing}");
        if rescued.lost == 0 {
            assert!(found == *sample.last());
        }
    }
}

#[test]
fn salvage_leaves_out_committed_deletions() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    for number in 0..1_500_u32 {
        store.put(&number.to_be_bytes(), &[7; 60]).unwrap();
    }
    store.commit().unwrap();
    store.empty_log();
    for number in 100..1_400_u32 {
        store.delete(&number.to_be_bytes()).unwrap();
    }
    store.commit().unwrap();
    store.note_pending(Stamp { dev: 1, ino: 2, size: 3, mtime_ns: 4 }, store.version()).unwrap();
    store.saved().unwrap();
    store.empty_log();
    let left = list(&mut store);
    drop(store);
    let (main, log) = scratch.descriptors("t");
    let mut found = Entries::new();
    let rescued =
        salvage(main, log, |entry| drop(found.insert(entry.key.to_vec(), entry.value.unwrap().to_vec())));
    assert!(found == left, "{} of {}", found.len(), left.len());
    assert_eq!((rescued.entries, rescued.lost), (200, 0));
}

#[test]
fn rescue_and_import_lose_nothing_that_either_has() {
    let sample = sample(700, 12);
    let saved = &sample.states[0];
    let files = sample.scratch.files("bad");
    // Any one page of the entries, that was there when the file was written.
    for page in 3..sample.main.len() / PAGE {
        let mut main = sample.main.clone();
        main[page * PAGE..(page + 1) * PAGE].fill(0xff);
        fs::write(&files[0], &main).unwrap();
        fs::write(&files[1], &sample.log).unwrap();
        let (main, log) = sample.scratch.descriptors("bad");
        let mut store = sample.scratch.open("fresh");
        store.rescue(main, log).unwrap();
        // Entries that only the file has must be imported, even if another store has to do it.
        assert_eq!(store.knows(&sample.stamp), Ok(false));
        let file = saved.iter().filter(|(key, _)| *key != b"long");
        store.import(file.map(|(key, value)| (&key[..], &value[..])), sample.stamp).unwrap();
        let found = list(&mut store);
        let mut expected = sample.last().clone();
        if !found.contains_key(&b"long"[..]) {
            // It was never in the file, and one of its pages is gone.
            expected.remove(&b"long"[..]);
        }
        assert!(found == expected, "page {page}");
        assert!(store.unsaved());
        drop(store);
        sample.scratch.files("fresh").iter().for_each(|path| fs::remove_file(path).unwrap());
    }
}

#[test]
fn page_that_goes_bad_while_the_store_is_open_is_an_error() {
    let sample = sample(700, 0);
    let files = sample.scratch.files("t");
    fs::write(&files[0], &sample.main).unwrap();
    fs::write(&files[1], &sample.log).unwrap();
    let (main, log) = sample.scratch.descriptors("t");
    let mut store = reopen((main, log)).unwrap();
    store.connection.execute_batch("PRAGMA shrink_memory").unwrap();
    let mut bad = sample.main.clone();
    bad[3 * PAGE..].fill(0x55);
    fs::write(&files[0], &bad).unwrap();
    let errors = sample.last().keys().filter(|key| {
        let mut value = Vec::new();
        match store.get(key, &mut value) {
            Ok(found) => {
                assert!(found && value == sample.last()[*key]);
                false
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
                true
            }
        }
    });
    assert!(errors.count() > 400);
    let (main, log) = store.close().unwrap();
    assert!(fs::read(&files[0]).unwrap() == bad);
    salvage(main, log, |_| {});
}

/// A main file of three pages with the right checksums, of which the second is this one.
fn pages(second: [u8; PAGE]) -> Vec<u8> {
    let mut third = [0_u8; PAGE];
    // Long rows continue there, twice.
    third[3] = 3;
    let mut pages = [[0; PAGE], second, third];
    (1..).zip(&mut pages).for_each(|(number, page)| seal(number, page));
    pages.concat()
}

fn salvaged_bytes(main: &[u8]) -> (u64, usize) {
    let scratch = Scratch::new();
    fs::write(scratch.path("bad"), main).unwrap();
    let (main, log) = scratch.descriptors("bad");
    let mut bytes = 0;
    let rescued = salvage(main, log, |entry| bytes += entry.key.len() + entry.value.map_or(0, <[u8]>::len));
    (rescued.lost, bytes)
}

#[test]
fn rows_that_overlap_give_no_more_than_their_page() {
    let mut page = [0_u8; PAGE];
    let count = 1000_u16;
    page[0] = 0x0a;
    page[3..5].copy_from_slice(&count.to_be_bytes());
    // One row of 304 bytes, a thousand times: a key of 300 bytes, no value, version 1.
    let row = [&[0x82, 0x31, 5, 0x84, 0x64, 0, 9][..], &[b'k'; 300]].concat();
    let at = 3000_u16;
    (0..usize::from(count)).for_each(|index| page[8 + 2 * index..][..2].copy_from_slice(&at.to_be_bytes()));
    page[usize::from(at)..][..row.len()].copy_from_slice(&row);
    let (lost, bytes) = salvaged_bytes(&pages(page));
    assert!((300..PAGE).contains(&bytes), "{bytes}");
    assert!(lost > 900, "{lost}");
}

#[test]
fn cyclic_row_is_given_up() {
    // A row of 2^40 bytes. Where its next page is named depends on its length: it is named everywhere.
    for shift in 0..4 {
        let mut page = [0_u8; PAGE];
        (page[0], page[4]) = (0x0a, 1);
        page[8..10].copy_from_slice(&100_u16.to_be_bytes());
        page[100..106].copy_from_slice(&[0xa0, 0x80, 0x80, 0x80, 0x80, 0]);
        (106 + shift..PAGE - 8).step_by(4).for_each(|at| page[at] = 3);
        assert_eq!(salvaged_bytes(&pages(page)), (1, 0));
    }
}
