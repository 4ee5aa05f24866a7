//! Copies under every discipline: whole, sealed, and never a mixture of two versions.

mod locks;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::Instant;

use nix::fcntl::SealFlag;

use super::*;
use mapkeep_broker_trust::testbed::{Bed, LIMIT};

const FILE_KINDS: [Kind; 7] =
    [Kind::Hash, Kind::Btree, Kind::Lmdb, Kind::Cdb, Kind::Texthash, Kind::Passwd, Kind::Group];

/// A filter that keeps everything.
fn keep(lines: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(lines);
}

/// A filter that keeps the first field of each line.
fn first_field(lines: &[u8], output: &mut Vec<u8>) {
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        output.extend(line.iter().take_while(|byte| !b":\n".contains(byte)));
        output.extend(line.iter().filter(|byte| **byte == b'\n'));
    }
}

fn begin(bed: &Bed, kind: Kind) -> Copy {
    Copy::begin(bed.open("t").expect("sound"), kind, LIMIT, Some(keep)).expect("begin")
}

/// Steps until the copy is done, trying again while it is busy.
fn finish(copy: &mut Copy, budget: usize) -> Result<Snapshot, Failure> {
    loop {
        match copy.step(budget)? {
            Progress::Done(snapshot) => return Ok(snapshot),
            Progress::More => {}
            Progress::Busy => std::thread::yield_now(),
        }
    }
}

/// Waits until a further change of the file is certain to change its times.
fn settle(bed: &Bed) {
    while !left_alone(&bed.open("t").expect("sound").status) {
        std::thread::yield_now();
    }
}

/// Waits until a file has been left alone for this time.
fn await_age(bed: &Bed, nanoseconds: i128) {
    while !unchanged_for(nanoseconds, &bed.open("t").expect("sound").status) {
        std::thread::yield_now();
    }
}

/// Steps until bytes have been copied.
fn midway(copy: &mut Copy) {
    while matches!(copy.step(4096).expect("start"), Progress::Busy) {
        std::thread::yield_now();
    }
    assert!(matches!(copy.step(4096).expect("first bytes"), Progress::More));
}

fn content(snapshot: &Snapshot) -> Vec<u8> {
    let mut file = File::from(snapshot.descriptor.try_clone().expect("clone"));
    file.seek(SeekFrom::Start(0)).expect("seek");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("read");
    bytes
}

/// Lines of varying length, about `size` bytes.
fn lines(size: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0.. {
        if text.len() >= size {
            break;
        }
        text.extend_from_slice(format!("user{number}:{}\n", "x".repeat(number % 61)).as_bytes());
    }
    text
}

#[test]
fn copy_every_kind_and_size_is_equal() {
    let Some(bed) = Bed::new() else { return };
    for kind in FILE_KINDS {
        for (size, budget) in [(0, 1), (1, 1), (4096, 4096), (70_001, 1000), (300_000, 1 << 20)] {
            let text = lines(size);
            bed.file("t", &text);
            settle(&bed);
            await_age(&bed, if kind == Kind::Lmdb && text.len() <= 8192 { BLANK_NS } else { 0 });
            let snapshot = finish(&mut begin(&bed, kind), budget).expect("copy");
            assert_eq!(content(&snapshot), text, "{kind:?} {size}");
            assert_eq!(snapshot.size, text.len() as u64);
            let found = bed.open("t").expect("sound");
            assert_eq!(snapshot.identity, Identity::from(&found.status));
        }
    }
}

#[test]
fn step_budget_bounds_the_bytes_of_one_step() {
    let Some(bed) = Bed::new() else { return };
    bed.file("t", &lines(100_000));
    for kind in [Kind::Hash, Kind::Passwd] {
        let mut copy = begin(&bed, kind);
        midway(&mut copy);
        let mut steps = 2;
        while matches!(copy.step(4096).expect("step"), Progress::More) {
            steps += 1;
        }
        assert!(steps >= 100_000 / 4096, "{kind:?}: {steps} steps");
        assert_eq!(copy.step(4096).expect_err("done"), Failure::Over);
    }
}

