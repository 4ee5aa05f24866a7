//! Imports and checkpoints: what is taken over, what is kept, and what counts as saved.

use std::fs;
use std::os::fd::AsFd;
use std::process::Command;

use mapkeep_table_format::build::{BtreeBuilder, HashBuilder, PAGE_SIZE, Progress as Written};

use super::super::testing::{Entries, Model, Numbers, Scratch, list, new_file};
use crate::sqlite::{Contents, Form, Imported, SqliteStore, read_file};
use crate::{Checkpoint, Progress, Stamp, Store};

const FORMS: [Form; 2] = [Form::Hash, Form::Btree];
const STAMP: Stamp = Stamp { dev: 1, ino: 2, size: 3, mtime_ns: 4 };
const OTHER: Stamp = Stamp { dev: 1, ino: 2, size: 3, mtime_ns: 5 };

fn entries(pairs: &[(&str, &str)]) -> Entries {
    pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn import(store: &mut SqliteStore, entries: &Entries, stamp: Stamp) -> Imported {
    store.import(entries.iter().map(|(key, value)| (&key[..], &value[..])), stamp).unwrap()
}

fn put(store: &mut SqliteStore, pairs: &[(&str, &str)]) {
    for (key, value) in pairs {
        store.put(key.as_bytes(), value.as_bytes()).unwrap();
    }
    store.commit().unwrap();
}

/// Writes a checkpoint to the file `name`.
fn write_out(scratch: &Scratch, name: &str, form: Form, store: &mut SqliteStore) -> Stamp {
    let mut checkpoint = Checkpoint::begin(form, new_file(&scratch.path(name)).into(), store).unwrap();
    loop {
        if let Progress::Done(stamp) = checkpoint.step(store).unwrap() {
            assert_eq!(checkpoint.left_out(), 0);
            return stamp;
        }
    }
}

fn listed(contents: &Contents) -> Entries {
    contents.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

fn read_back(scratch: &Scratch, name: &str, form: Form) -> Entries {
    let contents = read_file(form, &fs::read(scratch.path(name)).unwrap());
    assert_eq!((contents.damage.clone(), contents.left_out), (None, 0));
    listed(&contents)
}

fn build(form: Form, entries: &Entries) -> Vec<u8> {
    let mut file = Vec::new();
    match form {
        Form::Btree => {
            let mut builder = BtreeBuilder::new(PAGE_SIZE, [7; 20]).unwrap();
            entries.iter().for_each(|(key, value)| builder.push(key, value, &mut file).unwrap());
            builder.finish(&mut file).unwrap();
        }
        Form::Hash => {
            let mut builder = HashBuilder::new(PAGE_SIZE, [7; 20]).unwrap();
            entries.iter().for_each(|(key, value)| builder.push(key, value).unwrap());
            let mut writer = builder.finish().unwrap();
            while writer.step(&mut file).unwrap() == Written::More {}
        }
    }
    file
}

#[test]
fn import_into_an_empty_store_has_the_entries_of_the_file() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    let file = entries(&[("a", "1"), ("b", "2"), ("c", "")]);
    assert_eq!(store.knows(&STAMP), Ok(false));
    assert_eq!(import(&mut store, &file, STAMP), Imported { taken: 3, kept: 0 });
    for _ in 0..2 {
        assert_eq!(list(&mut store), file);
        assert!(!store.unsaved());
        assert_eq!((store.knows(&STAMP), store.knows(&OTHER)), (Ok(true), Ok(false)));
        drop(store);
        store = scratch.open("t");
    }
}

#[test]
fn import_keeps_unsaved_changes_and_replaces_the_rest() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    import(
        &mut store,
        &entries(&[("gone", "1"), ("changed", "1"), ("same", "1"), ("deleted", "1"), ("ours", "1")]),
        STAMP,
    );
    store.delete(b"deleted").unwrap();
    put(&mut store, &[("ours", "2"), ("new", "2")]);
    let file = entries(&[("changed", "3"), ("same", "1"), ("deleted", "3"), ("ours", "3"), ("theirs", "3")]);
    assert_eq!(import(&mut store, &file, OTHER), Imported { taken: 3, kept: 2 });
    let expected = entries(&[("changed", "3"), ("same", "1"), ("ours", "2"), ("new", "2"), ("theirs", "3")]);
    for _ in 0..2 {
        assert_eq!(list(&mut store), expected);
        assert!(store.unsaved());
        assert_eq!((store.knows(&STAMP), store.knows(&OTHER)), (Ok(false), Ok(true)));
        drop(store);
        store = scratch.open("t");
    }
    // Once these changes are in a file, they have no precedence over the rest.
    let stamp = write_out(&scratch, "db", Form::Btree, &mut store);
    assert_eq!(store.knows(&stamp), Ok(true));
    assert!(!store.unsaved());
    import(&mut store, &entries(&[("x", "4")]), STAMP);
    assert_eq!(list(&mut store), entries(&[("x", "4")]));
    assert!(!store.unsaved());
}

