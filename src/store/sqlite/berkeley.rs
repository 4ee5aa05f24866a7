//! The entries of a Berkeley DB file, for an import.
//!
//! Purpose: list a file as it is stored, and of a damaged one whatever can be read. May: allocate about as much as the
//! file has. Never: I/O; follow more pages than the file has. Called by: the writer, with the bytes of `NAME.db`.

use mapkeep_proto::Kind;
use mapkeep_table::{Cursor, Step, Table, TableError};

use super::pages;

/// Which of the two access methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A `hash:` table.
    Hash,
    /// A `btree:` table.
    Btree,
}

/// The entries of a file, in ascending order of their keys.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    bytes: Vec<u8>,
    entries: Vec<Span>,
    /// What is wrong with the file, if it is damaged: then the entries are those that can be read.
    pub damage: Option<String>,
    /// How many entries were left out, since their key or value is longer than 1 MiB.
    pub left_out: u64,
}

/// A key and, after it, its value.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    value: usize,
    end: usize,
}

impl Contents {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values as they are stored, in ascending order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|span| span.of(&self.bytes))
    }

    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.entries.push(Span { start, value: middle, end: self.bytes.len() });
    }

    /// Puts the entries in order. Of several with the same key, the first stays.
    fn sort(&mut self) {
        let Contents { bytes, entries, .. } = self;
        let key = |span: &Span| span.of(bytes).0;
        entries.sort_by(|a, b| key(a).cmp(key(b)));
        entries.dedup_by(|later, first| key(later) == key(first));
    }
}

impl Span {
    fn of<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let part = |from, to| bytes.get(from..to).unwrap_or_default();
        (part(self.start, self.value), part(self.value, self.end))
    }
}

/// Reads the whole of a file. One that is damaged is a result like others: see [`Contents::damage`].
#[must_use]
pub fn read_file(form: Form, file: &[u8]) -> Contents {
    let mut contents = Contents::default();
    // The reader of tables follows every page from the header on, and so tells whether the file is whole; but it gives
    // keys and values up to a NUL byte. What is stored, the pages say.
    let listed = count(form, file);
    let unread = pages::sweep(file, &mut contents);
    let found = contents.left_out.saturating_add(contents.entries.len() as u64);
    contents.damage = match listed {
        Err(error) => Some(error.to_string()),
        Ok(listed) if listed != found => {
            Some(format!("of {listed} entries that it lists, {found} were found"))
        }
        Ok(_) if unread > 0 => Some(format!("{unread} of its entries cannot be read")),
        Ok(_) => None,
    };
    contents.sort();
    contents
}

/// How many entries a file lists.
fn count(form: Form, file: &[u8]) -> Result<u64, TableError> {
    let kind = match form {
        Form::Hash => Kind::Hash,
        Form::Btree => Kind::Btree,
    };
    let table = Table::from_snapshot(kind, file, &mut Vec::new())?;
    let (mut cursor, mut key, mut value) = (Cursor::default(), Vec::new(), Vec::new());
    let mut count = 0_u64;
    loop {
        match table.step(&mut cursor, &mut key, &mut value) {
            Ok(Step::Record) | Err(TableError::ItemTooLong) => count = count.saturating_add(1),
            Ok(Step::End) => return Ok(count),
            Err(error) => return Err(error),
        }
    }
}
