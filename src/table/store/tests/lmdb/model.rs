//! Random operations, compared with a map in memory, and at the end with what Postfix reads.

use mapkeep_table_store::{LmdbStore, Store, StoreError};

use crate::support::{
    Chance, Content, Directory, content, descriptors, get, has_postmap, listed, open, stored,
};

/// A key out of few, so that they meet again; some are as long as can be.
fn key(chance: &mut Chance) -> Vec<u8> {
    let number = chance.below(400);
    let mut text = format!("{number:03}");
    let length = match number % 10 {
        0 => 510,
        1 | 2 => 100,
        _ => 8 + number % 20,
    };
    text.extend(std::iter::repeat_n('k', length - text.len()));
    stored(&text)
}

fn value(chance: &mut Chance) -> Vec<u8> {
    let length = match chance.below(20) {
        0 => chance.below(20_000),
        1..=3 => chance.below(3000),
        _ => chance.below(100),
    };
    stored(&chance.text(1 + length))
}

/// One operation on both. `now` is the visible state, `before` the committed one.
fn step(chance: &mut Chance, store: &mut LmdbStore, now: &mut Content, before: &mut Content) {
    match chance.below(100) {
        0..=39 => {
            let (key, value) = (key(chance), value(chance));
            store.put(&key, &value).unwrap();
            now.insert(key, value);
        }
        40..=64 => {
            let key = key(chance);
            assert_eq!(store.delete(&key), Ok(now.remove(&key).is_some()));
        }
        65..=79 => {
            let key = key(chance);
            assert_eq!(get(store, &key).as_ref(), now.get(&key));
        }
        80..=89 => {
            let last = key(chance);
            let (mut key, mut value) = (Vec::new(), Vec::new());
            let found = store.after(Some(&last), &mut key, &mut value).unwrap().then_some((key, value));
            let expected = now.range(last.clone()..).find(|(key, _)| **key != last);
            assert_eq!(found.as_ref().map(|(key, value)| (key, value)), expected);
        }
        90..=96 => {
            store.commit().unwrap();
            assert!(!store.is_open());
            before.clone_from(now);
        }
        97 => {
            store.undo();
            assert!(!store.is_open());
            now.clone_from(before);
        }
        _ => store.rest(),
    }
}

#[test]
fn random_operations_and_reopens_agree_with_a_map_and_with_postfix() {
    for seed in 1..=4 {
        let directory = Directory::new();
        let mut chance = Chance(seed);
        let (mut now, mut before) = (Content::new(), Content::new());
        let mut store = open(&directory.table());
        for round in 0..40 {
            for _ in 0..chance.below(200) {
                step(&mut chance, &mut store, &mut now, &mut before);
            }
            if round % 5 == 4 {
                // Leaving without a commit; the check at the opening must find nothing wrong.
                now.clone_from(&before);
                drop(store);
                store = open(&directory.table());
            }
            let same = content(&mut store).unwrap().into_iter().eq(now.clone());
            assert!(same, "seed {seed}, round {round}: the content differs");
        }
        store.commit().unwrap();
        drop(store);
        if has_postmap("the comparison with postmap -s") {
            let same = listed(&directory, &directory.table()).into_iter().eq(now);
            assert!(same, "seed {seed}: Postfix reads another content");
        }
    }
}

#[test]
fn scan_survives_the_deletion_of_its_current_key() {
    let directory = Directory::new();
    let mut store = open(&directory.table());
    for number in 0..1000 {
        store.put(format!("{number:04}").as_bytes(), b"v").unwrap();
    }
    store.commit().unwrap();
    let (mut last, mut count) = (None::<Vec<u8>>, 0);
    loop {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        if !store.after(last.as_deref(), &mut key, &mut value).unwrap() {
            break;
        }
        assert_eq!(key, format!("{count:04}").as_bytes());
        assert_eq!(store.delete(&key), Ok(true));
        store.commit().unwrap();
        store.rest();
        last = Some(key);
        count += 1;
    }
    assert_eq!((count, content(&mut store)), (1000, Ok(vec![])));
}

