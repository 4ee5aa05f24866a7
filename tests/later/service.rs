//! A service with the stand-in, its tables, and what is asked of them.

use crate::common::master::{Master, Site};
use crate::common::programs::with_this_as_worker;
use crate::common::wire::{Received, Wire, attribute, bytes};
use crate::common::{PATIENCE, poll, process};

pub const RETRY: &str = "status|2|value|||";
/// A table that is answered from memory.
pub const FINE: &str = "static:fine";

/// The two forms of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Postfix up to 3.10.
    Old,
    /// 3.11 and later.
    New,
}

/// The properties of a table in its replies: bits of `flags` in addition to those of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// DICT_FLAG_FIXED.
    Fixed = 16,
    /// DICT_FLAG_FIXED, and that its keys have no NUL byte: DICT_FLAG_TRY0NULL.
    Indexed = 24,
    /// DICT_FLAG_PATTERN.
    Pattern = 32,
}

impl Dialect {
    pub const BOTH: [Dialect; 2] = [Dialect::Old, Dialect::New];

    /// A lookup.
    pub fn lookup(self, table: &str, key: &str) -> String {
        let flags = match self {
            Dialect::Old => "flags|64",
            Dialect::New => "instance_flags|64|flags|64",
        };
        format!("request|lookup|table|{table}|{flags}|key|{key}||")
    }

    /// The reply with this status and value, and in the new dialect with the table's properties.
    pub fn reply(self, status: u32, class: Class, value: &str) -> String {
        let flags = match self {
            Dialect::Old => String::new(),
            Dialect::New => format!("flags|{}|", 64 + class as u32),
        };
        format!("status|{status}|{flags}value|{value}||")
    }
}

/// The directory tree of a service: tables that the stand-in answers for, `a`, `b` and `c`, and one of a file.
pub struct Place {
    pub site: Site,
    /// The directory of the programs.
    programs: String,
}

impl Place {
    /// A site whose programs are in a directory of this name, which tells the lookup worker how long to wait.
    pub fn new(programs: &str) -> Place {
        let site = Site::new();
        with_this_as_worker(&site.path(programs), mapkeep_standin::programs());
        ["a", "b", "c"].into_iter().for_each(|name| drop(site.table("regexp", name, "/nothing/ nothing\n")));
        site.table("hash", "hash", "k indexed\n");
        Place { site, programs: programs.to_owned() }
    }

    /// One of the stand-in's tables.
    pub fn later(&self, label: &str) -> String {
        format!("regexp:{}", self.site.path("tables").join(label).display())
    }

    /// The table that is in a file, with `k` in it.
    pub fn hash(&self) -> String {
        format!("hash:{}", self.site.path("tables/hash").display())
    }

    /// Starts the service with these tables besides.
    pub fn start(&self, workers: usize, tables: &[String]) -> Master<'_> {
        self.site.keep(&format!("workers = {workers}\n"));
        let own = [self.later("a"), self.later("b"), self.later("c"), self.hash(), FINE.to_owned()];
        let names: Vec<&str> = own.iter().chain(tables).map(String::as_str).collect();
        self.site.approve(&names, "max_use = 1000000\nmax_idle = 3600s\n");
        let program = self.site.path(&self.programs).join("mapkeepd");
        self.site.start_program(&program, &["-n", "proxymap", "-t", "unix", "-u"])
    }
}

/// Sends a lookup and does not wait for the answer.
pub fn put(wire: &mut Wire, dialect: Dialect, table: &str, key: &str) {
    wire.send(&bytes(&dialect.lookup(table, key))).unwrap();
}

/// The next reply, which must come.
pub fn next(wire: &mut Wire) -> String {
    match wire.receive(PATIENCE * 2) {
        Received::Reply(reply) => reply,
        other => panic!("{other:?} instead of a reply"),
    }
}

/// Waits until the stand-in has this number of open questions and has got this number of withdrawals.
pub fn until_counts(place: &Place, wire: &mut Wire, open: usize, withdrawn: usize) {
    let wanted = format!("open {open}, withdrawn {withdrawn}");
    let mut last = String::new();
    let seen = poll(PATIENCE, || {
        last = wire.ask(&Dialect::Old.lookup(&place.later("c"), "k;c=count"));
        (attribute(&last, "value") == Some(&wanted)).then_some(())
    });
    assert!(seen.is_some(), "{last} instead of {wanted}");
}

/// Clients of tables that are answered from memory get their answers.
pub fn others_are_served(place: &Place, master: &Master<'_>) {
    let mut wire = master.wire();
    for dialect in Dialect::BOTH {
        assert_eq!(wire.ask(&dialect.lookup(FINE, "k")), dialect.reply(0, Class::Fixed, "fine"));
        assert_eq!(
            wire.ask(&dialect.lookup(&place.hash(), "k")),
            dialect.reply(0, Class::Indexed, "indexed")
        );
    }
}

/// Waits for another stand-in than this one, and that it answers.
pub fn until_replaced(place: &Place, master: &Master<'_>, former: u32) {
    let replaced = || master.of_role("rules worker").first().copied().filter(|pid| *pid != former);
    let now = poll(PATIENCE, replaced);
    assert!(now.is_some() && process::wait_gone(&[former], PATIENCE).is_empty(), "{:?}", master.family());
    assert_eq!(master.wire().ask(&Dialect::Old.lookup(&place.later("a"), "k")), "status|0|value|a(k)||");
}
