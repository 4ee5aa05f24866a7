//! Hand-made files: what no program on this machine writes (old versions, unsorted pages, deleted items) and traps.

use super::page::page_type;
use super::*;
use crate::cursor::Place;
use mapkeep_query::NulMode;

const PAGE: usize = 512;

struct Image {
    data: Vec<u8>,
    big: bool,
}

impl Image {
    fn new(method: Method, version: u32, big: bool, pages: usize) -> Image {
        let mut image = Image { data: vec![0; pages * PAGE], big };
        let (magic, kind) = match method {
            Method::Hash => (0x06_1561, 8),
            Method::Btree => (0x05_3162, 9),
        };
        for (offset, number) in [(12, magic), (16, version), (20, PAGE as u32), (32, pages as u32 - 1)] {
            image.put32(0, offset, number);
        }
        image.data[25] = kind;
        image
    }

    /// A hash file with two buckets, on pages 1 and 2, and the function of `charkey`.
    fn hash(version: u32, big: bool, charkey: u32, pages: usize) -> Image {
        let mut image = Image::new(Method::Hash, version, big, pages);
        for (offset, number) in [(72, 1), (76, 1), (80, 0), (92, charkey), (96, 1), (100, 1)] {
            image.put32(0, offset, number);
        }
        image
    }

    fn put16(&mut self, page: usize, offset: usize, number: usize) {
        let number = u16::try_from(number).unwrap();
        let raw = if self.big { number.to_be_bytes() } else { number.to_le_bytes() };
        self.data[page * PAGE + offset..][..2].copy_from_slice(&raw);
    }

    fn put32(&mut self, page: usize, offset: usize, number: u32) {
        let raw = if self.big { number.to_be_bytes() } else { number.to_le_bytes() };
        self.data[page * PAGE + offset..][..4].copy_from_slice(&raw);
    }

    fn header(&mut self, page: usize, kind: u8, level: u8, next: u32, entries: usize) {
        self.put32(page, 8, page as u32);
        self.put32(page, 16, next);
        self.put16(page, 20, entries);
        self.data[page * PAGE + 24] = level;
        self.data[page * PAGE + 25] = kind;
    }

    /// Items downwards from the end of the page.
    fn fill(&mut self, page: usize, items: &[Vec<u8>]) {
        let mut start = PAGE;
        for (index, item) in items.iter().enumerate() {
            start -= item.len();
            self.put16(page, 26 + 2 * index, start);
            self.data[page * PAGE + start..][..item.len()].copy_from_slice(item);
        }
    }

    fn hash_page(&mut self, page: usize, kind: u8, next: u32, pairs: &[(&[u8], &[u8])]) {
        self.header(page, kind, 0, next, pairs.len() * 2);
        let items: Vec<_> =
            pairs.iter().flat_map(|(k, v)| [k, v]).map(|item| [&[1][..], item].concat()).collect();
        self.fill(page, &items);
    }

    fn leaf(&mut self, page: usize, next: u32, triples: &[(&[u8], &[u8], u8)]) {
        self.header(page, page_type::BTREE_LEAF, 1, next, triples.len() * 2);
        let big = self.big;
        let item = |bytes: &[u8], mark: u8| {
            let length = bytes.len() as u16;
            let raw = if big { length.to_be_bytes() } else { length.to_le_bytes() };
            [&raw[..], &[1 | mark], bytes].concat()
        };
        let items: Vec<_> = triples.iter().flat_map(|(k, v, mark)| [item(k, 0), item(v, *mark)]).collect();
        self.fill(page, &items);
    }

    fn get(&self, method: Method, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        let mut answer = Vec::new();
        let head = Head::read(method, &self.data)?;
        let found = head.find(&self.data, &Probe::new(key, NulMode::Bare), &mut answer)?;
        Ok(found.then_some(answer))
    }

    fn scan(&self, method: Method) -> Result<Vec<Vec<u8>>, TableError> {
        let head = Head::read(method, &self.data)?;
        let (mut cursor, mut key, mut value, mut keys) =
            (Cursor::default(), Vec::new(), Vec::new(), Vec::new());
        while head.step(&self.data, &mut cursor, &mut key, &mut value)? == Step::Record {
            keys.push(key.clone());
        }
        Ok(keys)
    }
}

