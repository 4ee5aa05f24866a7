//! Stock Postfix on files of our making: the same bytes where its own files allow it, lists, lookups and updates.

use crate::common::numbers::Numbers;
use crate::common::{Pairs, Scratch, have, open, scan};
use crate::make::{BOTH, FILE_ID, Model, VERIFY, assert_read, assert_verified, build, store};
use mapkeep_name::Kind;

const POSTMAP: &str = "/usr/sbin/postmap";

/// Entries as Postfix stores them, with keys of letters and digits that it takes from its input as they are. Now and then
/// a value is as long as `longest`, and a key, if that is more than a page.
fn entries(numbers: &mut Numbers, count: usize, longest: usize) -> Model {
    entries_with(b"a", numbers, count, longest)
}

/// The same, all keys with the same beginning.
fn entries_with(beginning: &[u8], numbers: &mut Numbers, count: usize, longest: usize) -> Model {
    let mut text = |length: usize| -> Vec<u8> {
        (0..length).map(|_| b"abcdefghijklmnopqrstuvwxyz0123456789.-_@"[numbers.below(40)]).collect()
    };
    let mut model = Model::new();
    while model.len() < count {
        let number = model.len();
        let key = text(if longest > 4096 && number % 90 == 45 { 1_500 } else { 12 + number % 90 });
        let value = text(if number % 60 == 59 { longest } else { 1 + number % 70 });
        model.insert([beginning, &key, b"\0"].concat(), [&value[..], b"\0"].concat());
    }
    model
}

fn without_nul(model: &Model) -> Pairs {
    let bare = |bytes: &[u8]| bytes.strip_suffix(b"\0").unwrap().to_vec();
    model.iter().map(|(key, value)| (bare(key), bare(value))).collect()
}

fn lines<'a>(pairs: impl IntoIterator<Item = &'a (Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    pairs.into_iter().flat_map(|(key, value)| [key, &b"\t"[..], value, b"\n"].concat()).collect()
}

fn keys<'a>(pairs: impl IntoIterator<Item = &'a (Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    pairs.into_iter().flat_map(|(key, _)| [key, &b"\n"[..]].concat()).collect()
}

#[test]
fn built_files_listed_and_queried_by_postmap() {
    if !have(POSTMAP) {
        return;
    }
    let scratch = Scratch::new();
    for (kind, name) in BOTH {
        for count in [1, 2, 50, 5_000] {
            let model = entries(&mut Numbers(11), count, 9_000);
            let file = build(kind, 4096, &model);
            store(&scratch, &file);
            let mut listed = scratch.listing(name);
            assert!(listed == scan(&open(kind, &file)), "{name}: another order than postmap -s");
            listed.sort();
            let pairs = without_nul(&model);
            assert!(listed == pairs, "{name}");
            assert!(scratch.postmap(name, &["-q", "-"], &keys(&pairs)) == lines(&pairs), "{name}");
        }
    }
}

/// Stock puts ascending keys where we put them, so that the files are the same but for what stock leaves to chance: the
/// id of the file, and what was in memory where nothing is stored.
#[test]
fn small_btree_same_bytes_as_of_postmap() {
    if !have(POSTMAP) {
        return;
    }
    let scratch = Scratch::new();
    for (count, longest) in [(0, 1), (1, 1), (2, 1), (30, 1), (10, 9_000)] {
        let mut model = entries(&mut Numbers(12), count, 1);
        if longest > 1 {
            model.insert(b"b\0".to_vec(), [&vec![b'v'; longest][..], b"\0"].concat());
            model.insert([&vec![b'k'; longest][..], b"\0"].concat(), b"v\0".to_vec());
            // The longest on the page, and one more.
            model.insert(b"c\0".to_vec(), [&[b'v'; 1006][..], b"\0"].concat());
            model.insert(b"d\0".to_vec(), [&[b'v'; 1007][..], b"\0"].concat());
        }
        let mut theirs = scratch.build("btree", &without_nul(&model));
        let mut ours = build(Kind::Btree, 4096, &model);
        assert_eq!(ours[52..72], FILE_ID);
        for file in [&mut theirs, &mut ours] {
            file[52..72].fill(0);
            wipe_free_space(file);
        }
        assert_same(&ours, &theirs);
    }
}

fn assert_same(ours: &[u8], theirs: &[u8]) {
    assert_eq!(ours.len(), theirs.len());
    let different: Vec<_> = (0..ours.len()).filter(|at| ours[*at] != theirs[*at]).take(9).collect();
    assert!(different.is_empty(), "{different:?}");
}