#[test]
fn import_while_changes_wait_is_refused() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    store.put(b"a", b"1").unwrap();
    store.import([(&b"b"[..], &b"2"[..])], STAMP).unwrap_err();
    assert!(store.is_open());
    store.commit().unwrap();
    assert_eq!(list(&mut store), entries(&[("a", "1")]));
}

#[test]
fn checkpoint_has_what_the_store_has() {
    let scratch = Scratch::new();
    for form in FORMS {
        for seed in 0..3 {
            let name = format!("{form:?}{seed}");
            let (mut store, mut model, mut numbers) = (scratch.open(&name), Model::default(), Numbers(seed));
            for _ in 0..300 * seed {
                // No file can have an empty key.
                let key = [numbers.key(), vec![0]].concat();
                model.put(&mut store, &key, &[numbers.value(), vec![0]].concat());
            }
            store.commit().unwrap();
            let stamp = write_out(&scratch, "db", form, &mut store);
            assert_eq!(Stamp::of(fs::File::open(scratch.path("db")).unwrap().as_fd()).unwrap(), stamp);
            assert!(read_back(&scratch, "db", form) == model.now);
            store.saved().unwrap();
            assert!(!store.unsaved());
        }
    }
}

#[test]
fn changes_during_a_checkpoint_stay_unsaved() {
    for form in FORMS {
        let scratch = Scratch::new();
        let mut store = scratch.open("t");
        let many: Entries =
            (0..3_000_u32).map(|number| (format!("{number:05}\0").into_bytes(), b"old\0".to_vec())).collect();
        import(&mut store, &many, STAMP);
        put(&mut store, &[("00100\0", "before\0")]);
        store.delete(b"00200\0").unwrap();
        store.commit().unwrap();

        let mut checkpoint =
            Checkpoint::begin(form, new_file(&scratch.path("db")).into(), &mut store).unwrap();
        assert_eq!(checkpoint.step(&mut store), Ok(Progress::More));
        // One where the scan has been, one where it will come, and one that is undone.
        put(&mut store, &[("00001\0", "during\0"), ("02999\0", "during\0")]);
        store.delete(b"00002\0").unwrap();
        store.commit().unwrap();
        store.put(b"01500\0", b"never\0").unwrap();
        for _ in 0..100 {
            assert_eq!(checkpoint.step(&mut store), Ok(Progress::More), "waits for the commit");
        }
        store.undo();
        let stamp = loop {
            if let Progress::Done(stamp) = checkpoint.step(&mut store).unwrap() {
                break stamp;
            }
        };
        checkpoint.step(&mut store).unwrap_err();

        let found = read_back(&scratch, "db", form);
        let value = |key: &str| found.get(key.as_bytes()).map(|value| &value[..]);
        assert_eq!(found.len(), 2_999);
        assert_eq!((value("00100\0"), value("00200\0")), (Some(&b"before\0"[..]), None));
        assert_eq!((value("00001\0"), value("00002\0")), (Some(&b"old\0"[..]), Some(&b"old\0"[..])));
        assert_eq!((value("01500\0"), value("02999\0")), (Some(&b"old\0"[..]), Some(&b"during\0"[..])));

        // The file is put in place, and the process is killed before it is told so.
        scratch.copy("t", "killed");
        drop(store);
        let mut store = scratch.open("killed");
        assert_eq!(store.knows(&stamp), Ok(true));
        assert!(store.unsaved());
        let tombstones = |store: &SqliteStore| {
            let keys =
                "SELECT CAST(coalesce(group_concat(key, ' '), '') AS BLOB) FROM entries WHERE value IS NULL";
            store.ask(keys, [], |row| row.get::<_, Vec<u8>>(0))
        };
        assert_eq!(tombstones(&store).unwrap().as_deref(), Some(&b"00002\0"[..]));
        // Another program's file appears now: only these four changes are kept.
        import(&mut store, &entries(&[("x", "y")]), OTHER);
        assert_eq!(
            list(&mut store),
            entries(&[("00001\0", "during\0"), ("02999\0", "during\0"), ("x", "y")])
        );
        assert_eq!(tombstones(&store).unwrap().as_deref(), Some(&b"00002\0"[..]));

        let second = write_out(&scratch, "db", form, &mut store);
        store.saved().unwrap();
        assert_eq!(store.knows(&second), Ok(true));
        assert!(!store.unsaved());
        assert_eq!(tombstones(&store), Ok(Some(Vec::new())));
    }
}

