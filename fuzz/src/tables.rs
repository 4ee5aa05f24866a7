//! Readers of table formats: the input is the file, or what follows `inline:`.

use mapkeep_name::{Endpoint, Kind, leaves, redact_accounts, remote};
use mapkeep_query::{Folding, MAX_ITEM, NulModes, Outcome, Query, Step, Substitution, TableError};
use mapkeep_table_format::Cursor;
use mapkeep_table_lookup::{Composite, Leaf, Table};

/// Keys that the seeds contain, keys that they do not, and the empty one.
const KEYS: [&[u8]; 8] =
    [b"", b"a", b"key1", b"key17", b"user1@example.org", b"example.org", b"absent", b"\xff\0"];

/// Records of a scan that are looked up, too.
const ASKED_AGAIN: usize = 32;

/// A hash file of Berkeley DB.
pub fn bdb_hash(data: &[u8]) {
    exercise(Kind::Hash, data);
}

/// A btree file of Berkeley DB.
pub fn bdb_btree(data: &[u8]) {
    exercise(Kind::Btree, data);
}

/// An lmdb file.
pub fn lmdb(data: &[u8]) {
    exercise(Kind::Lmdb, data);
}

/// A cdb file.
pub fn cdb(data: &[u8]) {
    exercise(Kind::Cdb, data);
}

/// A text table: each key that a scan gives is found, with its value.
pub fn texthash(data: &[u8]) {
    let Some((table, records)) = exercise(Kind::Texthash, data) else { return };
    found_again(&table, &records);
}

/// The name of an inline table, from after `inline:`.
pub fn inline(name: &[u8]) {
    // No name has a NUL byte: neither main.cf nor the protocol can carry one.
    if name.contains(&0) {
        return;
    }
    let Ok(table) = Table::<&[u8]>::from_name(Kind::Inline, name) else { return };
    let records = ask_and_scan(&table, name.len());
    found_again(&table, &records);
}

/// The files of accounts: nothing but names comes out of the redaction, and each answers as before.
pub fn accounts(text: &[u8]) {
    for (kind, empty_fields) in [(Kind::Passwd, &b":x:::::"[..]), (Kind::Group, b":x::")] {
        let (mut redacted, mut twice) = (Vec::new(), Vec::new());
        redact_accounts(kind, text, &mut redacted);
        redact_accounts(kind, &redacted, &mut twice);
        assert_eq!(redacted, twice, "redaction is not stable");
        assert!(
            redacted.len() <= text.len().saturating_add(1),
            "the file has grown by more than a last newline"
        );
        let (Some((full, _)), Some((bare, _))) = (exercise(kind, text), exercise(kind, &redacted)) else {
            continue;
        };
        let lines: Vec<&[u8]> =
            redacted.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let (mut from_full, mut from_bare) = (Vec::new(), Vec::new());
        for line in lines {
            let name = line.strip_suffix(empty_fields).expect("nothing but a name and empty fields");
            assert!(!name.contains(&b':'), "a field came through");
            let outcome = full.lookup(name, NulModes::BOTH, &mut from_full);
            assert_eq!(outcome, Ok(Outcome::Found(mapkeep_query::NulMode::Bare)));
            assert_eq!(bare.lookup(name, NulModes::BOTH, &mut from_bare), outcome);
            assert_eq!((&from_full[..], &from_bare[..]), (line, line));
        }
    }
}

/// A file of networks.
pub fn cidr(text: &[u8]) {
    rules(Kind::Cidr, text);
}

/// A file of POSIX patterns.
pub fn regexp(text: &[u8]) {
    rules(Kind::Regexp, text);
}

/// A file of Perl's patterns.
pub fn pcre(text: &[u8]) {
    rules(Kind::Pcre, text);
}

/// As postmap(1) asks, with a number of our choice.
fn query(key: &[u8]) -> Query<'_> {
    Query { random: 7, ..Query::plain(key) }
}

/// A file of rules, asked for addresses of each sort and for text, with substitution and without.
fn rules(kind: Kind, text: &[u8]) {
    let Some((table, _)) = exercise(kind, text) else { return };
    let keys: [&[u8]; 8] = [
        b"10.1.2.3",
        b"192.168.0.1",
        b"2001:db8::1",
        b"::ffff:10.0.0.1",
        b"1.2.3",
        b"aaaaaaaaaaaaaaaa!",
        b"key1=v",
        b"\xc3\x89",
    ];
    let (mut answer, mut plain) = (Vec::new(), Vec::new());
    for key in keys {
        ask(&table, key);
        let _ = table.lookup_with(&query(key), &mut answer);
        let refused = Query { substitution: Substitution::Refused, ..query(key) };
        let outcome = table.lookup_with(&refused, &mut plain);
        assert!(matches!(outcome, Ok(Outcome::Found(_))) || plain.is_empty());
        assert!(!answer.contains(&0) && !plain.contains(&0));
        let late = Query { time_left: &|| std::time::Duration::ZERO, ..query(key) };
        let _ = table.lookup_with(&late, &mut answer);
    }
}

/// What a name says of a server has limits, and says the same when it is written down.
fn server(name: &[u8]) {
    let Ok(Some(table)) = remote(name) else { return };
    match &table.endpoint {
        Endpoint::Unix(path) => assert!((1..=Endpoint::MAX_PATH).contains(&path.len())),
        Endpoint::Tcp { host, port } => {
            assert!([host, port].iter().all(|word| (1..=Endpoint::MAX_NAME).contains(&word.len())));
        }
    }
    let written = table.endpoint.to_string();
    if !written.contains('\\') {
        let again = remote(format!("socketmap:{written}:").as_bytes()).unwrap().unwrap();
        assert_eq!(again.endpoint, table.endpoint, "{written}");
    }
}

