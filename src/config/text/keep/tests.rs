//! mapkeep.cf: values, defaults, and that the documents have them.

use super::*;
use crate::parse_main;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn keep(text: &str) -> (KeepSettings, Vec<Complaint>) {
    let params = Parameters::new(parse_main(b"mail_owner = mailer\n").0);
    KeepSettings::read(text.as_bytes(), &params)
}

#[test]
fn read_empty_file_gives_defaults() {
    let (found, complaints) = keep("");
    assert_eq!(complaints, vec![]);
    assert_eq!(found.uid_base, 61_100);
    assert_eq!(found.chroot_directory, "/run/mapkeep/empty");
    assert_eq!(found.table_owners.accounts, vec![Owner::Name("mailer".into())]);
    assert_eq!((found.table_owners.text.as_str(), found.trusted_directories), ("$mail_owner", vec![]));
    assert_eq!((found.snapshot_limit, found.broker_account, found.workers), (1 << 30, None, None));
    assert_eq!((found.query_timeout, found.backend_connections), (Duration::from_secs(10), 8));
}

#[test]
fn read_good_values_are_used() {
    let (found, complaints) = keep(
        "# c\nuid_base = 70000\nchroot_directory = /srv/empty\ntable_owners = $mail_owner,\n  1001 vmail\n\
         snapshot_limit = 64m\nbroker_account = _mapkeep\ntrusted_directories = /a, /b/c\n\
         workers = 64\nquery_timeout = 2m\nbackend_connections = 64\n",
    );
    assert_eq!(complaints, vec![]);
    let owners = vec![Owner::Name("mailer".into()), Owner::Id(1001), Owner::Name("vmail".into())];
    assert_eq!((found.uid_base, found.table_owners.accounts), (70_000, owners));
    assert_eq!(found.table_owners.text, "$mail_owner, 1001 vmail");
    assert_eq!(found.trusted_directories, ["/a", "/b/c"]);
    assert_eq!((found.chroot_directory.as_str(), found.snapshot_limit), ("/srv/empty", 64 << 20));
    assert_eq!((found.broker_account, found.workers), (Some(Owner::Name("_mapkeep".into())), Some(64)));
    assert_eq!((found.query_timeout, found.backend_connections), (Duration::from_secs(120), 64));
}

#[test]
fn read_bad_value_leaves_default_and_complains() {
    for line in [
        "uid_base = 0",
        "uid_base = 999",
        "uid_base = 65520",
        "uid_base = 65535",
        "uid_base = 4294967295",
        "uid_base = x",
        "chroot_directory = empty",
        "chroot_directory = /",
        "chroot_directory = /a/../b",
        "table_owners = vmail 4294967295",
        "table_owners = a:b",
        "snapshot_limit = 0",
        "snapshot_limit = 1t",
        "trusted_directories = /a b",
        "trusted_directories = /",
        "trusted_directories = /a/../b",
        "broker_account = root",
        "broker_account = 0",
        "broker_account = ${",
        "workers = 0",
        "workers = 65",
        "workers = -1",
        "workers = many",
        "query_timeout = 0",
        "query_timeout = 3601",
        "query_timeout = soon",
        "backend_connections = 0",
        "backend_connections = 65",
        "backend_connections = 65537",
    ] {
        let (found, complaints) = keep(&format!("\n{line}\n"));
        assert_eq!(found, keep("").0, "{line}");
        assert_eq!(complaints.len(), 1, "{line}");
        assert_eq!((complaints[0].file, complaints[0].line), (FileName::KeepCf, 2), "{line}");
    }
}

#[test]
fn distrusted_settings_are_defaults_and_never_trust_more() {
    let params = Parameters::new(parse_main(b"mail_owner = mailer\n").0);
    let all =
        "uid_base = 70000\nchroot_directory = /srv/empty\ntrusted_directories = /a\nsnapshot_limit = 1\n";
    let with_owners = |owners: &str| keep(&format!("{all}table_owners = {owners}\n")).0.distrusted(&params);
    assert_eq!(with_owners("vmail $mail_owner"), keep("").0);
    let narrowed = KeepSettings {
        table_owners: TableOwners { accounts: vec![], text: "$mail_owner".into() },
        ..keep("").0
    };
    assert_eq!(with_owners("vmail"), narrowed);
    assert_eq!(with_owners(""), narrowed);
}

#[test]
fn read_unknown_name_lists_the_known_ones() {
    let (_, complaints) = keep("uidbase = 1\n");
    let text = complaints[0].to_string();
    assert!(text.starts_with("mapkeep.cf:1: error: unknown name \"uidbase\""), "{text}");
    assert!(NAMES.iter().all(|name| text.contains(name)), "{text}");
}

#[test]
fn every_default_can_be_read_and_written() {
    let written: String = SETTINGS.iter().map(|one| format!("{} = {}\n", one.name, one.default)).collect();
    assert_eq!(keep(&written), keep(""), "the defaults as a file");
    for setting in SETTINGS {
        let expanded = setting.default.replace(MAIL_OWNER, "mailer");
        let text = Text { written: setting.default.as_bytes(), expanded: expanded.as_bytes() };
        assert_eq!((setting.set)(&mut keep("").0, text), Ok(()), "{}", setting.name);
    }
}

#[test]
fn mail_owner_that_is_no_account_owns_nothing_by_default() {
    for (main, accounts) in [
        ("mail_owner = a,root\n", vec![]),
        ("mail_owner = a:b\n", vec![]),
        ("mail_owner = two words\n", vec![Owner::Name("postfix".into())]),
    ] {
        let params = Parameters::new(parse_main(main.as_bytes()).0);
        let found = KeepSettings::read(b"", &params).0.table_owners;
        assert_eq!(found, TableOwners { accounts, text: "$mail_owner".into() }, "{main}");
    }
}

/// What the documents say: each setting once, in any order, with its default.
#[test]
fn documents_have_every_setting_with_its_default() {
    let settings: BTreeMap<&str, &str> = SETTINGS.iter().map(|one| (one.name, one.default)).collect();
    assert_eq!(settings.len(), NAMES.len());
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs");
    let manual = fs::read_to_string(documents.join("man/mapkeep.cf.5")).unwrap();
    let of_manual =
        manual.lines().filter_map(|line| line.strip_prefix(".It Va ")?.split_once(" Pq default: "));
    let of_manual = of_manual.map(|(name, default)| (name, if default == "empty" { "" } else { default }));
    let sample = fs::read_to_string(documents.join("mapkeep.cf.example")).unwrap();
    let of_sample = sample.lines().filter_map(|line| line.strip_prefix('#')?.split_once(" ="));
    let of_sample =
        of_sample.filter(|(name, _)| !name.contains(' ')).map(|(name, value)| (name, value.trim()));
    for (document, described) in
        [("mapkeep.cf.5", of_manual.collect::<Vec<_>>()), ("mapkeep.cf.example", of_sample.collect())]
    {
        let count = described.len();
        let described: BTreeMap<&str, &str> = described.into_iter().collect();
        assert_eq!(described, settings, "{document}");
        assert_eq!(count, settings.len(), "{document}: one is described twice");
    }
}
