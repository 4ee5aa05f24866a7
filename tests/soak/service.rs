//! A running service whose table files are replaced by damaged ones.

use crate::common::master::{Site, set_mode};
use crate::common::stopwatch::Stopwatch;
use crate::common::wire::{Wire, text};
use crate::common::{PATIENCE, poll};
use crate::mutate::{Numbers, damage};
use crate::{FORMATS, readers, seeds};
use mapkeep_name::Kind;
use mapkeep_query::{NulModes, Outcome};
use mapkeep_table_lookup::Table;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Tables of each format, damaged at the same time, and how often: 200 files of each format.
const TABLES: usize = 4;
const ROUNDS: usize = 50;

/// What a client waits for any answer at most; the service promises to answer from memory.
const DEADLINE: Duration = Duration::from_secs(5);

/// A table of the service.
struct Subject {
    kind: Kind,
    name: String,
    path: PathBuf,
    samples: Vec<(String, Vec<u8>)>,
    /// The answers of the version that is served now, one for each key.
    served: Vec<String>,
}

pub fn survives_damaged_files() {
    let site = Site::new();
    let mut subjects: Vec<Subject> = Vec::new();
    for (kind, word, folder) in FORMATS {
        // The accounts of the machine are not ours to damage; their reader is the one of texts.
        if kind == Kind::Passwd {
            continue;
        }
        for number in 0..TABLES {
            subjects.push(Subject::new(&site, kind, word, folder, number));
        }
    }
    let names: Vec<&str> =
        subjects.iter().map(|subject| subject.name.as_str()).chain(["static:fine"]).collect();
    site.approve(&names, "");
    let mut master = site.start();
    let mut wire = master.wire();
    for subject in &subjects {
        subject.wait(&mut wire, &subject.served);
    }
    let worker = master.only("lookup worker");
    let (mut taken, mut slowest) = (0, Duration::ZERO);
    for round in 0..ROUNDS {
        let mut replaced = Vec::new();
        for (number, subject) in subjects.iter().enumerate() {
            replaced.push(subject.replace(u64::try_from(round * subjects.len() + number).unwrap()));
        }
        let before = Instant::now();
        assert_eq!(ask(&mut wire, "static:fine", b"x"), "status|0|value|fine||");
        slowest = slowest.max(before.elapsed());
        for (subject, new) in subjects.iter_mut().zip(replaced) {
            // A file that is not a table changes nothing; one that still is a table is soon served, with its own
            // answers.
            if let Some(new) = new {
                subject.wait(&mut wire, &new);
                subject.served = new;
                taken += 1;
            } else {
                subject.wait(&mut wire, &subject.served);
            }
        }
    }
    assert!(master.runs(), "the service ended");
    assert_eq!(master.only("lookup worker"), worker, "a damaged file cost a worker its life");
    let files = ROUNDS * subjects.len();
    eprintln!(
        "service: {files} damaged files, {taken} still tables; slowest answer in between {slowest:.1?}"
    );
    assert!(taken > files / 5 && taken < files, "{taken} of {files}");
    // And a sound file is served again.
    for subject in &subjects {
        let (_, sound) = &subject.samples[0];
        subject.place(sound);
        subject.wait(&mut wire, &answers(subject.kind, sound).unwrap());
    }
}

impl Subject {
    fn new(site: &Site, kind: Kind, word: &str, folder: &str, number: usize) -> Subject {
        let suffix = match kind {
            Kind::Hash | Kind::Btree => ".db",
            Kind::Lmdb => ".lmdb",
            Kind::Cdb => ".cdb",
            _ => "",
        };
        let base = format!("{}/{word}{number}", site.path("tables").display());
        // The first sample must be one that every table can start and end with.
        let mut samples = seeds(folder);
        samples.retain(|(_, bytes)| answers(kind, bytes).is_some());
        let first = samples[number % samples.len()].1.clone();
        let served = answers(kind, &first).unwrap();
        let (name, path) = (format!("{word}:{base}"), PathBuf::from(format!("{base}{suffix}")));
        let subject = Subject { kind, name, path, samples, served };
        subject.place(&first);
        subject
    }

    /// Puts a damaged file in place; returns its answers, if it is a table at all.
    fn replace(&self, seed: u64) -> Option<Vec<String>> {
        let mut numbers = Numbers::new(1_000_000 + seed);
        let mut file = self.samples[numbers.below(self.samples.len())].1.clone();
        let other = &self.samples[numbers.below(self.samples.len())].1;
        damage(self.kind, &mut file, other, &mut numbers);
        self.place(&file);
        answers(self.kind, &file)
    }

    /// By rename, so that no process sees half of it.
    fn place(&self, bytes: &[u8]) {
        let fresh = self.path.with_extension("fresh");
        fs::write(&fresh, bytes).unwrap();
        set_mode(&fresh, 0o644);
        fs::rename(&fresh, &self.path).unwrap();
    }

    /// Asks until the answers are `wanted`. Until then each must be the one that was served before, or RETRY.
    fn wait(&self, wire: &mut Wire, wanted: &[String]) {
        let mut last = Vec::new();
        let look = || {
            last = readers::KEYS.iter().map(|key| ask(wire, &self.name, key)).collect();
            for (number, reply) in last.iter().enumerate() {
                let known = *reply == wanted[number] || *reply == self.served[number] || reply == RETRY;
                assert!(known, "{} answers {reply:?}, which no content of it says", self.name);
            }
            (last == wanted).then_some(())
        };
        let came = poll(PATIENCE, look);
        assert!(came.is_some(), "{}: {last:?} instead of {wanted:?}", self.name);
    }
}

const RETRY: &str = "status|2|value|||";

/// One lookup; the reply must come in time.
fn ask(wire: &mut Wire, table: &str, key: &[u8]) -> String {
    let start = Stopwatch::start();
    let reply = wire.ask(&format!("request|lookup|table|{table}|flags|76|key|{}||", key.escape_ascii()));
    assert!(start.elapsed() < DEADLINE, "{table}: an answer after {:?}", start.elapsed());
    reply
}

/// The replies for a file, according to the readers; `None` if it is not a table.
fn answers(kind: Kind, bytes: &[u8]) -> Option<Vec<String>> {
    let table = Table::from_snapshot(kind, bytes, &mut Vec::new()).ok()?;
    let mut value = Vec::new();
    // Only a pattern can match an empty key; no index has one for Postfix.
    let patterns = matches!(kind, Kind::Regexp | Kind::Pcre);
    let reply = |key: &&[u8]| match table.lookup(key, NulModes::BOTH, &mut value) {
        Ok(Outcome::Found(_)) if !key.is_empty() || patterns => format!("status|0|value|{}||", text(&value)),
        Ok(_) => "status|1|value|||".to_string(),
        Err(_) => RETRY.to_string(),
    };
    Some(readers::KEYS.iter().map(reply).collect())
}