const FNV: u32 = 0x5e68_8dd1;
const TIMES_33: u32 = 0x956e_7de3;

fn in_two_buckets(big: bool, charkey: u32, kind: u8) -> Image {
    let mut image = Image::hash(8, big, charkey, 4);
    // By both functions the last bit of the hash of one letter is the last bit of the letter.
    image.hash_page(1, kind, 3, &[(b"z", b"26"), (b"b", b"2")]);
    image.hash_page(2, kind, 0, &[(b"c", b"3"), (b"a", b"1")]);
    image.hash_page(3, kind, 0, &[(b"x", b"24"), (b"d", b"4")]);
    image
}

#[test]
fn hash_version_8_unsorted_pages_both_functions_both_orders_answered() {
    for big in [false, true] {
        for charkey in [FNV, TIMES_33] {
            let image = in_two_buckets(big, charkey, page_type::HASH_UNSORTED);
            for (key, value) in
                [(b"a", "1"), (b"b", "2"), (b"c", "3"), (b"d", "4"), (b"x", "24"), (b"z", "26")]
            {
                assert_eq!(image.get(Method::Hash, key), Ok(Some(value.as_bytes().to_vec())));
            }
            assert_eq!(image.get(Method::Hash, b"y"), Ok(None));
            assert_eq!(image.scan(Method::Hash).unwrap(), [b"z", b"b", b"x", b"d", b"c", b"a"]);
        }
    }
}

#[test]
fn hash_bucket_page_never_written_is_empty() {
    let mut image = in_two_buckets(false, FNV, page_type::HASH);
    image.data[2 * PAGE..3 * PAGE].fill(0);
    assert_eq!(image.get(Method::Hash, b"a"), Ok(None));
    assert_eq!(image.scan(Method::Hash).unwrap().len(), 4);
}

#[test]
fn hash_unknown_function_refused() {
    let image = in_two_buckets(false, 1, page_type::HASH);
    assert!(matches!(image.get(Method::Hash, b"a"), Err(TableError::Unsupported(_))));
}

#[test]
fn hash_chain_loop_ends_with_error() {
    let mut image = in_two_buckets(false, FNV, page_type::HASH_UNSORTED);
    image.put32(3, 16, 1);
    let looped = TableError::Damaged("the pages form a loop");
    assert_eq!(image.get(Method::Hash, b"b"), Ok(Some(b"2".to_vec())));
    assert_eq!(image.get(Method::Hash, b"n"), Err(looped));
    assert_eq!(image.scan(Method::Hash), Err(looped));
}

#[test]
fn hash_overlapping_items_refused() {
    let mut image = in_two_buckets(false, FNV, page_type::HASH_UNSORTED);
    image.put16(1, 26 + 2, PAGE - 1);
    assert_eq!(image.get(Method::Hash, b"b"), Err(TableError::Damaged("hash items overlap")));
}

#[test]
fn hash_more_buckets_than_pages_refused() {
    let mut image = in_two_buckets(false, FNV, page_type::HASH);
    image.put32(0, 72, u32::MAX);
    assert!(image.get(Method::Hash, b"a").is_err());
}

#[test]
fn hash_long_value_in_a_loop_of_pages_ends_with_error() {
    let mut image = in_two_buckets(false, FNV, page_type::HASH);
    let mut away = vec![3, 0, 0, 0];
    away.extend(3_u32.to_le_bytes());
    away.extend(100_000_u32.to_le_bytes());
    image.fill(2, &[vec![1, b'a'], away]);
    image.header(2, page_type::HASH, 0, 0, 2);
    image.header(3, page_type::OVERFLOW, 0, 3, 1);
    image.put16(3, 22, 100);
    image.data[3 * PAGE + 26..][..100].fill(b'v');
    assert_eq!(image.get(Method::Hash, b"a"), Err(TableError::Damaged("the pages form a loop")));
}

