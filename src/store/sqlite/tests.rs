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
