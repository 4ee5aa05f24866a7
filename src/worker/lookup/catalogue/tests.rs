use super::*;
use crate::contents::LISTED;
use mapkeep_proto::Unavailable;
use mapkeep_query::TableError;
use mapkeep_worker_session::{LookupTable, Tables};

/// A question for all forms of the key, without folding, as text.
pub(crate) fn plain(key: &[u8]) -> session::Sought<'_> {
    session::Sought {
        key,
        modes: mapkeep_query::NulModes::BOTH,
        substitution: mapkeep_query::Substitution::Allowed,
        folding: mapkeep_query::Folding::NONE,
        utf8: false,
        values: mapkeep_query::Values::Text,
        servers: session::Servers::Believed,
    }
}

fn lookup(catalogue: &Catalogue, name: &[u8]) -> Option<Result<Outcome, session::Failure>> {
    let (_, table) = catalogue.find(name)?;
    let sought = plain(b"key");
    Some(table.lookup(sought, &mut Vec::new()).map(|got| match got {
        Got::Now(outcome) => outcome,
        Got::Later(_) => panic!("nobody else is asked"),
    }))
}

fn load(catalogue: &mut Catalogue, id: u16, bytes: &[u8]) -> bool {
    let (id, mut complaints) = (TableId(id), Vec::new());
    let Some(kind) = catalogue.contents.kind(id) else { return false };
    let opened = Table::from_snapshot(kind, mapping(bytes), &mut complaints);
    catalogue.contents.take(id, opened, &complaints)
}

fn mapping(bytes: &[u8]) -> Mapping {
    use std::io::Write;
    use std::os::fd::AsFd;
    // Tests of this process run at the same time, and each maps something.
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("mapkeep-catalogue-{}-{count}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let mut file = std::fs::File::create_new(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(bytes).unwrap();
    let file = std::fs::File::options().read(true).open(format!("/proc/self/fd/{}", fd(&file))).unwrap();
    Mapping::of(file.as_fd(), bytes.len() as u64).unwrap()
}

fn listed(name: &[u8], approved: bool) -> Listed {
    Listed { name: name.to_vec(), approved, incomplete: false }
}

fn fd(file: &std::fs::File) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(file)
}

#[test]
fn names_decide_and_snapshots_answer() {
    let names = [&b"static:x"[..], b"texthash:/t", b"mysql:/p", b"pipemap:{inline:{key=a},texthash:/m}"];
    let mut tables: Vec<Listed> = names.map(|name| listed(name, true)).to_vec();
    tables.extend([listed(b"inline:{key=a}", false), listed(b"texthash:/m", false)]);
    let mut catalogue = Catalogue::new(tables, true);
    assert!(matches!(lookup(&catalogue, b"static:x"), Some(Ok(Outcome::Found(_)))));
    assert!(lookup(&catalogue, b"static:y").is_none(), "not approved");
    assert!(matches!(lookup(&catalogue, b"mysql:/p"), Some(Err(session::Failure::Unavailable(_)))));
    let pipe = b"pipemap:{inline:{key=a},texthash:/m}";
    let no_member = session::Failure::Content(TableError::NoMember);
    assert_eq!(lookup(&catalogue, pipe), Some(Err(no_member)));
    assert!(load(&mut catalogue, 5, b"a value\n"));
    assert!(matches!(lookup(&catalogue, pipe), Some(Ok(Outcome::Found(_)))));
    assert!(lookup(&catalogue, b"texthash:/m").is_none(), "a member is not approved by itself");
    assert!(matches!(lookup(&catalogue, b"texthash:/t"), Some(Err(_))));
    assert!(load(&mut catalogue, 1, b"key value\n"));
    assert!(matches!(lookup(&catalogue, b"texthash:/t"), Some(Ok(Outcome::Found(_)))));
    assert!(!load(&mut catalogue, 1, b"key a\nkey b\n"), "a key twice");
    assert!(matches!(lookup(&catalogue, b"texthash:/t"), Some(Ok(Outcome::Found(_)))));
    catalogue.contents.unavailable(TableId(1), Unavailable::Missing);
    assert!(matches!(lookup(&catalogue, b"texthash:/t"), Some(Ok(Outcome::Found(_)))));
    assert!(!load(&mut catalogue, 9, b""));
}

#[test]
fn list_continues_in_the_snapshot_in_which_it_began_and_few_are_held() {
    let mut catalogue = Catalogue::new(vec![listed(b"texthash:/t", true)], true);
    let put = |catalogue: &mut Catalogue, value: usize| {
        let text = format!("a {value}\nb {value}\n").into_bytes();
        assert!(load(catalogue, 0, &text));
    };
    let step = |catalogue: &Catalogue, scan: &mut Scan| {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let (_, table) = catalogue.find(b"texthash:/t").unwrap();
        table.step(scan, &mut key, &mut value).map(|_| value)
    };
    put(&mut catalogue, 0);
    let mut scan = Scan::default();
    assert_eq!(step(&catalogue, &mut scan), Ok(b"0".to_vec()));
    let first = scan.content.clone().unwrap();
    (1..=LISTED).for_each(|value| put(&mut catalogue, value));
    assert_eq!(step(&catalogue, &mut scan), Ok(b"0".to_vec()));
    // Others list each content, and never go on.
    let mut others = Vec::new();
    for value in LISTED + 1..20 {
        others.push(Scan::default());
        step(&catalogue, others.last_mut().unwrap()).unwrap();
        put(&mut catalogue, value);
    }
    let alive = |scan: &&Scan| scan.content.as_ref().unwrap().strong_count() > 0;
    assert_eq!(others.iter().filter(alive).count(), LISTED);
    assert!(matches!(step(&catalogue, &mut scan), Err(session::Failure::Unavailable(_))));
    drop(first);
    drop(others);
    catalogue.contents.tidy();
    assert!(catalogue.contents.get(TableId(0)).unwrap().listed.is_empty(), "nobody lists them any more");
}

#[test]
fn nothing_is_denied_while_the_configuration_is_unknown() {
    let catalogue = Catalogue::new(Vec::new(), false);
    assert!(matches!(lookup(&catalogue, b"hash:/x"), Some(Err(session::Failure::Unavailable(_)))));
}

#[test]
fn member_that_cannot_be_had_elsewhere_is_told_as_one_that_cannot_be_had_here() {
    use mapkeep_proto::NoAnswer;
    let names: [&[u8]; 2] = [b"regexp:/r", b"unionmap:{regexp:/r}"];
    let catalogue = Catalogue::new(names.map(|name| listed(name, true)).to_vec(), true);
    let why = || Reported::Failed { why: NoAnswer::Unavailable, reason: "its file does not exist" };
    for (name, expected) in [
        (names[0], session::Failure::Unavailable("its file does not exist".into())),
        (names[1], session::Failure::Content(TableError::NoMember)),
    ] {
        let (_, table) = catalogue.find(name).unwrap();
        let Ok(Got::Later(search)) = table.lookup(plain(b"key"), &mut Vec::new()) else {
            panic!("answered at once");
        };
        assert_eq!(catalogue.name(&search), name);
        let question = search.question.as_ref().unwrap();
        assert_eq!(question.table, TableId(0));
        assert_eq!(catalogue.resume(search, why(), &mut Vec::new()).unwrap_err(), expected);
    }
}
