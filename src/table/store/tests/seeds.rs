//! Damaged files: the seeds of the store's fuzz targets do what fuzz/src/stores.rs promises, and so do files that are made of
//! them by damage, the same in every run.
#![cfg(test)]

#[path = "../../../../fuzz/src/stores.rs"]
mod stores;

use std::path::Path;

/// Damaged files that are made of each seed.
const ROUNDS: u64 = 60;

fn seeds(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/seeds").join(folder);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = files
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds in {}", folder.display());
    files
}

/// A number below `limit`, of a sequence that is the same in every run.
fn below(state: &mut u64, limit: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % limit.max(1)
}

fn damage(bytes: &mut Vec<u8>, state: &mut u64) {
    for _ in 0..=below(state, 3) {
        let at = below(state, bytes.len());
        let (page, pages) = (at & !4095, bytes.len() / 4096);
        match below(state, 6) {
            0 => bytes.truncate(at),
            1 if page + 4096 <= bytes.len() => {
                let other = 4096 * below(state, pages);
                bytes.copy_within(other..other + 4096, page);
            }
            // The offsets are at the beginning of a page.
            2 | 3 if page + 64 <= bytes.len() => bytes[page + below(state, 64)] = below(state, 256) as u8,
            _ if at < bytes.len() => bytes[at] ^= 1 << below(state, 8),
            _ => {}
        }
    }
}

/// Runs the seeds in these folders through a target, and files that are made of them.
fn replay(target: fn(&[u8]), folders: &[&str]) {
    let mut state = 1;
    for (seed, bytes) in folders.iter().flat_map(|folder| seeds(folder)) {
        eprintln!("{seed}");
        target(&bytes);
        for round in 0..ROUNDS {
            let mut bytes = bytes.clone();
            damage(&mut bytes, &mut state);
            eprintln!("round {round}");
            target(&bytes);
        }
    }
}

#[test]
fn lmdb_files() {
    replay(stores::lmdb_store, &["lmdb_store", "lmdb"]);
}

#[test]
fn stores_of_sqlite() {
    replay(stores::sqlite_store, &["sqlite_store"]);
}

#[test]
fn files_of_berkeley_db() {
    replay(stores::bdb_sweep, &["bdb_sweep", "bdb_hash", "bdb_btree"]);
}
