//! Copies and the locks of writers: each waits for the other.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::*;

/// Another process that holds an exclusive lock until told to exit.
struct Holder {
    child: Child,
    input: Option<ChildStdin>,
}

impl Holder {
    fn lock(bed: &Bed, style: &str) -> Holder {
        let mut child = Command::new(std::env::current_exe().expect("own path"))
            .args(["--exact", "tests::locks::hold_lock", "--ignored", "--nocapture"])
            .env("MAPKEEP_TEST_LOCK", style)
            .env("MAPKEEP_TEST_FILE", bed.path("t"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn");
        let output = BufReader::new(child.stdout.take().expect("output"));
        let locked = output.lines().map_while(Result::ok).any(|line| line.contains("LOCKED"));
        assert!(locked, "the other process has no lock");
        let input = child.stdin.take();
        Holder { child, input }
    }

    fn release(mut self) {
        drop(self.input.take());
        self.child.wait().expect("wait");
    }
}

/// Run by other tests in a process of its own.
#[test]
#[ignore = "holds a lock for another test"]
fn hold_lock() {
    let path = std::env::var_os("MAPKEEP_TEST_FILE").expect("started by another test");
    let file = OpenOptions::new().read(true).write(true).open(path).expect("open");
    if std::env::var("MAPKEEP_TEST_LOCK").expect("style") == "flock" {
        file.lock().expect("flock");
    } else {
        let lock = nix::libc::flock {
            l_type: nix::libc::F_WRLCK as i16,
            l_whence: 0,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_SETLK(&lock)).expect("fcntl");
    }
    println!("LOCKED");
    // The end of input tells it to exit. Output may be closed by then.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

/// Waits until a released lock is really gone: a child that another test is just starting also has the descriptor,
/// until it executes its program.
fn goes(mut free: impl FnMut() -> bool, what: &str) {
    let begun = std::time::Instant::now();
    while !free() {
        assert!(begun.elapsed().as_secs() < 60, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn step_writer_holds_lock_is_busy_then_done() {
    for (kind, style) in
        [(Kind::Hash, "flock"), (Kind::Btree, "flock"), (Kind::Cdb, "flock"), (Kind::Lmdb, "fcntl")]
    {
        let Some(bed) = Bed::new() else { return };
        let text = lines(10_000);
        bed.file("t", &text);
        let mut copy = begin(&bed, kind);
        let holder = Holder::lock(&bed, style);
        for _ in 0..3 {
            assert!(matches!(copy.step(4096).expect("step"), Progress::Busy), "{kind:?}");
        }
        holder.release();
        let snapshot = finish(&mut copy, 4096).expect("copy");
        assert_eq!(content(&snapshot), text);
    }
}

#[test]
fn copy_under_way_keeps_writers_out_until_it_is_done() {
    let Some(bed) = Bed::new() else { return };
    bed.file("t", &lines(20_000));
    let writer = OpenOptions::new().write(true).open(bed.path("t")).expect("open");
    let exclusive =
        nix::libc::flock { l_type: nix::libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };

    let mut copy = begin(&bed, Kind::Hash);
    assert!(writer.try_lock().is_ok() && writer.unlock().is_ok(), "nothing is locked before the first step");
    midway(&mut copy);
    assert!(writer.try_lock().is_err(), "flock during the copy");
    finish(&mut copy, 4096).expect("copy");
    goes(|| writer.try_lock().is_ok() && writer.unlock().is_ok(), "the lock goes with the last step");

    let mut copy = begin(&bed, Kind::Lmdb);
    midway(&mut copy);
    assert!(fcntl(&writer, FcntlArg::F_SETLK(&exclusive)).is_err(), "fcntl lock during the copy");
    drop(copy);
    goes(|| fcntl(&writer, FcntlArg::F_SETLK(&exclusive)).is_ok(), "the lock goes with the copy");
}
