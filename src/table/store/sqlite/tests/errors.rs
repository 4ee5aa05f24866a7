//! Full disks, failing disks and short writes, at every single call that changes a file.

use std::os::fd::OwnedFd;

use super::super::faults::{self, Fault};
use super::super::testing::{Entries, Numbers, Scratch, list, new_file, reopen};
use crate::sqlite::{Form, SqliteStore};
use crate::{Checkpoint, Progress, Stamp, Store, StoreError};

/// How a call fails, and how many calls after it fail as well.
const FAULTS: [(Fault, u64); 5] = [
    (Fault::Errno(libc::ENOSPC), u64::MAX),
    (Fault::Errno(libc::EIO), 1),
    (Fault::Errno(libc::EIO), u64::MAX),
    (Fault::Short(libc::EDQUOT), 1),
    (Fault::Short(libc::ENOSPC), u64::MAX),
];

fn assert_expected(error: &StoreError, fault: Fault) {
    let (Fault::Errno(errno) | Fault::Short(errno)) = fault;
    match errno {
        libc::EIO => {
            assert!(matches!(error, StoreError::Io(text) if text.contains("os error 5")), "{error:?}")
        }
        _ => assert!(matches!(error, StoreError::NoRoom(_)), "{error:?}"),
    }
}

/// Makes the store `base`, with some entries, partly in the main file, partly in the log.
fn make_base(scratch: &Scratch) {
    let mut store = scratch.open("made");
    let mut numbers = Numbers(1);
    for number in 0..80 {
        store.put(&numbers.key(), &numbers.bytes(number)).unwrap();
    }
    store.put(b"long", &numbers.bytes(10_000)).unwrap();
    store.commit().unwrap();
    store.empty_log();
    for _ in 0..3 {
        store.put(&numbers.key(), b"in the log").unwrap();
        store.commit().unwrap();
    }
    scratch.copy("made", "base");
}

/// The store `t`, as a kill of the maker of `base` has left it.
fn begin(scratch: &Scratch, set_up: impl Fn(&mut SqliteStore)) -> SqliteStore {
    scratch.copy("base", "t");
    let mut store = scratch.open("t");
    set_up(&mut store);
    store
}

fn as_it_is(_: &mut SqliteStore) {}

/// Does `act` with a fault at the first, the second, ... of the calls that it makes, until none is left that could fail.
/// Where it fails, the store must be as before, now and after a kill; and `act` must do without the fault.
fn at_every_call(
    set_up: impl Fn(&mut SqliteStore),
    act: impl Fn(&mut SqliteStore) -> Result<(), StoreError>,
) {
    let scratch = Scratch::new();
    make_base(&scratch);
    let mut failures = 0;
    for (fault, bad) in FAULTS {
        for good in 0.. {
            let mut store = begin(&scratch, &set_up);
            let old = list(&mut store);
            faults::plan(fault, good, bad);
            let result = act(&mut store);
            if result.is_ok() {
                // An error after the commit, when the log is brought into the main file, is no error of the commit.
                let (_, failed) = faults::end();
                let new = list(&mut store);
                assert!(old != new, "{fault:?} {good}");
                assert_after_kill(&scratch, &[&new]);
                if failed == 0 {
                    break;
                }
                continue;
            }
            failures += 1;
            assert_expected(&result.unwrap_err(), fault);
            assert!(!store.is_open());
            assert!(list(&mut store) == old, "{fault:?} {good}");
            if bad == 1 {
                assert_after_kill(&scratch, &[&old]);
            } else {
                // What cannot even be cut off may be found whole after a kill; never in part.
                assert!(act(&mut store).is_err() || good > 0);
            }
            faults::end();
            act(&mut store).unwrap();
            let new = list(&mut store);
            assert!(old != new);
            assert_after_kill(&scratch, &[&new]);
            drop(store);
            assert!(list(&mut scratch.open("t")) == new);
        }
    }
    // A change is at least one write and one sync.
    assert!(failures >= 10, "{failures}");
}

fn assert_after_kill(scratch: &Scratch, expected: &[&Entries]) {
    scratch.copy("t", "copy");
    let found = list(&mut scratch.open("copy"));
    assert!(expected.contains(&&found));
}

#[test]
fn single_change_with_a_fault_at_every_call() {
    at_every_call(as_it_is, |store| {
        store.put(b"new", b"value")?;
        store.commit()
    });
}

#[test]
fn group_of_many_pages_with_a_fault_at_every_call() {
    at_every_call(as_it_is, |store| {
        for number in 0..100_u8 {
            store.put(&[number; 9], &[number; 200])?;
        }
        store.delete(&[7; 9])?;
        store.commit()
    });
}

