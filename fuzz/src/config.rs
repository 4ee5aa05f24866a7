//! main.cf and master.cf.

use mapkeep_config_text::{
    CfSource, Complaint, DatabaseKind, Parameters, Service, Settings, Severity, approved, parse_main,
    parse_master, read_database,
};

/// Versions on both sides of every difference that the room knows.
const VERSIONS: [&[u8]; 3] =
    [b"mail_version = 3.7.11\n", b"mail_version = 3.11.2\n", b"mail_version = 3.12-20260821\n"];

/// A main.cf: read it, expand every parameter, work out the approved tables of both services, read the settings.
pub fn main_cf(text: &[u8]) {
    let (main, complaints) = parse_main(text);
    described(&complaints);
    for version in VERSIONS {
        let params = Parameters::new(main.clone()).with_defaults(version);
        for (name, entry) in main.iter() {
            assert!(!entry.value.contains(&0) && !entry.value.contains(&b'\n'));
            let Ok(name) = std::str::from_utf8(name) else { continue };
            let _ = params.expand(name);
            let _ = params.seconds(name, b's');
            let _ = params.integer(name);
            let _ = params.boolean(name);
        }
        for service in [Service::Read, Service::Write] {
            // A file of table names may hold anything, this text for one.
            let (tables, complaints) = approved(&params, service, params.version(), &mut |path| {
                (!path.ends_with(b"x")).then(|| text.iter().copied().filter(|byte| *byte != 0).collect())
            });
            described(&complaints);
            for table in tables {
                assert!(!table.name.starts_with(b"proxy:"));
                assert!(!table.provenance.is_empty() && !table.name.contains(&0));
            }
        }
        let (settings, complaints) = Settings::from(&params);
        described(&complaints);
        assert!(settings.max_use >= 1 && settings.queue_directory.starts_with('/'));
    }
}

/// A master.cf: read it and apply the overrides of every service.
pub fn master_cf(text: &[u8]) {
    let (master, complaints) = parse_master(text);
    described(&complaints);
    for service in &master.services {
        let mut params = Parameters::new(parse_main(b"").0);
        described(&params.apply(service));
        for change in &service.overrides {
            if let Ok(name) = std::str::from_utf8(&change.name) {
                let _ = params.expand(name);
            }
        }
    }
    let _ = master.unix_service(b"proxymap");
}

/// The settings of a database table. The first byte chooses the type; the rest is its file, and once more a main.cf.
pub fn table_cf(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let kind = DatabaseKind::ALL[usize::from(*first) % DatabaseKind::ALL.len()];
    for version in VERSIONS {
        let parameters = Parameters::new(parse_main(text).0).with_defaults(version);
        for source in [CfSource::File { path: b"/etc/t.cf", text }, CfSource::Prefix(b"t")] {
            let found = read_database(kind, source, &parameters);
            let lines: Vec<String> = found.complaints.iter().map(ToString::to_string).collect();
            assert!(
                lines.iter().all(|line| !line.chars().any(char::is_control)),
                "control characters in {lines:?}"
            );
            let failed = found.complaints.iter().any(|complaint| complaint.severity == Severity::Error);
            assert_eq!(found.settings.is_none(), failed, "settings exactly if there is no error: {lines:?}");
            let Some(settings) = found.settings else { continue };
            assert_eq!(
                (settings.kind(), settings.servers().is_empty()),
                (kind, kind == DatabaseKind::Sqlite)
            );
            assert!(settings.files().iter().all(|(_, path)| !path.is_empty()));
            let again = read_database(kind, source, &parameters).settings.expect("the same text");
            assert!(again.identity() == settings.identity());
        }
    }
}

/// A complaint goes to the log: one line, without control bytes.
fn described(complaints: &[Complaint]) {
    for complaint in complaints {
        let line = complaint.to_string();
        assert!(!line.chars().any(char::is_control), "control characters in {line:?}");
    }
}
