//! Berkeley DB files as other machines and other programs write them: both byte orders, other page sizes, keys with and
//! without NUL, and the variants that are refused. Made by Debian's `db5.3_load`.
#![cfg(test)]

mod common;

use std::process::Command;

use common::{Pairs, Scratch, assert_answers, entries, have, open, run, scan};
use mapkeep_name::Kind;
use mapkeep_query::TableError;
use mapkeep_table_lookup::Table;

const LOAD: &str = "/usr/bin/db5.3_load";

/// Loads `pairs` into a file with these header lines.
fn load(scratch: &Scratch, header: &str, pairs: &Pairs) -> Vec<u8> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut dump = format!("VERSION=3\nformat=bytevalue\n{header}\nHEADER=END\n");
    for (key, value) in pairs {
        dump += &format!(" {}\n {}\n", hex(key), hex(value));
    }
    dump += "DATA=END\n";
    let path = scratch.path("t.db");
    let _ = std::fs::remove_file(&path);
    let output = run(Command::new(LOAD).arg(&path), dump.as_bytes());
    assert!(output.status.success(), "{header}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(path).unwrap()
}

fn with_nul(pairs: &Pairs) -> Pairs {
    pairs.iter().map(|(key, value)| ([key, &b"\0"[..]].concat(), [value, &b"\0"[..]].concat())).collect()
}

#[test]
fn berkeley_db_both_orders_all_page_sizes_answered() {
    if !have(LOAD) {
        return;
    }
    let scratch = Scratch::new();
    let pairs = entries(1_500, Some(3_000));
    let mut ascending = pairs.clone();
    ascending.sort();
    for (kind, name) in [(Kind::Hash, "hash"), (Kind::Btree, "btree")] {
        for order in [1234, 4321] {
            for page in [512, 1024, 4096, 65536] {
                for stored in [pairs.clone(), with_nul(&pairs)] {
                    let header = format!("type={name}\ndb_lorder={order}\ndb_pagesize={page}");
                    let file = load(&scratch, &header, &stored);
                    // The magic number at offset 12 shows in which byte order the file really is.
                    assert_eq!(file[12] == 0, order == 4321, "{header}");
                    let table = open(kind, &file);
                    assert_answers(&table, &pairs);
                    let mut listed = scan(&table);
                    if kind == Kind::Hash {
                        listed.sort();
                    }
                    assert!(listed == ascending, "{header}");
                }
            }
        }
    }
}

#[test]
fn berkeley_db_fill_factor_long_chains_answered() {
    if !have(LOAD) {
        return;
    }
    let scratch = Scratch::new();
    let pairs = entries(3_000, None);
    // Many keys to a bucket on small pages: each bucket is a chain.
    let file = load(&scratch, "type=hash\nh_ffactor=200\ndb_pagesize=512", &pairs);
    assert_answers(&open(Kind::Hash, &file), &pairs);
}

#[test]
fn berkeley_db_variants_refused() {
    if !have(LOAD) {
        return;
    }
    let scratch = Scratch::new();
    let pairs = entries(10, None);
    for (kind, header) in [
        (Kind::Hash, "type=hash\nduplicates=1"),
        (Kind::Btree, "type=btree\nduplicates=1"),
        (Kind::Btree, "type=btree\nduplicates=1\ndupsort=1"),
        (Kind::Btree, "type=btree\nrecnum=1"),
        (Kind::Hash, "type=hash\nchksum=1"),
        (Kind::Btree, "type=btree\nchksum=1"),
        (Kind::Btree, "type=btree\ndatabase=named"),
    ] {
        let file = load(&scratch, header, &pairs);
        let error = Table::from_snapshot(kind, &file[..], &mut Vec::new()).unwrap_err();
        assert!(matches!(error, TableError::Unsupported(_)), "{header}: {error}");
    }
}
