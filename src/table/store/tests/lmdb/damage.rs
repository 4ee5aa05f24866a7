//! Damaged files: an answer or "damaged", never the death of the process.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mapkeep_table_store::lmdb::{salvage, salvage_file};
use mapkeep_table_store::{Store, StoreError};

use crate::support::{Chance, Content, Directory, child, content, get, open, try_open};

const PAGE: usize = 4096;

/// A table with branch pages, long values, and a list of free pages: its bytes, its entries, and its entries before the
/// last transaction.
fn healthy(directory: &Directory) -> (Vec<u8>, Content, Content) {
    let mut chance = Chance(77);
    let (mut expected, mut before) = (Content::new(), Content::new());
    let mut store = open(&directory.table());
    for round in 0..5 {
        before.clone_from(&expected);
        for number in 0..100 {
            let mut key = format!("key {:04} ", number * 7 + round).into_bytes();
            key.resize(if number % 3 == 0 { 400 } else { 30 }, b'k');
            if chance.below(5) == 0 {
                store.delete(&key).unwrap();
                expected.remove(&key);
            } else {
                let length = if number % 23 == 0 { 2000 + chance.below(6000) } else { chance.below(60) };
                let value = chance.text(length).into_bytes();
                store.put(&key, &value).unwrap();
                expected.insert(key, value);
            }
        }
        store.commit().unwrap();
    }
    (fs::read(directory.table()).unwrap(), expected, before)
}

/// Changes `bytes` in one of many ways. The parts of pages that say where things are are hit more often.
fn damage(chance: &mut Chance, bytes: &mut Vec<u8>) {
    let pages = bytes.len() / PAGE;
    let page = chance.below(pages) * PAGE;
    match chance.below(12) {
        0 => bytes.truncate(chance.below(bytes.len())),
        1 => {
            bytes.truncate(page);
        }
        2 => {
            let other = chance.below(pages) * PAGE;
            let kept = bytes[page..page + PAGE].to_vec();
            bytes.copy_within(other..other + PAGE, page);
            bytes[other..other + PAGE].copy_from_slice(&kept);
        }
        3 => {
            // A page in the place of another, with the right number: as if a write had gone astray.
            let other = chance.below(pages) * PAGE;
            bytes.copy_within(other + 8..other + PAGE, page + 8);
        }
        4 => bytes[page..page + PAGE].fill(0),
        5 => bytes.extend_from_within(..page),
        kind => {
            for _ in 0..1 + chance.below(4) {
                let at = match kind {
                    6 => chance.below(152.min(PAGE)) + PAGE * chance.below(2),
                    7 | 8 => page + 8 + chance.below(40),
                    9 => page + PAGE - 1 - chance.below(60),
                    _ => page + chance.below(PAGE),
                };
                let bit = 1 << chance.below(8);
                bytes[at] = if chance.below(3) == 0 { chance.next() as u8 } else { bytes[at] ^ bit };
            }
        }
    }
}

/// Uses a damaged table as the writer would. True if it was refused.
fn use_damaged(path: &Path, bytes: &[u8], chance: &mut Chance) -> bool {
    fs::write(path, bytes).unwrap();
    let salvaged = salvage(bytes);
    assert!(salvage_file(fs::File::open(path).unwrap().into()) == Ok(salvaged), "of bytes and of a file");
    let mut store = match try_open(path) {
        Ok(store) => store,
        Err(StoreError::Corrupt(_)) => return true,
        Err(other) => panic!("{other}"),
    };
    let entries = content(&mut store).expect("what has been checked can be read");
    for _ in 0..3 {
        for _ in 0..20 {
            let key = &entries.get(chance.below(entries.len().max(1))).map_or(&b"k"[..], |(key, _)| key);
            match chance.below(3) {
                0 => store.put(key, chance.text(60).as_bytes()).unwrap(),
                1 => store.put(chance.text(300).as_bytes(), chance.text(3000).as_bytes()).unwrap(),
                _ => drop(store.delete(key).unwrap()),
            }
        }
        store.commit().unwrap();
    }
    drop(store);
    open(path);
    false
}

