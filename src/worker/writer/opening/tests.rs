//! Opening real files.

use super::*;
use crate::engine::Stage;
use crate::testing::Scratch;
use mapkeep_query::Step;
use mapkeep_table_format::Cursor;
use mapkeep_table_format::build::{BtreeBuilder, PAGE_SIZE};
use mapkeep_table_lookup::Table;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// Entries as they are stored.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn entries(numbers: std::ops::Range<u32>, value: &str) -> Entries {
    let entry =
        |number| (format!("key{number:05}\0").into_bytes(), format!("{value} {number}\0").into_bytes());
    numbers.map(entry).collect()
}

/// A btree file with these entries.
fn btree_file(scratch: &Scratch, name: &str, entries: &Entries) {
    let mut bytes = Vec::new();
    let mut builder = BtreeBuilder::new(PAGE_SIZE, [7; 20]).unwrap();
    for (key, value) in entries {
        builder.push(key, value, &mut bytes).unwrap();
    }
    builder.finish(&mut bytes).unwrap();
    scratch.file(name).write_all(&bytes).unwrap();
}

/// The entries of a file that a checkpoint has written.
fn in_file(scratch: &Scratch, kind: Kind, name: &str) -> Entries {
    let table =
        Table::from_snapshot(kind, std::fs::read(scratch.path(name)).unwrap(), &mut Vec::new()).unwrap();
    let (mut cursor, mut found) = (Cursor::default(), Vec::new());
    loop {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        if table.step(&mut cursor, &mut key, &mut value).unwrap() == Step::End {
            found.sort();
            return found;
        }
        // A scan returns them without their NUL byte.
        found.push(([key, vec![0]].concat(), [value, vec![0]].concat()));
    }
}

/// The files of the store `name`, made if they are not there, and the file `beside`, if it is.
fn store_files(scratch: &Scratch, name: &str, beside: &str) -> Files {
    let open = |name: &str| -> OwnedFd {
        let path = scratch.path(name);
        File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap().into()
    };
    let (store, log) = (open(name), open(&format!("{name}-wal")));
    let beside = File::open(scratch.path(beside)).ok().map(Into::into);
    Files::Store { store, log, beside }
}

fn lmdb_files(scratch: &Scratch, name: &str) -> Files {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let data = options.open(scratch.path(name)).unwrap().into();
    let meta = File::options().write(true).custom_flags(0o10000).open(scratch.path(name)).unwrap().into();
    Files::Lmdb { data, meta }
}

/// Opens a table as the loop does, a file to be taken over included.
fn open(kind: Kind, files: Files, rescue: Option<Rescue>) -> Result<(Fresh, Option<Import>), Refused> {
    let mut pauses = 0;
    let mut fresh = Stores.open(kind, files, rescue, &mut || pauses += 1)?;
    assert!(pauses > 0);
    let import = fresh.unread.take().map(|file| {
        let (bytes, stamp) = read_locked(&file, &mut || {}).unwrap();
        fresh.engine.saver().unwrap().take_over(&bytes, stamp, &mut || {}).unwrap()
    });
    Ok((fresh, import))
}

fn put(engine: &mut Box<dyn Engine>, entries: &Entries) {
    for (key, value) in entries {
        engine.entries_mut().put(key, value).unwrap();
    }
    engine.entries_mut().commit().unwrap();
    engine.entries_mut().rest();
}

fn all(engine: &mut Box<dyn Engine>) -> Entries {
    let mut found: Entries = Vec::new();
    loop {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let last = found.last().map(|(key, _)| key.as_slice());
        if !engine.entries_mut().after(last, &mut key, &mut value).unwrap() {
            engine.entries_mut().rest();
            return found;
        }
        found.push((key, value));
    }
}

/// Writes a checkpoint into a new file.
fn checkpoint(engine: &mut Box<dyn Engine>, scratch: &Scratch, name: &str) {
    let saver = engine.saver().unwrap();
    saver.begin(scratch.file(name).into()).unwrap();
    while saver.step().unwrap() == Stage::More {}
}

