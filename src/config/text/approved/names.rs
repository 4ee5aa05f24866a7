//! From expanded text to table names: the tokeniser's rules.
//!
//! Reads list files only through the caller's closure, each once.

use std::collections::BTreeMap;

use super::Provenance;
use crate::complaint::{Complaint, ComplaintKind, complain};
use crate::lines::logical_lines;
use crate::parameters::{Origin, Parameters};
use crate::tokens::{LIST, Tokens, inside_braces};
use crate::version::PostfixVersion;

/// Tables and list files nest at most this deep. Stock has no limit and can be made to exhaust its stack.
const DEEPEST: u32 = 20;
/// Most list files, and most bytes in all of them.
const MOST_FILES: usize = 1000;
const MOST_FILE_BYTES: usize = 16 * 1024 * 1024;
/// Most list files that may be visited, repeats included.
const MOST_VISITS: u32 = 10_000;

/// Who holds the text that is being read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    consumer: Vec<u8>,
    parameter: Vec<u8>,
    origin: Origin,
    list_file: Option<Vec<u8>>,
}

impl Source {
    pub(super) fn of(params: &Parameters, consumer: &[u8], parameter: &[u8]) -> Source {
        Source {
            consumer: consumer.to_vec(),
            parameter: parameter.to_vec(),
            origin: params.origin(parameter),
            list_file: None,
        }
    }

    pub(super) fn provenance(&self) -> Provenance {
        Provenance {
            consumer: self.consumer.clone(),
            parameter: self.parameter.clone(),
            origin: self.origin,
            list_file: self.list_file.clone(),
        }
    }
}

/// Files of table names, each read at most once.
pub(super) struct ListFiles<'r> {
    read: &'r mut dyn FnMut(&[u8]) -> Option<Vec<u8>>,
    known: BTreeMap<Vec<u8>, Option<std::rc::Rc<Vec<u8>>>>,
    bytes: usize,
    visits: u32,
}

impl<'r> ListFiles<'r> {
    pub(super) fn new(read: &'r mut dyn FnMut(&[u8]) -> Option<Vec<u8>>) -> Self {
        ListFiles { read, known: BTreeMap::new(), bytes: 0, visits: 0 }
    }

    fn get(&mut self, path: &[u8]) -> Option<std::rc::Rc<Vec<u8>>> {
        self.visits = self.visits.saturating_add(1);
        if self.visits > MOST_VISITS {
            return None;
        }
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let may_read = self.known.len() < MOST_FILES;
        let content = if may_read { (self.read)(path) } else { None };
        // No name may hold a NUL byte, so a file that does is no list; a line of main.cf that does is dropped, too.
        let content = content.filter(|bytes| !bytes.contains(&0));
        let content = content.filter(|bytes| {
            self.bytes = self.bytes.saturating_add(bytes.len());
            self.bytes <= MOST_FILE_BYTES
        });
        let content = content.map(std::rc::Rc::new);
        self.known.insert(path.to_vec(), content.clone());
        content
    }
}

/// Reads names out of expanded text.
pub(super) struct NameReader<'a, 'r> {
    version: PostfixVersion,
    files: &'a mut ListFiles<'r>,
    complaints: &'a mut Vec<Complaint>,
    depth: u32,
    /// List files being read, outermost first: a file that names itself is not read again.
    open: Vec<Vec<u8>>,
}

/// Receives each approved name with its source.
pub(super) type Sink<'s> = dyn FnMut(&[u8], &Source) + 's;

impl<'a, 'r> NameReader<'a, 'r> {
    pub(super) fn new(
        version: PostfixVersion,
        files: &'a mut ListFiles<'r>,
        complaints: &'a mut Vec<Complaint>,
    ) -> Self {
        NameReader { version, files, complaints, depth: 0, open: Vec::new() }
    }

    /// Reports each name that the list `text` approves.
    pub(super) fn list(&mut self, text: &[u8], source: &Source, sink: &mut Sink<'_>) {
        for token in Tokens::new(text, LIST) {
            self.token(token, source, sink);
        }
    }

    fn token(&mut self, mut token: &[u8], source: &Source, sink: &mut Sink<'_>) {
        // `{ type:name attribute=value }`: the first word inside counts, nothing else.
        if token.first() == Some(&b'{') {
            match inside_braces(token) {
                Ok(inner) => match Tokens::new(inner, LIST).next() {
                    Some(first) => token = first,
                    None => return,
                },
                Err(error) => return self.say(source, ComplaintKind::BadBraces(token.to_vec(), error)),
            }
        }
        if self.version.reads_list_files() {
            if token.first() == Some(&b'/') {
                return self.file(token, source, sink);
            }
            if !token.first().is_some_and(u8::is_ascii_alphanumeric) || !token.contains(&b':') {
                return;
            }
        }
        if let Some(members) = composite(token) {
            return match inside_braces(members) {
                Ok(inner) => self.deeper(token, source, |reader| reader.list(inner, source, sink)),
                Err(error) => self.say(source, ComplaintKind::BadBraces(token.to_vec(), error)),
            };
        }
        let Some(mut name) = token.strip_prefix(b"proxy:") else { return };
        while let Some(rest) = name.strip_prefix(b"proxy:") {
            name = rest;
        }
        if name.contains(&b':') {
            sink(name, source);
        }
    }

    fn file(&mut self, path: &[u8], source: &Source, sink: &mut Sink<'_>) {
        if self.open.iter().any(|open| open == path) {
            return self.say(source, ComplaintKind::ListTooDeep(path.to_vec()));
        }
        let Some(content) = self.files.get(path) else {
            return self.say(source, ComplaintKind::NoListFile(path.to_vec()));
        };
        let inner_source = Source { list_file: Some(path.to_vec()), ..source.clone() };
        self.open.push(path.to_vec());
        self.deeper(path, source, |reader| {
            for line in logical_lines(&content) {
                reader.list(&line.text, &inner_source, sink);
            }
        });
        self.open.pop();
    }

    fn deeper(&mut self, token: &[u8], source: &Source, work: impl FnOnce(&mut Self)) {
        if self.depth >= DEEPEST {
            return self.say(source, ComplaintKind::ListTooDeep(token.to_vec()));
        }
        self.depth = self.depth.saturating_add(1);
        work(self);
        self.depth = self.depth.saturating_sub(1);
    }

    fn say(&mut self, source: &Source, kind: ComplaintKind) {
        let (file, line) = source.origin.place();
        complain(self.complaints, file, line, kind);
    }
}

/// The `{...}` of a composite table without `proxy:`, whose members are searched.
fn composite(token: &[u8]) -> Option<&[u8]> {
    let rest = token.strip_prefix(b"unionmap:").or_else(|| token.strip_prefix(b"pipemap:"))?;
    rest.starts_with(b"{").then_some(rest)
}
