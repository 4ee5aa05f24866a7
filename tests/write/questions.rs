//! The random requests of the comparison with stock: how clients behave, and the keys and values that they send.

use crate::common::writing::Random;

const UTF8: u32 = 0x8_0000;

/// How the clients of one table ask. Stock opens a table with the flags of the first request and keeps what they say
/// of UTF-8, of NUL bytes and of the lock for life; so these are the same in all requests for a table.
pub struct Habit {
    /// The name of its table.
    pub name: &'static str,
    /// The flags of `open`, which comes first.
    pub open: u32,
    /// The flags of later requests: each time one of these.
    pub later: &'static [u32],
    /// Whether keys and values may be no UTF-8.
    pub any_bytes: bool,
    /// Whether keys may be empty: stock exits on those in lmdb, unless it never tries a key without its NUL.
    pub empty_in_lmdb: bool,
}

pub const HABITS: &[Habit] = &[
    // verify(8), as Postfix 3.7 sends it: the instance bits with `open`, all bits later. Its own UTF-8 checks come
    // before the request.
    Habit { name: "verify", open: 0x1_0000, later: &[0x9_0180], any_bytes: false, empty_in_lmdb: false },
    // The same bits from the beginning: the server checks UTF-8.
    Habit { name: "checked", open: 0x9_0180, later: &[0x9_0180], any_bytes: true, empty_in_lmdb: false },
    // postscreen(8).
    Habit { name: "postscreen", open: 0x1_0180, later: &[0x1_0180], any_bytes: true, empty_in_lmdb: false },
    // The cache of SASL failures in smtp(8), with and without claims about duplicates.
    Habit {
        name: "sasl",
        open: UTF8 | 0x180,
        later: &[0x8_0180, 0x8_0100, 0x8_0101, 0x8_0102, 0x8_0000],
        any_bytes: true,
        empty_in_lmdb: false,
    },
    // Tables of a site, locked for each operation: keys folded, and not.
    Habit {
        name: "folded",
        open: 0x8_4040,
        later: &[0x8_4040, 0x8_4140, 0x8_0040, 0x8_40c0, 0x8_4041, 0x8_c042],
        any_bytes: true,
        empty_in_lmdb: false,
    },
    // Without UTF-8 checks, folding is that of ASCII.
    Habit {
        name: "ascii",
        open: 0x4040,
        later: &[0x4040, 0x41c0, 0x0040, 0x0800, 0x7840],
        any_bytes: true,
        empty_in_lmdb: false,
    },
    // Keys and values stored with a NUL byte, without one, and both ways tried.
    Habit { name: "try1", open: 0x48, later: &[0x48, 0x4048, 0x1c8], any_bytes: true, empty_in_lmdb: true },
    Habit { name: "try0", open: 0x44, later: &[0x44, 0x4044, 0x1c4], any_bytes: true, empty_in_lmdb: false },
    Habit { name: "both", open: 0x4c, later: &[0x4c, 0x404c, 0x1cc], any_bytes: true, empty_in_lmdb: false },
];

/// Keys of a habit's table in a type of table. Few, so that most operations meet an entry.
pub fn keys(habit: &Habit, kind: &str) -> Vec<Vec<u8>> {
    let texts = [
        "a",
        "A",
        "alice@example.org",
        "Alice@Example.ORG",
        "bob@example.org",
        "key with spaces",
        " ",
        "127.0.0.1",
        "2001:db8::1",
        "_LAST_CACHE_CLEANUP_COMPLETED_",
        "line\nbreak",
        "tab\there",
        "stra\u{df}e",
        "STRASSE",
        "m\u{fc}ller",
        "M\u{dc}LLER",
        "\u{130}stanbul",
        "\u{1f4ec}",
    ];
    let mut keys: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    keys.extend([vec![b'k'; 100], vec![b'L'; 255], vec![b'm'; 510], b"n".repeat(509)]);
    if habit.any_bytes {
        keys.extend([b"\xff".to_vec(), b"alice\xff".to_vec(), b"\xc3(".to_vec(), vec![0xfe; 400]]);
    }
    if kind != "lmdb" {
        keys.extend([vec![b'o'; 511], vec![b'p'; 1200], vec![b'Q'; 5000]]);
    }
    if kind != "lmdb" || habit.empty_in_lmdb {
        keys.push(Vec::new());
    }
    keys
}

/// A value: most are short; some fill many pages.
pub fn value(random: &mut Random, habit: &Habit) -> Vec<u8> {
    let length = match random.below(100) {
        0..5 => 0,
        5..60 => random.below(40) + 1,
        60..90 => random.below(1500) + 40,
        90..98 => random.below(10_000) + 1500,
        _ => random.below(54_000) + 11_537,
    };
    let letters = b"abc xyz0189@.;:\n\t'\"%$";
    let mut value: Vec<u8> = (0..length).map(|_| *random.pick(letters)).collect();
    if habit.any_bytes && !value.is_empty() && random.percent(8) {
        let at = random.below(value.len());
        value[at] = 0xff;
    }
    value
}