#[test]
fn group_larger_than_the_cache_with_a_fault_at_every_call() {
    let small_cache =
        |store: &mut SqliteStore| store.connection.execute_batch("PRAGMA cache_size = 5").unwrap();
    at_every_call(small_cache, |store| {
        for number in 0..11_u8 {
            store.put(&[number; 9], &[number; 1_500])?;
        }
        store.commit()
    });
}

#[test]
fn log_that_is_brought_into_the_main_file_with_a_fault_at_every_call() {
    let at_once = |store: &mut SqliteStore| store.log_pages = 0;
    let change = |store: &mut SqliteStore| {
        store.put(b"first", b"value")?;
        store.commit()
    };
    at_every_call(at_once, change);
    // The commit that restarts the log.
    at_every_call(
        |store| {
            at_once(store);
            store.rest();
        },
        change,
    );
}

#[test]
fn import_with_a_fault_at_every_call() {
    let stamp = Stamp { dev: 1, ino: 2, size: 3, mtime_ns: 4 };
    at_every_call(as_it_is, |store| {
        // Half of what there is counts as saved.
        let half = store.version() / 2;
        store.note_pending(stamp, half)?;
        store.saved()?;
        store.import([(&b"k"[..], &b"v"[..]), (b"l", b"w")], stamp).map(|_| ())
    });
}

#[test]
fn checkpoint_with_a_fault_at_every_call() {
    let scratch = Scratch::new();
    make_base(&scratch);
    for form in [Form::Btree, Form::Hash] {
        let mut failures = 0;
        for (fault, bad) in FAULTS {
            for good in 0.. {
                let mut store = begin(&scratch, as_it_is);
                let old = list(&mut store);
                let target: OwnedFd = new_file(&scratch.path("new")).into();
                faults::plan(fault, good, bad);
                let result = write_out(form, target, &mut store);
                faults::end();
                assert!(list(&mut store) == old);
                assert!(store.unsaved());
                let Err(error) = result else { break };
                assert_expected(&error, fault);
                failures += 1;
                let target = new_file(&scratch.path("new"));
                write_out(form, target.into(), &mut store).unwrap();
                store.saved().unwrap();
                assert!(!store.unsaved());
            }
        }
        assert!(failures >= 15, "{failures}");
    }
}

fn write_out(form: Form, target: OwnedFd, store: &mut SqliteStore) -> Result<Stamp, StoreError> {
    let mut checkpoint = Checkpoint::begin(form, target, store)?;
    loop {
        if let Progress::Done(stamp) = checkpoint.step(store)? {
            return Ok(stamp);
        }
    }
}

#[test]
fn first_opening_with_a_fault_at_every_call() {
    for (fault, bad) in FAULTS {
        for good in 0.. {
            let scratch = Scratch::new();
            faults::plan(fault, good, bad);
            let result = scratch.try_open("t");
            faults::end();
            let mut store = match result {
                Ok(store) => {
                    assert!(good > 5);
                    drop(store);
                    break;
                }
                Err(refused) => {
                    assert_expected(&refused.error, fault);
                    match reopen(refused.files.unwrap()) {
                        Ok(store) => store,
                        Err(refused) => {
                            // A part of the first page is there, and could not be cut off either.
                            assert!(
                                bad > 1 && matches!(refused.error, StoreError::Corrupt(_)),
                                "{refused:?}"
                            );
                            continue;
                        }
                    }
                }
            };
            store.put(b"a", b"1").unwrap();
            store.commit().unwrap();
        }
    }
}

#[test]
fn full_disk_recovers_when_space_is_released() {
    let scratch = Scratch::new();
    make_base(&scratch);
    let mut store = begin(&scratch, as_it_is);
    let log = scratch.files("t")[1].clone();
    let before = std::fs::metadata(&log).unwrap().len();
    assert!(before > 0);
    faults::plan(Fault::Errno(libc::ENOSPC), 0, 1);
    store.put(b"a", b"1").unwrap();
    assert!(matches!(store.commit(), Err(StoreError::NoRoom(_))));
    faults::end();
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    assert!(store.log_pages < 100);
    store.put(b"a", b"1").unwrap();
    store.commit().unwrap();
    // A whole file could be written: there is room again.
    write_out(Form::Hash, new_file(&scratch.path("new")).into(), &mut store).unwrap();
    store.saved().unwrap();
    assert!(store.log_pages > 100);
}
