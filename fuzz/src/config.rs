//! main.cf and master.cf.

use mapkeep_config_text::{Complaint, Parameters, Service, Settings, approved, parse_main, parse_master};

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

/// A complaint goes to the log: one line, without control bytes.
fn described(complaints: &[Complaint]) {
    for complaint in complaints {
        let line = complaint.to_string();
        assert!(!line.chars().any(char::is_control), "control characters in {line:?}");
    }
}
