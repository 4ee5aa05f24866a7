//! Composite tables, and the flag that refuses substitution, against the real `postmap` and `proxymap -S`.
#![cfg(test)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Scratch, have, run};
use mapkeep_name::{Kind, split};
use mapkeep_query::{Folding, Outcome, Query, Substitution, TableError, fold};
use mapkeep_table_lookup::{Composite, Leaf, Table};

const POSTMAP: &str = "/usr/sbin/postmap";
const PROXYMAP: &str = "/usr/lib/postfix/sbin/proxymap";

/// The files that the names below speak of; `D` stands for the directory.
const FILES: [(&str, &str); 4] = [
    ("one", "a b\nb c\nFoo BAR\nbar x\nloop loop\nalpha beta@example.com\n"),
    ("two", "1 one\nb two\nc three\nx four\n"),
    ("rules", "/^(a)(.*)$/ $1:$2\n/^b/ plain\n/(c)/ costs $$\nif /x/\n/(.)/ $1\n/./ x in block\nendif\n"),
    ("nets", "10.0.0.0/8 ten\n!10.0.0.0/8 else\n"),
];

const NAMES: [&str; 29] = [
    "pipemap:{texthash:D/one,texthash:D/one}",
    "pipemap:{texthash:D/one texthash:D/two}",
    "pipemap:{texthash:D/one,regexp:D/rules,static:{a b}}",
    "pipemap:{hash:D/one,hash:D/two}",
    "pipemap:{regexp:D/rules,inline:{ a:lpha=1, plain=2, a:=3 }}",
    "pipemap:{inline:{a=},static:x}",
    "pipemap:{inline:{a=},texthash:D/one}",
    "pipemap:{inline:{a=1},fail:x}",
    "pipemap:{texthash:D/one}",
    "pipemap:{cidr:D/nets,inline:{ten=10 else=no}}",
    "unionmap:{texthash:D/one,texthash:D/two, static:{x y}}",
    "unionmap:{hash:D/one hash:D/two}",
    "unionmap:{inline:{a=},inline:{a=1},inline:{a=}}",
    "unionmap:{inline:{a=1},inline:{a=}}",
    "unionmap:{inline:{a=},inline:{b=}}",
    "unionmap:{pipemap:{texthash:D/one,texthash:D/two} static:q}",
    "unionmap:{regexp:D/rules,texthash:D/one}",
    "unionmap:{cidr:D/nets,cidr:D/nets}",
    "unionmap:{internal:x,static:y}",
    "unionmap:{randmap:{z},static:y}",
    "pipemap:{inline:{key=Alice},inline:{alice=x}}",
    "pipemap:{texthash:D/one,regexp:{{/BAR/i capitals}, {/bar/i folded}}}",
    "unionmap:{inline:{key=x},regexp:{{/KEY/i capitals}, {/key/i folded}}}",
    "unionmap:{regexp:{{/KEY/i capitals}, {/key/i folded}},inline:{key=x}}",
    "pipemap:{static:KEY,unionmap:{inline:{key=x},regexp:{{/KEY/i capitals}, {/key/i folded}}}}",
    "regexp:D/rules",
    "cidr:D/nets",
    "internal:x",
    "randmap:{one}",
];

/// Names that only `proxymap` can be asked, since `postmap` exits when a member fails.
const FAILING: [&str; 6] = [
    "unionmap:{fail:x,static:y}",
    "unionmap:{static:y,fail:x}",
    "unionmap:{static:y,hash:D/none}",
    "pipemap:{hash:D/one,fail:x}",
    "unionmap:{nosuch:x}",
    "unionmap:{proxy:texthash:D/one,proxy:static:p}",
];

const KEYS: [&str; 15] = [
    "a", "b", "c", "foo", "Foo", "bar", "zz", "loop", "alpha", "1", "x", "axx", "10.1.2.3", "11.1.1.1", "KEY",
];

/// A query in all forms of the key, with these ways of folding.
fn query(key: &str, folding: Folding, utf8: bool) -> Query<'_> {
    Query { folding, utf8, ..Query::plain(key.as_bytes()) }
}

struct Bed {
    scratch: Scratch,
    directory: String,
}

impl Bed {
    fn new() -> Bed {
        let scratch = Scratch::new();
        let directory = scratch.path("").to_str().unwrap().trim_end_matches('/').to_owned();
        for (file, text) in FILES {
            std::fs::write(scratch.path(file), text).unwrap();
        }
        for table in ["one", "two"] {
            let name = format!("hash:{directory}/{table}");
            assert!(run(Command::new(POSTMAP).args(["-c", &directory, &name]), b"").status.success());
        }
        let approved: Vec<_> = NAMES
            .iter()
            .chain(&FAILING)
            .map(|name| format!("proxy:{}", name.replace('D', &directory)))
            .collect();
        let main_cf = format!(
            "compatibility_level = 3.6\nmyhostname = composites.example\nqueue_directory = {directory}\n\
             data_directory = {directory}\nmaillog_file = {directory}/log\n\
             maillog_file_prefixes = {directory}\nproxy_read_maps = {}\n",
            approved.join(" ")
        );
        std::fs::write(scratch.path("main.cf"), main_cf).unwrap();
        Bed { scratch, directory }
    }