/// What a child does: uses `count` damaged files, made from this seed.
pub fn use_all(seed: u64, count: u64) {
    let directory = Directory::new();
    let (healthy, ..) = healthy(&directory);
    let path = quick_path(&directory, seed);
    let mut refused = 0;
    for number in 0..count {
        let mut chance = Chance(seed << 32 | number);
        let mut bytes = healthy.clone();
        damage(&mut chance, &mut bytes);
        if bytes.is_empty() {
            continue;
        }
        refused += u64::from(use_damaged(&path, &bytes, &mut chance));
    }
    fs::remove_file(path).unwrap();
    // Changes inside of values and of free pages cannot be seen; most others must be.
    assert!(refused * 3 > count, "only {refused} of {count} damaged files were refused");
}

/// A place in memory, if there is one: what a disk keeps is not asked here.
fn quick_path(directory: &Directory, seed: u64) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let name = format!("mapkeep-lmdb-{}-{seed}", std::process::id());
    if memory.is_dir() { memory.join(name) } else { directory.0.join(name) }
}

#[test]
fn five_thousand_damaged_files_kill_no_process() {
    let start =
        |seed| child(&format!("damaged {seed} 500")).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let children: Vec<_> = (0..10).map(|seed| start(seed).unwrap()).collect();
    for (seed, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "seed {seed}: {}\n{said}", output.status);
    }
}

