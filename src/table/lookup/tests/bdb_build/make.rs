//! Builds files through a sink that watches how it is used, and checks them with libdb's own tools.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::Command;

use crate::common::numbers::Numbers;
use crate::common::{Pairs, Scratch, run};
use mapkeep_name::Kind;
use mapkeep_query::{NulModes, Outcome, Step};
use mapkeep_table_format::Cursor;
use mapkeep_table_format::build::{BtreeBuilder, BuildError, HashBuilder, Progress, Sink};
use mapkeep_table_lookup::Table;

pub const VERIFY: &str = "/usr/bin/db5.3_verify";
pub const DUMP: &str = "/usr/bin/db5.3_dump";
pub const LOAD: &str = "/usr/bin/db5.3_load";
pub const BOTH: [(Kind, &str); 2] = [(Kind::Hash, "hash"), (Kind::Btree, "btree")];
pub const FILE_ID: [u8; 20] = *b"an id of twenty byte";

/// Keys and values as they are stored.
pub type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A file in memory that takes whole pages, each once, and the header last.
pub struct Watched {
    pub kind: Kind,
    pub page_size: usize,
    pub bytes: Vec<u8>,
    pub written: BTreeSet<u64>,
    /// Fails at the write after this number of them.
    pub writes_left: usize,
}

impl Watched {
    pub fn new(kind: Kind, page_size: usize) -> Watched {
        Watched { kind, page_size, bytes: Vec::new(), written: BTreeSet::new(), writes_left: usize::MAX }
    }

    /// Whether a reader takes what has been written so far for a table.
    pub fn is_table(&self) -> bool {
        Table::from_snapshot(self.kind, &self.bytes[..], &mut Vec::new()).is_ok()
    }
}

impl Sink for Watched {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(!self.is_table(), "a write after the header");
        let page_size = u64::try_from(self.page_size).unwrap();
        assert_eq!((bytes.len(), offset % page_size), (self.page_size, 0));
        assert!(self.written.insert(offset / page_size), "page {} written twice", offset / page_size);
        self.writes_left =
            self.writes_left.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        self.bytes.write_at(offset, bytes)
    }
}

/// Pushes and finishes, with pairs in the order in which they are given.
pub fn write<'a>(
    pairs: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>,
    sink: &mut Watched,
) -> Result<u64, BuildError> {
    if sink.kind == Kind::Btree {
        let mut builder = BtreeBuilder::new(sink.page_size, FILE_ID)?;
        for (key, value) in pairs {
            builder.push(key, value, sink)?;
        }
        return builder.finish(sink);
    }
    let mut builder = HashBuilder::new(sink.page_size, FILE_ID)?;
    for (key, value) in pairs {
        builder.push(key, value)?;
    }
    let mut writer = builder.finish()?;
    loop {
        if let Progress::Done { length } = writer.step(sink)? {
            return Ok(length);
        }
    }
}

/// Builds a file and checks that no page of it is missing.
pub fn build(kind: Kind, page_size: usize, model: &Model) -> Vec<u8> {
    let mut sink = Watched::new(kind, page_size);
    let length = if kind == Kind::Btree {
        write(model.iter(), &mut sink)
    } else {
        // In no particular order, which is the same in every run.
        let mut pairs: Vec<_> = model.iter().collect();
        let mut numbers = Numbers(0x5eed);
        for place in (1..pairs.len()).rev() {
            pairs.swap(place, numbers.below(place + 1));
        }
        write(pairs.into_iter(), &mut sink)
    };
    let length = usize::try_from(length.unwrap()).unwrap();
    assert_eq!((sink.bytes.len(), sink.written.len()), (length, length / page_size));
    sink.bytes
}

/// What Postfix and our reader make of stored bytes.
pub fn text(stored: &[u8]) -> &[u8] {
    stored.split(|byte| *byte == 0).next().unwrap()
}

/// Asserts that our reader finds each entry of `model` and nothing else.
pub fn assert_read(kind: Kind, file: &[u8], model: &Model) {
    let table = crate::common::open(kind, file);
    let mut answer = Vec::new();
    for (key, value) in model {
        let modes = NulModes { with_nul: key.last() == Some(&0), bare: key.last() != Some(&0) };
        let asked = key.strip_suffix(b"\0").unwrap_or(key);
        let outcome = table.lookup(asked, modes, &mut answer);
        assert!(matches!(outcome, Ok(Outcome::Found(_))), "{outcome:?} {}", key.escape_ascii());
        assert_eq!(answer, text(value));
        let longer = [&key[..], b"\x01"].concat();
        if !model.contains_key(&longer) {
            let bare = NulModes { with_nul: false, bare: true };
            assert_eq!(table.lookup(&longer, bare, &mut answer), Ok(Outcome::Absent));
        }
    }
    let mut listed = Pairs::new();
    let (mut cursor, mut key, mut value) = (Cursor::default(), Vec::new(), Vec::new());
    while table.step(&mut cursor, &mut key, &mut value).unwrap() == Step::Record {
        listed.push((key.clone(), value.clone()));
    }
    let mut expected: Pairs =
        model.iter().map(|(key, value)| (text(key).to_vec(), text(value).to_vec())).collect();
    if kind == Kind::Hash {
        listed.sort();
        expected.sort();
    }
    assert!(listed == expected, "another list of records");
}

/// Puts `file` where the tools look for the table.
pub fn store(scratch: &Scratch, file: &[u8]) {
    std::fs::write(scratch.path("t.db"), file).unwrap();
}

/// Asserts that db5.3_verify has nothing to say about the table's file.
pub fn assert_verified(scratch: &Scratch) {
    let output = run(Command::new(VERIFY).arg(scratch.path("t.db")), b"");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.lines().count() == 1, "{said}");
    assert!(said.trim_end().ends_with("succeeded."), "{said}");
}

/// All entries of the table's file as libdb has them, in the order of its cursor.
pub fn dump(scratch: &Scratch) -> Pairs {
    let output = run(Command::new(DUMP).arg(scratch.path("t.db")), b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let unhex = |line: &str| -> Vec<u8> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap() as u8;
        line.trim_start().as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> =
        text.lines().skip_while(|line| *line != "HEADER=END").filter(|line| line.starts_with(' ')).collect();
    lines.chunks(2).map(|pair| (unhex(pair[0]), unhex(pair[1]))).collect()
}

/// Asserts that libdb finds the file sound, and lists the entries of `model` from it.
pub fn assert_libdb(scratch: &Scratch, kind: Kind, file: &[u8], model: &Model) {
    store(scratch, file);
    assert_verified(scratch);
    let listed = dump(scratch);
    if kind == Kind::Btree {
        assert!(listed.iter().map(|(key, value)| (key, value)).eq(model), "another list in libdb");
    } else {
        assert!(listed.len() == model.len() && Model::from_iter(listed) == *model, "another list in libdb");
    }
}
