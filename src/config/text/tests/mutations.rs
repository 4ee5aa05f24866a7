//! Damaged configuration never panics, hangs, or approves a table that no text names.
#![cfg(test)]

use mapkeep_config_text::{
    KeepSettings, Parameters, PostfixVersion, Service, Settings, approved, parse_main, parse_master,
};

const MAIN: &[u8] = b"# sample\nproxy_read_maps = $local_recipient_maps $virtual_alias_maps ${a?{$b}:{$(c)}}\n\
    alias_maps = proxy:hash:/etc/aliases, proxy:unionmap:{proxy:hash:/u, {static:x y}}\n\
    virtual_alias_maps =\n  pipemap:{proxy:hash:/v,proxy:cdb:/w}\n  # comment\n\t{ proxy:lmdb:/l { a = b } } /list\n\
    a = ${{$max_use} >= {10} ? {yes} : {no}}\nb = ${{$compatibility_level} <level {3.6} ? {$c} : {proxy:texthash:/t}}\n\
    c = $$ $b $(alias_maps)\nmax_use = 100\nmax_idle = 5m30s\nsmtpd_restriction_classes = strict\n\
    strict = check_client_access proxy:hash:/s\nmaillog_file = /var/log/$c\ncompatibility_level = 3.10\n";
const MASTER: &[u8] = b"proxymap unix - - n - - proxymap -o max_use=5 -o { syslog_name = postfix/$service_name }\n\
    proxywrite unix - - n 60? 1 proxymap\n  -v { a = b c } -oipc_timeout=1h\n# c\nsmtp inet n - y - - smtpd\n";
const KEEP: &[u8] =
    b"uid_base = 61200\ntable_owners = $mail_owner, vmail 1001\nsnapshot_limit = 64m\nworkers = 3\n";

/// Bytes that mean something to one of the parsers.
const SIGNS: &[u8] = b"${}()=?:<>,\n\t\r #\0\xff-/!";

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn damaged(&mut self, sample: &[u8]) -> Vec<u8> {
        let mut text = sample.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(text.len());
            let to = (at + self.below(40)).min(text.len());
            match self.below(5) {
                0 => drop(text.drain(at..to)),
                1 => {
                    let piece = text[at..to].to_vec();
                    let place = self.below(text.len());
                    text.splice(place..place, piece);
                }
                2 => text.insert(at, SIGNS[self.below(SIGNS.len())]),
                3 => text.truncate(at.max(1)),
                _ => text[at] = self.next().to_le_bytes()[0],
            }
            if text.is_empty() {
                text.push(b'$');
            }
        }
        text
    }
}

#[test]
fn damaged_files_always_end_in_values_and_complaints() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let versions = ["3.7.11", "3.12-20260821"].map(|text| PostfixVersion::parse(text).unwrap());
    let (mut with_tables, mut with_complaints) = (0, 0);
    for round in 0..20_000 {
        let main_text = random.damaged(MAIN);
        let master_text = random.damaged(MASTER);
        let keep_text = random.damaged(KEEP);
        let list_text = random.damaged(b"proxy:hash:/f\n  /list /other {proxy:hash:/g}\n");

        let (main, main_complaints) = parse_main(&main_text);
        let (master, _) = parse_master(&master_text);
        let mut params = Parameters::new(main);
        if round % 2 == 0 {
            params = params.with_defaults(&random.damaged(b"mail_version = 3.12-20260821\nmax_use = 1\n"));
        }
        for service in &master.services {
            let _ = params.apply(service);
        }
        let _ = (
            Settings::from(&params),
            KeepSettings::read(&keep_text, &params),
            params.expand_text(&main_text),
        );
        for service in [Service::Read, Service::Write] {
            for version in versions {
                let mut read = |path: &[u8]| (path == b"/list").then(|| list_text.clone());
                let (tables, complaints) = approved(&params, service, version, &mut read);
                for table in &tables {
                    assert!(table.name.contains(&b':') && !table.name.starts_with(b"proxy:"), "{table:?}");
                    assert!(!table.provenance.is_empty(), "{table:?}");
                }
                for (at, table) in tables.iter().enumerate() {
                    assert!(!tables[..at].iter().any(|other| other.name == table.name), "{table:?} twice");
                }
                for complaint in complaints.iter().chain(&main_complaints) {
                    let text = complaint.to_string();
                    assert!(text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{text:?}");
                }
                with_tables += usize::from(!tables.is_empty());
                with_complaints += usize::from(!complaints.is_empty());
            }
        }
    }
    assert!(with_tables > 10_000 && with_complaints > 1_000, "{with_tables} {with_complaints}");
}
