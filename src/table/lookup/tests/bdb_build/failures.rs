//! What the builders refuse, and what is left when they are interrupted.

use crate::common::Pairs;
use crate::make::{BOTH, FILE_ID, Model, Watched, assert_read, build, write};
use mapkeep_name::Kind;
use mapkeep_table_format::build::{BtreeBuilder, BuildError, HashBuilder, MAX_ITEM, Progress, Sink};

fn some(count: usize) -> Model {
    (0..count)
        .map(|number| {
            let value = if number % 50 == 7 { 3_000 } else { number % 80 };
            (format!("key {number:05}\0").into_bytes(), vec![b'v'; value])
        })
        .collect()
}

#[test]
fn page_sizes_outside_refused() {
    for page_size in [0, 1, 256, 511, 513, 4095, 5000, 65536, usize::MAX] {
        assert!(matches!(BtreeBuilder::new(page_size, FILE_ID), Err(BuildError::PageSize)));
        assert!(matches!(HashBuilder::new(page_size, FILE_ID), Err(BuildError::PageSize)));
    }
}

#[test]
fn btree_keys_not_ascending_refused_others_kept() {
    let mut sink = Watched::new(Kind::Btree, 512);
    let mut builder = BtreeBuilder::new(512, FILE_ID).unwrap();
    builder.push(b"", b"first", &mut sink).unwrap();
    for (key, value) in [(&b"b\0"[..], &b"1"[..]), (b"b\0\0", b"2"), (b"c", b"3")] {
        builder.push(key, value, &mut sink).unwrap();
        for low in [&b""[..], b"a", b"b", b"b\0", key] {
            assert!(matches!(builder.push(low, b"x", &mut sink), Err(BuildError::NotAscending)));
        }
    }
    let long = vec![b'x'; MAX_ITEM + 1];
    assert!(matches!(builder.push(&long, b"", &mut sink), Err(BuildError::ItemTooLong)));
    assert!(matches!(builder.push(b"d", &long, &mut sink), Err(BuildError::ItemTooLong)));
    builder.finish(&mut sink).unwrap();
    let expected: Model = [("", "first"), ("b\0", "1"), ("b\0\0", "2"), ("c", "3")]
        .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .into();
    assert_read(Kind::Btree, &sink.bytes, &expected);
}

#[test]
fn hash_key_twice_no_file() {
    for distance in [1, 2, 100, 4_999] {
        let mut pairs: Pairs = some(5_000).into_iter().collect();
        pairs[4_999] = (pairs[4_999 - distance].0.clone(), b"other".to_vec());
        let mut sink = Watched::new(Kind::Hash, 4096);
        let result = write(pairs.iter().map(|(key, value)| (key, value)), &mut sink);
        assert!(matches!(result, Err(BuildError::DuplicateKey)), "{result:?}");
        assert!(!sink.is_table());
    }
    // Long keys are compared in whole as well.
    let key = vec![b'k'; 9_000];
    let pairs = [(key.clone(), Vec::new()), (key, b"other".to_vec())];
    let result = write(pairs.iter().map(|(key, value)| (key, value)), &mut Watched::new(Kind::Hash, 4096));
    assert!(matches!(result, Err(BuildError::DuplicateKey)), "{result:?}");
}

#[test]
fn hash_items_too_long_refused_others_kept() {
    let mut builder = HashBuilder::new(4096, FILE_ID).unwrap();
    let long = vec![b'x'; MAX_ITEM + 1];
    assert!(matches!(builder.push(&long, b""), Err(BuildError::ItemTooLong)));
    assert!(matches!(builder.push(b"a", &long), Err(BuildError::ItemTooLong)));
    builder.push(b"a", b"b").unwrap();
    let (mut writer, mut sink) = (builder.finish().unwrap(), Watched::new(Kind::Hash, 4096));
    while writer.step(&mut sink).unwrap() == Progress::More {}
    assert_read(Kind::Hash, &sink.bytes, &Model::from([(b"a".to_vec(), b"b".to_vec())]));
    assert!(matches!(writer.step(&mut sink), Err(BuildError::Over)));
}

/// The disk is full at each page in turn. `Watched` asserts that nothing is a table before its last page.
#[test]
fn sink_fails_anywhere_no_table() {
    for (kind, name) in BOTH {
        let model = some(700);
        let pages = build(kind, 512, &model).len() / 512;
        assert!(pages > 100, "{name}: {pages} pages say little");
        for writes_left in 0..=pages {
            let mut sink = Watched { writes_left, ..Watched::new(kind, 512) };
            let result = write(model.iter(), &mut sink);
            assert_eq!((result.is_ok(), sink.is_table()), (writes_left == pages, writes_left == pages));
            assert!(result.is_ok() || matches!(result, Err(BuildError::Sink(_))));
        }
    }
}

#[test]
fn after_a_failure_over() {
    let model = some(700);
    let mut builder = BtreeBuilder::new(512, FILE_ID).unwrap();
    let mut sink = Watched { writes_left: 3, ..Watched::new(Kind::Btree, 512) };
    let failed = model.iter().find_map(|(key, value)| builder.push(key, value, &mut sink).err());
    assert!(matches!(failed, Some(BuildError::Sink(_))), "{failed:?}");
    assert!(matches!(builder.push(b"zzz", b"", &mut sink), Err(BuildError::Over)));
    assert!(matches!(builder.finish(&mut sink), Err(BuildError::Over)));

    let mut builder = HashBuilder::new(512, FILE_ID).unwrap();
    model.iter().for_each(|(key, value)| builder.push(key, value).unwrap());
    let (mut writer, mut sink) = (builder.finish().unwrap(), Watched::new(Kind::Hash, 512));
    sink.writes_left = 3;
    let failed = (0..100).find_map(|_| writer.step(&mut sink).err());
    assert!(matches!(failed, Some(BuildError::Sink(_))), "{failed:?}");
    assert!(matches!(writer.step(&mut sink), Err(BuildError::Over)));
}

/// Counts pages.
struct Count(usize);

impl Sink for Count {
    fn write_at(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
        self.0 += 1;
        Ok(())
    }
}

#[test]
fn work_is_done_in_bounded_steps() {
    // A push of a btree: the leaf, and with a full page on each of its three levels these.
    let (mut sink, mut builder) = (Count(0), BtreeBuilder::new(512, FILE_ID).unwrap());
    let mut most = 0;
    for number in 0..50_000 {
        sink.0 = 0;
        builder.push(format!("{number:08}\0").as_bytes(), &[b'v'; 40], &mut sink).unwrap();
        most = most.max(sink.0);
    }
    assert!((2..=4).contains(&most), "{most} pages");

    // A step of a hash table: 128 pages, and the chains of one entry.
    for (count, length) in [(100_000, 40), (60, MAX_ITEM)] {
        let mut builder = HashBuilder::new(4096, FILE_ID).unwrap();
        for number in 0..count {
            builder.push(format!("user{number}\0").as_bytes(), &vec![b'v'; length]).unwrap();
        }
        let (mut writer, mut sink, mut steps) = (builder.finish().unwrap(), Count(0), 0);
        while writer.step(&mut sink).unwrap() == Progress::More {
            assert!(sink.0 <= 128 + 259, "{} pages in a step", sink.0);
            sink.0 = 0;
            steps += 1;
        }
        assert!(steps > 30, "{steps} steps");
    }
}
