//! The tables of the comparison: each content in each file format, and the types that have no file.
//!
//! May: write table files below the site's directory.

use crate::common::master::{Site, set_mode};
use mapkeep_name::Kind;
use std::os::unix::fs::chown;
use std::process::Command;

/// One table, and what the differences depend on.
pub struct Table {
    /// `type:rest`, as main.cf and the requests write it.
    pub name: String,
    pub kind: Kind,
    /// Whether stock can open it.
    pub available: bool,
    pub trait_: Trait,
}

/// What is special about a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    Plain,
    /// Keys written with capitals, which text tables keep.
    Capitals,
    /// Mode 0600 of root: stock's server, which is not root, cannot read it.
    RootOnly,
    /// Mode 0666: anybody could have written it.
    Writable,
}

pub const FORMATS: [&str; 5] = ["hash", "btree", "lmdb", "cdb", "texthash"];

impl Table {
    pub fn new(name: &str) -> Table {
        Table {
            name: name.to_string(),
            kind: Kind::of(name.as_bytes()),
            available: true,
            trait_: Trait::Plain,
        }
    }

    fn unavailable(name: &str) -> Table {
        Table { available: false, ..Table::new(name) }
    }
}

/// All of them.
pub fn make(site: &Site) -> Vec<Table> {
    let mut tables = Vec::new();
    for format in FORMATS {
        for (name, source) in sources() {
            tables.push(Table::new(&site.table(format, &format!("{format}-{name}"), &source)));
        }
        let mut add = |name: &str, source: &str, trait_| {
            let table = site.table(format, &format!("{format}-{name}"), source);
            tables.push(Table { trait_, ..Table::new(&table) });
        };
        add("capitals", "Alice x\nBOB@Example.Com y\nmixedCase z\n", Trait::Capitals);
        add("private", "alice x\n", Trait::RootOnly);
        add("open", "alice x\n", Trait::Writable);
        let missing = format!("{format}:{}", site.path("tables/missing").display());
        tables.push(Table::unavailable(&missing));
        if format != "texthash" {
            tables.push(aliases(site, format));
            tables.push(raw(site, format));
        }
    }
    for (path, mode) in
        files_of(&tables, Trait::RootOnly, 0o600).into_iter().chain(files_of(&tables, Trait::Writable, 0o666))
    {
        set_mode(&path, mode);
        chown(&path, Some(0), Some(0)).unwrap();
    }
    for name in NAMED {
        tables.push(Table::new(name));
    }
    tables.push(Table { trait_: Trait::Capitals, ..Table::new("inline:{Alice=x, {BOB@Example.Com = y}}") });
    for name in UNAVAILABLE {
        tables.push(Table::unavailable(name));
    }
    tables
}

/// Types whose entries are in the name, and accounts.
const NAMED: [&str; 16] = [
    "static:x",
    "static:{two words, and a comma}",
    "static:M\u{fc}ller %s $1",
    "static:OK",
    "fail:why",
    "fail:{a reason}",
    "inline:{alice=x}",
    "inline:{alice=x, {bob = two words}}",
    "inline:{{müller = u}, {b = two  words}}",
    "inline:{a=1,b=2,c=3,d=4,%s=percent}",
    "inline:{{alice=x=y}}",
    "inline:{{\"quoted\"@example.org = q}}",
    "unix:passwd.byname",
    "unix:group.byname",
    "static:{x}",
    "inline:{{alice = trailing  }}",
];

/// Types that are not served, and names that open nothing.
const UNAVAILABLE: [&str; 13] = [
    // Stock takes no key with spaces.
    "inline:{{key with spaces = spaces}}",
    "nosuch:x",
    "sdbm:/etc/postfix/none",
    "dbm:/etc/postfix/none",
    "mysql:/etc/postfix/none.cf",
    "pgsql:/etc/postfix/none.cf",
    "ldap:/etc/postfix/none.cf",
    "sqlite:/etc/postfix/none.cf",
    "memcache:/etc/postfix/none.cf",
    "unix:nosuch",
    "HASH:/etc/aliases",
    "mongodb:/etc/postfix/none.cf",
    "static ok:x",
];

fn sources() -> Vec<(&'static str, String)> {
    let many: String =
        (0..300).map(|i| format!("user{i}@example.org value {i}{}\n", "+".repeat(i % 90))).collect();
    let words = "alice x, y\nbob two words\nanna@example.org folded\n@example.org everybody\nroot r\n";
    let odd = "m\u{fc}ller u\nstra\u{df}e s\n%s percent\n%u@%d more\n\"quoted\"@example.org q\n' tick\n. dot\n\
               user+ext@example.org extension\n10.1.2.3 address\na one byte\nvalue \u{e4}\u{f6}\u{fc}\n";
    let long = format!("alice {}\nlongkey{} v\n", "0123456789".repeat(1200), "k".repeat(400));
    let commented = "# comment\n\nalice x\n  y\n   # within\n  z\nbob\ttab\t tab  \n# end\n";
    let quoted = "\"key with spaces\" spaces\nalice x\n";
    vec![
        ("words", words.to_string()),
        ("one", "alice x\n".to_string()),
        ("empty", String::new()),
        ("many", many),
        ("odd", odd.to_string()),
        ("long", long),
        ("commented", commented.to_string()),
        ("quoted", quoted.to_string()),
    ]
}

/// As newaliases(1) makes it: keys and values end in a NUL byte.
fn aliases(site: &Site, format: &str) -> Table {
    let path = site.path("tables").join(format!("{format}-aliases"));
    std::fs::write(&path, "root: alice\nlist: a, b@example.org\nAlice: x\npipe: \"|/bin/false\"\n").unwrap();
    build("postalias", &[], site, &format!("{format}:{}", path.display()))
}

/// Values and keys that are not UTF-8.
fn raw(site: &Site, format: &str) -> Table {
    let path = site.path("tables").join(format!("{format}-raw"));
    std::fs::write(&path, b"alice x\nraw v\xff\n\xff\xfe bytes\n").unwrap();
    build("postmap", &["-u"], site, &format!("{format}:{}", path.display()))
}

fn build(program: &str, words: &[&str], site: &Site, name: &str) -> Table {
    let made = Command::new(program).arg("-c").arg(site.path("etc")).args(words).arg(name).output().unwrap();
    assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
    Table::new(name)
}

/// The files of the tables with a trait, each with the mode it shall have.
fn files_of(tables: &[Table], wanted: Trait, mode: u32) -> Vec<(std::path::PathBuf, u32)> {
    let tables = tables.iter().filter(|table| table.trait_ == wanted);
    tables
        .map(|table| {
            let (format, path) = table.name.split_once(':').unwrap();
            let suffix = match format {
                "hash" | "btree" => ".db",
                "lmdb" => ".lmdb",
                "cdb" => ".cdb",
                _ => "",
            };
            (std::path::PathBuf::from(format!("{path}{suffix}")), mode)
        })
        .collect()
}
