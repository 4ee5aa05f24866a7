//! Files made by the real `postmap`: every key found, absent keys absent, listings in the order of `postmap -s`.
#![cfg(test)]

mod common;

use common::{Pairs, Scratch, assert_answers, entries, get, have, open, scan};
use mapkeep_name::Kind;
use mapkeep_query::{NulMode, NulModes, Outcome, TableError};
use mapkeep_table_lookup::Table;

const POSTMAP: &str = "/usr/sbin/postmap";

fn sorted(mut pairs: Pairs) -> Pairs {
    pairs.sort();
    pairs
}

/// The longest key in the test, or none where the format has no long keys and values are long only.
fn check(kind: Kind, name: &str, longest_key: usize, nul: NulMode) {
    if !have(POSTMAP) {
        return;
    }
    let scratch = Scratch::new();
    for (count, long) in [(2, None), (3_000, Some(longest_key)), (100_000, None), (20_000, Some(longest_key))]
    {
        let pairs = entries(count, long);
        let file = scratch.build(name, &pairs);
        let table = open(kind, &file);
        assert_answers(&table, &pairs);
        let listed = scan(&table);
        // Stock postmap of Debian 12 cannot list a cdb table; its order is that of the source.
        let expected = if kind == Kind::Cdb { pairs.clone() } else { scratch.listing(name) };
        assert!(listed == expected, "{name}: another order than postmap -s");
        assert!(sorted(listed) == sorted(pairs.clone()));

        let mut answer = Vec::new();
        let key = &pairs[0].0;
        assert_eq!(table.lookup(key, NulModes::BOTH, &mut answer), Ok(Outcome::Found(nul)));
        let other = NulModes { with_nul: nul != NulMode::WithNul, bare: nul != NulMode::Bare };
        assert_eq!(table.lookup(key, other, &mut answer), Ok(Outcome::Absent));
        assert!(answer.is_empty());
    }
}

#[test]
fn hash_files_of_postmap_answered_and_listed() {
    check(Kind::Hash, "hash", 6_000, NulMode::WithNul);
}

#[test]
fn btree_files_of_postmap_answered_and_listed() {
    check(Kind::Btree, "btree", 6_000, NulMode::WithNul);
}

#[test]
fn lmdb_files_of_postmap_answered_and_listed() {
    check(Kind::Lmdb, "lmdb", 500, NulMode::WithNul);
}

#[test]
fn cdb_files_of_postmap_answered_and_listed() {
    check(Kind::Cdb, "cdb", 6_000, NulMode::Bare);
}

#[test]
fn texthash_file_answered_as_stock() {
    if !have(POSTMAP) {
        return;
    }
    let scratch = Scratch::new();
    let pairs = entries(100_000, None);
    scratch.build("cdb", &pairs); // writes the source text, too
    let text = std::fs::read(scratch.path("t")).unwrap();
    let table = open(Kind::Texthash, &text);
    assert_answers(&table, &pairs);
    assert!(scan(&table) == pairs);
    assert!(sorted(scan(&table)) == sorted(scratch.listing("texthash")));
    // This key has not been folded, so it only matches itself.
    assert_eq!(get(&table, &pairs[7].0.to_ascii_uppercase()), None);
}

/// Texts of the bytes that mean something in a table, put together at random.
#[test]
fn texthash_random_texts_read_as_stock() {
    if !have(POSTMAP) {
        return;
    }
    const BYTES: &[u8] = b"abcde   \t\n\n\n#\"\\\r\x0b:\0";
    let scratch = Scratch::new();
    let (mut state, mut compared, mut listed) = (1_u64, 0, 0);
    for _ in 0..300 {
        let mut text = Vec::new();
        for _ in 0..80 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push(BYTES[usize::try_from(state >> 33).unwrap() % BYTES.len()]);
        }
        let Ok(table) = Table::from_snapshot(Kind::Texthash, &text[..], &mut Vec::new()) else {
            continue; // a duplicate key, which postmap only warns about
        };
        let path = scratch.path("t");
        std::fs::write(&path, &text).unwrap();
        // Postfix reads a text again as long as it looks freshly changed.
        let past = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
        // As lines, since a quoted key may itself have the tab that separates it from the value.
        let lines = |pairs: Pairs| {
            let mut lines: Vec<_> = pairs.into_iter().map(|(key, value)| [key, value].join(&b'\t')).collect();
            lines.sort();
            lines
        };
        let expected = lines(scratch.listing("texthash"));
        listed += expected.len();
        compared += 1;
        assert_eq!(lines(scan(&table)), expected, "{:?}", String::from_utf8_lossy(&text));
    }
    assert!(compared > 100 && listed > 100, "{compared} texts with {listed} entries say little");
}

