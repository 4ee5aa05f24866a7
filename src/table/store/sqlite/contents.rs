//! What was found in a Berkeley DB file.

/// The entries of a file, in ascending order of their keys.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    bytes: Vec<u8>,
    entries: Vec<Span>,
    /// The damage, if the file is damaged: then the entries are those that can be read.
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
    pub(super) fn sort(&mut self) {
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
