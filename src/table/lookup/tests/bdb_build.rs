//! Berkeley DB files of our own making: read back by us, found sound by db5.3_verify, listed by db5.3_dump, and used and
//! changed by stock Postfix.
#![cfg(test)]

mod common;
#[path = "bdb_build/failures.rs"]
mod failures;
#[path = "bdb_build/make.rs"]
mod make;
#[path = "bdb_build/stock.rs"]
mod stock;

use std::process::Command;

use common::numbers::Numbers;
use common::{Scratch, get, have, open, run};
use make::{
    BOTH, DUMP, LOAD, Model, VERIFY, assert_libdb, assert_read, assert_verified, build, dump, store, text,
};
use mapkeep_name::Kind;

fn tools() -> bool {
    have(VERIFY) && have(DUMP) && have(LOAD)
}

fn bytes(numbers: &mut Numbers, length: usize) -> Vec<u8> {
    (0..length).map(|_| u8::try_from(numbers.below(256)).unwrap()).collect()
}

/// Random keys and values of whatever bytes, keys with a NUL at the end.
fn random(seed: u64, count: usize, longest_value: usize) -> Model {
    let mut numbers = Numbers(seed);
    (0..count)
        .map(|_| {
            let (key, value) = (1 + numbers.below(300), numbers.below(longest_value + 1));
            let mut key = bytes(&mut numbers, key);
            key.push(0);
            (key, bytes(&mut numbers, value))
        })
        .collect()
}

/// The same, with a key or value now and then that needs pages of its own.
fn random_with_long(seed: u64, count: usize, longest: usize) -> Model {
    let mut numbers = Numbers(seed);
    let mut model = random(seed, count, 200);
    for _ in 0..count / 10 {
        let (key, value) = (1 + numbers.below(longest), numbers.below(longest));
        let mut key = bytes(&mut numbers, key);
        key.push(0);
        model.insert(key, bytes(&mut numbers, value));
    }
    model
}

fn check(scratch: &Scratch, kind: Kind, page_size: usize, model: &Model) {
    let file = build(kind, page_size, model);
    assert_read(kind, &file, model);
    assert_libdb(scratch, kind, &file, model);
}

#[test]
fn random_entries_all_page_sizes_read_by_us_and_libdb() {
    if !tools() {
        return;
    }
    let scratch = Scratch::new();
    for (kind, _) in BOTH {
        for page_size in [512, 1024, 4096, 32768] {
            for count in [0, 1, 2, 3, 10, 100, 3_000] {
                check(&scratch, kind, page_size, &random(7, count, 500));
            }
            check(&scratch, kind, page_size, &random_with_long(8, 600, 3 * page_size));
        }
    }
}

#[test]
fn long_keys_and_values_up_to_a_mebibyte_read_by_us_and_libdb() {
    if !tools() {
        return;
    }
    let scratch = Scratch::new();
    const LONGEST: usize = mapkeep_table_format::build::MAX_ITEM;
    for (kind, _) in BOTH {
        let mut model = Model::new();
        for (number, length) in
            [LONGEST, LONGEST - 1, 500_000, 4070, 4071, 8140, 8141].into_iter().enumerate()
        {
            // They differ in their last byte only, so that a btree must keep long keys above its leaves.
            let mut key = vec![b'k'; length - 1];
            key.push(b'a' + u8::try_from(number).unwrap());
            let mut value = vec![b'v'; LONGEST - length];
            value.push(b'.');
            model.insert(key, value);
            model.insert(format!("short {number}\0").into_bytes(), vec![b's'; length]);
        }
        check(&scratch, kind, 4096, &model);

        // Many keys that begin with the same 1,100 bytes: the pages above the leaves are full of chains.
        let beginning = vec![b'k'; 1100];
        let model: Model = (0..2_000)
            .map(|number| ([&beginning[..], format!("{number:06}\0").as_bytes()].concat(), vec![b'v'; 30]))
            .collect();
        check(&scratch, kind, 1024, &model);
    }
}

