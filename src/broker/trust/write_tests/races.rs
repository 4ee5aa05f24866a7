//! Names that are swapped while a file is being opened for writing: never another file than one that meets the rules.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use mapkeep_sys::status;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::*;

/// Attempts to open in each race.
const RACES: usize = 4000;

/// Opens the file again and again while another thread exchanges two names; only `allowed` may be opened.
fn race(bed: &Bed, (left, right): (&str, &str), allowed: &[u64]) -> (usize, usize) {
    let stop = AtomicBool::new(false);
    let (left, right) = (bed.path(left), bed.path(right));
    let anchor = Anchor::host().expect("anchor");
    let files = table_of(bed, "g/p/y.lmdb");
    let (mut opened, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &left, AT_FDCWD, &right, RenameFlags::RENAME_EXCHANGE).expect("swap");
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut attempts = 0;
            // A busy machine may let the two threads take long turns.
            while attempts < RACES || ((opened == 0 || refused == 0) && attempts < 100 * RACES) {
                attempts += 1;
                let place = place_of(&anchor, &files, OWNER);
                match place.and_then(|place| place.open(b"y.lmdb", Access::Write)) {
                    Ok(Some(one)) => {
                        let found = status::of(one.file.as_fd()).expect("status");
                        assert!(allowed.contains(&found.ino), "a file that breaks the rules was opened");
                        assert_eq!(found.ino, one.status.ino);
                        opened += 1;
                    }
                    Err(Refusal::Io { errno, .. }) => panic!("{errno}"),
                    Ok(None) | Err(_) => refused += 1,
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        swapper.join().expect("swapper");
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    eprintln!("opened {opened}, refused {refused}");
    (opened, refused)
}

fn inode(bed: &Bed, name: &str) -> u64 {
    fs::metadata(bed.path(name)).expect("metadata").ino()
}

#[test]
fn race_file_opens_only_the_sound_one() {
    let spoils: [fn(&Bed); 4] = [
        |b| b.link("y.lmdb", "g/p/z"),
        |b| {
            owned(b, "g/p/z");
            b.owner("g/p/z", STRANGER);
        },
        |b| {
            owned(b, "g/p/z");
            fs::hard_link(b.path("g/p/z"), b.path("g/p/zz")).expect("link");
        },
        |b| mkfifo(&b.path("g/p/z"), Mode::S_IRUSR).expect("mkfifo"),
    ];
    for spoil in spoils {
        let Some(bed) = sound() else { return };
        let good = inode(&bed, "g/p/y.lmdb");
        spoil(&bed);
        let (opened, refused) = race(&bed, ("g/p/y.lmdb", "g/p/z"), &[good]);
        assert!(opened > 0 && refused > 0, "{opened} {refused}");
    }
}

#[test]
fn race_directory_opens_only_in_the_sound_one() {
    let spoils: [fn(&Bed); 3] = [
        |b| b.mode("g/q", 0o777),
        |b| b.owner("g/q", STRANGER),
        |b| {
            b.remove("g/q");
            b.link("p", "g/q");
        },
    ];
    for spoil in spoils {
        let Some(bed) = sound() else { return };
        let good = inode(&bed, "g/p/y.lmdb");
        bed.directory("g/q");
        bed.owner("g/q", OWNER);
        owned(&bed, "g/q/y.lmdb");
        spoil(&bed);
        let (opened, refused) = race(&bed, ("g/p", "g/q"), &[good]);
        assert!(opened > 0 && refused > 0, "{opened} {refused}");
    }
}

#[test]
fn file_exchanged_between_look_and_opening_is_not_opened() {
    type Exchange = (&'static str, fn(&Bed), Option<Rule>);
    let exchanges: [Exchange; 9] = [
        ("another sound file", |b| fs::rename(b.path("g/p/u"), b.path("g/p/x.db")).expect("rename"), None),
        ("nothing", |b| b.remove("g/p/x.db"), None),
        (
            "a link",
            |b| {
                b.remove("g/p/x.db");
                b.link("u", "g/p/x.db");
            },
            None,
        ),
        ("a socket", |b| socket(b, "g/p/x.db"), None),
        ("a FIFO", |b| fifo(b, "g/p/x.db"), None),
        ("a directory", |b| replace_by_directory(b, "g/p/x.db"), None),
        (
            "a second name",
            |b| fs::hard_link(b.path("g/p/x.db"), b.path("g/p/v")).expect("link"),
            Some(Rule::W3),
        ),
        ("another mode", |b| b.mode("g/p/x.db", 0o622), None),
        ("another owner", |b| b.owner("g/p/x.db", STRANGER), None),
    ];
    let anchor = Anchor::host().expect("anchor");
    for access in [Access::Read, Access::Write, Access::Synced] {
        for (what, exchange, rule) in exchanges {
            let Some(bed) = sound() else { return };
            owned(&bed, "g/p/u");
            let place = place_of(&anchor, &table_of(&bed, "g/p/x"), OWNER).expect("place");
            let found = place.look(b"x.db", access).expect("sound").expect("there");
            exchange(&bed);
            // With the rights of root, so that it is the check that fails and not the opening.
            let refusal = place.open_expected(b"x.db", access, &found).expect_err(what);
            assert_eq!(refusal.rule(), rule, "{what}: {refusal}");
            assert!(
                rule.is_some() || refusal == Refusal::Retry { component: bed.bytes("g/p/x.db") },
                "{what}"
            );
        }
    }
}

#[test]
fn directory_exchanged_after_the_walk_is_not_used() {
    let Some(bed) = sound() else { return };
    let anchor = Anchor::host().expect("anchor");
    let place = place_of(&anchor, &table_of(&bed, "g/p/x"), OWNER).expect("place");
    fs::rename(bed.path("g/p"), bed.path("g/old")).expect("rename");
    bed.directory("g/p");
    as_owner(|| place.create(b"made")).expect("in the directory that was checked");
    assert!(bed.path("g/old/made").exists() && !bed.path("g/p/made").exists());
}
