//! Damaged tables by the thousand: through the readers, and under a running service.
//!
//! Purpose: whatever is done to the bytes of a table, a lookup or a scan ends soon, with an answer or a clean error, and
//! the service answers the next request. The damage is the same in every run. The long run of the readers:
//! `MAPKEEP_SOAK=200000 cargo test --test soak readers -- --nocapture` (files of each format; 10,000 without it);
//! `MAPKEEP_SOAK_SHOW=NUMBER` prints the file of that number.
//! May: write below /var/lib, in a tree of its own. Never: depend on the order or the speed of the machine.
#![cfg(test)]

mod common;
#[path = "soak/mutate.rs"]
mod mutate;
#[path = "soak/readers.rs"]
mod readers;
#[path = "soak/service.rs"]
mod service;
#[path = "../fuzz/src/lib.rs"]
mod targets;

use mapkeep_name::Kind;
use std::path::Path;

/// The formats that are damaged, with the folder of their sound samples in `fuzz/seeds`.
const FORMATS: [(Kind, &str, &str); 9] = [
    (Kind::Hash, "hash", "bdb_hash"),
    (Kind::Btree, "btree", "bdb_btree"),
    (Kind::Lmdb, "lmdb", "lmdb"),
    (Kind::Cdb, "cdb", "cdb"),
    (Kind::Texthash, "texthash", "texthash"),
    (Kind::Passwd, "passwd", "accounts"),
    (Kind::Cidr, "cidr", "cidr"),
    (Kind::Regexp, "regexp", "regexp"),
    (Kind::Pcre, "pcre", "pcre"),
];

/// The seeds of a fuzz target, in order of their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds in {}", folder.display());
    files
}

/// Each seed does what its fuzz target promises, also without libFuzzer.
#[test]
fn fuzz_seeds_keep_every_promise() {
    for (name, target) in targets::TARGETS {
        for (seed, bytes) in seeds(name) {
            eprintln!("{name}/{seed}");
            target(&bytes);
        }
    }
}

/// One test for each format, so that they run at the same time.
macro_rules! readers_survive {
    ($($name:ident: $format:expr;)+) => {
        mod readers_survive {
            $(
                #[test]
                fn $name() {
                    crate::readers::soak($format);
                }
            )+
        }
    };
}

readers_survive! {
    damaged_hash_files: 0;
    damaged_btree_files: 1;
    damaged_lmdb_files: 2;
    damaged_cdb_files: 3;
    damaged_texthash_files: 4;
    damaged_passwd_files: 5;
    damaged_cidr_files: 6;
    damaged_regexp_files: 7;
    damaged_pcre_files: 8;
}

#[test]
fn service_survives_damaged_files() {
    if common::can_run("service_survives_damaged_files") {
        service::survives_damaged_files();
    }
}