#[test]
fn done_snapshot_is_sealed_against_every_change() {
    let Some(bed) = Bed::new() else { return };
    bed.file("t", b"content");
    let snapshot = finish(&mut begin(&bed, Kind::Cdb), 4096).expect("copy");
    let seals = fcntl(&snapshot.descriptor, FcntlArg::F_GET_SEALS).expect("seals");
    let expected =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    assert_eq!(seals, expected.bits() | nix::libc::F_SEAL_EXEC, "all seals, never executable");
    let flags = fcntl(&snapshot.descriptor, FcntlArg::F_GETFL).expect("flags");
    assert_eq!(flags & nix::libc::O_ACCMODE, nix::libc::O_RDONLY);

    let eperm = |result: std::io::Result<()>| {
        assert_eq!(result.expect_err("sealed").raw_os_error(), Some(nix::libc::EPERM));
    };
    let reader = File::from(snapshot.descriptor.try_clone().expect("clone"));
    assert!(reader.write_at(b"x", 0).is_err(), "not open for writing");
    assert!(reader.set_len(0).is_err(), "not open for writing");
    eperm(reader.set_permissions(fs::Permissions::from_mode(0o777)));
    // Even root, who may open it for writing through /proc, cannot write.
    let path = format!("/proc/self/fd/{}", snapshot.descriptor.as_raw_fd());
    let writer = OpenOptions::new().write(true).open(path).expect("reopen");
    eperm(writer.write_at(b"x", 0).map(drop));
    eperm(writer.set_len(0));
    eperm(writer.set_len(100));
    let more = fcntl(&writer, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SEAL));
    assert_eq!(more, Err(Errno::EPERM));
    assert_eq!(content(&snapshot), b"content");
    assert_eq!(reader.metadata().expect("metadata").permissions().mode() & 0o7777, 0o666);
}

