//! The readers alone: open, ask keys that are there and keys that are not, list everything.

use crate::mutate::{Numbers, damage};
use crate::{FORMATS, seeds};
use mapkeep_name::{Kind, redact_accounts};
use mapkeep_query::{MAX_ITEM, NulModes, Outcome, Step};
use mapkeep_table_format::Cursor;
use mapkeep_table_lookup::Table;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Files of each format when `MAPKEEP_SOAK` does not say.
const FILES: u64 = 10_000;

/// No file may hold a worker longer, in a debug build: time of the processor, which a busy machine does not stretch.
const LONGEST: Duration = Duration::from_secs(2);
/// After this, by the clock, a reader that is still at it will not come back.
const LOST: Duration = Duration::from_secs(60);

/// Keys that the samples have, each at least in one, and keys that none has.
pub const KEYS: [&[u8]; 11] = [
    b"key1",
    b"key17",
    b"key40",
    b"key120",
    b"a",
    b"user1@example.org",
    b"root",
    b"10.1.2.3",
    b"",
    b"absent",
    b"KEY9",
];

/// What became of the files.
#[derive(Debug, Default)]
struct Count {
    opened: u64,
    found: u64,
    absent: u64,
    lookup_errors: u64,
    records: u64,
    scan_errors: u64,
}

/// Damages the samples of a format again and again.
pub fn soak(format: usize) {
    let (kind, name, folder) = FORMATS[format];
    let samples = seeds(folder);
    let files =
        std::env::var("MAPKEEP_SOAK").map_or(FILES, |count| count.parse().expect("MAPKEEP_SOAK is a number"));
    let mut count = Count::default();
    let at_work = Arc::new(AtomicU64::new(0));
    let _done = watch(name, Arc::clone(&at_work));
    let (mut slowest, start) = (Duration::ZERO, Instant::now());
    for number in 0..files {
        at_work.store(number, Ordering::Relaxed);
        // Each file has a seed of its own, so that one can be tried alone.
        let mut numbers = Numbers::new(number);
        let pick = |numbers: &mut Numbers| &samples[numbers.below(samples.len())].1;
        let mut file = pick(&mut numbers).clone();
        let other = pick(&mut numbers);
        damage(kind, &mut file, other, &mut numbers);
        if std::env::var("MAPKEEP_SOAK_SHOW").is_ok_and(|wanted| wanted == number.to_string()) {
            eprintln!("{name}: file {number}: {}", file.escape_ascii());
        }
        let before = used();
        let tried =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| exercise(kind, &file, &mut count)));
        assert!(tried.is_ok(), "{name}: file {number} broke the reader");
        let took = used().saturating_sub(before);
        assert!(took < LONGEST, "{name}: file {number} took {took:?}");
        slowest = slowest.max(took);
    }
    eprintln!("{name}: {files} files in {:.1?}, slowest {slowest:.1?}: {count:?}", start.elapsed());
    // The damage must not be such that nothing but headers is ever read, nor such that nothing is ever wrong.
    assert!(count.opened > files / 5 && count.found > 0 && count.absent > 0, "{name}: {count:?}");
    let text = !matches!(kind, Kind::Hash | Kind::Btree | Kind::Lmdb | Kind::Cdb);
    assert!(text || count.lookup_errors > 0, "{name}: {count:?}");
}

/// Processor time that this thread has used.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let micros = [usage.user_time(), usage.system_time()].map(|time| u64::try_from(time.num_microseconds()));
    Duration::from_micros(micros.map(Result::unwrap).iter().sum())
}

/// Aborts the test program if one file takes far too long: a reader that never returns cannot be reported by its own
/// thread. Active until the returned value is dropped.
fn watch(name: &'static str, at_work: Arc<AtomicU64>) -> mpsc::Sender<()> {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut last = None;
        while ended.recv_timeout(LOST) == Err(mpsc::RecvTimeoutError::Timeout) {
            let now = at_work.load(Ordering::Relaxed);
            if last == Some(now) {
                eprintln!("{name}: file {now} holds the reader for more than {LOST:?}");
                std::process::abort();
            }
            last = Some(now);
        }
    });
    done
}

fn exercise(kind: Kind, file: &[u8], count: &mut Count) {
    if kind == Kind::Passwd {
        redact_accounts(kind, file, &mut Vec::new());
    }
    let Ok(table) = Table::from_snapshot(kind, file, &mut Vec::new()) else { return };
    count.opened += 1;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for asked in KEYS {
        match table.lookup(asked, NulModes::BOTH, &mut value) {
            Ok(Outcome::Found(_)) => count.found += 1,
            Ok(Outcome::Absent) => count.absent += 1,
            Err(error) => {
                assert!(error.to_string().is_ascii());
                count.lookup_errors += 1;
            }
        }
        assert!(value.len() <= file.len().clamp(asked.len() + 8, MAX_ITEM), "an answer from nowhere");
    }
    let mut cursor = Cursor::default();
    let (mut steps, mut bytes) = (0, 0);
    loop {
        match table.step(&mut cursor, &mut key, &mut value) {
            Ok(Step::Record) => {}
            Ok(Step::End) => break,
            Err(_) => {
                count.scan_errors += 1;
                break;
            }
        }
        steps += 1;
        bytes += key.len() + value.len();
        assert!(steps <= file.len() && bytes <= file.len(), "a scan without end");
    }
    count.records += u64::try_from(steps).unwrap();
}
