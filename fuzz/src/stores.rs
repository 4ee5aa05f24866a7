//! Files of the tables that the writer changes, as somebody has damaged them.
//!
//! Purpose: as in `lib.rs`, for the engines of the writer. Not one of its modules, since liblmdb needs a program that is linked
//! as in `src/table/store/build.rs`: `targets/` and the tests of the store take it in by themselves. Files are in memory.
#![allow(dead_code, reason = "each target needs its own function only")]

use mapkeep_table_store::lmdb::{MAX_KEY, salvage, salvage_file};
use mapkeep_table_store::sqlite::{self, Form, RescuedEntry, SqliteStore, Unopened, read_file};
use mapkeep_table_store::{LmdbStore, Store, StoreError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// An lmdb file: what passes the check can be read and changed by liblmdb, and is again a file that passes; salvage of
/// it returns the same entries, and of any other file at most sixteen times its bytes.
pub fn lmdb_store(data: &[u8]) {
    let salvaged = salvage(data);
    assert!(salvage_file(memory(data)).as_ref() == Ok(&salvaged), "of bytes and of a file");
    assert!(salvaged.is_sorted_by(|(a, _), (b, _)| a < b));
    assert!(salvaged.iter().all(|(key, _)| (1..=MAX_KEY).contains(&key.len())));
    let bytes: usize = salvaged.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(bytes <= 16 * data.len(), "salvage gives {bytes} bytes");
    if data.is_empty() {
        return;
    }
    let file = Memory::new(data);
    let open = || LmdbStore::open_with_limit(file.descriptor(), file.descriptor(), 64 << 20);
    let mut store = match open() {
        Ok(store) => store,
        Err(StoreError::Corrupt(_)) => return,
        Err(other) => panic!("{other}"),
    };
    let mut entries = list(&mut store).unwrap();
    assert!(entries == salvaged.into_iter().collect(), "salvage of a good file is its content");
    change(&mut store, &mut entries).unwrap();
    drop(store);
    assert!(
        list(&mut open().unwrap()).unwrap() == entries,
        "what was changed is a good file with these entries"
    );
}

/// A store of SQLite's. The first byte decides whether its checksums are corrected (bit 0: of the main file, bit 1: of
/// the log), the second how many pages the main file has; the log comes after it. A store that opens can be listed and
/// changed, or reports damage; and from any store, salvage returns at most twice its bytes.
pub fn sqlite_store(data: &[u8]) {
    let Some((&[flags, pages], rest)) = data.split_first_chunk() else { return };
    let (main, log) = rest.split_at(rest.len().min(usize::from(pages) * PAGE));
    let (mut main, mut log) = (main.to_vec(), log.to_vec());
    if flags & 1 != 0 {
        seal_pages(&mut main);
    }
    if flags & 2 != 0 {
        seal_log(&mut log);
    }
    let files = || (memory(&main), memory(&log));
    let (main_file, log_file) = files();
    match SqliteStore::open(main_file, log_file) {
        Ok(mut store) => match list(&mut store) {
            Ok(mut entries) => match change(&mut store, &mut entries) {
                Ok(()) => assert!(list(&mut store) == Ok(entries)),
                Err(error) => assert!(matches!(error, StoreError::Corrupt(_)), "{error}"),
            },
            Err(error) => assert!(matches!(error, StoreError::Corrupt(_)), "{error}"),
        },
        Err(Unopened { error, files }) => {
            assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
            assert!(files.is_some(), "without the descriptors there is no salvage");
        }
    }

    let (mut count, mut bytes) = (0_u64, 0_usize);
    let mut newest: BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)> = BTreeMap::new();
    let (main_file, log_file) = files();
    let rescued = sqlite::salvage(main_file, log_file, |RescuedEntry { key, value, version }| {
        count += 1;
        bytes += key.len() + value.map_or(0, <[u8]>::len);
        if newest.get(key).is_none_or(|(known, _)| *known < version) {
            newest.insert(key.to_vec(), (version, value.map(<[u8]>::to_vec)));
        }
    });
    assert_eq!(rescued.entries, count);
    assert!(bytes <= 2 * rest.len(), "salvage gives {bytes} bytes");
    let (main_file, log_file) = files();
    let mut fresh = SqliteStore::open(memory(b""), memory(b"")).unwrap();
    assert!(fresh.rescue(main_file, log_file) == Ok(rescued));
    let expected: Entries = newest.into_iter().filter_map(|(key, (_, value))| Some((key, value?))).collect();
    assert!(list(&mut fresh) == Ok(expected), "a new store has what was salvaged");
}

