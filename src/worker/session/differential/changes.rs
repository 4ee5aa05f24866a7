//! The same changes to stock's own proxywrite and to `answer`: replies byte for byte, then what is stored.
//!
//! Each request goes to a stock process of its own, over one file, so that nothing sticks in it: stock otherwise
//! remembers the flags of the first request for a table.

use std::sync::Mutex;

use super::*;

/// Requests for each table.
const REQUESTS: usize = 150;
/// The longest key that lmdb stores.
const LMDB_KEY: usize = 511;

/// Keys in several cases, in and beyond ASCII, empty, and not UTF-8.
const KEYS: [&[u8]; 9] =
    [b"a", b"A", b"b@example.com", b"m\xc3\xbcller", b"M\xc3\x9cLLER", b"", b"\xff", b"c d", b"c"];
const VALUES: [&[u8]; 5] = [b"1", b"", b"two words", b"\xc3\xbc", b"\xfe"];
/// LOCK; with FOLD_FIX; with both TRY bits and with each; with UTF8_REQUEST, and FOLD_FIX; the verify cache's.
const FLAGS: [u32; 8] = [64, 16_448, 76, 68, 72, 524_352, 540_736, 590_208];

/// A generator that gives the same numbers each time (Knuth's MMIX constants).
struct Numbers(u64);

impl Numbers {
    fn below<T: Copy>(&mut self, from: &[T]) -> T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from[(self.0 >> 33) as usize % from.len()]
    }
}

/// One request; `None` if stock exits on it.
fn request(table: &str, numbers: &mut Numbers) -> Option<Vec<u8>> {
    let verb = numbers.below(&["update", "update", "update", "delete", "lookup", "lookup", "sequence"]);
    let (flags, key, value) = (numbers.below(&FLAGS), numbers.below(&KEYS), numbers.below(&VALUES));
    let mut bytes = format!("request\0{verb}\0table\0{table}\0flags\0{flags}\0").into_bytes();
    if verb == "sequence" {
        bytes.extend_from_slice(b"function\x000\0");
    } else {
        bytes.extend_from_slice(&[b"key\0", key, b"\0"].concat());
    }
    if verb == "update" {
        bytes.extend_from_slice(&[b"value\0", value, b"\0"].concat());
    }
    bytes.push(0);
    // lmdb has no empty keys, so stock exits when it tries the key without NUL.
    let fatal = table.starts_with("lmdb") && key.is_empty() && flags != 72 && verb != "sequence";
    // The order of a hash file is its own.
    let unordered = table.starts_with("hash") && verb == "sequence";
    (!fatal && !unordered).then_some(bytes)
}

/// What is stored, as `postmap -s` shows it.
fn listed(directory: &str, table: &str) -> Vec<u8> {
    let shown = Command::new("postmap").args(["-c", directory, "-s", table]).output().unwrap();
    assert!(shown.status.success(), "{table}: {}", String::from_utf8_lossy(&shown.stderr));
    let mut lines: Vec<&[u8]> = shown.stdout.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines.concat()
}

/// The same of a fake table.
fn listed_here(tables: &FakeTables, table: &str) -> Vec<u8> {
    let text = |stored: &[u8]| stored.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    let line = |(key, value): (Vec<u8>, Vec<u8>)| [&text(&key), &b"\t"[..], &text(&value), b"\n"].concat();
    let mut lines: Vec<Vec<u8>> = tables.entries(table.as_bytes()).into_iter().map(line).collect();
    lines.sort_unstable();
    lines.concat()
}

/// Asks both; returns the difference.
fn compare(proxymap: &Path, directory: &str, table: &str, limit: Option<usize>) -> Vec<String> {
    let empty = Content::Changeable(Mutex::new(Vec::new()), limit);
    let tables = FakeTables::default().with(table.as_bytes(), empty);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut wrong = Vec::new();
    let mut asked = 0;
    while asked < REQUESTS {
        let Some(request) = request(table, &mut numbers) else { continue };
        asked += 1;
        let stock = ask_stock(proxymap, directory, "proxywrite", &request);
        let ours = ask_ours(&tables, Service::Write, &request);
        if stock != ours || stock.is_empty() {
            wrong.push(format!("{}\n  stock {}\n  ours  {}", shown(&request), shown(&stock), shown(&ours)));
        }
    }
    let (stock, ours) = (listed(directory, table), listed_here(&tables, table));
    assert!(!ours.is_empty(), "{table}: nothing is left to compare");
    if stock != ours {
        wrong.push(format!("{table} at the end\n  stock {}\n  ours  {}", shown(&stock), shown(&ours)));
    }
    wrong
}

#[test]
fn stock_and_answer_make_the_same_changes() {
    let Some(proxymap) = installed() else { return };
    let scratch = Scratch::new("changes");
    let directory = scratch.path();
    let tables = [("btree", None), ("hash", None), ("lmdb", Some(LMDB_KEY))]
        .map(|(kind, limit)| (format!("{kind}:{directory}/data/{kind}"), limit));
    let names: Vec<String> = tables.iter().map(|(name, _)| name.clone()).collect();
    write_main_cf(&scratch, "proxy_write_maps", &names);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let asking =
            tables.map(|(name, limit)| scope.spawn(move || compare(proxymap, directory, &name, limit)));
        asking.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} replies are not as expected:\n{}", wrong.len(), wrong.join("\n"));
}
