//! The files: their locks, what is in them, and what is never made.

use std::fs;

use rusqlite::{Connection, OpenFlags};

use super::super::faults::{self, Fault};
use super::super::testing::{Scratch, list, reopen};
use crate::{Store, StoreError};

/// Another program, with SQLite's own way to files.
fn stranger(scratch: &Scratch, statement: &str) -> rusqlite::Result<()> {
    let connection =
        Connection::open_with_flags_and_vfs(scratch.path("t"), OpenFlags::SQLITE_OPEN_READ_WRITE, c"unix")?;
    connection.busy_timeout(std::time::Duration::ZERO)?;
    connection.prepare(statement)?.query([])?.next().map(|_| ())
}

#[test]
fn second_opener_gets_busy() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    store.put(b"a", b"1").unwrap();
    store.commit().unwrap();
    let refused = scratch.try_open_once("t").err().unwrap();
    assert_eq!(refused.error, StoreError::Busy);
    // Closing another descriptor of the file would end a POSIX lock.
    drop(refused);
    drop(fs::File::open(scratch.path("t")).unwrap());
    assert_eq!(scratch.try_open_once("t").err().unwrap().error, StoreError::Busy);
    let error = stranger(&scratch, "SELECT * FROM entries").unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    store.put(b"b", b"2").unwrap();
    store.commit().unwrap();
    drop(store);
    assert_eq!(list(&mut scratch.open("t")).len(), 2);
}

#[test]
fn stranger_that_reads_keeps_us_off_until_it_leaves() {
    let scratch = Scratch::new();
    drop(scratch.open("t"));
    let connection =
        Connection::open_with_flags_and_vfs(scratch.path("t"), OpenFlags::SQLITE_OPEN_READ_WRITE, c"unix")
            .unwrap();
    connection.query_row("SELECT count(*) FROM entries", [], |_| Ok(())).unwrap();
    let refused = scratch.try_open_once("t").err().unwrap();
    assert_eq!(refused.error, StoreError::Busy);
    drop(connection);
    let (main, log) = refused.files.unwrap();
    reopen((main, log)).unwrap();
}

#[test]
fn other_programs_find_a_sound_database() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    for number in 0..2_000_u32 {
        store.put(&number.to_be_bytes(), &[7; 50]).unwrap();
    }
    store.commit().unwrap();
    drop(store);
    let connection =
        Connection::open_with_flags_and_vfs(scratch.path("t"), OpenFlags::SQLITE_OPEN_READ_WRITE, c"unix")
            .unwrap();
    let ask = |statement: &str| connection.query_row(statement, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(ask("PRAGMA integrity_check"), "ok");
    assert_eq!(ask("SELECT count(*) || ' ' || sum(length(value)) FROM entries"), "2000 100000");
}

#[test]
fn no_third_file_is_made() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    for number in 0..5_000_u32 {
        store.put(&number.to_be_bytes(), &[7; 50]).unwrap();
        if number % 10 == 0 {
            store.commit().unwrap();
        }
    }
    store.undo();
    drop(store);
    drop(scratch.open("t"));
    let mut names: Vec<_> = fs::read_dir(scratch.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["t", "t.log"]);
}

#[test]
fn log_does_not_grow_without_bound() {
    for rests in [false, true] {
        let scratch = Scratch::new();
        let mut store = scratch.open("t");
        store.log_pages = 100;
        let mut sizes = Vec::new();
        for number in 0..1_200_u32 {
            store.put(&(number % 70).to_be_bytes(), &number.to_be_bytes()).unwrap();
            store.commit().unwrap();
            if rests {
                store.rest();
            }
            if number % 300 == 299 {
                sizes.push(log_size(&scratch, "t"));
            }
        }
        let limit = if rests { 105 } else { 210 };
        assert!(sizes.iter().all(|size| *size > (limit - 10) * 4_120 && *size < limit * 4_120), "{sizes:?}");
        assert_eq!(sizes[1], sizes[3], "{sizes:?}");
    }
}