#[test]
fn files_without_records_answered_absent() {
    if !have(POSTMAP) {
        return;
    }
    for (kind, name) in
        [(Kind::Hash, "hash"), (Kind::Btree, "btree"), (Kind::Lmdb, "lmdb"), (Kind::Cdb, "cdb")]
    {
        let scratch = Scratch::new();
        let file = scratch.build(name, &Pairs::new());
        let table = open(kind, &file);
        assert_eq!(get(&table, b"key"), None, "{name}");
        assert_eq!(scan(&table), Pairs::new(), "{name}");
    }
}

#[test]
fn keys_deleted_by_postmap_absent_others_kept() {
    if !have(POSTMAP) {
        return;
    }
    for (kind, name, longest) in
        [(Kind::Hash, "hash", 6_000), (Kind::Btree, "btree", 6_000), (Kind::Lmdb, "lmdb", 500)]
    {
        let scratch = Scratch::new();
        let pairs = entries(5_000, Some(longest));
        scratch.build(name, &pairs);
        let (gone, kept): (Vec<_>, Vec<_>) =
            pairs.into_iter().enumerate().partition(|(number, _)| number % 5 != 3);
        let gone: Pairs = gone.into_iter().map(|(_, pair)| pair).collect();
        let kept: Pairs = kept.into_iter().map(|(_, pair)| pair).collect();
        let keys: Vec<u8> = gone.iter().flat_map(|(key, _)| [key, &b"\n"[..]].concat()).collect();
        scratch.postmap(name, &["-d", "-"], &keys);

        let file = scratch.file(name);
        let table = open(kind, &file);
        assert_answers(&table, &kept);
        for (key, _) in &gone {
            assert_eq!(get(&table, key), None, "{name}");
        }
        assert!(scan(&table) == scratch.listing(name), "{name}");
    }
}

#[test]
fn values_at_the_limit_given_longer_ones_refused() {
    if !have(POSTMAP) {
        return;
    }
    let limit = mapkeep_query::MAX_ITEM;
    for (kind, name) in
        [(Kind::Hash, "hash"), (Kind::Btree, "btree"), (Kind::Lmdb, "lmdb"), (Kind::Cdb, "cdb")]
    {
        let scratch = Scratch::new();
        // The NUL byte that Postfix stores with a value counts in formats that keep values on pages of their own.
        let pairs = vec![
            (b"fits".to_vec(), vec![b'v'; limit - 1]),
            (b"huge".to_vec(), vec![b'v'; limit + 1]),
            (b"last".to_vec(), b"x".to_vec()),
        ];
        let file = scratch.build(name, &pairs);
        let table = open(kind, &file);
        assert_eq!(get(&table, b"fits").unwrap().len(), limit - 1, "{name}");
        let mut answer = Vec::new();
        assert_eq!(
            table.lookup(b"huge", NulModes::BOTH, &mut answer),
            Err(TableError::ItemTooLong),
            "{name}"
        );
        assert!(answer.is_empty());

        // A scan reports that once and continues after it.
        let (mut cursor, mut key) = (mapkeep_table_format::Cursor::default(), Vec::new());
        let steps: Vec<_> = (0..4).map(|_| table.step(&mut cursor, &mut key, &mut answer).is_ok()).collect();
        assert_eq!(steps.iter().filter(|ok| **ok).count(), 3, "{name}");
        assert_eq!(table.step(&mut cursor, &mut key, &mut answer), Ok(mapkeep_query::Step::End), "{name}");
    }
}

#[test]
fn files_cut_short_or_of_another_kind_refused_at_once() {
    if !have(POSTMAP) {
        return;
    }
    let kinds = [(Kind::Hash, "hash"), (Kind::Btree, "btree"), (Kind::Lmdb, "lmdb"), (Kind::Cdb, "cdb")];
    for (kind, name) in kinds {
        let scratch = Scratch::new();
        let file = scratch.build(name, &entries(2_000, None));
        // lmdb files may well end before the page that their header calls the last one.
        for length in [0, 100, 1000, file.len() / 2, file.len() - 1] {
            let cut = Table::from_snapshot(kind, &file[..length], &mut Vec::new());
            assert!(cut.is_err() || kind == Kind::Lmdb, "{name} cut to {length}");
        }
        for (other, _) in kinds {
            let opened = Table::from_snapshot(other, &file[..], &mut Vec::new());
            assert_eq!(opened.is_ok(), other == kind, "{name} as {other:?}");
        }
    }
}
