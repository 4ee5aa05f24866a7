//! Damaged files: set aside, never deleted, with a warning; the service goes on, and what can be read is answered.
//!
//! Only mapkeepd runs these: stock dies on most.

use crate::common::poll;
use crate::common::postfix::Server;
use crate::common::writing::{
    CACHE, Client, Content, NOKEY, OK, Place, RETRY, Request, beside, file_of, give,
};
use crate::common::{PATIENCE, master::set_mode};
use std::fs;
use std::path::{Path, PathBuf};

const ENTRIES: usize = 400;
/// Page size of the files that Postfix and SQLite write here; LMDB has the machine's.
const PAGE: usize = 4096;

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// The second half is cut off.
    Half,
    /// Every byte is another.
    Garbage,
    /// The type of one page in the middle is another: one bit.
    Bit,
    /// A directory has its name.
    Directory,
    /// Nothing is left.
    Empty,
}

const DAMAGES: [Damage; 5] = [Damage::Half, Damage::Garbage, Damage::Bit, Damage::Directory, Damage::Empty];

/// What was damaged, and what has to come of it.
struct Case {
    table: String,
    path: PathBuf,
    damage: Damage,
    /// The damaged bytes; `None` for a directory.
    damaged: Option<Vec<u8>>,
    /// At least this number of entries must be answered.
    least: usize,
}

fn content() -> Content {
    (0..ENTRIES).map(|n| (format!("user{n:03}@example.org").into_bytes(), vec![b'v'; 60 + n % 50])).collect()
}

/// Files of a table that was served before, damaged between two runs. What one file has lost the other still has.
pub fn damaged_between_runs(kind: &str, server: Server) {
    let place = Place::new();
    let parts: &[&str] = if kind == "lmdb" { &["lmdb"] } else { &["db", "mapkeep"] };
    let named: Vec<(String, &str, Damage)> = parts
        .iter()
        .flat_map(|part| {
            DAMAGES.map(|damage| (place.name(kind, &format!("{part}-{damage:?}")), *part, damage))
        })
        .collect();
    let names: Vec<&str> = named.iter().map(|(name, ..)| name.as_str()).collect();
    place.approve(&names, "");
    let mut content = content();
    names.iter().for_each(|table| place.make(table, &content));
    let service = place.start(server);
    let mut client = service.client();
    for table in &names {
        assert_eq!(client.update(table, b"written", b"by the service"), OK);
    }
    content.insert(b"written".to_vec(), b"by the service".to_vec());
    drop(client);
    service.stop();

    let cases: Vec<Case> = named
        .iter()
        .map(|(table, part, damage)| {
            let path = file_of(table).with_extension(part);
            let damaged = inflict(&path, *damage);
            // An lmdb file has no other to help it.
            let least = match (kind, damage) {
                ("lmdb", Damage::Bit) => content.len() / 2,
                ("lmdb", Damage::Half) => 1,
                ("lmdb", _) => 0,
                _ => content.len(),
            };
            Case { table: table.clone(), path, damage: *damage, damaged, least }
        })
        .collect();
    check(&place, server, &cases, &content);
}

/// A file that stock left damaged, and that was never served by mapkeepd: what can be read of it is taken over.
pub fn damaged_before_the_first_use(kind: &str, server: Server) {
    let place = Place::new();
    let named = DAMAGES.map(|damage| (place.name(kind, &format!("first-{damage:?}")), damage));
    let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    place.approve(&names, "");
    let content = content();
    names.iter().for_each(|table| place.make(table, &content));
    let cases: Vec<Case> = named
        .iter()
        .map(|(table, damage)| {
            let path = file_of(table);
            let damaged = inflict(&path, *damage);
            let least = match damage {
                Damage::Bit => content.len() / 2,
                Damage::Half => 1,
                _ => 0,
            };
            Case { table: table.clone(), path, damage: *damage, damaged, least }
        })
        .collect();
    check(&place, server, &cases, &content);
}

/// The file is overwritten while the service runs. The entries are in the store: nothing is lost.
pub fn file_overwritten_beside_the_service(kind: &str, server: Server) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let mut content = content();
    place.make(&table, &content);
    let service = place.start(server);
    let mut client = service.client();
    assert_eq!(client.update(&table, b"one", b"1"), OK);
    content.insert(b"one".to_vec(), b"1".to_vec());
    place.wait_listed(&table, &content);
    let seen = place.site.raw_log().len();
    fs::write(file_of(&table), b"This is no table. ".repeat(1000)).unwrap();
    assert_eq!(client.update(&table, b"two", b"2"), OK);
    content.insert(b"two".to_vec(), b"2".to_vec());
    place.wait_for_log(seen, &["warning: ", &table]);
    let repaired = || place.postmap(&["-q", "two", &table]).stdout == b"2\n";
    assert!(poll(PATIENCE, || repaired().then_some(())).is_some(), "{table} is not written again");
    let aside = set_aside(&file_of(&table));
    assert!(
        aside.iter().any(|path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"This is no table."))),
        "{aside:?}"
    );
    assert!(client.content(&table) == content);
    drop(client);
    service.stop();
    place.assert_file(&table, &content);
}