    /// Our answer: a missing file is a missing member.
    fn ours(&self, name: &str, query: &Query<'_>) -> Result<Option<Vec<u8>>, TableError> {
        let name = name.replace('D', &self.directory).into_bytes();
        let open = |name: &[u8]| -> Result<Table<Vec<u8>>, TableError> {
            let (kind, rest) = (Kind::of(name), split(name).1);
            if !mapkeep_name::needs_file(name) {
                return Table::from_name(kind, rest).map_err(|_| TableError::NoMember);
            }
            let mut path = String::from_utf8(rest.to_vec()).unwrap();
            if kind == Kind::Hash {
                path.push_str(".db");
            }
            let bytes = std::fs::read(path).map_err(|_| TableError::NoMember)?;
            Table::from_snapshot(kind, bytes, &mut Vec::new())
        };
        let mut answer = Vec::new();
        let outcome = if Kind::of(&name).is_composite() {
            let composite = Composite::parse(&name).unwrap();
            let tables: Vec<_> = composite.leaves().iter().map(|leaf| open(leaf)).collect();
            let ask = |leaf: Leaf<'_>, answer: &mut Vec<u8>| {
                let table = tables[leaf.number].as_ref().map_err(|error| *error)?;
                table.lookup_with(&Query { key: leaf.key, modes: leaf.modes, ..*query }, answer).map(Some)
            };
            composite.go_on(&mut composite.walk(query), &mut answer, ask)?.expect("no leaf is put off")
        } else {
            // The key for a table with its own entries has been folded by the caller.
            let table = open(&name).unwrap();
            let folds = query.folding.applies(table.kind().class());
            let key = if folds { fold(query.key, query.utf8) } else { query.key.into() };
            table.lookup_with(&Query { key: &key, ..*query }, &mut answer)?
        };
        Ok((outcome != Outcome::Absent).then_some(answer))
    }

    /// The status and the value that stock's server replies.
    fn proxymap(&self, name: &str, key: &str, flags: u32) -> (u32, Vec<u8>) {
        let name = name.replace('D', &self.directory);
        let request = format!("request|lookup|table|{name}|flags|{flags}|key|{key}||").replace('|', "\0");
        let mut command = Command::new(PROXYMAP);
        command.arg("-S").env_clear().env("MAIL_CONFIG", &self.directory);
        let output = run(&mut command, request.as_bytes());
        let fields: Vec<_> = output.stdout.split(|byte| *byte == 0).collect();
        assert!(
            fields.len() > 3 && fields[0] == b"status" && fields[2] == b"value",
            "{name} {key}: {output:?}"
        );
        (std::str::from_utf8(fields[1]).unwrap().parse().unwrap(), fields[3].to_vec())
    }
}

#[test]
fn composites_answered_as_postmap() {
    if !have(POSTMAP) {
        return;
    }
    let bed = Bed::new();
    let mut found = 0;
    for name in NAMES {
        let input = KEYS.join("\n") + "\n";
        let full = name.replace('D', &bed.directory);
        let mut command = Command::new(POSTMAP);
        command.args(["-c", &bed.directory, "-q", "-", &full]);
        // Stock stops at the first error of a member; its output before that is compared.
        let output = run(&mut command, input.as_bytes());
        let fails = !output.stderr.is_empty() && String::from_utf8_lossy(&output.stderr).contains("fatal");
        let mut expected = Vec::new();
        for key in KEYS {
            // postmap asks with FOLD_FIX and UTF8_REQUEST.
            match bed.ours(name, &query(key, Folding { fixed: true, pattern: false }, true)) {
                Ok(Some(answer)) => expected.extend([key.as_bytes(), b"\t", &answer, b"\n"].concat()),
                Ok(None) => continue,
                Err(_) => break,
            }
            found += 1;
        }
        let theirs = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(theirs, String::from_utf8_lossy(&expected), "{name} {fails}");
    }
    assert!(found > 80, "{found}");
    let _ = &bed.scratch;
}

#[test]
fn statuses_and_refused_substitution_as_proxymap() {
    if !have(POSTMAP) || !Path::new(PROXYMAP).exists() {
        return;
    }
    let bed = Bed::new();
    let mut retries = 0;
    for name in NAMES.iter().chain(&FAILING) {
        for key in ["a", "b", "x", "alpha", "c", "10.1.2.3", "KEY"] {
            let plain = query(key, Folding::NONE, false);
            let fixed = Folding { fixed: true, pattern: false };
            let both = Folding { fixed: true, pattern: true };
            // LOCK; NO_REGSUB; FOLD_FIX; FOLD_FIX and FOLD_MUL; FOLD_FIX and UTF8_REQUEST.
            for (flags, query) in [
                (0x40, plain),
                (0x840, Query { substitution: Substitution::Refused, ..plain }),
                (0x4040, Query { folding: fixed, ..plain }),
                (0xC040, Query { folding: both, ..plain }),
                (0x8_4040, Query { folding: fixed, utf8: true, ..plain }),
            ] {
                let ours = match bed.ours(name, &query) {
                    Ok(Some(answer)) => (0, answer),
                    Ok(None) => (1, Vec::new()),
                    Err(_) => (2, Vec::new()),
                };
                retries += u32::from(ours.0 == 2);
                assert_eq!(ours, bed.proxymap(name, key, flags), "{name} {key} {flags}");
            }
        }
    }
    assert!(retries > 20, "{retries}");
}