#[test]
fn step_file_changed_during_the_copy_is_detected() {
    type Change = (&'static str, fn(&Bed));
    let changes: [Change; 6] = [
        ("rewritten in place", |bed| {
            let file = OpenOptions::new().write(true).open(bed.path("t")).expect("open");
            file.write_at(b"CHANGED", 10).expect("write");
        }),
        ("rewritten, times set back", |bed| {
            let file = OpenOptions::new().write(true).open(bed.path("t")).expect("open");
            let modified = file.metadata().and_then(|data| data.modified()).expect("time");
            file.write_at(b"CHANGED", 10).expect("write");
            file.set_modified(modified).expect("set time");
        }),
        ("appended to", |bed| {
            let mut file = OpenOptions::new().append(true).open(bed.path("t")).expect("open");
            file.write_all(b"more\n").expect("write");
        }),
        ("truncated", |bed| {
            File::create(bed.path("t")).expect("truncate");
        }),
        ("replaced", |bed| {
            bed.file("new", &lines(20_000));
            fs::rename(bed.path("new"), bed.path("t")).expect("rename");
        }),
        ("opened to others", |bed| bed.mode("t", 0o666)),
    ];
    for kind in FILE_KINDS {
        for (what, change) in changes {
            let Some(bed) = Bed::new() else { return };
            bed.file("t", &lines(20_000));
            settle(&bed);
            let mut copy = begin(&bed, kind);
            midway(&mut copy);
            change(&bed);
            assert_eq!(finish(&mut copy, 4096).expect_err(what), Failure::Changed, "{kind:?} {what}");
        }
    }
}

#[test]
fn step_file_replaced_before_the_lock_is_detected() {
    let Some(bed) = Bed::new() else { return };
    bed.file("t", b"old");
    let mut copy = begin(&bed, Kind::Hash);
    bed.file("new", b"new");
    fs::rename(bed.path("new"), bed.path("t")).expect("rename");
    assert_eq!(copy.step(1).expect_err("replaced"), Failure::Changed);
    assert_eq!(copy.step(1).expect_err("over"), Failure::Over);
}

#[test]
fn step_index_truncated_a_moment_ago_is_not_taken_for_the_table() {
    let Some(bed) = Bed::new() else { return };
    // A busy machine may take longer than the time to settle between two of our own calls: try again then.
    let refused = (0..1000).any(|_| {
        bed.file("t", b"content");
        bed.file("t", b"");
        begin(&bed, Kind::Hash).step(1).is_err_and(|failure| failure == Failure::Changed)
    });
    assert!(refused);
}

#[test]
fn step_blank_lmdb_file_is_believed_only_when_it_stays_blank() {
    let Some(bed) = Bed::new() else { return };
    bed.file("t", &[0; 8192]);
    let made = Instant::now();
    let first = begin(&bed, Kind::Lmdb).step(4096);
    // On a busy machine the time may be over already: then there is nothing to check.
    let late = made.elapsed().as_nanos() >= BLANK_NS as u128;
    assert!(late || matches!(first, Err(Failure::Changed)), "{first:?}");
    await_age(&bed, BLANK_NS);
    finish(&mut begin(&bed, Kind::Lmdb), 4096).expect("copy");
}

#[test]
fn left_alone_young_file_is_not() {
    let Some(bed) = Bed::new() else { return };
    bed.file("t", b"");
    let mut status = bed.open("t").expect("sound").status;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("clock").as_nanos() as i128;
    status.ctime_ns = now;
    // The clock may have moved on by more than the time to settle on a busy machine.
    let young = left_alone(&status);
    let later = SystemTime::now().duration_since(UNIX_EPOCH).expect("clock").as_nanos() as i128;
    assert!(!young || later - now >= SETTLE_NS);
    status.ctime_ns = now - SETTLE_NS;
    assert!(left_alone(&status), "old");
    status.ctime_ns = now + 3_600_000_000_000;
    assert!(left_alone(&status), "from before the clock was set back");
}

#[test]
fn copy_account_file_holds_only_what_the_filter_lets_through() {
    let Some(bed) = Bed::new() else { return };
    let text = [lines(250_000), b"last:without a newline".to_vec()].concat();
    bed.file("t", &text);
    let mut expected = Vec::new();
    first_field(&text, &mut expected);
    for budget in [997, 4096, 1 << 20] {
        let trusted = bed.open("t").expect("sound");
        let mut copy = Copy::begin(trusted, Kind::Passwd, LIMIT, Some(first_field)).expect("begin");
        let snapshot = finish(&mut copy, budget).expect("copy");
        assert_eq!(content(&snapshot), expected, "budget {budget}");
        assert_eq!((snapshot.size, snapshot.identity.size), (expected.len() as u64, text.len() as u64));
    }
}

#[test]
fn copy_account_file_line_limit() {
    let Some(bed) = Bed::new() else { return };
    let mut line = vec![b'x'; filter::LINE_LIMIT - 1];
    line.push(b'\n');
    bed.file("t", &[line.clone(), line.clone()].concat());
    assert!(finish(&mut begin(&bed, Kind::Group), 1 << 20).is_ok(), "at the limit");
    line.insert(0, b'x');
    bed.file("t", &line);
    let failure = finish(&mut begin(&bed, Kind::Group), 1 << 20).expect_err("over the limit");
    assert_eq!(failure, Failure::LineTooLong { limit: filter::LINE_LIMIT });
}

#[test]
fn begin_wrong_use_is_refused() {
    let Some(bed) = Bed::new() else { return };
    bed.file("t", b"12345678");
    let begin = |kind, limit, redact| {
        Copy::begin(bed.open("t").expect("sound"), kind, limit, redact).err().expect("refused")
    };
    for kind in [Kind::Static, Kind::Inline, Kind::Fail, Kind::Unknown] {
        assert_eq!(begin(kind, LIMIT, None), Failure::NoFile);
        assert!(!kind.has_file());
    }
    for kind in [Kind::Passwd, Kind::Group] {
        assert_eq!(begin(kind, LIMIT, None), Failure::Unfiltered);
    }
    assert_eq!(begin(Kind::Hash, 7, None), Failure::TooLarge { size: 8, limit: 7 });

    let size = ACCOUNT_LIMIT + 1;
    File::create(bed.path("t")).and_then(|file| file.set_len(size)).expect("sparse");
    let anchor = mapkeep_broker_trust::Anchor::host().expect("anchor");
    let owners = mapkeep_broker_trust::Owners::root();
    let trusted =
        mapkeep_broker_trust::open_table(&anchor, &bed.bytes("t"), &owners, u64::MAX).expect("sound");
    let failure = Copy::begin(trusted, Kind::Passwd, u64::MAX, Some(keep)).err();
    assert_eq!(failure, Some(Failure::TooLarge { size, limit: ACCOUNT_LIMIT }));
}

#[test]
fn step_file_grown_over_the_limit_before_the_lock_is_refused() {
    let Some(bed) = Bed::new() else { return };
    bed.file("t", b"1234");
    let mut copy = Copy::begin(bed.open("t").expect("sound"), Kind::Hash, 4, None).expect("begin");
    bed.file("t", b"12345");
    assert_eq!(copy.step(1).expect_err("too large"), Failure::TooLarge { size: 5, limit: 4 });
}

#[test]
fn discipline_every_kind_with_a_file_has_one() {
    for kind in Kind::ALL {
        assert_eq!(Discipline::of(kind) != Discipline::None, kind.has_file(), "{kind:?}");
    }
}