#[test]
fn salvage_of_an_intact_file_has_all_its_entries() {
    let directory = Directory::new();
    let (bytes, expected, _) = healthy(&directory);
    assert!(salvage(&bytes) == expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn salvage_of_a_file_that_lacks_a_page_keeps_most_and_invents_nothing() {
    let directory = Directory::new();
    let (healthy, expected, before) = healthy(&directory);
    for number in 0..healthy.len() / PAGE {
        let mut bytes = healthy.clone();
        bytes[number * PAGE..][..PAGE].fill(0);
        let salvaged = salvage(&bytes);
        // The middle of a long value carries nothing by which damage could be seen.
        let same = |was: Option<&Vec<u8>>, is: &Vec<u8>| {
            was.is_some_and(|was| was == is || (was.len() > PAGE && was.len() == is.len()))
        };
        let known = |(key, value): &(Vec<u8>, Vec<u8>)| {
            same(expected.get(key), value) || same(before.get(key), value)
        };
        assert!(salvaged.iter().all(known), "page {number}: an entry that was not there");
        assert!(salvaged.len() * 10 > expected.len() * 8, "page {number}: {} salvaged", salvaged.len());
    }
}

#[test]
fn salvage_without_meta_pages_finds_entries_in_all_pages() {
    let directory = Directory::new();
    let mut store = open(&directory.table());
    let mut expected = Content::new();
    for number in 0..500 {
        let (key, value) = (format!("{number:03}").into_bytes(), vec![b'v'; 10 + number * 7]);
        store.put(&key, &value).unwrap();
        expected.insert(key, value);
    }
    store.commit().unwrap();
    let mut bytes = fs::read(directory.table()).unwrap();
    bytes[..2 * PAGE].fill(0);
    assert!(salvage(&bytes) == expected.into_iter().collect::<Vec<_>>());
    assert_eq!(salvage(b""), vec![]);
    assert_eq!(salvage(&[0xff; 3 * PAGE]), vec![]);
}

/// A file of two zeroed meta pages, a leaf with these nodes (place, then length of the value, flags, key), and more pages.
fn leaf(nodes: &[(usize, u32, u16, usize)], more: usize) -> Vec<u8> {
    let mut bytes = vec![0; (3 + more) * PAGE];
    let page = &mut bytes[2 * PAGE..3 * PAGE];
    let mut put = |at: usize, what: &[u8]| page[at..at + what.len()].copy_from_slice(what);
    put(0, &[2]);
    put(10, &[2, 0]);
    put(12, &(16 + 2 * nodes.len() as u16).to_le_bytes());
    put(14, &(PAGE as u16).to_le_bytes());
    for (index, (at, length, flags, key)) in nodes.iter().enumerate() {
        put(16 + 2 * index, &(*at as u16).to_le_bytes());
        put(*at, &length.to_le_bytes());
        put(at + 4, &flags.to_le_bytes());
        put(at + 6, &(*key as u16).to_le_bytes());
    }
    bytes
}

#[test]
fn salvage_of_values_that_overlap_takes_not_many_times_the_file() {
    // Each node is a header of eight bytes, in front of the next one; what follows is its key and its value.
    let nodes: Vec<_> = (0..200).map(|index| (500 + 8 * index, 1400, 0, 1 + index)).collect();
    let salvaged = salvage(&leaf(&nodes, 0));
    let bytes: usize = salvaged.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(salvaged.len() > 100, "{}", salvaged.len());
    assert!(bytes <= 16 * 3 * PAGE, "{bytes}");

    // Forty long values, each from its page to the end of the file.
    let (first, more) = (3, 40);
    let node = |index: usize| (500 + 24 * index, ((more - index) * PAGE - 16) as u32, 1, 1 + index % 8);
    let mut file = leaf(&(0..more).map(node).collect::<Vec<_>>(), more);
    for index in 0..more {
        let page = (first + index) * PAGE;
        file[page] = (first + index) as u8;
        file[page + 10] = 4;
        file[page + 12] = (more - index) as u8;
        let (at, key) = (2 * PAGE + 500 + 24 * index + 8, 1 + index % 8);
        file[at..at + key].fill(b'a' + (index / 8) as u8);
        file[at + key..at + key + 8].copy_from_slice(&((first + index) as u64).to_le_bytes());
    }
    let salvaged = salvage(&file);
    assert_eq!(salvaged.len(), 1, "a page belongs to one value");
    assert_eq!(salvaged[0].1.len(), more * PAGE - 16);
}

#[test]
fn damaged_while_open_is_noticed_before_liblmdb_reads_it() {
    let directory = Directory::new();
    let (bytes, expected, _) = healthy(&directory);
    let (key, value) = expected.first_key_value().unwrap();
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let damages: [(&str, Damage<'_>); 4] = [
        ("cut to half", &|bytes| bytes.truncate(bytes.len() / 2)),
        ("cut inside of the meta pages", &|bytes| bytes.truncate(100)),
        ("zeros", &|bytes| bytes.fill(0)),
        ("text", &|bytes| *bytes = b"not a table".repeat(1000)),
    ];
    for (name, damage) in damages {
        fs::write(directory.table(), &bytes).unwrap();
        let mut store = open(&directory.table());
        assert_eq!(get(&mut store, key).as_ref(), Some(value));
        store.rest();
        let mut damaged = bytes.clone();
        damage(&mut damaged);
        // In place, as `cp` writes it.
        fs::write(directory.table(), &damaged).unwrap();
        let refused = store.put(b"new", b"value");
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{name}: {refused:?}");
        let refused = store.get(key, &mut Vec::new());
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{name}: {refused:?}");
        // The file comes back, and so does the table, without being reopened.
        fs::write(directory.table(), &bytes).unwrap();
        assert_eq!(get(&mut store, key).as_ref(), Some(value), "{name}");
        store.put(b"new", b"value").unwrap();
        store.commit().unwrap();
        assert_eq!(get(&mut open(&directory.table()), b"new"), Some(b"value".to_vec()));
    }
}

#[test]
fn emptied_file_is_a_fresh_table_and_a_removed_one_an_error() {
    let directory = Directory::new();
    let mut store = open(&directory.table());
    store.put(b"old", b"value").unwrap();
    store.commit().unwrap();
    fs::write(directory.table(), b"").unwrap();
    assert_eq!(get(&mut store, b"old"), None);
    store.put(b"new", b"value").unwrap();
    store.commit().unwrap();
    store.rest();
    let keys: BTreeSet<_> = content(&mut store).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, BTreeSet::from([b"new".to_vec()]));
    fs::remove_file(directory.table()).unwrap();
    assert!(matches!(store.put(b"lost", b"value"), Err(StoreError::Io(_))));
    assert!(matches!(store.get(b"new", &mut Vec::new()), Err(StoreError::Io(_))));
}