/// The name of a table that is made of others, with `unionmap:` or the like, or of one that a server answers for.
pub fn composite(name: &[u8]) {
    let found = leaves(name);
    server(name);
    found.iter().flatten().for_each(|leaf| server(leaf));
    let Ok(composite) = Composite::parse(name) else { return };
    assert_eq!(found.as_deref(), Ok(composite.leaves()));
    // The members that need no file are themselves; all others answer alike.
    let other = Table::<&[u8]>::from_name(Kind::Static, b"stand-in").unwrap();
    let own = |leaf: &Vec<u8>| Table::<&[u8]>::from_name(Kind::of(leaf), mapkeep_name::split(leaf).1).ok();
    let tables: Vec<_> = composite.leaves().iter().map(own).collect();
    for (key, utf8) in [(&b"key1"[..], false), (b"", false), (b"KEY1", true), (b"\xff", true)] {
        let query = Query { utf8, folding: Folding { fixed: utf8, pattern: true }, ..query(key) };
        let ask = |leaf: Leaf<'_>, answer: &mut Vec<u8>| {
            let table = tables[leaf.number].as_ref().unwrap_or(&other);
            table.lookup_with(&Query { key: leaf.key, modes: leaf.modes, ..query }, answer).map(Some)
        };
        let mut answer = Vec::new();
        let outcome = composite.go_on(&mut composite.walk(&query), &mut answer, ask);
        assert!(matches!(outcome, Ok(Some(Outcome::Found(_)))) || answer.is_empty());
        assert!(answer.len() <= MAX_ITEM);
        // Each leaf is deferred once: the lookup has the same result.
        let (mut walk, mut late) = (composite.walk(&query), Vec::new());
        let again = loop {
            let mut asked = false;
            let once = |leaf: Leaf<'_>, answer: &mut Vec<u8>| match std::mem::replace(&mut asked, true) {
                true => Ok(None),
                false => ask(leaf, answer),
            };
            match composite.go_on(&mut walk, &mut late, once) {
                Ok(None) => assert!(walk.leaf().is_some() && late.is_empty()),
                end => break end,
            }
        };
        assert_eq!((again, late), (outcome, answer));
    }
}

/// Pairs of key and value.
type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Opens a file as a table; when it is one, asks and lists it.
fn exercise(kind: Kind, data: &[u8]) -> Option<(Table<&[u8]>, Records)> {
    let mut complaints = Vec::new();
    let table = Table::from_snapshot(kind, data, &mut complaints);
    assert!(complaints.len() <= 101, "complaints without bound");
    for complaint in &complaints {
        assert!(complaint.to_string().is_ascii());
    }
    let table = table.ok()?;
    let records = ask_and_scan(&table, data.len());
    Some((table, records))
}

/// Looks keys up and scans the whole table. `size` is the length of what the table was made from.
fn ask_and_scan(table: &Table<&[u8]>, size: usize) -> Records {
    for key in KEYS {
        ask(table, key);
    }
    let (mut cursor, mut records) = (Cursor::default(), Records::new());
    let (mut key, mut value) = (b"left".to_vec(), b"over".to_vec());
    let (mut steps, mut bytes) = (0_usize, 0_usize);
    loop {
        steps += 1;
        assert!(steps <= size + 2, "a scan without end");
        match table.step(&mut cursor, &mut key, &mut value) {
            Ok(Step::Record) => {
                assert!(key.len() <= MAX_ITEM && value.len() <= MAX_ITEM);
                assert!(!key.contains(&0) && !value.contains(&0), "more than up to the first NUL");
                bytes += key.len() + value.len();
                assert!(bytes <= size, "a scan gives more bytes than the file has");
                if records.len() < ASKED_AGAIN {
                    records.push((key.clone(), value.clone()));
                }
            }
            // The cursor is past that record.
            Err(TableError::ItemTooLong) => {}
            end => {
                assert!(key.is_empty() && value.is_empty(), "{end:?} leaves bytes behind");
                if end == Ok(Step::End) {
                    assert_eq!(table.step(&mut cursor, &mut key, &mut value), Ok(Step::End));
                }
                break;
            }
        }
    }
    for (key, _) in &records {
        ask(table, key);
    }
    records
}

/// One lookup, in each form, twice: the same answer both times, and none where there is no record.
fn ask(table: &Table<&[u8]>, key: &[u8]) {
    let (mut first, mut second) = (b"left over".to_vec(), Vec::new());
    let modes = [(true, true), (true, false), (false, true), (false, false)];
    for (with_nul, bare) in modes {
        let outcome = table.lookup(key, NulModes { with_nul, bare }, &mut first);
        assert_eq!(table.lookup(key, NulModes { with_nul, bare }, &mut second), outcome);
        assert_eq!(first, second);
        assert!(first.len() <= MAX_ITEM);
        assert!(matches!(outcome, Ok(Outcome::Found(_))) || first.is_empty(), "{outcome:?} with an answer");
    }
}

/// A sound text is its own witness: what a scan gives, a lookup finds.
fn found_again(table: &Table<&[u8]>, records: &Records) {
    let mut answer = Vec::new();
    for (key, value) in records {
        let outcome = table.lookup(key, NulModes::BOTH, &mut answer);
        assert!(matches!(outcome, Ok(Outcome::Found(_))), "{outcome:?} for a key that the scan gave");
        assert_eq!(answer, *value);
    }
}
