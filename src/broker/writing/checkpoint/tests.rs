//! Checkpoints put in place, refused, and given up; and what others do to the files meanwhile.

use super::super::change::tests::PLAIN_ONLY;
use super::super::tables::tests::{bed, names, open, owned, tables};
use super::*;
use mapkeep_broker_trust::testbed::{Bed, OWNER, as_owner};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(crate) const ID: TableId = TableId(0);

/// A file for a checkpoint, written as the writer does.
pub(crate) fn written(tables: &mut Tables, content: &[u8]) -> fs::File {
    let (message, file) = as_owner(|| tables.want_new(ID));
    assert_eq!(message, BrokerToWriter::New(ID));
    let mut file = fs::File::from(file.unwrap().try_clone().unwrap());
    file.write_all(content).unwrap();
    file.sync_data().unwrap();
    file
}

pub(crate) fn replace(tables: &mut Tables) -> Answer {
    as_owner(|| tables.replace(ID, Instant::now()))
}

pub(crate) fn put(tables: &mut Tables, content: &[u8]) {
    written(tables, content);
    let (message, file) = replace(tables);
    assert!(file.is_none());
    assert_eq!(message, BrokerToWriter::Replaced(ID));
}

pub(crate) fn content(bed: &Bed) -> Vec<u8> {
    fs::read(bed.path("d/x.db")).unwrap()
}

/// Runs a test twice: on a file system that can exchange names, and on one that cannot.
pub(crate) fn on_both(test: impl Fn(&Bed, Tables)) {
    for plain in [false, true] {
        let Some(bed) = bed() else { return };
        PLAIN_ONLY.set(plain);
        let tables = tables(&bed, &["btree:d/x"]);
        test(&bed, tables);
    }
}

#[test]
fn first_and_later_checkpoints_take_their_place() {
    on_both(|bed, mut tables| {
        open(&mut tables, 0).unwrap();
        put(&mut tables, b"one");
        let status = fs::metadata(bed.path("d/x.db")).unwrap();
        assert_eq!((content(bed), status.mode() & 0o7777, status.uid()), (b"one".to_vec(), 0o600, OWNER));
        put(&mut tables, b"second");
        put(&mut tables, b"third");
        assert_eq!(content(bed), b"third");
        assert_eq!(names(bed), ["x.db", "x.mapkeep", "x.mapkeep-wal"], "nothing is left over");
        assert_eq!(replace(&mut tables).0, BrokerToWriter::NotReplaced(ID), "there is none in progress");
    });
}

#[test]
fn mode_of_the_previous_file_is_kept_and_never_widened() {
    for (mode, same_group, expected) in [
        (0o600, true, 0o600),
        (0o644, true, 0o644),
        (0o640, true, 0o640),
        (0o640, false, 0o600),
        (0o644, false, 0o644),
        (0o755, true, 0o644),
        (0o400, true, 0o600),
    ] {
        let Some(bed) = bed() else { return };
        let mut tables = tables(&bed, &["hash:d/x"]);
        owned(&bed, "d/x.db", b"before");
        chown(bed.path("d/x.db"), None, Some(if same_group { OWNER } else { 0 })).unwrap();
        bed.mode("d/x.db", mode);
        open(&mut tables, 0).unwrap();
        put(&mut tables, b"after");
        let status = fs::metadata(bed.path("d/x.db")).unwrap();
        assert_eq!(status.mode() & 0o7777, expected, "{mode:o} {same_group}");
        assert_eq!(content(&bed), b"after");
    }
}

#[test]
fn file_that_another_program_has_written_is_imported_first() {
    type Write = fn(&Bed);
    let writes: [(&str, bool, Write); 4] = [
        ("another file", true, |bed| {
            owned(bed, "d/other", b"foreign");
            fs::rename(bed.path("d/other"), bed.path("d/x.db")).unwrap();
        }),
        ("in place", true, |bed| fs::write(bed.path("d/x.db"), b"foreign").unwrap()),
        ("in place, same length", true, |bed| {
            fs::write(bed.path("d/x.db"), b"foreign").unwrap();
            let file = fs::File::options().write(true).open(bed.path("d/x.db")).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }),
        ("where none was", false, |bed| owned(bed, "d/x.db", b"foreign")),
    ];
    for plain in [false, true] {
        for (what, has_file, write) in writes {
            let Some(bed) = bed() else { return };
            PLAIN_ONLY.set(plain);
            let mut tables = tables(&bed, &["hash:d/x"]);
            if has_file {
                owned(&bed, "d/x.db", b"before!");
            }
            open(&mut tables, 0).unwrap();
            written(&mut tables, b"ours");
            write(&bed);
            let (message, file) = replace(&mut tables);
            assert_eq!(message, BrokerToWriter::Changed(ID), "{what}");
            let mut file = fs::File::from(file.unwrap().try_clone().unwrap());
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!((text.as_str(), content(&bed).as_slice()), ("foreign", &b"foreign"[..]), "{what}");
            assert!(file.write_all(b"x").is_err(), "for reading only");
            assert!(!bed.path("d/x.db.mapkeep-new").exists(), "the checkpoint is void");
            // The writer's merged file replaces it.
            put(&mut tables, b"both");
            assert_eq!(content(&bed), b"both");
        }
    }
}

