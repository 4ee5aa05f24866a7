//! Beside Postfix programs and others that open the same file.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mapkeep_table_store::{LmdbStore, Store, StoreError};
use nix::fcntl::{FcntlArg, fcntl};

use crate::support::{
    Directory, content, descriptors, get, has_postmap, listed, open, postmap, stored, try_open,
};

/// Takes or releases a lock as another program would. False if it is not available.
fn lock(file: &File, kind: libc::c_int) -> bool {
    let kind = kind as libc::c_short;
    let whole = libc::flock { l_type: kind, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole)).is_ok()
}

fn other_program(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Puts the entries in one group, again for as long as another program has the file.
fn put_group(store: &mut LmdbStore, entries: &[(Vec<u8>, Vec<u8>)]) {
    loop {
        let put = entries.iter().try_for_each(|(key, value)| store.put(key, value));
        let committed = put.and_then(|()| store.commit());
        store.undo();
        store.rest();
        match committed {
            Ok(()) => return,
            Err(StoreError::Busy) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// Opens a table that other programs have locked most of the time.
fn open_patiently(path: &Path) -> LmdbStore {
    loop {
        match try_open(path) {
            Err(StoreError::Busy) => {}
            result => return result.unwrap(),
        }
    }
}

#[test]
fn locks_of_others_are_honoured_and_none_is_kept() {
    let directory = Directory::new();
    let mut store = open(&directory.table());
    store.put(b"a", b"1").unwrap();
    store.commit().unwrap();
    let other = other_program(&directory.table());
    assert!(lock(&other, libc::F_WRLCK), "a lock is kept after a commit");
    assert_eq!(store.get(b"a", &mut Vec::new()), Err(StoreError::Busy));
    assert_eq!(store.put(b"b", b"2"), Err(StoreError::Busy));
    assert!(!store.is_open());
    store.rest();
    assert!(lock(&other, libc::F_RDLCK));
    assert_eq!(get(&mut store, b"a"), Some(b"1".to_vec()));
    assert_eq!(store.put(b"b", b"2"), Err(StoreError::Busy), "while another program reads");
    assert!(lock(&other, libc::F_WRLCK), "a lock is kept after a refusal");
    assert!(lock(&other, libc::F_UNLCK));
    store.rest();
    assert_eq!(get(&mut store, b"a"), Some(b"1".to_vec()));
    assert!(lock(&other, libc::F_RDLCK), "reading shuts out other readers");
    assert!(!lock(&other, libc::F_WRLCK), "reading takes no lock");
    assert!(lock(&other, libc::F_UNLCK));
    store.put(b"b", b"2").unwrap();
    assert!(!lock(&other, libc::F_RDLCK), "a group takes no lock");
    store.undo();
    assert!(lock(&other, libc::F_WRLCK), "a lock is kept after undo");
    assert!(lock(&other, libc::F_UNLCK));
    store.get(b"a", &mut Vec::new()).unwrap();
    store.rest();
    assert!(lock(&other, libc::F_WRLCK), "a lock is kept while resting");
}

#[test]
fn dropped_store_leaves_no_lock_to_a_descriptor_that_is_kept() {
    let directory = Directory::new();
    let (data, meta) = descriptors(&directory.table());
    let kept = data.try_clone().unwrap();
    let mut store = LmdbStore::open(data, meta).unwrap();
    store.put(b"a", b"1").unwrap();
    drop(store);
    assert!(lock(&other_program(&directory.table()), libc::F_WRLCK));
    drop(kept);
}

#[test]
fn changes_of_another_program_are_seen_growth_of_the_file_included() {
    let directory = Directory::new();
    let (mut one, mut other) = (open(&directory.table()), open(&directory.table()));
    for round in 0..30_u32 {
        let value = vec![b'v'; 1_500_000];
        put_group(&mut one, &[(format!("one {round}").into_bytes(), value.clone())]);
        assert_eq!(get(&mut other, format!("one {round}").as_bytes()), Some(value));
        other.rest();
        put_group(&mut other, &[(format!("other {round}").into_bytes(), b"small".to_vec())]);
        assert_eq!(get(&mut one, format!("other {round}").as_bytes()), Some(b"small".to_vec()));
        one.rest();
    }
    assert!(directory.table().metadata().unwrap().len() > 40 << 20);
    assert_eq!(content(&mut other).unwrap().len(), 60);
}

#[test]
fn pages_of_another_program_in_a_file_that_was_long_already_are_seen() {
    let directory = Directory::new();
    let (mut one, mut other) = (open(&directory.table()), open(&directory.table()));
    // What a transaction leaves that has failed.
    other_program(&directory.table()).set_len(40 << 20).unwrap();
    put_group(&mut one, &[(b"a".to_vec(), b"1".to_vec())]);
    put_group(&mut other, &[(b"long".to_vec(), vec![b'v'; 20 << 20])]);
    assert_eq!(get(&mut one, b"long").map(|value| value.len()), Some(20 << 20));
}

/// What a program does to others that begins its transaction before it has the lock, as `postmap` does when it builds a
/// table again, or takes no lock, as `postmap -i`: what it writes is made from the file as it was `commits` transactions ago.
fn overwritten_by_a_late_program(commits: usize, order: &[&str]) -> (LmdbStore, Directory) {
    const PAGE: usize = 4096;
    let directory = Directory::new();
    let mut store = open(&directory.table());
    for number in 0..300 {
        store.put(format!("{number:03}").as_bytes(), &[b'v'; 100]).unwrap();
    }
    store.commit().unwrap();
    store.put(b"299", &[b'w'; 100]).unwrap();
    store.commit().unwrap();
    let before = fs::read(directory.table()).unwrap();
    let elsewhere = directory.0.join("elsewhere.lmdb");
    fs::write(&elsewhere, &before).unwrap();
    let mut other = open(&elsewhere);
    other.put(b"000", &[b'o'; 100]).unwrap();
    other.put(b"other", b"new").unwrap();
    other.commit().unwrap();
    let other = fs::read(&elsewhere).unwrap();
    for number in 0..commits {
        put_group(&mut store, &[(format!("ours{number}").into_bytes(), b"1".to_vec())]);
    }
    let file = other_program(&directory.table());
    for part in order {
        let pages = match *part {
            "meta" => 0..2,
            _ => 2..other.len() / PAGE,
        };
        for at in pages
            .map(|number| number * PAGE)
            .filter(|at| before.get(*at..*at + PAGE) != other.get(*at..*at + PAGE))
        {
            file.write_all_at(&other[at..at + PAGE], at as u64).unwrap();
        }
    }
    (store, directory)
}

#[test]
fn commit_overwritten_by_a_late_program_is_noticed_and_the_file_is_its() {
    let (mut store, _directory) = overwritten_by_a_late_program(1, &["pages", "meta"]);
    assert_eq!((get(&mut store, b"other"), get(&mut store, b"ours0")), (Some(b"new".to_vec()), None));
    put_group(&mut store, &[(b"more".to_vec(), b"2".to_vec())]);
    assert_eq!(get(&mut store, b"more"), Some(b"2".to_vec()));
}

#[test]
fn file_damaged_by_a_late_program_is_noticed() {
    for (commits, order) in [(1, &["meta"][..]), (2, &["pages", "meta"]), (3, &["pages", "meta"])] {
        let (mut store, _directory) = overwritten_by_a_late_program(commits, order);
        let refused = store.put(b"more", b"2");
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{commits}: {refused:?}");
    }
}

#[test]
fn postmap_updates_deletes_and_looks_up_while_groups_are_committed() {
    if !has_postmap("sharing a table with postmap") {
        return;
    }
    const ROUNDS: usize = 40;
    let directory = Directory::new();
    let table = directory.table();
    let mut expected: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut store = open(&table);
    for number in 0..ROUNDS {
        store.put(&stored(&format!("doomed{number}")), &stored("x")).unwrap();
    }
    store.put(&stored("stays"), &stored("here")).unwrap();
    store.commit().unwrap();
    expected.push((stored("stays"), stored("here")));
    // Makes the configuration before the threads need it.
    assert!(postmap(&directory, &["-q", "stays"], &table, "").0);
    let busy = AtomicBool::new(true);
    thread::scope(|scope| {
        let others = [
            scope.spawn(|| {
                // It takes no lock by itself (Postfix 3.7), so this takes it for it.
                let file = other_program(&table);
                for number in 0..ROUNDS {
                    while !lock(&file, libc::F_WRLCK) {
                        thread::yield_now();
                    }
                    assert!(postmap(&directory, &["-i"], &table, &format!("theirs{number} {number}\n")).0);
                    assert!(lock(&file, libc::F_UNLCK));
                }
            }),
            scope.spawn(|| {
                for number in 0..ROUNDS {
                    assert!(postmap(&directory, &["-d", &format!("doomed{number}")], &table, "").0);
                }
            }),
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let found = postmap(&directory, &["-q", "stays"], &table, "");
                    assert_eq!(found, (true, "here\n".into()));
                }
            }),
        ];
        let ours = scope.spawn(|| {
            let mut store = open_patiently(&table);
            let mut groups = 0;
            while busy.load(Ordering::Relaxed) || groups < ROUNDS {
                let entry =
                    |at| (stored(&format!("ours{groups}.{at}")), stored(&"v".repeat(1 + groups % 200)));
                put_group(&mut store, &[entry(0), entry(1), entry(2)]);
                groups += 1;
            }
            groups
        });
        let others = others.map(thread::ScopedJoinHandle::join);
        busy.store(false, Ordering::Relaxed);
        let groups = ours.join().unwrap();
        others.into_iter().for_each(|other| other.unwrap());
        for number in 0..groups {
            for at in 0..3 {
                expected.push((stored(&format!("ours{number}.{at}")), stored(&"v".repeat(1 + number % 200))));
            }
        }
        expected.extend(
            (0..ROUNDS).map(|number| (stored(&format!("theirs{number}")), stored(&number.to_string()))),
        );
    });
    expected.sort();
    assert!(listed(&directory, &table) == expected, "an entry is lost, or has come back");
    assert!(content(&mut store).unwrap() == expected);
}

#[test]
fn rebuild_by_postmap_is_seen_wholly_or_not_at_all() {
    if !has_postmap("rebuilding a table by postmap") {
        return;
    }
    let directory = Directory::new();
    let table = directory.table();
    let source = table.with_extension("");
    let rebuild = |generation: usize| {
        let lines: String = (0..8).map(|key| format!("key{key} {generation}\n")).collect();
        fs::write(&source, lines).unwrap();
        assert!(postmap(&directory, &[], &table, "").0);
    };
    rebuild(0);
    let busy = AtomicBool::new(true);
    thread::scope(|scope| {
        let other = scope.spawn(|| (1..60).for_each(rebuild));
        // It only reads: see table.rs for what happens to one that writes at the same time.
        let ours = scope.spawn(|| {
            let mut store = open_patiently(&table);
            let mut generations = Vec::new();
            while busy.load(Ordering::Relaxed) {
                let values: Result<Vec<_>, _> = (0..8)
                    .map(|key| {
                        let mut value = Vec::new();
                        store
                            .get(&stored(&format!("key{key}")), &mut value)
                            .map(|found| found.then_some(value))
                    })
                    .collect();
                store.rest();
                match values {
                    Ok(values) => {
                        assert!(values[0].is_some());
                        assert!(
                            values.iter().all(|value| *value == values[0]),
                            "two generations: {values:?}"
                        );
                        generations.push(values[0].clone());
                    }
                    Err(error) => assert_eq!(error, StoreError::Busy),
                }
            }
            generations.dedup();
            generations.len()
        });
        let other = other.join();
        busy.store(false, Ordering::Relaxed);
        let generations = ours.join().unwrap();
        other.unwrap();
        assert!(generations > 1, "no generation but {generations} was seen");
    });
}

#[test]
fn rebuilds_by_postmap_and_groups_in_turn() {
    if !has_postmap("rebuilding a table by postmap") {
        return;
    }
    let directory = Directory::new();
    let table = directory.table();
    let mut store = open(&table);
    for round in 0..20 {
        fs::write(table.with_extension(""), format!("theirs {round}\n")).unwrap();
        assert!(postmap(&directory, &[], &table, "").0);
        let theirs = (stored("theirs"), stored(&round.to_string()));
        assert!(content(&mut store).unwrap() == std::slice::from_ref(&theirs));
        let ours = (stored("ours"), vec![b'v'; round * 1000 + 1]);
        put_group(&mut store, std::slice::from_ref(&ours));
        assert!(content(&mut store).unwrap() == [ours, theirs]);
    }
}
