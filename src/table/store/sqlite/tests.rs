//! Tests of the store as a whole.

mod damage;
mod errors;
mod exchange;
mod files;
mod kill;

use super::testing::{Model, Numbers, Scratch, list};
use super::*;

#[test]
fn random_operations_with_reopening_as_the_model() {
    for seed in 0..6 {
        let scratch = Scratch::new();
        let (mut store, mut model) = (scratch.open("t"), Model::default());
        let mut numbers = Numbers(seed);
        for round in 0..8 {
            for _ in 0..400 {
                model.operation(&mut store, &mut numbers);
            }
            model.assert_same(&mut store);
            if round % 2 == 0 {
                drop(store);
            } else {
                // As a kill leaves it: the log is as long as it was.
                scratch.copy("t", "copy");
                drop(store);
                scratch.copy("copy", "t");
            }
            store = scratch.open("t");
            // What was not committed is gone.
            model.now = model.committed.clone();
            model.assert_same(&mut store);
        }
    }
}

#[test]
fn checkpointed_tombstones_are_removed() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    let rows = |store: &SqliteStore| {
        store.ask("SELECT count(*) FROM entries", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    for round in 0..2 {
        store.put(b"a", b"1").unwrap();
        store.delete(b"a").unwrap();
        store.commit().unwrap();
        assert_eq!(rows(&store), Some(1));
        store
            .note_pending(crate::Stamp { dev: 1, ino: 2, size: 3, mtime_ns: round }, store.version())
            .unwrap();
        store.saved().unwrap();
        assert_eq!(rows(&store), Some(0));
    }
}

#[test]
fn put_newer_leaves_newer_versions() {
    let scratch = Scratch::new();
    let store = scratch.open("t");
    for (value, version, changed) in [(b"b", 5, 1), (b"a", 3, 0), (b"c", 6, 1)] {
        assert_eq!(store.run(PUT_NEWER, (&b"key"[..], &value[..], version)), Ok(changed));
    }
}

#[test]
fn versions_survive_and_rise() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    assert!(!store.unsaved());
    store.put(b"a", b"1").unwrap();
    assert!(!store.unsaved(), "not committed");
    store.commit().unwrap();
    assert!(store.unsaved());
    let before = store.version();
    store.put(b"b", b"2").unwrap();
    store.undo();
    assert!(store.version() > before, "a version is not given twice");
    drop(store);
    let mut store = scratch.open("t");
    assert!(store.unsaved());
    assert_eq!(store.version(), before);
    assert_eq!(store.delete(b"a"), Ok(true));
    assert_eq!(store.delete(b"a"), Ok(false));
    store.commit().unwrap();
    assert!(store.version() > before);
    assert!(list(&mut store).is_empty());
    let tombstones = store.ask("SELECT count(*) FROM entries WHERE value IS NULL", [], |row| row.get(0));
    assert_eq!(tombstones, Ok(Some(1)));
}
