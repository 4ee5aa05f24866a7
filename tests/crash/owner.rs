//! A client that is the only one to change its keys, and so always knows what value each must have. Each runs in a thread
//! of its own.

use crate::caller::Caller;
use crate::common::writing::{CACHE, Content, NOKEY, OK, Random, Request};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Keys of an owner in each table.
const KEYS: usize = 40;

/// What the owners and the killer tell each other.
pub struct Shared {
    /// Acknowledged updates and deletes, for each owner.
    pub acknowledged: Vec<AtomicUsize>,
    pub paused: AtomicBool,
    pub over: AtomicBool,
}

/// What an owner found.
pub struct Report {
    /// What each table must hold of this owner's keys.
    pub contents: BTreeMap<String, Content>,
    /// Entries that were not what had been acknowledged.
    pub wrong: Vec<String>,
    pub caller: Caller,
    pub acknowledged: usize,
    pub checked: usize,
}

struct Owner<'a> {
    number: usize,
    tables: &'a [String],
    random: Random,
    report: Report,
    counter: u64,
}

/// Changes keys until it is over, and looks at all of them whenever a connection was lost.
pub fn own(number: usize, socket: &Path, tables: &[String], seed: u64, shared: &Shared) -> Report {
    let contents = tables.iter().map(|table| (table.clone(), Content::new())).collect();
    let caller = Caller::new(socket);
    let report = Report { contents, wrong: Vec::new(), caller, acknowledged: 0, checked: 0 };
    let random = Random(seed ^ (number as u64) << 32);
    let mut owner = Owner { number, tables, random, report, counter: 0 };
    while !shared.over.load(Ordering::Relaxed) {
        if shared.paused.load(Ordering::Relaxed) {
            std::thread::sleep(crate::common::BEAT);
            continue;
        }
        let lost = owner.report.caller.lost;
        owner.step();
        if owner.report.caller.lost != lost {
            owner.look_at_all();
        }
        shared.acknowledged[number].store(owner.report.acknowledged, Ordering::Relaxed);
    }
    owner.report
}

impl Owner<'_> {
    fn key(&mut self) -> Vec<u8> {
        format!("owner{}-key{}@example.org", self.number, self.random.below(KEYS)).into_bytes()
    }

    fn step(&mut self) {
        let table = self.random.pick(self.tables).clone();
        let key = self.key();
        let request = Request { table: &table, flags: CACHE };
        match self.random.below(100) {
            0..60 => {
                self.counter += 1;
                let mut value = format!("{} ", self.counter).into_bytes();
                let length = if self.random.percent(3) { 20_000 } else { 400 };
                value.resize(value.len() + self.random.below(length), b'x');
                let answer = self.report.caller.ask(&request.update(&key, &value));
                assert_eq!(answer.reply.status(), OK, "update: {:?}", answer.reply);
                self.content(&table).insert(key, value);
                self.report.acknowledged += 1;
            }
            60..80 => {
                let answer = self.report.caller.ask(&request.delete(&key));
                let there = self.content(&table).remove(&key).is_some();
                let status = answer.reply.status();
                // One that was sent twice may have been carried out the first time.
                let right = status == if there { OK } else { NOKEY } || (answer.resent && status == NOKEY);
                if !right {
                    self.wrong(&table, &key, &format!("delete: status {status}, there before: {there}"));
                }
                self.report.acknowledged += 1;
            }
            _ => self.look_at(&table, &key),
        }
    }

    fn look_at(&mut self, table: &str, key: &[u8]) {
        let reply = self.report.caller.ask(&Request { table, flags: CACHE }.lookup(key)).reply;
        self.report.checked += 1;
        let wanted = self.content(table).get(key).cloned();
        let right = match &wanted {
            Some(value) => reply.status() == OK && reply.value() == value,
            None => reply.status() == NOKEY,
        };
        if !right {
            let wanted = wanted.map(|value| value[..value.len().min(20)].escape_ascii().to_string());
            self.wrong(table, key, &format!("{reply:?} instead of {wanted:?}"));
        }
    }

    fn look_at_all(&mut self) {
        for table in self.tables {
            for number in 0..KEYS {
                self.look_at(table, format!("owner{}-key{number}@example.org", self.number).as_bytes());
            }
        }
    }

    fn content(&mut self, table: &str) -> &mut Content {
        self.report.contents.get_mut(table).unwrap()
    }

    fn wrong(&mut self, table: &str, key: &[u8], what: &str) {
        self.report.wrong.push(format!("{table} {}: {what}", key.escape_ascii()));
    }
}
