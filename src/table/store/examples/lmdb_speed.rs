//! How fast the lmdb engine makes changes durable: `cargo run --release -p mapkeep-store --example lmdb_speed [DIR]`.
//!
//! Prints, asserts nothing. DIR (by default /var/tmp) should be on the disk that is asked about.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use mapkeep_table_store::{LmdbStore, Store};

const ENTRIES: u32 = 20_000;
const FOR: Duration = Duration::from_secs(3);

fn open(path: &Path) -> LmdbStore {
    let data = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    let meta = OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(path).unwrap();
    LmdbStore::open(data.into(), meta.into()).unwrap()
}

/// A key of the table, spread over it, as a cache of addresses has them.
fn key(number: u32) -> Vec<u8> {
    format!("user{:05}@example.com\0", number.wrapping_mul(7919) % ENTRIES).into_bytes()
}

/// Runs `act`, which does `each` things at once, for a while; prints how many are done in a second.
fn measure(what: &str, each: u32, mut act: impl FnMut(u32)) {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < FOR {
        act(count);
        count += each;
    }
    println!("{what:<58} {:>9.0} /s", f64::from(count) / start.elapsed().as_secs_f64());
}

fn main() {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "/var/tmp".into());
    let path = Path::new(&directory).join(format!("mapkeep-speed-{}.lmdb", std::process::id()));
    let bare = path.with_extension("bare");

    let file = File::options().read(true).write(true).create_new(true).open(&bare).unwrap();
    file.write_all_at(&vec![0; 4096 * 1024], 0).unwrap();
    file.sync_all().unwrap();
    let page = [7; 4096];
    let meta = OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(&bare).unwrap();
    for _ in 0..2 {
        measure("bare: pwrite of a page, fdatasync", 1, |count| {
            file.write_all_at(&page, u64::from(1 + count % 1000) * 4096).unwrap();
            file.sync_data().unwrap();
        });
        measure("bare: the same, and a synchronous pwrite of 120 bytes", 1, |count| {
            file.write_all_at(&page, u64::from(1 + count % 1000) * 4096).unwrap();
            file.sync_data().unwrap();
            meta.write_all_at(&page[..120], 32).unwrap();
        });
    }

    let mut store = open(&path);
    for number in 0..ENTRIES {
        store.put(&key(number), b"1000:1700000000:250 2.1.5 Ok: this is what a probe has said\0").unwrap();
    }
    store.commit().unwrap();
    for _ in 0..2 {
        measure("lmdb: durable puts, one by one", 1, |count| {
            store.put(&key(count), format!("{count}\0").as_bytes()).unwrap();
            store.commit().unwrap();
            store.rest();
        });
        measure("lmdb: durable puts in groups of 16", 16, |count| {
            for number in 0..16 {
                store.put(&key(count + number), format!("{count}\0").as_bytes()).unwrap();
            }
            store.commit().unwrap();
            store.rest();
        });
    }
    let mut value = Vec::new();
    measure("lmdb: lookups, one a turn (lock, look, lookup, unlock)", 1, |count| {
        value.clear();
        store.get(&key(count), &mut value).unwrap();
        store.rest();
    });
    measure("lmdb: lookups, all in one turn", 1, |count| {
        value.clear();
        store.get(&key(count), &mut value).unwrap();
    });
    drop(store);
    let size = path.metadata().unwrap().len();
    measure(&format!("lmdb: openings with the check of {} KiB", size / 1024), 1, |_| drop(open(&path)));
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(&bare).unwrap();
}
