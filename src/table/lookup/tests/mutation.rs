//! Damaged files: whatever is done to the bytes, lookups and scans end soon, with an answer or an error.
#![cfg(test)]

mod common;

use std::time::Duration;

use common::numbers::Numbers;
use common::{Scratch, entries, have};
use mapkeep_name::Kind;
use mapkeep_query::{NulModes, Step};
use mapkeep_table_format::Cursor;
use mapkeep_table_lookup::Table;

const MUTATIONS: u64 = 2_000;

/// What this thread has had of a processor: a busy machine does not stretch it, as it does the time of day.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // User and system time, the 14th and the 15th field, in ticks of 10 ms; the second field may have blanks (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    Duration::from_millis(fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

fn mutate(file: &mut Vec<u8>, numbers: &mut Numbers) {
    const PAGE: usize = 512;
    let pages = file.len() / PAGE;
    match numbers.below(8) {
        0 => file.truncate(numbers.below(file.len())),
        1 => {
            let page = numbers.below(pages) * PAGE;
            file[page..page + PAGE].fill(0);
        }
        2 => {
            let (a, b) = (numbers.below(pages) * PAGE, numbers.below(pages) * PAGE);
            for offset in 0..PAGE {
                file.swap(a + offset, b + offset);
            }
        }
        3 => {
            // One 32-bit field becomes another small number: other pages, lengths and counts.
            let field = numbers.below(file.len() / 4) * 4;
            let number = u32::try_from(numbers.below(64)).unwrap();
            file[field..field + 4].copy_from_slice(&number.to_le_bytes());
        }
        4 | 5 => {
            // The header of the file or of a page of 4096 bytes.
            let page = numbers.below(file.len() / 4096) * 4096;
            let at = page + numbers.below(200);
            file[at] = u8::try_from(numbers.below(256)).unwrap();
        }
        _ => {
            for _ in 0..=numbers.below(30) {
                let at = numbers.below(file.len());
                file[at] ^= 1 << numbers.below(8);
            }
        }
    }
}

/// Opens the file, asks some keys and lists everything. Returns whether it could be opened.
fn exercise(kind: Kind, file: &[u8], keys: &[Vec<u8>]) -> bool {
    let Ok(table) = Table::from_snapshot(kind, file, &mut Vec::new()) else { return false };
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for asked in keys {
        let _ = table.lookup(asked, NulModes::BOTH, &mut value);
    }
    let mut cursor = Cursor::default();
    let (mut steps, mut bytes) = (0_usize, 0_usize);
    while let Ok(Step::Record) = table.step(&mut cursor, &mut key, &mut value) {
        steps += 1;
        bytes += key.len() + value.len();
        assert!(steps <= file.len() && bytes <= file.len(), "{kind:?}: a scan without end");
    }
    true
}

fn check(kind: Kind, name: &str, longest_key: usize) {
    if !have("/usr/sbin/postmap") {
        return;
    }
    let scratch = Scratch::new();
    let pairs = entries(400, Some(longest_key));
    let mut file = scratch.build(if kind == Kind::Texthash { "cdb" } else { name }, &pairs);
    if kind == Kind::Texthash {
        file = std::fs::read(scratch.path("t")).unwrap();
    }
    let keys: Vec<_> = pairs.iter().step_by(9).map(|(key, _)| key.clone()).collect();
    assert!(exercise(kind, &file, &keys));

    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let (mut opened, mut slowest, start) = (0, Duration::ZERO, processor_time());
    for _ in 0..MUTATIONS {
        let mut damaged = file.clone();
        for _ in 0..=numbers.below(3) {
            if damaged.len() >= 4096 {
                mutate(&mut damaged, &mut numbers);
            }
        }
        let before = processor_time();
        opened += u64::from(exercise(kind, &damaged, &keys));
        slowest = slowest.max(processor_time() - before);
    }
    // Most damage is behind the header, so that the readers themselves were tried.
    assert!(opened > MUTATIONS / 4, "{name}: only {opened} could be opened");
    assert!(slowest < Duration::from_secs(5), "{name}: one took {slowest:?}");
    assert!(processor_time() - start < Duration::from_secs(300));
}

#[test]
fn hash_damaged_files_bounded() {
    check(Kind::Hash, "hash", 6_000);
}

#[test]
fn btree_damaged_files_bounded() {
    check(Kind::Btree, "btree", 6_000);
}