/// Overwrites a part of a file.
fn damage(scratch: &Scratch, name: &str, from: usize, count: usize) {
    let path = scratch.path(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[from..from + count].fill(0xa5);
    std::fs::write(path, bytes).unwrap();
}

fn expect_damaged(refused: Result<(Fresh, Option<Import>), Refused>, wanted: Part) -> Option<Rescue> {
    match refused {
        Err(Refused::Damaged { part, rescue, .. }) if part == wanted => rescue,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it opens"),
    }
}

#[test]
fn new_table_is_written_and_known_again() {
    for kind in [Kind::Hash, Kind::Btree] {
        let scratch = Scratch::new();
        let (mut fresh, import) = open(kind, store_files(&scratch, "t", "t.db"), None).unwrap();
        assert!(import.is_none() && fresh.unsaved, "there is no file yet");
        let content = entries(0..1000, "new");
        put(&mut fresh.engine, &content);
        checkpoint(&mut fresh.engine, &scratch, "t.db");
        assert!(fresh.engine.saver().unwrap().unsaved());
        fresh.engine.saver().unwrap().placed().unwrap();
        assert!(!fresh.engine.saver().unwrap().unsaved());
        assert_eq!(in_file(&scratch, kind, "t.db"), content);
        drop(fresh);
        let (mut fresh, import) = open(kind, store_files(&scratch, "t", "t.db"), None).unwrap();
        assert!(import.is_none() && !fresh.unsaved && !fresh.engine.saver().unwrap().unsaved());
        assert_eq!(all(&mut fresh.engine), content);
    }
}

#[test]
fn unreported_checkpoint_in_place_is_recognised() {
    let scratch = Scratch::new();
    let (mut fresh, _) = open(Kind::Btree, store_files(&scratch, "t", "t.db"), None).unwrap();
    put(&mut fresh.engine, &entries(0..10, "new"));
    checkpoint(&mut fresh.engine, &scratch, "t.db");
    // The process is killed here, with the new file in place.
    drop(fresh);
    let (mut fresh, import) = open(Kind::Btree, store_files(&scratch, "t", "t.db"), None).unwrap();
    assert!(import.is_none() && !fresh.engine.saver().unwrap().unsaved());
}

#[test]
fn file_of_another_program_is_imported_except_entries_changed_since() {
    let scratch = Scratch::new();
    btree_file(&scratch, "t.db", &entries(0..100, "theirs"));
    let (mut fresh, import) = open(Kind::Btree, store_files(&scratch, "t", "t.db"), None).unwrap();
    assert_eq!(import, Some(Import { taken: 100, ..Import::default() }));
    assert!(!fresh.unsaved);
    put(&mut fresh.engine, &entries(50..51, "ours"));
    assert!(fresh.engine.entries_mut().delete(b"key00060\0").unwrap());
    fresh.engine.entries_mut().commit().unwrap();
    std::fs::remove_file(scratch.path("t.db")).unwrap();
    btree_file(&scratch, "t.db", &entries(40..70, "newer"));
    let (bytes, stamp) = read_locked(&scratch.open("t.db"), &mut || {}).unwrap();
    let import = fresh.engine.saver().unwrap().take_over(&bytes, stamp, &mut || {}).unwrap();
    assert_eq!((import.taken, import.kept), (28, 2));
    let mut wanted = entries(40..70, "newer");
    wanted[10] = entries(50..51, "ours")[0].clone();
    wanted.remove(20);
    assert_eq!(all(&mut fresh.engine), wanted);
    assert!(fresh.engine.saver().unwrap().unsaved());
}

#[test]
fn damaged_file_is_imported_as_far_as_it_can_be_read() {
    let scratch = Scratch::new();
    let content = entries(0..1000, "theirs");
    btree_file(&scratch, "t.db", &content);
    damage(&scratch, "t.db", 3 * PAGE_SIZE, PAGE_SIZE);
    let (mut fresh, import) = open(Kind::Btree, store_files(&scratch, "t", "t.db"), None).unwrap();
    let import = import.unwrap();
    assert!(import.damage.is_some() && import.taken >= 500 && import.taken < 1000, "{import:?}");
    let found = all(&mut fresh.engine);
    assert_eq!(found.len() as u64, import.taken);
    assert!(found.iter().all(|entry| content.contains(entry)));
    // The file is set aside: nothing of it may be taken for saved.
    assert!(fresh.engine.saver().unwrap().unsaved());
}

#[test]
fn damaged_store_goes_into_a_fresh_one_with_the_help_of_its_file() {
    let scratch = Scratch::new();
    let (mut fresh, _) = open(Kind::Btree, store_files(&scratch, "t", "t.db"), None).unwrap();
    put(&mut fresh.engine, &entries(0..2000, "saved"));
    checkpoint(&mut fresh.engine, &scratch, "t.db");
    fresh.engine.saver().unwrap().placed().unwrap();
    let newer = entries(300..310, "newer");
    put(&mut fresh.engine, &newer);
    drop(fresh);
    let before = std::fs::metadata(scratch.path("t")).unwrap().len() as usize;
    damage(&scratch, "t", (before / 2) & !4095, 4096);
    let refused = open(Kind::Btree, store_files(&scratch, "t", "t.db"), None);
    let rescue = expect_damaged(refused, Part::Store);
    assert!(rescue.is_some());
    let (mut fresh, import) = open(Kind::Btree, store_files(&scratch, "fresh", "t.db"), rescue).unwrap();
    assert!(fresh.rescued.is_some() && import.is_some());
    let mut wanted = entries(0..2000, "saved");
    wanted.splice(300..310, newer);
    let found = all(&mut fresh.engine);
    // What was on the damaged page is as the file has it, unless it was there that the newest changes were.
    assert_eq!(found.len(), 2000);
    let differing = found.iter().zip(&wanted).filter(|(found, wanted)| found != wanted).count();
    assert!(differing <= 10, "{differing}");
}

#[test]
fn store_that_is_found_damaged_while_it_is_open_can_be_rescued() {
    let scratch = Scratch::new();
    let (mut fresh, _) = open(Kind::Hash, store_files(&scratch, "t", "t.db"), None).unwrap();
    let content = entries(0..100, "ours");
    put(&mut fresh.engine, &content);
    let Some((Part::Store, rescue @ Some(Rescue::Store(..)))) = fresh.engine.rescue() else { panic!() };
    let (mut fresh, _) = open(Kind::Hash, store_files(&scratch, "fresh", "t.db"), rescue).unwrap();
    assert_eq!(all(&mut fresh.engine), content);
}

#[test]
fn lmdb_file_is_made_changed_and_found_again() {
    let scratch = Scratch::new();
    let (mut fresh, _) = open(Kind::Lmdb, lmdb_files(&scratch, "t.lmdb"), None).unwrap();
    assert!(fresh.engine.saver().is_none());
    let content = entries(0..500, "ours");
    put(&mut fresh.engine, &content);
    drop(fresh);
    let (mut fresh, _) = open(Kind::Lmdb, lmdb_files(&scratch, "t.lmdb"), None).unwrap();
    assert_eq!(all(&mut fresh.engine), content);
    let long = [b'k'; 512];
    assert_eq!(
        fresh.engine.entries_mut().put(&long, b"v"),
        Err(StoreError::KeyTooLong { length: 512, limit: 511 })
    );
    let Some((Part::Lmdb, rescue @ Some(Rescue::Lmdb(_)))) = fresh.engine.rescue() else { panic!() };
    let (mut fresh, _) = open(Kind::Lmdb, lmdb_files(&scratch, "fresh.lmdb"), rescue).unwrap();
    assert!(fresh.rescued.is_some());
    assert_eq!(all(&mut fresh.engine), content);
}

#[test]
fn damaged_lmdb_file_goes_into_a_fresh_one_as_far_as_it_can_be_read() {
    let scratch = Scratch::new();
    let (mut fresh, _) = open(Kind::Lmdb, lmdb_files(&scratch, "t.lmdb"), None).unwrap();
    let content = entries(0..2000, "ours");
    put(&mut fresh.engine, &content);
    drop(fresh);
    damage(&scratch, "t.lmdb", 5 * 4096, 4096);
    let rescue = expect_damaged(open(Kind::Lmdb, lmdb_files(&scratch, "t.lmdb"), None), Part::Lmdb);
    let (mut fresh, _) = open(Kind::Lmdb, lmdb_files(&scratch, "fresh.lmdb"), rescue).unwrap();
    let found = all(&mut fresh.engine);
    assert!(found.len() >= 1000 && found.len() < 2000, "{}", found.len());
    assert!(found.iter().all(|entry| content.contains(entry)));
}

#[test]
fn store_that_another_process_has_is_for_later() {
    let scratch = Scratch::new();
    let _first = open(Kind::Btree, store_files(&scratch, "t", "t.db"), None).unwrap();
    match open(Kind::Btree, store_files(&scratch, "t", "t.db"), None) {
        Err(Refused::Later(StoreError::Busy, None)) => {}
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("two have it open"),
    }
}