#[test]
fn keys_empty_or_too_long_are_refused_and_the_group_remains() {
    let directory = Directory::new();
    let mut store = open(&directory.table());
    let long = vec![b'k'; 512];
    store.put(b"a", b"1").unwrap();
    let too_long = StoreError::KeyTooLong { length: 512, limit: 511 };
    assert_eq!(store.put(&long, b""), Err(too_long.clone()));
    assert_eq!(store.delete(&long), Err(too_long));
    assert_eq!(store.put(b"", b""), Err(StoreError::KeyEmpty));
    assert_eq!(store.delete(b""), Err(StoreError::KeyEmpty));
    store.put(&long[..511], b"2").unwrap();
    store.commit().unwrap();
    assert_eq!((get(&mut store, b""), get(&mut store, &long)), (None, None));
    assert_eq!(get(&mut store, &long[..511]), Some(b"2".to_vec()));
    let (mut key, mut value) = (Vec::new(), Vec::new());
    assert_eq!(store.after(Some(&long), &mut key, &mut value), Ok(false));
    assert_eq!(store.after(Some(b"aaaa"), &mut key, &mut value), Ok(true));
    assert_eq!((key.len(), value.as_slice()), (511, &b"2"[..]));
}

#[test]
fn map_grows_past_its_first_size_within_a_group() {
    let directory = Directory::new();
    let mut store = open(&directory.table());
    let value = vec![b'v'; 100_000];
    store.put(b"before", b"1").unwrap();
    store.commit().unwrap();
    for number in 0..500 {
        store.put(format!("{number:03}").as_bytes(), &value).unwrap();
        store.delete(b"before").unwrap();
    }
    assert_eq!(get(&mut store, b"000"), Some(value.clone()));
    store.commit().unwrap();
    assert!(directory.table().metadata().unwrap().len() > 48 << 20);
    assert_eq!(content(&mut store).unwrap().len(), 500);
    let mut again = open(&directory.table());
    assert_eq!(get(&mut again, b"499"), Some(value));
    again.rest();
    if has_postmap("the listing of a grown file") {
        let table = directory.table();
        store.put(&stored("text"), &stored("more")).unwrap();
        store.commit().unwrap();
        let (fine, output) = crate::support::postmap(&directory, &["-q", "text"], &table, "");
        assert_eq!((fine, output.as_str()), (true, "more\n"));
    }
}

#[test]
fn map_limit_gives_no_room_and_what_was_committed_stays() {
    let directory = Directory::new();
    let (data, meta) = descriptors(&directory.table());
    let mut store = LmdbStore::open_with_limit(data, meta, 1 << 20).unwrap();
    store.put(b"kept", b"1").unwrap();
    store.commit().unwrap();
    store.put(b"small", b"2").unwrap();
    let refused = store.put(b"large", &vec![0; 2 << 20]);
    assert!(matches!(refused, Err(StoreError::NoRoom(_))), "{refused:?}");
    assert!(store.is_open());
    assert_eq!(store.put(b"late", b"3"), refused);
    assert_eq!(store.commit(), refused);
    assert!(!store.is_open());
    store.put(b"again", b"4").unwrap();
    store.commit().unwrap();
    let expected = [(&b"again"[..], &b"4"[..]), (b"kept", b"1")].map(|(k, v)| (k.to_vec(), v.to_vec()));
    assert_eq!(content(&mut store).unwrap(), expected);
    // Another table in a file that is larger than the limit is refused, not taken for a damaged one.
    drop(store);
    let mut store = open(&directory.table());
    store.put(b"large", &vec![0; 2 << 20]).unwrap();
    store.commit().unwrap();
    drop(store);
    let (data, meta) = descriptors(&directory.table());
    assert!(matches!(LmdbStore::open_with_limit(data, meta, 1 << 20), Err(StoreError::NoRoom(_))));
}
