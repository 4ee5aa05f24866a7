//! Names that are swapped while they are being opened: never another file than one that meets the rules.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mapkeep_sys::status;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::testbed::{Bed, LIMIT, OWNER, STRANGER};
use super::*;

/// Attempts to open in each race.
const RACES: usize = 20_000;

/// The outcomes of the attempts in one race.
#[derive(Default, Debug)]
struct Tally {
    opened: usize,
    refused: usize,
    retry: usize,
    missing: usize,
}

/// Opens `table` again and again while another thread exchanges `left` and `right`. Every file that is opened
/// must be one of `allowed`, and no attempt may block.
fn race(bed: &Bed, table: &str, (left, right): (&str, &str), allowed: &[u64]) -> Tally {
    let stop = AtomicBool::new(false);
    let (left, right) = (bed.path(left), bed.path(right));
    let anchor = Anchor::host().expect("anchor");
    let path = bed.bytes(table);
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &left, AT_FDCWD, &right, RenameFlags::RENAME_EXCHANGE).expect("swap");
                swaps += 1;
            }
            swaps
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..RACES {
                let begun = Instant::now();
                match open_table(&anchor, &path, &Owners::declared(&[OWNER]), LIMIT) {
                    Ok(trusted) => {
                        let found = status::of(trusted.file.as_fd()).expect("status");
                        assert!(allowed.contains(&found.ino), "a file that breaks the rules was opened");
                        assert_eq!(found.ino, trusted.status.ino);
                        tally.opened += 1;
                    }
                    Err(Refusal::Untrusted { .. }) => tally.refused += 1,
                    Err(Refusal::Retry { .. }) => tally.retry += 1,
                    Err(Refusal::Missing { .. }) => tally.missing += 1,
                    Err(refusal @ Refusal::Io { .. }) => panic!("{refusal}"),
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "blocked");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        assert!(swapper.join().expect("swapper") > 0);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    eprintln!("{table}: {tally:?}");
    tally
}

fn inode(bed: &Bed, name: &str) -> u64 {
    fs::metadata(bed.path(name)).expect("metadata").ino()
}

/// A sound table `p/t`, and beside it a file that anybody could have written.
fn prepared() -> Option<(Bed, u64)> {
    let bed = Bed::new()?;
    bed.directory("p");
    bed.file("p/t", b"good");
    bed.file("p/evil", b"evil");
    bed.mode("p/evil", 0o666);
    let good = inode(&bed, "p/t");
    Some((bed, good))
}

#[test]
fn race_file_with_strangers_file_opens_only_the_sound_one() {
    let Some((bed, good)) = prepared() else { return };
    bed.owner("p/evil", STRANGER);
    let tally = race(&bed, "p/t", ("p/t", "p/evil"), &[good]);
    assert!(tally.opened > 0 && tally.refused > 0, "{tally:?}");
}

#[test]
fn race_file_with_link_opens_only_the_sound_one() {
    let Some((bed, good)) = prepared() else { return };
    bed.link("evil", "p/l");
    let tally = race(&bed, "p/t", ("p/t", "p/l"), &[good]);
    assert!(tally.opened > 0 && tally.refused > 0, "{tally:?}");
}

#[test]
fn race_link_with_strangers_link_opens_only_the_sound_one() {
    let Some((bed, good)) = prepared() else { return };
    bed.link("t", "p/l");
    bed.link("t", "p/m");
    bed.link_owner("p/m", STRANGER);
    let tally = race(&bed, "p/l", ("p/l", "p/m"), &[good]);
    assert!(tally.opened > 0 && tally.refused > 0, "{tally:?}");
}

#[test]
fn race_file_with_fifo_never_blocks() {
    let Some((bed, good)) = prepared() else { return };
    mkfifo(&bed.path("p/f"), Mode::from_bits_truncate(0o644)).expect("mkfifo");
    let tally = race(&bed, "p/t", ("p/t", "p/f"), &[good]);
    assert!(tally.opened > 0 && tally.refused > 0, "{tally:?}");
}

#[test]
fn race_directory_with_shared_one_opens_only_the_sound_one() {
    let Some((bed, good)) = prepared() else { return };
    bed.directory("q");
    bed.file("q/t", b"evil");
    bed.mode("q", 0o777);
    let tally = race(&bed, "p/t", ("p", "q"), &[good]);
    assert!(tally.opened > 0 && tally.refused > 0, "{tally:?}");
}

#[test]
fn race_directory_with_link_opens_only_the_sound_one() {
    let Some((bed, good)) = prepared() else { return };
    bed.directory("q");
    bed.file("q/t", b"evil");
    bed.mode("q", 0o777);
    bed.link("q", "l");
    let tally = race(&bed, "p/t", ("p", "l"), &[good]);
    assert!(tally.opened > 0 && tally.refused > 0, "{tally:?}");
}

#[test]
fn race_two_sound_files_opens_either_or_returns_retry() {
    let Some((bed, good)) = prepared() else { return };
    bed.file("p/u", b"also good");
    let other = inode(&bed, "p/u");
    let tally = race(&bed, "p/t", ("p/t", "p/u"), &[good, other]);
    assert!(tally.opened > 0, "{tally:?}");
    assert_eq!((tally.refused, tally.missing), (0, 0), "{tally:?}");
}

#[test]
fn race_file_of_the_directorys_owner_with_one_of_root_opens_only_his() {
    let Some((bed, good)) = prepared() else { return };
    bed.file("p/secret", b"root's");
    bed.mode("p/secret", 0o600);
    bed.owner("p", OWNER);
    bed.owner("p/t", OWNER);
    let tally = race(&bed, "p/t", ("p/t", "p/secret"), &[good]);
    assert!(tally.opened > 0 && tally.refused > 0, "{tally:?}");
}

#[test]
fn race_directory_of_the_owner_with_one_of_root_opens_only_his() {
    let Some((bed, good)) = prepared() else { return };
    bed.directory("o/secret");
    bed.file("o/secret/t", b"root's");
    bed.mode("o/secret/t", 0o600);
    fs::rename(bed.path("p"), bed.path("o/p")).expect("rename");
    for name in ["o", "o/p", "o/p/t"] {
        bed.owner(name, OWNER);
    }
    let tally = race(&bed, "o/p/t", ("o/p", "o/secret"), &[good]);
    assert!(tally.opened > 0 && tally.refused > 0, "{tally:?}");
}