#[test]
fn main_file_has_room_for_the_pages_in_the_log() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    for number in 0..300_u32 {
        store.put(&number.to_be_bytes(), &[7; 700]).unwrap();
        store.commit().unwrap();
        let pages = store.ask("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap().unwrap();
        let main = fs::metadata(&scratch.files("t")[0]).unwrap().len();
        assert_eq!(main, u64::try_from(pages * 4_096).unwrap());
    }
    scratch.copy("t", "killed");
    assert_eq!(list(&mut scratch.open("killed")).len(), 300);
    store.rest();
    drop(store);
    // Room that was made for a group that came to nothing.
    let mut store = scratch.open("t");
    store.put(b"long", &[7; 100_000]).unwrap();
    faults::plan(Fault::Errno(libc::ENOSPC), 40, 1);
    assert!(matches!(store.commit(), Err(StoreError::NoRoom(_))));
    faults::end();
    drop(store);
    let mut store = scratch.open("t");
    for number in 300..600_u32 {
        store.put(&number.to_be_bytes(), &[7; 700]).unwrap();
        store.commit().unwrap();
    }
    drop(store);
    assert_eq!(list(&mut scratch.open("t")).len(), 600);
}

fn log_size(scratch: &Scratch, name: &str) -> u64 {
    fs::metadata(&scratch.files(name)[1]).unwrap().len()
}

#[test]
fn group_of_a_killed_writer_is_cut_off() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    store.put(b"a", b"1").unwrap();
    store.commit().unwrap();
    let before = log_size(&scratch, "t");
    // More than the cache holds is written before it is committed.
    store.connection.execute_batch("PRAGMA cache_size = 5").unwrap();
    for number in 0..60_u8 {
        store.put(&[number; 9], &[number; 1_500]).unwrap();
    }
    assert!(log_size(&scratch, "t") > before);
    scratch.copy("t", "killed");
    let mut killed = scratch.open("killed");
    assert_eq!((log_size(&scratch, "killed"), list(&mut killed).len()), (before, 1));
    store.undo();
    assert_eq!((log_size(&scratch, "t"), list(&mut store).len()), (before, 1));
}

#[test]
fn group_that_could_not_be_cut_off_is_before_the_next_one() {
    let scratch = Scratch::new();
    let begin = |name| {
        let mut store = scratch.open(name);
        store.put(b"a", b"1").unwrap();
        store.commit().unwrap();
        for number in 0..60_u8 {
            store.put(&[number; 9], &[number; 1_500]).unwrap();
        }
        store
    };
    let mut store = begin("count");
    faults::plan(Fault::Errno(libc::EIO), u64::MAX, 0);
    store.commit().unwrap();
    let (calls, _) = faults::end();

    let mut store = begin("t");
    let before = log_size(&scratch, "t");
    // The disk takes all that is written, but the sync fails, and so does the cut.
    faults::plan(Fault::Errno(libc::EIO), calls - 1, u64::MAX);
    store.commit().unwrap_err();
    assert_eq!(faults::end().1, 2);
    assert_eq!(log_size(&scratch, "t"), log_size(&scratch, "count"));
    store.put(b"a", b"2").unwrap();
    store.commit().unwrap();
    assert_eq!((log_size(&scratch, "t"), list(&mut store).len()), (before + 24 + 4_096, 1));
}

#[test]
fn empty_file_of_a_power_failure_is_new() {
    let scratch = Scratch::new();
    for size in [0, 1, 4095, 4096] {
        let [main, log] = scratch.files("t");
        fs::write(main, vec![0; size]).unwrap();
        fs::write(log, b"").unwrap();
        let mut store = scratch.open("t");
        store.put(b"a", b"1").unwrap();
        store.commit().unwrap();
        drop(store);
        assert_eq!(list(&mut scratch.open("t")).len(), 1);
    }
}