#[test]
fn file_replaced_at_the_last_moment_is_restored() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["hash:d/x"]);
    owned(&bed, "d/x.db", b"before");
    open(&mut tables, 0).unwrap();
    written(&mut tables, b"ours");
    let (entry, anchor, owner) = tables.with_grounds(ID).unwrap();
    let place = entry.same_place(anchor, owner).unwrap();
    // As if another program had written between the check and the exchange.
    fs::write(bed.path("d/x.db"), b"foreign").unwrap();
    change::exchange(&place, b"x.db.mapkeep-new", b"x.db").unwrap();
    assert!(!entry.is_replaced(&place, b"x.db.mapkeep-new").unwrap());
    assert_eq!(fs::read(bed.path("d/x.db.mapkeep-new")).unwrap(), b"foreign", "it is not removed");
    // If it stayed there, it would not be removed as a file of ours.
    let new = entry.new.take().unwrap();
    entry.remove_new(&place, &new);
    assert!(bed.path("d/x.db.mapkeep-new").exists());
}

/// Files that the other writer puts in place in the race.
const FOREIGN: u64 = 300;

/// Replaces until the last foreign file has been handed out; returns the numbers of those handed out, in order.
fn take_over_all(tables: &mut Tables, taken: &AtomicU64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&FOREIGN) {
        written(tables, b"ours");
        match replace(tables) {
            (BrokerToWriter::Replaced(_), None) => {}
            (BrokerToWriter::Changed(_), Some(file)) => {
                let mut text = String::new();
                fs::File::from(file.try_clone().unwrap()).read_to_string(&mut text).unwrap();
                numbers.push(text.parse().unwrap());
                taken.store(*numbers.last().unwrap(), Ordering::Relaxed);
            }
            answer => panic!("{answer:?}: {}", tables.get_mut(ID).unwrap().told_checkpoint),
        }
    }
    numbers
}

#[test]
fn race_with_another_writer_loses_none_of_its_files() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["hash:d/x"]);
    open(&mut tables, 0).unwrap();
    let (taken, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Each file is written after the previous one has been taken over, so none may be missing in the end.
            for number in 1..=FOREIGN {
                while taken.load(Ordering::Relaxed) + 1 < number && !stop.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                owned(&bed, "d/other", number.to_string().as_bytes());
                fs::rename(bed.path("d/other"), bed.path("d/x.db")).unwrap();
            }
        });
        let act = std::panic::AssertUnwindSafe(|| take_over_all(&mut tables, &taken));
        let result = std::panic::catch_unwind(act);
        stop.store(true, Ordering::Relaxed);
        result
    });
    let numbers = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert_eq!(numbers, (1..=FOREIGN).collect::<Vec<_>>());
}

#[test]
fn removed_file_is_written_again() {
    on_both(|bed, mut tables| {
        owned(bed, "d/x.db", b"before");
        open(&mut tables, 0).unwrap();
        bed.remove("d/x.db");
        put(&mut tables, b"after");
        assert_eq!(content(bed), b"after");
    });
}

#[test]
fn discarded_and_abandoned_files_are_removed() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["hash:d/x"]);
    open(&mut tables, 0).unwrap();
    written(&mut tables, b"ours");
    assert!(bed.path("d/x.db.mapkeep-new").exists());
    as_owner(|| tables.discard(ID));
    assert!(!bed.path("d/x.db.mapkeep-new").exists());
    as_owner(|| tables.discard(ID));
    // A writer that crashes leaves one behind.
    written(&mut tables, b"ours");
    tables.reset(Instant::now());
    open(&mut tables, 0).unwrap();
    as_owner(|| tables.opened(ID));
    assert!(!bed.path("d/x.db.mapkeep-new").exists());
    // So does a crash of the machine: the next one is empty nevertheless.
    owned(&bed, "d/x.db.mapkeep-new", b"left over");
    put(&mut tables, b"new");
    assert_eq!(content(&bed), b"new");
}