#[test]
fn store_without_a_file_is_unsaved_as_a_whole() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    assert!(!store.unsaved());
    store.forget_file().unwrap();
    assert!(store.unsaved(), "an empty table without a file wants one too");
    import(&mut store, &entries(&[("a", "1"), ("b", "1")]), STAMP);
    assert!(!store.unsaved());
    store.forget_file().unwrap();
    for _ in 0..2 {
        assert!(store.unsaved());
        assert_eq!(store.knows(&STAMP), Ok(false));
        drop(store);
        store = scratch.open("t");
    }
    assert_eq!(
        import(&mut store, &entries(&[("a", "2"), ("c", "2")]), OTHER),
        Imported { taken: 1, kept: 1 }
    );
    assert_eq!(list(&mut store), entries(&[("a", "1"), ("b", "1"), ("c", "2")]));
    assert!(store.unsaved());
}

#[test]
fn damaged_file_takes_nothing_away() {
    let scratch = Scratch::new();
    let mut store = scratch.open("t");
    import(&mut store, &entries(&[("a", "1"), ("b", "1"), ("c", "1")]), STAMP);
    put(&mut store, &[("c", "2")]);
    let file = entries(&[("b", "3"), ("c", "3"), ("d", "3")]);
    let merged = store.merge(file.iter().map(|(key, value)| (&key[..], &value[..]))).unwrap();
    assert_eq!(merged, Imported { taken: 2, kept: 1 });
    assert_eq!(list(&mut store), entries(&[("a", "1"), ("b", "3"), ("c", "2"), ("d", "3")]));
    assert!(store.unsaved());
    import(&mut store, &entries(&[("a", "4")]), OTHER);
    assert_eq!(list(&mut store), entries(&[("a", "1"), ("b", "3"), ("c", "2"), ("d", "3")]));
}

#[test]
fn read_file_with_and_without_nul() {
    let both =
        entries(&[("a\0", "1\0"), ("b", "2"), ("b\0", "3\0"), ("c", ""), ("d\0", "\0"), ("d\0e\0", "5\0\0")]);
    for form in FORMS {
        let contents = read_file(form, &build(form, &both));
        assert_eq!((contents.damage.clone(), contents.left_out, contents.len()), (None, 0, 6));
        assert_eq!(listed(&contents), both);
    }
}

#[test]
fn read_damaged_file_returns_the_entries_on_good_pages() {
    let mut numbers = Numbers(11);
    let all: Entries = (0..2_000)
        .map(|number| {
            let length = if number % 100 == 0 { 9_000 } else { 30 };
            let value = numbers.bytes(length);
            (format!("{number:05}\0").into_bytes(), value)
        })
        .collect();
    for form in FORMS {
        let file = build(form, &all);
        for _ in 0..60 {
            let mut bad = file.clone();
            let pages = bad.len() / PAGE_SIZE;
            let page = numbers.below(pages) * PAGE_SIZE;
            let rewritten = numbers.bytes(PAGE_SIZE);
            bad[page..page + PAGE_SIZE].copy_from_slice(&rewritten);
            let contents = read_file(form, &bad);
            let found = listed(&contents);
            let wrong = found.iter().filter(|(key, value)| all.get(*key) != Some(value)).count();
            // A lost page of a long value is not noticed by a scan that does not read it.
            assert!(wrong <= 1, "{form:?} {page} {wrong}");
            assert!(found.len() + 150 > all.len(), "{form:?} {page} {}", found.len());
            assert!(contents.damage.is_some() || found == all, "{form:?} {page}");
        }
        for bytes in
            [&b""[..], b"x", &[0; 8192], &numbers.bytes(20_000), &file[..PAGE_SIZE], &file[..PAGE_SIZE + 7]]
        {
            let contents = read_file(form, bytes);
            assert!(contents.damage.is_some());
        }
        // A file cut short still has its first half.
        let half = read_file(form, &file[..file.len() / 2]);
        assert!(half.damage.is_some());
        assert!(half.len() > 500, "{}", half.len());
        assert!(half.iter().all(|(key, value)| all.get(key).is_some_and(|found| found == value)));
        // The other form's file is no less readable.
        let other = if form == Form::Hash { Form::Btree } else { Form::Hash };
        let contents = read_file(other, &file);
        assert!(contents.damage.is_some());
        assert!(listed(&contents) == all);
    }
}