/// Damages a file in the middle. Returns its bytes afterwards.
fn inflict(path: &Path, damage: Damage) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(bytes.len() >= 4 * PAGE, "{} is too small: {} bytes", path.display(), bytes.len());
    match damage {
        Damage::Half => bytes.truncate(bytes.len() / 2),
        Damage::Garbage => bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 31 % 251) as u8),
        Damage::Bit => flip_page_type(path, &mut bytes),
        Damage::Empty => bytes.clear(),
        Damage::Directory => {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            give(path);
            set_mode(path, 0o700);
            return None;
        }
    }
    // In place, as a failing disk does it.
    let mut file = fs::File::options().write(true).truncate(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    Some(bytes)
}

/// Flips one bit in the type byte of a page with entries, so that no reader can miss it.
fn flip_page_type(path: &Path, bytes: &mut [u8]) {
    let extension = path.extension().unwrap().to_str().unwrap();
    // Where the type stands in a page, and the values of pages with entries: leaf pages of btree (5) and of hash (13) in
    // Berkeley DB; leaf and overflow pages in LMDB; leaf pages of an index in SQLite (a table WITHOUT ROWID is one).
    let (at, types): (usize, &[u8]) = match extension {
        "db" => (25, &[5, 13]),
        "lmdb" => (10, &[2]),
        _ => (0, &[0x0a, 0x0d]),
    };
    let pages: Vec<usize> =
        (2..bytes.len() / PAGE).filter(|page| types.contains(&bytes[page * PAGE + at])).collect();
    let page = *pages.get(pages.len() / 2).unwrap_or_else(|| panic!("no page with entries in {extension}"));
    bytes[page * PAGE + at] ^= 0x40;
}

/// Starts the service on damaged tables, and expects what is described at the top of this file.
fn check(place: &Place, server: Server, cases: &[Case], content: &Content) {
    let seen = place.site.raw_log().len();
    let service = place.start(server);
    let mut client = service.client();
    for case in cases {
        let label = format!("{} {:?}", case.path.display(), case.damage);
        client.open_table(&case.table);
        let found = readable(&mut client, &case.table, content, &label);
        eprintln!("{label}: {found} of {} entries are answered", content.len());
        assert!(found >= case.least, "{label}: only {found} of {} are answered", content.len());
        if case.damage == Damage::Empty && case.path.extension().is_none_or(|extension| extension != "db") {
            place.wait_for_log(seen, &["warning: ", &case.path.to_string_lossy(), "is empty"]);
        }
        if case.damage != Damage::Empty {
            place.wait_for_log(seen, &["warning: ", &case.table, "corrupt"]);
            let aside = set_aside(&case.path);
            // What SQLite's log still has of a store that was cut is put into it before anybody can know of the damage.
            let mended = case.damage == Damage::Half && case.path.extension().is_some_and(|e| e == "mapkeep");
            let same = |path: &PathBuf| match &case.damaged {
                Some(bytes) => mended || fs::read(path).is_ok_and(|found| &found == bytes),
                None => path.is_dir(),
            };
            assert!(aside.iter().any(same), "{label}: the damaged content is gone; set aside: {aside:?}");
        }
        assert_eq!(client.update(&case.table, b"afterwards", b"works"), OK, "{label}");
        assert_eq!(client.value(&case.table, b"afterwards").as_deref(), Some(&b"works"[..]), "{label}");
    }
    let after: Vec<Content> = cases.iter().map(|case| client.content(&case.table)).collect();
    drop(client);
    service.stop();
    for (case, after) in cases.iter().zip(&after) {
        place.assert_file(&case.table, after);
    }
    // A second run finds nothing to complain of.
    let seen = place.site.raw_log().len();
    let service = place.start(server);
    let mut client = service.client();
    for (case, after) in cases.iter().zip(&after) {
        assert!(&client.content(&case.table) == after, "{}: another content after a restart", case.table);
    }
    let complaints: Vec<_> =
        place.site.raw_log().into_iter().skip(seen).filter(|line| line.contains("corrupt")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// How many entries are answered, each with its own value. RETRY may be the answer for a while, not for good.
fn readable(client: &mut Client, table: &str, content: &Content, label: &str) -> usize {
    let request = Request { table, flags: CACHE };
    let mut count = 0;
    for (key, value) in content {
        let settled = poll(PATIENCE, || {
            let reply = client.ask(&request.lookup(key));
            (reply.status() != RETRY).then_some(reply)
        });
        let reply = settled.unwrap_or_else(|| panic!("{label}: RETRY without end"));
        match reply.status() {
            OK => {
                assert_eq!(reply.value(), value, "{label}: a false value for {}", key.escape_ascii());
                count += 1;
            }
            status => assert_eq!(status, NOKEY, "{label}: {reply:?}"),
        }
    }
    count
}

/// The files that were set aside in the place of this one.
fn set_aside(path: &Path) -> Vec<PathBuf> {
    let marked = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().contains(".corrupt-");
    beside(&path.with_extension("")).into_iter().filter(marked).collect()
}
