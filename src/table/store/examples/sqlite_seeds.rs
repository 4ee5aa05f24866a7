//! Makes the seeds of the fuzz target `sqlite_store` in a directory:  sqlite_seeds DIRECTORY
//!
//! Called by: fuzz/make-seeds. What the two bytes before each store mean: see fuzz/src/stores.rs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use mapkeep_table_store::sqlite::SqliteStore;
use mapkeep_table_store::{Stamp, Store};
use std::fs::File;
use std::path::Path;

fn main() {
    let directory = std::env::args_os().nth(1).unwrap();
    let stamp = Stamp { dev: 1, ino: 2, size: 3, mtime_ns: 4 };
    let import = |store: &mut SqliteStore, entries: &[(String, String)]| {
        let entries = entries.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes()));
        store.import(entries, stamp).unwrap();
    };
    let forty: Vec<_> = (1..=40).map(|i| (format!("key{i:02}\0"), format!("value of {i}\0"))).collect();
    let make = |name: &str, fill: &dyn Fn(&mut SqliteStore)| seed(directory.as_ref(), name, fill);
    make("empty", &|store| import(store, &[]));
    make("forty", &|store| import(store, &forty));
    make("long-value", &|store| import(store, &[("a\0".into(), "v".repeat(6000))]));
    make("deep", &|store| {
        let long: Vec<_> = (1..=9).map(|i| (format!("{i}{}", "k".repeat(400)), "v".repeat(400))).collect();
        import(store, &long);
    });
    make("log", &|store| {
        import(store, &forty[..5]);
        store.put(b"key03\0", b"changed\0").unwrap();
        store.delete(b"key04\0").unwrap();
        store.commit().unwrap();
        store.put(b"key05\0", b"changed later\0").unwrap();
        store.commit().unwrap();
    });
}

/// Writes two seeds: with the checksums as they are, and with checksums that are put right.
fn seed(directory: &Path, name: &str, fill: &dyn Fn(&mut SqliteStore)) {
    let paths = ["main", "log"].map(|part| directory.join(part));
    let file = |path| File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    let [main, log] = [&paths[0], &paths[1]].map(|path| file(path).into());
    let mut store = SqliteStore::open(main, log).unwrap();
    fill(&mut store);
    drop(store.close());
    let [main, log] = paths.map(|path| {
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        bytes
    });
    let pages = u8::try_from(main.len() / 4096).unwrap();
    for (flags, name) in [(0, name.to_owned()), (3, format!("{name}-sealed"))] {
        std::fs::write(directory.join(name), [&[flags, pages], &main[..], &log[..]].concat()).unwrap();
    }
}