/// Pages filled to the last byte and one more or less: whatever the lengths, some of these hit it.
#[test]
fn every_length_of_value_around_limits_read_by_us_and_libdb() {
    if !tools() {
        return;
    }
    let scratch = Scratch::new();
    for (kind, _) in BOTH {
        for length in 0..=520 {
            let model: Model = (0..12_u8)
                .map(|number| (vec![b'a' + number, 0], vec![b'v'; if number == 5 { 17 } else { length }]))
                .collect();
            let file = build(kind, 512, &model);
            assert_read(kind, &file, &model);
            if length % 8 == 0 || (100..140).contains(&length) {
                assert_libdb(&scratch, kind, &file, &model);
            }
        }
        // The limits for 4096 are 1007 and 1024; a pair at the limit takes a half or a quarter of a page.
        for length in (990..1040).chain([1, 2029, 2030, 2031]) {
            let model: Model = (0..9_u8)
                .map(|number| {
                    let mut key = vec![b'k'; length - 1];
                    key.push(number + 1);
                    (key, vec![b'v'; length])
                })
                .collect();
            let file = build(kind, 4096, &model);
            assert_read(kind, &file, &model);
            assert_libdb(&scratch, kind, &file, &model);
        }
    }
}

#[test]
fn empty_keys_and_values_kept() {
    if !tools() {
        return;
    }
    let scratch = Scratch::new();
    let model: Model = [("", ""), ("a", ""), ("b\0", "\0")]
        .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .into();
    for (kind, _) in BOTH {
        check(&scratch, kind, 4096, &model);
    }
}

/// On a sorted page libdb puts a key before the one that it begins with. It finds all of them only where it expects
/// them; `db5.3_load -n` stores nothing that it finds.
#[test]
fn hash_keys_that_begin_others_found_by_libdb() {
    if !tools() {
        return;
    }
    let scratch = Scratch::new();
    let mut model = Model::new();
    for number in 0..5_u32.pow(5) {
        let letters = (0..5).map(|place| b"\0\x01ab\xff"[(number / 5_u32.pow(place) % 5) as usize]);
        let key: Vec<u8> = letters.collect();
        for length in 0..=5 {
            model.insert(key[..length].to_vec(), b"ours".to_vec());
        }
    }
    // Keys on pages of their own that begin with others, in the same buckets as these.
    for number in 0..200_u8 {
        for length in [100, 127, 128, 129, 200, 600] {
            let mut key = vec![b'a'; length];
            key[0] = number;
            model.insert(key, b"ours".to_vec());
        }
    }
    let file = build(Kind::Hash, 512, &model);
    assert_read(Kind::Hash, &file, &model);
    store(&scratch, &file);
    assert_verified(&scratch);

    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut again = String::from("VERSION=3\nformat=bytevalue\ntype=hash\nHEADER=END\n");
    for key in model.keys() {
        again += &format!(" {}\n {}\n", hex(key), hex(b"theirs"));
    }
    again += "DATA=END\n";
    run(Command::new(LOAD).arg("-n").arg(scratch.path("t.db")), again.as_bytes());
    let listed = dump(&scratch);
    let missed: Vec<_> = listed.iter().filter(|(_, value)| value == b"theirs").collect();
    assert_eq!((missed.len(), listed.len()), (0, model.len()));
}

/// An attacker may choose all keys for one bucket: that is still a valid file, with a long chain of pages.
#[test]
fn hash_keys_of_one_bucket_read_by_us_and_libdb() {
    if !tools() {
        return;
    }
    let fnv =
        |key: &[u8]| key.iter().fold(0, |hash: u32, byte| hash.wrapping_mul(16_777_619) ^ u32::from(*byte));
    let model: Model = (0..2_000_000)
        .map(|number| format!("user{number}\0").into_bytes())
        .filter(|key| fnv(key) % 1024 == 77)
        .map(|key| (key, b"value\0".to_vec()))
        .collect();
    assert!(model.len() > 1_500);
    check(&Scratch::new(), Kind::Hash, 512, &model);
}

#[test]
fn a_million_entries_read_by_us_and_libdb() {
    if !tools() {
        return;
    }
    let scratch = Scratch::new();
    let model: Model = (0..1_000_000_u32)
        .map(|number| {
            let key = format!("user{}@domain{}.example\0", number.wrapping_mul(2_654_435_761), number % 97);
            (key.into_bytes(), format!("value of {number}\0").into_bytes())
        })
        .collect();
    for (kind, _) in BOTH {
        let file = build(kind, 4096, &model);
        let table = open(kind, &file);
        for (key, value) in model.iter().step_by(17) {
            assert_eq!(get(&table, &key[..key.len() - 1]).as_deref(), Some(text(value)));
        }
        store(&scratch, &file);
        assert_verified(&scratch);
    }
}
