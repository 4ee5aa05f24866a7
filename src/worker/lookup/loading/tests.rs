use super::*;
use crate::catalogue::Catalogue;
use crate::catalogue::tests::plain;
use mapkeep_proto::Listed;
use mapkeep_query::Outcome;
use mapkeep_worker_session::{Got, LookupTable, Tables};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

fn catalogue() -> Catalogue {
    let listed = |name: &[u8]| Listed { name: name.to_vec(), approved: true, incomplete: false };
    Catalogue::new(vec![listed(b"texthash:/large"), listed(b"texthash:/small")], true)
}

fn begin(loading: &mut Loading, id: u16, generation: u32, text: &str) -> Option<LookupToBroker> {
    let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(text.as_bytes()).unwrap();
    loading.begin(TableId(id), generation, file.as_fd(), text.len() as u64)
}

fn get(catalogue: &Catalogue, table: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let (_, table) = catalogue.find(table)?;
    let mut value = Vec::new();
    let sought = plain(key);
    matches!(table.lookup(sought, &mut value), Ok(Got::Now(Outcome::Found(_)))).then_some(value)
}

fn many_lines(value: &str) -> String {
    (0..100_000).map(|number| format!("key{number} {value}\n")).collect()
}

#[test]
fn previous_snapshot_answers_until_the_next_is_loaded_and_they_are_loaded_in_order() {
    let (mut catalogue, mut loading) = (catalogue(), Loading::default());
    assert_eq!(begin(&mut loading, 0, 1, "key17 old\n"), None);
    let loaded = |id, generation| Some(LookupToBroker::Loaded { id: TableId(id), generation });
    let mut answer = None;
    while answer.is_none() {
        answer = loading.step(&mut catalogue.contents, &|| true);
    }
    assert_eq!(answer, loaded(0, 1));
    begin(&mut loading, 0, 2, &many_lines("new"));
    begin(&mut loading, 1, 3, "key17 small\n");
    let mut steps = 0;
    let answer = loop {
        steps += 1;
        match loading.step(&mut catalogue.contents, &|| true) {
            None => assert_eq!(get(&catalogue, b"texthash:/large", b"key17").unwrap(), b"old"),
            answer => break answer,
        }
    };
    assert_eq!(answer, loaded(0, 2));
    // Some 20 MB of lines read and slots moved, 64 KiB a step.
    assert!(steps > 200, "{steps} steps");
    assert_eq!((0..20).find_map(|_| loading.step(&mut catalogue.contents, &|| true)), loaded(1, 3));
    assert_eq!(get(&catalogue, b"texthash:/large", b"key17").unwrap(), b"new");
    assert_eq!(get(&catalogue, b"texthash:/small", b"key17").unwrap(), b"small");
    assert!(loading.is_empty());
}

#[test]
fn newer_snapshot_replaces_one_that_is_being_loaded() {
    let (mut catalogue, mut loading) = (catalogue(), Loading::default());
    begin(&mut loading, 0, 1, &many_lines("first"));
    (0..50).for_each(|_| assert_eq!(loading.step(&mut catalogue.contents, &|| true), None));
    let before = begin(&mut loading, 0, 2, "key17 second\n");
    assert_eq!(before, Some(LookupToBroker::Rejected { id: TableId(0), generation: 1 }));
    assert_eq!(loading.0.len(), 1, "one at a time for each table");
    let answer = (0..20).find_map(|_| loading.step(&mut catalogue.contents, &|| true));
    assert_eq!(answer, Some(LookupToBroker::Loaded { id: TableId(0), generation: 2 }));
    assert_eq!(get(&catalogue, b"texthash:/large", b"key17").unwrap(), b"second");
    // One that is refused leaves what is there.
    begin(&mut loading, 0, 3, "key17 a\nkey17 b\n");
    let answer = (0..20).find_map(|_| loading.step(&mut catalogue.contents, &|| true));
    assert_eq!(answer, Some(LookupToBroker::Rejected { id: TableId(0), generation: 3 }));
    assert_eq!(get(&catalogue, b"texthash:/large", b"key17").unwrap(), b"second");
}
