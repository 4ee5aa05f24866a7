//! What is left of a configuration that can be read in part.

use super::*;
use mapkeep_broker_trust::testbed::Bed;
use std::fs;

fn read(bed: &Bed, for_root: bool) -> Configuration {
    let start = Start::Options { overrides: &[("process_name".to_owned(), "x".to_owned())], chroot: false };
    let directory = &bed.path("");
    Configuration::read(Request { directory, service: Service::Read, start, defaults: None, for_root })
}

fn bed(keep: &[u8]) -> Option<Bed> {
    let bed = Bed::new()?;
    bed.file("main.cf", b"mail_owner = daemon\nproxy_read_maps = proxy:static:a\n");
    bed.file("mapkeep.cf", keep);
    Some(bed)
}

#[test]
fn unreadable_mapkeep_cf_is_reported_and_trusts_nobody() {
    let Some(bed) = bed(b"table_owners = daemon\n") else { return };
    let good = read(&bed, true);
    assert_eq!((good.owners, good.unreadable.len()), (vec![1], 0), "master.cf need not be there");
    let file = fs::File::options().write(true).open(bed.path("mapkeep.cf")).unwrap();
    // Larger than any file that is read whole.
    file.set_len(65 << 20).unwrap();
    for what in ["a large file", "a directory"] {
        let found = read(&bed, true);
        assert_eq!((found.owners.as_slice(), found.certain), (&[][..], true), "{what}");
        assert_eq!(read(&bed, false).owners, [0], "{what}: whose process it is");
        let unreadable: Vec<_> = found.unreadable.iter().map(|one| one.file).collect();
        assert_eq!(unreadable, [FileName::KeepCf], "{what}");
        let told: Vec<_> = found.remarks.iter().filter(|one| one.file() == Some(FileName::KeepCf)).collect();
        let text = told[0].to_string();
        assert!(
            told.len() == 1 && text.starts_with("mapkeep.cf is ignored and all its settings have"),
            "{text}"
        );
        assert!(text.contains(&bed.path("mapkeep.cf").display().to_string()), "{what}: {text}");
        let _ = fs::remove_file(bed.path("mapkeep.cf"));
        bed.directory("mapkeep.cf");
    }
}

#[test]
fn without_main_cf_approval_is_unknown() {
    let Some(bed) = bed(b"") else { return };
    let found = read(&bed, true);
    assert!(found.certain && found.tables.len() == 1, "{:?}", found.tables);
    fs::remove_file(bed.path("main.cf")).unwrap();
    let found = read(&bed, true);
    assert_eq!((found.certain, found.unreadable.len()), (false, 1));
    let text = found.unreadable[0].to_string();
    assert!(text.starts_with(&format!("{}: No such file", bed.path("main.cf").display())), "{text}");
}

#[test]
fn option_that_may_not_be_set_is_reported_without_a_file() {
    let Some(bed) = bed(b"") else { return };
    let found = read(&bed, true);
    let told: Vec<String> = found.remarks.iter().map(ToString::to_string).collect();
    assert!(told.len() == 1 && told[0].starts_with("option -o process_name: "), "{told:?}");
    assert_eq!(found.remarks[0].file(), None);
}