/// A file of Berkeley DB, swept for entries: each key once, in order, and no more than seventeen times its bytes.
pub fn bdb_sweep(data: &[u8]) {
    for form in [Form::Hash, Form::Btree] {
        let contents = read_file(form, data);
        assert!(contents.iter().is_sorted_by(|(a, _), (b, _)| a < b));
        let bytes: usize = contents.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes <= 17 * data.len(), "the sweep gives {bytes} bytes");
        assert!(contents.damage.is_some() || bytes <= data.len(), "a good file has no entry twice");
    }
}

/// A file in memory that goes with the value. It has a name until then: an lmdb table that was removed is not used.
struct Memory(PathBuf, File);

impl Memory {
    fn new(bytes: &[u8]) -> Memory {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/dev/shm/mapkeep-fuzz-{}-{number}", std::process::id()));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
        Memory(path, file)
    }

    fn descriptor(&self) -> OwnedFd {
        self.1.try_clone().unwrap().into()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// The descriptor of a file in memory.
fn memory(bytes: &[u8]) -> OwnedFd {
    Memory::new(bytes).descriptor()
}

/// All entries, which must come in order: a list that goes back would have no end.
fn list(store: &mut dyn Store) -> Result<Entries, StoreError> {
    let (mut entries, mut last): (_, Option<Vec<u8>>) = (Entries::new(), None);
    loop {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        if !store.after(last.as_deref(), &mut key, &mut value)? {
            store.rest();
            return Ok(entries);
        }
        assert!(last.is_none_or(|last| last < key), "a list goes back");
        entries.insert(key.clone(), value);
        last = Some(key);
    }
}

/// Changes, adds and removes entries, with long and short values, in `store` and in `entries`.
fn change(store: &mut dyn Store, entries: &mut Entries) -> Result<(), StoreError> {
    let some: Vec<Vec<u8>> = entries.keys().step_by(entries.len() / 8 + 1).cloned().collect();
    for (number, key) in some.into_iter().enumerate() {
        let mut found = Vec::new();
        assert!(store.get(&key, &mut found)? && found == entries[&key], "a listed entry is found");
        if number % 2 == 0 {
            assert!(store.delete(&key)?);
            entries.remove(&key);
        } else {
            store.put(&key, b"changed")?;
            entries.insert(key, b"changed".to_vec());
        }
    }
    for number in 0..20_u8 {
        let (key, value) =
            ([b"new ".as_slice(), &[number; 90]].concat(), vec![b'v'; usize::from(number) * 300]);
        store.put(&key, &value)?;
        entries.insert(key, value);
    }
    store.commit()?;
    store.rest();
    Ok(())
}

/// The page size of the stores of SQLite's.
const PAGE: usize = 4096;

/// Puts the checksum of each page right (src/table/store: sqlite/descriptors.rs).
fn seal_pages(main: &mut [u8]) {
    let (pages, _) = main.as_chunks_mut::<PAGE>();
    for (number, page) in (1_u64..).zip(pages) {
        let (content, place) = page.split_last_chunk_mut::<8>().unwrap();
        let words = content.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let sum = words.fold(number ^ 0x6d61_706b_6565_7031, |sum, word| {
            (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        });
        *place = sum.to_le_bytes();
    }
}

/// Puts the checksums of a log right: of its header, and of each frame (<https://sqlite.org/fileformat2.html#walformat>).
fn seal_log(log: &mut [u8]) {
    let Some((header, frames)) = log.split_first_chunk_mut::<32>() else { return };
    let big = header[3] & 1 == 1;
    let mut sum = add_up((0, 0), &header[..24], big);
    store_sum(&mut header[24..], sum);
    for frame in frames.chunks_exact_mut(24 + PAGE) {
        sum = add_up(add_up(sum, &frame[..8], big), &frame[24..], big);
        store_sum(&mut frame[16..24], sum);
    }
}

fn add_up(sum: (u32, u32), bytes: &[u8], big: bool) -> (u32, u32) {
    let word = |bytes: [u8; 4]| if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
    let words = bytes.as_chunks::<4>().0;
    words.as_chunks::<2>().0.iter().fold(sum, |(one, other), [first, second]| {
        let one = one.wrapping_add(word(*first)).wrapping_add(other);
        (one, other.wrapping_add(word(*second)).wrapping_add(one))
    })
}

fn store_sum(place: &mut [u8], (one, other): (u32, u32)) {
    place[..4].copy_from_slice(&one.to_be_bytes());
    place[4..].copy_from_slice(&other.to_be_bytes());
}