#[test]
fn small_hash_same_bytes_as_of_postmap() {
    if !have(POSTMAP) {
        return;
    }
    let scratch = Scratch::new();
    for (count, longest) in [(0, 0), (1, 0), (2, 0), (30, 0), (5, 1024), (5, 1025)] {
        // Two buckets of one page each. A key or value of 1024 bytes is the longest on the page.
        let mut model = entries(&mut Numbers(13), count, 1);
        if longest > 0 {
            model.pop_last();
            model.insert(b"b\0".to_vec(), [&vec![b'v'; longest - 1][..], b"\0"].concat());
        }
        let mut theirs = scratch.build("hash", &without_nul(&model));
        let mut ours = build(Kind::Hash, 4096, &model);
        // To the number of entries stock adds the number that it expects when it begins.
        let stored_count = |file: &[u8]| u32::from_le_bytes(file[88..92].try_into().unwrap());
        let count = u32::try_from(count).unwrap();
        assert_eq!((stored_count(&ours), stored_count(&theirs)), (count, count + 4096));
        for file in [&mut theirs, &mut ours] {
            file[52..72].fill(0);
            file[88..92].fill(0);
            wipe_free_space(file);
        }
        for page in [4096..8192, 8192..12288] {
            // Stock does not write the first page of a bucket that stays empty.
            if theirs[page.clone()].iter().all(|byte| *byte == 0) {
                assert_eq!(ours[page.start + 20..page.start + 22], [0, 0], "entries on page {page:?}");
                ours[page].fill(0);
            }
        }
        assert_same(&ours, &theirs);
    }
}

/// Zeros wherever a page has nothing to say: stock leaves there what was in memory.
fn wipe_free_space(file: &mut [u8]) {
    const OVERFLOW: u8 = 7;
    const BTREE_LEAF: u8 = 5;
    const ON_PAGE: u8 = 1;
    for page in file.chunks_mut(4096).skip(1) {
        let short = |page: &[u8], at: usize| usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
        let (entries, lowest) = (short(page, 20), short(page, 22));
        match page[25] {
            0 => continue,
            OVERFLOW => page[26 + lowest..].fill(0),
            _ => page[26 + 2 * entries..lowest].fill(0),
        }
        let kind = page[25];
        for item in 0..if kind == OVERFLOW { 0 } else { entries } {
            let start = short(page, 26 + 2 * item);
            if kind == BTREE_LEAF && page[start + 2] == ON_PAGE {
                let end = start + 3 + short(page, start);
                page[end..end.next_multiple_of(4)].fill(0);
            } else if kind == BTREE_LEAF {
                // Where other items have their length, and a byte without a meaning.
                page[start..start + 2].fill(0);
                page[start + 3] = 0;
            } else if page[start] != ON_PAGE {
                page[start + 1..start + 4].fill(0);
            }
        }
    }
}

/// What proxywrite would do to the file: put, replace and delete, with splits of pages and buckets.
#[test]
fn built_files_updated_by_postmap_stay_sound() {
    if !have(POSTMAP) || !have(VERIFY) {
        return;
    }
    let scratch = Scratch::new();
    // Keys that all begin with the same 1,100 bytes lie in chains, and so do those above the leaves of a btree.
    let long = vec![b'a'; 1_100];
    for (kind, name) in BOTH {
        for (count, longest, beginning) in [
            (0, 40, &b"a"[..]),
            (1, 40, b"a"),
            (50, 9_000, b"a"),
            (5_000, 40, b"a"),
            (5_000, 9_000, b"a"),
            (400, 40, &long),
        ] {
            let mut numbers = Numbers(14);
            let mut model = entries_with(beginning, &mut numbers, count, longest);
            let built = build(kind, 4096, &model);
            store(&scratch, &built);
            let agree = |model: &Model| {
                assert_verified(&scratch);
                assert_read(kind, &scratch.file(name), model);
                let mut listed = scratch.listing(name);
                listed.sort();
                assert!(listed == without_nul(model), "{name} {count}");
            };

            let new = if beginning.len() > 1 { 600 } else { 3_000 };
            let more = entries_with(beginning, &mut numbers, new, longest);
            scratch.postmap(name, &["-i"], &lines(&without_nul(&more)));
            model.extend(more);
            agree(&model);
            // The last bucket of a hash table, the last page of a btree: ours were not large enough.
            let at = if kind == Kind::Hash { 72 } else { 32 };
            let last = |file: &[u8]| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            assert!(last(&scratch.file(name)) > last(&built), "{name} {count}: nothing was split");

            let mut replaced = every(7, &model);
            for (number, (_, value)) in replaced.iter_mut().enumerate() {
                *value = vec![b'n'; 1 + number * 37 % longest];
            }
            scratch.postmap(name, &["-i", "-r"], &lines(&replaced));
            for (key, value) in replaced {
                model.insert([&key[..], b"\0"].concat(), [&value[..], b"\0"].concat());
            }
            agree(&model);

            // Half of the entries, then most of the others: pages become empty and are given back.
            for nth in [2, 5, 3, 2] {
                let gone = every(nth, &model);
                scratch.postmap(name, &["-d", "-"], &keys(&gone));
                for (key, _) in gone {
                    model.remove(&[&key[..], b"\0"].concat());
                }
                agree(&model);
            }
            let again = entries_with(beginning, &mut numbers, new / 3, longest);
            scratch.postmap(name, &["-i"], &lines(&without_nul(&again)));
            model.extend(again);
            agree(&model);
        }
    }
}

/// One entry in this number.
fn every(nth: usize, model: &Model) -> Pairs {
    let counted = without_nul(model).into_iter().enumerate();
    counted.filter(|(number, _)| number % nth == 1).map(|(_, pair)| pair).collect()
}