#[test]
fn read_file_with_random_bits_flipped_never_fails() {
    let mut numbers = Numbers(12);
    let all: Entries = (0..300).map(|_| ([numbers.key(), vec![0]].concat(), numbers.value())).collect();
    for form in FORMS {
        let file = build(form, &all);
        for _ in 0..300 {
            let mut bad = file.clone();
            for _ in 0..1 + numbers.below(8) {
                let at = numbers.below(bad.len());
                bad[at] ^= 1 << numbers.below(8);
            }
            let contents = read_file(form, &bad);
            assert!(contents.len() <= all.len() + 8);
        }
    }
}

#[test]
fn entries_that_overlap_give_not_many_times_their_page() {
    // A leaf whose items are headers of three bytes, one after the other: each item extends over the following ones.
    let mut page = vec![0_u8; PAGE_SIZE];
    let count = 600_u16;
    page[8] = 1;
    page[20..22].copy_from_slice(&count.to_le_bytes());
    page[25] = 5;
    for index in 0..usize::from(count) {
        let (at, length) = (26 + 2 * usize::from(count) + 3 * index, 800 + index as u16 / 2);
        page[26 + 2 * index..][..2].copy_from_slice(&(at as u16).to_le_bytes());
        page[at..at + 2].copy_from_slice(&length.to_le_bytes());
        page[at + 2] = 1;
    }
    let file = [vec![0; PAGE_SIZE], page].concat();
    let contents = read_file(Form::Btree, &file);
    let bytes: usize = contents.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!((10 * PAGE_SIZE..=16 * PAGE_SIZE).contains(&bytes), "{bytes}");
    assert!(contents.damage.is_some());
}

/// A file that stock Postfix has made and changed: with pages that were split, emptied and given back.
#[test]
fn read_file_of_stock_postfix_after_many_changes() {
    if !fs::exists("/usr/sbin/postmap").unwrap() {
        assert!(std::env::var_os("CI").is_none(), "postmap is missing");
        return eprintln!("SKIPPED: postmap is missing");
    }
    let mut numbers = Numbers(13);
    for (form, kind) in [(Form::Hash, "hash"), (Form::Btree, "btree")] {
        let scratch = Scratch::new();
        fs::write(scratch.path("main.cf"), "compatibility_level = 3.6\n").unwrap();
        let table = format!("{kind}:{}", scratch.path("t").display());
        let postmap = |options: &[&str], input: &str| {
            let text = scratch.path("input");
            fs::write(&text, input).unwrap();
            let status = Command::new("/usr/sbin/postmap")
                .args(["-c", scratch.path("").to_str().unwrap()])
                .args(options)
                .arg(&table)
                .stdin(fs::File::open(text).unwrap())
                .status();
            assert!(status.unwrap().success());
        };
        let mut expected = Entries::new();
        for round in 0..3 {
            let mut text = String::new();
            for _ in 0..8_000 {
                let (key, value) = (format!("k{}", numbers.below(20_000)), "v".repeat(1 + numbers.below(90)));
                text += &format!("{key} {value}\n");
                expected.insert([key.as_bytes(), b"\0"].concat(), [value.as_bytes(), b"\0"].concat());
            }
            postmap(&["-ri"], &text);
            let gone: Vec<_> = expected.keys().filter(|_| numbers.below(3) > 0).cloned().collect();
            let keys: Vec<u8> = gone.join(&b'\n').into_iter().filter(|byte| *byte != 0).collect();
            postmap(&["-d", "-"], &String::from_utf8(keys).unwrap());
            gone.iter().for_each(|key| drop(expected.remove(key)));
            let found = read_file(form, &fs::read(scratch.path("t.db")).unwrap());
            assert_eq!((found.damage.clone(), found.left_out), (None, 0), "{kind} {round}");
            assert!(listed(&found) == expected, "{kind} {round}");
        }
    }
}