#[test]
fn lmdb_damaged_files_bounded() {
    check(Kind::Lmdb, "lmdb", 500);
}

#[test]
fn cdb_damaged_files_bounded() {
    check(Kind::Cdb, "cdb", 6_000);
}

#[test]
fn texthash_damaged_files_bounded() {
    check(Kind::Texthash, "texthash", 6_000);
}

/// Bytes, words and whole lines of a table of rules go, come, or change place.
fn mutate_rules(text: &mut Vec<u8>, numbers: &mut Numbers) {
    const PIECES: [&[u8]; 24] = [
        b"/",
        b"\\",
        b"!",
        b"(",
        b")",
        b"[",
        b"]",
        b"{",
        b"}",
        b"{1,255}",
        b"*",
        b"$1",
        b"${",
        b"$",
        b"\n",
        b"\nif ",
        b"\nendif\n",
        b"\n ",
        b"\0",
        b"\xff",
        b"(?R)",
        b"(a*)*",
        b"/4294967296",
        b":",
    ];
    let at = numbers.below(text.len() + 1);
    match numbers.below(6) {
        0 => text.truncate(at),
        1 => {
            let end = (at + numbers.below(20)).min(text.len());
            text.drain(at..end);
        }
        2 => {
            let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
            let (a, b) = (numbers.below(lines.len()), numbers.below(lines.len()));
            lines.swap(a, b);
            *text = lines.join(&b'\n');
        }
        3 if at < text.len() => text[at] = u8::try_from(numbers.below(256)).unwrap(),
        _ => {
            let piece = numbers.pick(&PIECES);
            text.splice(at..at, piece.iter().copied());
        }
    }
}

fn check_rules(kind: Kind, text: &str, keys: &[&[u8]]) {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let (mut found, mut slowest) = (0, Duration::ZERO);
    for _ in 0..MUTATIONS {
        let mut damaged = text.as_bytes().to_vec();
        for _ in 0..=numbers.below(8) {
            mutate_rules(&mut damaged, &mut numbers);
        }
        let before = processor_time();
        if let Ok(table) = Table::from_snapshot(kind, &damaged, &mut Vec::new()) {
            let mut answer = Vec::new();
            for key in keys {
                let outcome = table.lookup(key, NulModes::BOTH, &mut answer);
                found += u32::from(matches!(outcome, Ok(mapkeep_query::Outcome::Found(_))));
            }
        }
        // The same bytes as the rules in a name.
        let _ = Table::<&[u8]>::from_name(kind, &[&b"{{"[..], &damaged, b"}}"].concat());
        slowest = slowest.max(processor_time() - before);
    }
    assert!(u64::from(found) > MUTATIONS, "{kind:?}: only {found} answers");
    assert!(slowest < Duration::from_secs(5), "{kind:?}: one took {slowest:?}");
}

const PATTERN_RULES: &str = "# rules\n/^(a+)(b|c)*$/i $1 and ${2}\nif /x/\n!/y/ no y\n/(x)(y)?/m <$2>\nif /z{2,30}/\n\
     /(a|ab)(c|bcd)(d*)/ $3:$1\nendif\nendif\n/^[[:alpha:]_]+@([^@.]+\\.)+[a-z]{2,9}$/ address\n\
     ~[0-9]{1,3}/~ digits\n  and more\n/./ $$ other\n";
const PATTERN_KEYS: [&[u8]; 7] = [
    b"aab",
    b"xy",
    b"xzzabcd",
    b"user@mail.example.com",
    b"12/",
    b"\xff\xfe",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
];

#[test]
fn regexp_damaged_rules_bounded() {
    check_rules(Kind::Regexp, PATTERN_RULES, &PATTERN_KEYS);
}

#[test]
fn pcre_damaged_rules_bounded() {
    check_rules(Kind::Pcre, PATTERN_RULES, &PATTERN_KEYS);
}

#[test]
fn cidr_damaged_rules_bounded() {
    let text = "# nets\n10.1.0.0/16 a b\nif 10.0.0.0/8\n!10.2.0.0/16 not two\n10.2.3.4 one\nendif\n[::1] six\n\
                if !2001:db8::/32\n::/0 other\n endif\nendif\n0.0.0.0/1 low\n[192.168.0.0]/16 private\n";
    check_rules(
        Kind::Cidr,
        text,
        &[b"10.1.2.3", b"10.2.3.4", b"::1", b"2001:db8::1", b"192.168.7.7", b"200.1.1.1"],
    );
}