fn two_leaves(big: bool, version: u32) -> Image {
    let mut image = Image::new(Method::Btree, version, big, 4);
    image.put32(0, 88, 1);
    image.header(1, page_type::BTREE_INTERNAL, 2, 0, 2);
    // Length, type, unused, child, records, key. The first key counts for nothing; the second is cut to one byte.
    let entry = |child: u32, key: &[u8]| {
        let length = key.len() as u16;
        let (length, child) = match big {
            true => (length.to_be_bytes(), child.to_be_bytes()),
            false => (length.to_le_bytes(), child.to_le_bytes()),
        };
        [&length[..], &[1, 0], &child, &[0; 4], key].concat()
    };
    image.fill(1, &[entry(2, b"zzz"), entry(3, b"m")]);
    image.leaf(2, 3, &[(b"a", b"1", 0), (b"b", b"2", 0x80), (b"c", b"3", 0)]);
    image.leaf(3, 0, &[(b"mail", b"4", 0), (b"z", b"5", 0x80)]);
    image
}

#[test]
fn btree_deleted_items_left_out() {
    for (big, version) in [(false, 8), (true, 9), (false, 10)] {
        let image = two_leaves(big, version);
        for (key, value) in [(&b"a"[..], &b"1"[..]), (b"c", b"3"), (b"mail", b"4")] {
            assert_eq!(image.get(Method::Btree, key), Ok(Some(value.to_vec())));
        }
        for absent in [&b""[..], b"b", b"d", b"m", b"z", b"zz"] {
            assert_eq!(image.get(Method::Btree, absent), Ok(None));
        }
        assert_eq!(image.scan(Method::Btree).unwrap(), [&b"a"[..], b"c", b"mail"]);
    }
}

#[test]
fn btree_root_that_is_its_own_child_ends_with_error() {
    let mut image = two_leaves(false, 9);
    let at = usize::from(u16::from_le_bytes([image.data[PAGE + 26], image.data[PAGE + 27]]));
    image.put32(1, at + 4, 1);
    assert_eq!(image.get(Method::Btree, b"a"), Err(TableError::Damaged("btree levels out of order")));
}

#[test]
fn btree_leaves_in_a_loop_scan_ends_with_error() {
    let mut image = two_leaves(false, 9);
    image.put32(3, 16, 2);
    assert_eq!(image.scan(Method::Btree), Err(TableError::Damaged("the pages form a loop")));
}

#[test]
fn btree_items_that_overlap_scan_ends_with_error() {
    let mut image = two_leaves(false, 9);
    // Fifty pairs, all of them the same long item: more bytes than the file has.
    image.header(2, page_type::BTREE_LEAF, 1, 0, 100);
    let item = PAGE - 203;
    image.put16(2, item, 200);
    image.data[2 * PAGE + item + 2] = 1;
    image.data[2 * PAGE + item + 3..3 * PAGE].fill(b'v');
    for index in 0..100 {
        image.put16(2, 26 + 2 * index, item);
    }
    assert_eq!(image.scan(Method::Btree), Err(TableError::Damaged("records overlap")));
}

#[test]
fn read_versions_and_flags_outside_refused() {
    for (offset, number) in [(16, 7), (16, 11), (24, 1 << 16 | 9 << 8), (36, 2), (48, 1), (48, 0x20)] {
        let mut image = two_leaves(false, 9);
        image.put32(0, offset, number);
        let error = image.get(Method::Btree, b"a").unwrap_err();
        assert!(matches!(error, TableError::Unsupported(_)), "{offset}: {error}");
    }
    assert!(Head::read(Method::Btree, &vec![0; 4096]).is_err());
    assert!(Head::read(Method::Btree, &two_leaves(false, 9).data[..511]).is_err());
}

#[test]
fn step_cursor_of_another_format_refused() {
    let image = two_leaves(false, 9);
    let head = Head::read(Method::Btree, &image.data).unwrap();
    let mut cursor = Cursor::default();
    cursor.place = Place::At(1);
    let step = head.step(&image.data, &mut cursor, &mut Vec::new(), &mut Vec::new());
    assert_eq!(step, Err(TableError::ForeignCursor));
}
