//! Checkpoints beside programs that have `NAME.db` locked, or open for writing.

use super::super::change::tests::BEFORE_EXCHANGE;
use super::super::checkpoint::tests::{ID, content, on_both, put, replace, written};
use super::super::tables::Tables;
use super::super::tables::tests::{bed, names, open, owned, tables};
use mapkeep_broker_trust::testbed::{Bed, as_owner};
use mapkeep_proto::{BrokerToWriter, Part};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Checkpoints in the race.
const CHECKPOINTS: usize = 100;

fn assert_put_off(tables: &mut Tables, answer: BrokerToWriter, what: &str) {
    assert_eq!(answer, BrokerToWriter::NotReplaced(ID), "{what}");
    let told = &tables.get_mut(ID).unwrap().told_checkpoint;
    assert!(told.contains("is locked, or open for writing") && told.contains("fuser -v"), "{what}: {told}");
}

#[test]
fn file_that_another_program_may_write_is_left_alone() {
    type Hold = fn(&Bed) -> File;
    let holds: [(&str, Hold); 3] = [
        ("locked", |bed| {
            let file = File::open(bed.path("d/x.db")).unwrap();
            file.lock().unwrap();
            file
        }),
        ("open for writing", |bed| File::options().write(true).open(bed.path("d/x.db")).unwrap()),
        ("both", |bed| {
            let file = File::options().read(true).write(true).open(bed.path("d/x.db")).unwrap();
            file.lock().unwrap();
            file
        }),
    ];
    for (what, hold) in holds {
        on_both(|bed, mut tables| {
            owned(bed, "d/x.db", b"before");
            open(&mut tables, 0).unwrap();
            let inode = || fs::metadata(bed.path("d/x.db")).unwrap().ino();
            let before = inode();
            let held = hold(bed);
            let answer = as_owner(|| tables.want_new(ID));
            assert_put_off(&mut tables, answer.0, what);
            assert!(!bed.path("d/x.db.mapkeep-new").exists(), "{what}: nothing is written in vain");
            drop(held);
            written(&mut tables, b"ours");
            let held = hold(bed);
            let answer = replace(&mut tables);
            assert_put_off(&mut tables, answer.0, what);
            assert_eq!((inode(), content(bed)), (before, b"before".to_vec()), "{what}");
            drop(held);
            put(&mut tables, b"after");
            assert_eq!(content(bed), b"after", "{what}");
            assert!(tables.get_mut(ID).unwrap().told_checkpoint.is_empty(), "{what}");
        });
    }
}

#[test]
fn readers_do_not_prevent_checkpoints() {
    on_both(|bed, mut tables| {
        owned(bed, "d/x.db", b"before");
        open(&mut tables, 0).unwrap();
        let reader = File::open(bed.path("d/x.db")).unwrap();
        reader.lock_shared().unwrap();
        put(&mut tables, b"after");
        assert_eq!(content(bed), b"after");
    });
}

/// A well-behaved writer: it locks the file, and relies on it if the name still denotes it.
#[test]
fn file_is_never_replaced_under_the_lock_of_a_writer() {
    on_both(|bed, mut tables| {
        owned(bed, "d/x.db", b"before");
        open(&mut tables, 0).unwrap();
        let (path, stop) = (bed.path("d/x.db"), AtomicBool::new(false));
        let look = || fs::metadata(&path).unwrap().ino();
        let held = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut held = 0_usize;
                while !stop.load(Ordering::Relaxed) {
                    let file = File::open(&path).unwrap();
                    file.lock().unwrap();
                    let inode = file.metadata().unwrap().ino();
                    if look() == inode {
                        for _ in 0..20 {
                            std::thread::yield_now();
                            assert_eq!(look(), inode, "the file was replaced under its lock");
                        }
                        held += 1;
                    }
                    drop(file);
                    // Gives the checkpoints a turn, because they never wait for the lock.
                    std::thread::sleep(Duration::from_millis(1));
                }
                held
            });
            let (mut placed, start) = (0, Instant::now());
            while placed < CHECKPOINTS && start.elapsed() < Duration::from_secs(15) && !writer.is_finished() {
                if as_owner(|| tables.want_new(ID)).0 != BrokerToWriter::New(ID) {
                    continue;
                }
                let new = tables.get_mut(ID).unwrap().new.clone().unwrap();
                File::from(new.try_clone().unwrap()).write_all(b"ours").unwrap();
                drop(new);
                placed += usize::from(replace(&mut tables).0 == BrokerToWriter::Replaced(ID));
            }
            stop.store(true, Ordering::Relaxed);
            assert!(placed > 0, "no checkpoint was put in place");
            writer.join().unwrap()
        });
        assert!(held > 0, "the writer never had the file of the name");
    });
}

/// A program that has looked up the name and waits in open(2) would get the previous file.
#[test]
fn file_that_another_program_is_about_to_write_is_restored() {
    let Some(bed) = bed() else { return };
    mapkeep_sys::signals::ignore_lease_breaks().unwrap();
    let mut tables = tables(&bed, &["btree:d/x"]);
    owned(&bed, "d/x.db", b"before");
    open(&mut tables, 0).unwrap();
    written(&mut tables, b"ours");
    let path = bed.path("d/x.db");
    let inode = fs::metadata(&path).unwrap().ino();
    let waits = format!(":{inode} ");
    let (opener, opened) = std::sync::mpsc::channel();
    BEFORE_EXCHANGE.set(Some(Box::new(move || {
        let path = path.clone();
        let opening = std::thread::spawn(move || File::options().write(true).open(path).unwrap());
        let breaking = |line: &str| line.contains("BREAKING") && line.contains(&waits);
        while !fs::read_to_string("/proc/locks").unwrap().lines().any(breaking) {
            assert!(!opening.is_finished(), "it was not kept waiting");
            std::thread::yield_now();
        }
        opener.send(opening).unwrap();
    })));
    let answer = replace(&mut tables);
    assert_put_off(&mut tables, answer.0, "awaited");
    let file = opened.recv().unwrap().join().unwrap();
    assert_eq!(file.metadata().unwrap().ino(), inode);
    assert_eq!(fs::metadata(bed.path("d/x.db")).unwrap().ino(), inode, "it writes the file of the name");
    assert_eq!(names(&bed), ["x.db", "x.mapkeep", "x.mapkeep-wal"]);
    drop(file);
    put(&mut tables, b"after");
    assert_eq!(content(&bed), b"after");
}

#[test]
fn damaged_file_is_not_set_aside_while_another_program_writes_it() {
    on_both(|bed, mut tables| {
        owned(bed, "d/x.db", b"damaged");
        open(&mut tables, 0).unwrap();
        let held = File::options().write(true).open(bed.path("d/x.db")).unwrap();
        as_owner(|| tables.corrupt(ID, Part::File, Instant::now()));
        assert_eq!(content(bed), b"damaged");
        let answer = as_owner(|| tables.want_new(ID));
        assert_put_off(&mut tables, answer.0, "damaged");
        drop(held);
        put(&mut tables, b"after");
        assert_eq!(content(bed), b"after");
        assert_eq!(names(bed).iter().filter(|name| name.starts_with("x.db.corrupt-")).count(), 1);
    });
}