#[test]
fn directory_that_has_taken_the_place_of_the_file_is_set_aside() {
    on_both(|bed, mut tables| {
        open(&mut tables, 0).unwrap();
        put(&mut tables, b"before");
        bed.remove("d/x.db");
        bed.directory("d/x.db");
        bed.owner("d/x.db", OWNER);
        put(&mut tables, b"after");
        assert_eq!(content(bed), b"after");
        assert_eq!(names(bed).iter().filter(|name| name.starts_with("x.db.corrupt-")).count(), 1);
    });
}

#[test]
fn what_cannot_be_replaced_stays_and_recovers() {
    type Act = fn(&Bed);
    let obstacles: [(&str, Act, Act, &str); 5] = [
        ("refused file", |b| b.owner("d/x.db", 0), |b| b.owner("d/x.db", OWNER), "rule W2"),
        (
            "second name",
            |b| fs::hard_link(b.path("d/x.db"), b.path("l")).unwrap(),
            |b| b.remove("l"),
            "rule W3",
        ),
        ("open directory", |b| b.mode("d", 0o777), |b| b.mode("d", 0o755), "rule W5"),
        (
            "new file replaced",
            |b| {
                owned(b, "d/n", b"evil");
                fs::rename(b.path("d/n"), b.path("d/x.db.mapkeep-new")).unwrap();
            },
            |_| (),
            "has been removed or replaced",
        ),
        (
            "new file replaced by a link",
            |b| {
                b.remove("d/x.db.mapkeep-new");
                b.link("x.db", "d/x.db.mapkeep-new");
            },
            |_| (),
            "rule W4",
        ),
    ];
    for (what, spoil, mend, text) in obstacles {
        let Some(bed) = bed() else { return };
        let mut tables = tables(&bed, &["hash:d/x"]);
        owned(&bed, "d/x.db", b"before");
        open(&mut tables, 0).unwrap();
        written(&mut tables, b"ours");
        spoil(&bed);
        assert_eq!(replace(&mut tables).0, BrokerToWriter::NotReplaced(ID), "{what}");
        assert_eq!(content(&bed), b"before", "{what}");
        let told = tables.get_mut(ID).unwrap().told_checkpoint.clone();
        assert!(told.contains(text), "{what}: {told}");
        mend(&bed);
        put(&mut tables, b"after");
        assert_eq!(content(&bed), b"after", "{what}");
        assert!(tables.get_mut(ID).unwrap().told_checkpoint.is_empty());
    }
}

#[test]
fn replaced_directory_or_store_stops_checkpoints() {
    for spoil in [
        (|b| {
            fs::rename(b.path("d"), b.path("old")).unwrap();
            b.directory("d");
            b.owner("d", OWNER);
        }) as fn(&Bed),
        |b| {
            owned(b, "d/n", b"");
            fs::rename(b.path("d/n"), b.path("d/x.mapkeep")).unwrap();
        },
    ] {
        let Some(bed) = bed() else { return };
        let mut tables = tables(&bed, &["hash:d/x"]);
        open(&mut tables, 0).unwrap();
        written(&mut tables, b"ours");
        spoil(&bed);
        assert_eq!(replace(&mut tables).0, BrokerToWriter::NotReplaced(ID));
        assert_eq!(as_owner(|| tables.want_new(ID)).0, BrokerToWriter::NotReplaced(ID));
        let told = tables.get_mut(ID).unwrap().told_checkpoint.clone();
        assert!(told.contains("postfix reload"), "{told}");
        assert!(!bed.path("d/x.db").exists());
        // The next writer gets the present file.
        tables.reset(Instant::now());
        open(&mut tables, 0).unwrap();
        put(&mut tables, b"after");
    }
}

#[test]
fn no_checkpoint_takes_the_place_of_a_damaged_file_that_is_not_yet_set_aside() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["hash:d/x"]);
    open(&mut tables, 0).unwrap();
    let now = Instant::now();
    for round in 0..4 {
        put(&mut tables, format!("damaged {round}").as_bytes());
        as_owner(|| tables.corrupt(ID, Part::File, now));
    }
    // Three have been set aside within this minute; the fourth is still there.
    assert_eq!(content(&bed), b"damaged 3");
    written(&mut tables, b"fresh");
    assert_eq!(as_owner(|| tables.replace(ID, now)).0, BrokerToWriter::NotReplaced(ID));
    assert_eq!(content(&bed), b"damaged 3");
    written(&mut tables, b"fresh");
    let later = now + std::time::Duration::from_secs(61);
    assert_eq!(as_owner(|| tables.replace(ID, later)).0, BrokerToWriter::Replaced(ID));
    assert_eq!(content(&bed), b"fresh");
    let asides: Vec<_> = names(&bed).into_iter().filter(|name| name.contains(".corrupt-")).collect();
    assert_eq!(asides.len(), 4, "{asides:?}");
}
