//! Answers a key from bytes.
//!
//! Purpose: read the table formats of Postfix from sealed snapshots (or from the table's name), without any of the
//! libraries that Postfix uses for them. May: compute, and allocate answers and the index of a text table. Never: I/O,
//! a path, a descriptor, the clock, unsafe code; panic, loop or allocate without bound on a hostile file.
//!
//! Bounds on hostile files: one lookup visits at most twice the pages of the file; a whole scan enters each page once
//! and returns no more bytes than the file has; keys and values are at most [`MAX_ITEM`] bytes.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod composite;
mod opening;
mod rules;

use std::fmt;

use mapkeep_name::Kind;

pub use composite::{Composite, Leaf, Walk};
pub use mapkeep_query::{
    Folding, MAX_ITEM, NulMode, NulModes, Outcome, Pause, Place, Query, Step, Substitution, TableError,
    Values, casefold, fold, text_of,
};
pub use mapkeep_table_format::{Complaint, Cursor, Fault, build};
pub use opening::{Opened, Opening};

use mapkeep_table_format::random::Random;
use mapkeep_table_format::text::index::Index;
use mapkeep_table_format::text::inline::{Inline, inline_text, static_value};
use mapkeep_table_format::{Probe, accounts, bdb, cdb, lmdb, text};
use rules::cidr::Cidr;
use rules::patterns::Patterns;
use rules::pcre::Pcre;
use rules::regexp::Posix;

/// How much a lookup in a `regexp:` or `pcre:` table may read: the length of the key times the number of rules that are
/// tried, 256 MiB. More is [`TableError::TooMuchWork`].
pub const MAX_WORK: u64 = 1 << 28;

/// How much memory the compiled patterns of a `regexp:` or `pcre:` table may take, in bytes: 128 MiB, which is about a
/// second's work at worst. More is [`TableError::PatternsTooLarge`].
pub const MAX_COMPILED: usize = 128 << 20;

/// The version of PCRE2 that `pcre:` tables are matched with, and its date.
#[must_use]
pub fn pcre_version() -> String {
    mapkeep_table_regex::pcre::version()
}

/// An open table. `B` is the snapshot, usually a mapping of it; nothing but answers is copied from it.
///
/// The bytes must not change while the table lives (if they do, answers may be wrong or absent, nothing worse).
pub struct Table<B> {
    kind: Kind,
    content: Content<B>,
    /// Entries that are not in it may be elsewhere.
    incomplete: bool,
}

enum Content<B> {
    Bdb(bdb::Head, B),
    Lmdb(lmdb::Head, B),
    Cdb(cdb::Head, B),
    Texthash(Index, B),
    Accounts(Index, B),
    Inline(Inline),
    Static(Vec<u8>),
    Fail,
    Cidr(Cidr),
    Regexp(Patterns<Posix>),
    Pcre(Patterns<Pcre>),
    Internal,
    Environ,
    Random(Random),
}

impl<B: AsRef<[u8]>> Table<B> {
    /// Opens a table of a kind that has a file ([`Kind::has_file`]).
    ///
    /// Of binary formats, the header is checked; text tables are read and indexed, with complaints about lines added to
    /// `complaints`.
    ///
    /// # Errors
    /// The bytes are not of this format, or of a variant that is not supported; a text table has a key twice;
    /// there is no memory for the index; `kind` has no file.
    pub fn from_snapshot(kind: Kind, bytes: B, complaints: &mut Vec<Complaint>) -> Result<Self, TableError> {
        let mut opening = Opening::new(kind, bytes);
        loop {
            match opening.step(complaints, &|| false)? {
                Opened::Table(table) => return Ok(table),
                Opened::Later(later) => opening = later,
            }
        }
    }

    /// Opens a table of a kind whose entries are in its name. `rest` is the name after `type:`.
    ///
    /// # Errors
    /// [`TableError::BadName`] where the syntax is wrong, [`TableError::WrongKind`] for kinds that have a file, or
    /// that are made of other tables ([`Composite`]).
    pub fn from_name(kind: Kind, rest: &[u8]) -> Result<Self, TableError> {
        Table::from_name_with(kind, rest, &mut Vec::new())
    }

    /// The same, with complaints about the rules of a `cidr:`, `regexp:` or `pcre:` table in its name added to
    /// `complaints`. Their line is the number of the rule.
    ///
    /// # Errors
    /// As for [`Table::from_name`]; as for [`Table::from_snapshot`] for those kinds.
    pub fn from_name_with(
        kind: Kind,
        rest: &[u8],
        complaints: &mut Vec<Complaint>,
    ) -> Result<Self, TableError> {
        let content = match kind {
            Kind::Static => Content::Static(static_value(rest)?),
            Kind::Inline => Content::Inline(Inline::parse(rest)?),
            Kind::Fail => Content::Fail,
            Kind::Cidr | Kind::Regexp | Kind::Pcre => opening::rules(kind, &inline_text(rest)?, complaints)?,
            Kind::Internal => Content::Internal,
            Kind::Environ => Content::Environ,
            Kind::Randmap => Content::Random(Random::parse(rest)?),
            _ => return Err(TableError::WrongKind),
        };
        Ok(Table { kind, content, incomplete: false })
    }

    /// The same table, marked as incomplete, for accounts: "not found" becomes [`TableError::MayBeElsewhere`], except
    /// for a longer form (`NAME@domain`) of a name that exists. Clients ask for addresses first and then for the
    /// account, and must be able to reach existing accounts.
    #[must_use]
    pub fn incomplete(self) -> Self {
        Table { incomplete: true, ..self }
    }

    /// The kind that the table was opened as.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Looks `key` up and fills `answer` if it is there; `answer` is empty otherwise.
    ///
    /// `modes` selects which forms of the key to try in tables that may store a NUL byte with it; other tables ignore
    /// it. Keys of indexed files are compared as they are; those of text and inline tables match in whatever case.
    /// Nothing is folded, values are text, rules may substitute, and there is no end of the time.
    ///
    /// # Errors
    /// The table is damaged where the lookup leads, the value is too long, memory is short, or the table is `fail:`.
    pub fn lookup(&self, key: &[u8], modes: NulModes, answer: &mut Vec<u8>) -> Result<Outcome, TableError> {
        self.lookup_with(&Query { modes, ..Query::plain(key) }, answer)
    }

    /// The same for a query with all options. Nothing is folded here.
    ///
    /// # Errors
    /// As for [`Table::lookup`]; a pattern ran into a limit, or the time is over ([`Query::time_left`]). Neither means
    /// that the key is not in the table. [`TableError::Paused`] if the query allows interruption. `environ:` always
    /// fails. [`TableError::ValueNamesFiles`] if there is an answer that the client would treat as the contents of
    /// files ([`Query::values`]).
    pub fn lookup_with(&self, query: &Query<'_>, answer: &mut Vec<u8>) -> Result<Outcome, TableError> {
        let (key, modes) = (query.key, query.modes);
        answer.clear();
        let outcome = match &self.content {
            Content::Bdb(head, data) => {
                try_forms(key, modes, |probe| head.find(data.as_ref(), probe, answer))
            }
            Content::Lmdb(head, data) => {
                try_forms(key, modes, |probe| head.find(data.as_ref(), probe, answer))
            }
            Content::Cdb(head, data) => {
                try_forms(key, modes, |probe| head.find(data.as_ref(), probe, answer))
            }
            Content::Texthash(index, data) => {
                text::texthash::find(data.as_ref(), index, key, answer).map(bare)
            }
            Content::Accounts(index, data) => {
                match accounts::find(self.kind, data.as_ref(), index, key, answer) {
                    Ok(false) if self.incomplete && !accounts::is_address_of(data.as_ref(), index, key) => {
                        Err(TableError::MayBeElsewhere)
                    }
                    found => found.map(bare),
                }
            }
            Content::Inline(inline) => inline.find(key, answer).map(bare),
            Content::Static(value) => mapkeep_query::put_text(answer, value).map(|()| bare(true)),
            Content::Fail => Err(TableError::AlwaysFails),
            Content::Cidr(rules) => rules.find(query, answer).map(bare),
            Content::Regexp(rules) => rules.find(query, answer).map(bare),
            Content::Pcre(rules) => rules.find(query, answer).map(bare),
            Content::Internal => Ok(Outcome::Absent),
            Content::Environ => Err(TableError::NoEnvironment),
            Content::Random(values) => values.pick(query.random, answer).map(bare),
        };
        let outcome = match outcome {
            Ok(Outcome::Found(_)) if query.values == Values::FileContent && self.kind.is_source_text() => {
                Err(TableError::ValueNamesFiles)
            }
            other => other,
        };
        if !matches!(outcome, Ok(Outcome::Found(_))) {
            answer.clear();
        }
        outcome
    }

    /// One step of a scan: the next record, or the end. `key` and `value` are as stored, neither folded nor checked,
    /// up to their first NUL byte; they are empty when there is no record.
    ///
    /// The order is that of Postfix for hash, btree, lmdb and cdb, and that of the text for texthash and inline.
    ///
    /// # Errors
    /// As for [`Table::lookup`]; [`TableError::NoSequence`] for tables that cannot be listed.
    pub fn step(
        &self,
        cursor: &mut Cursor,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Step, TableError> {
        key.clear();
        value.clear();
        let step = match &self.content {
            Content::Bdb(head, data) => head.step(data.as_ref(), cursor, key, value),
            Content::Lmdb(head, data) => head.step(data.as_ref(), cursor, key, value),
            Content::Cdb(head, data) => head.step(data.as_ref(), cursor, key, value),
            Content::Texthash(_, data) => text::texthash::step(data.as_ref(), cursor, key, value),
            Content::Inline(inline) => inline.step(cursor, key, value),
            Content::Internal => Ok(Step::End),
            Content::Accounts(..)
            | Content::Static(_)
            | Content::Cidr(_)
            | Content::Regexp(_)
            | Content::Pcre(_)
            | Content::Random(_) => Err(TableError::NoSequence),
            Content::Fail => Err(TableError::AlwaysFails),
            Content::Environ => Err(TableError::NoEnvironment),
        };
        if step != Ok(Step::Record) {
            key.clear();
            value.clear();
        }
        step
    }
}

/// Shows the kind and never the entries.
impl<B> fmt::Debug for Table<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The outcome for a table without NUL forms.
fn bare(found: bool) -> Outcome {
    if found { Outcome::Found(NulMode::Bare) } else { Outcome::Absent }
}

/// Tries the forms of `key` that `modes` allows, the one with NUL first.
fn try_forms(
    key: &[u8],
    modes: NulModes,
    mut find: impl FnMut(&Probe<'_>) -> Result<bool, TableError>,
) -> Result<Outcome, TableError> {
    if modes.with_nul && find(&Probe::new(key, NulMode::WithNul))? {
        return Ok(Outcome::Found(NulMode::WithNul));
    }
    if modes.bare && find(&Probe::new(key, NulMode::Bare))? {
        return Ok(Outcome::Found(NulMode::Bare));
    }
    Ok(Outcome::Absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = Table<Vec<u8>>;

    #[test]
    fn from_wrong_source_every_kind_refused() {
        for kind in Kind::ALL {
            let (file, name) = (Owned::from_snapshot(kind, vec![], &mut vec![]), Owned::from_name(kind, b""));
            if kind.has_rules() {
                assert!(matches!(name, Err(TableError::BadName(_))), "{kind:?}");
                assert!(file.is_ok(), "{kind:?}");
            } else if kind.has_file() {
                assert_eq!(name.unwrap_err(), TableError::WrongKind, "{kind:?}");
            } else {
                assert_eq!(file.unwrap_err(), TableError::WrongKind, "{kind:?}");
            }
        }
    }

    #[test]
    fn lookup_named_kinds_answered() {
        let mut answer = b"left over".to_vec();
        let table = Owned::from_name(Kind::Static, b"{ all }").unwrap();
        assert_eq!(table.lookup(b"", NulModes::BOTH, &mut answer), Ok(Outcome::Found(NulMode::Bare)));
        assert_eq!(answer, b"all");
        assert_eq!(table.step(&mut Cursor::default(), &mut vec![], &mut vec![]), Err(TableError::NoSequence));

        let table = Owned::from_name(Kind::Fail, b"").unwrap();
        assert_eq!(table.lookup(b"a", NulModes::BOTH, &mut answer), Err(TableError::AlwaysFails));
        assert_eq!(answer, b"");
    }

    #[test]
    fn lookup_environ_is_an_error() {
        let mut answer = b"left over".to_vec();
        let table = Owned::from_name(Kind::Environ, b"").unwrap();
        assert_eq!(table.lookup(b"HOME", NulModes::BOTH, &mut answer), Err(TableError::NoEnvironment));
        assert_eq!(answer, b"");
    }

    #[test]
    fn debug_shows_no_entries() {
        let table = Owned::from_name(Kind::Static, b"secret").unwrap();
        assert_eq!(format!("{table:?}"), "Table { kind: Static, .. }");
    }

    #[test]
    fn incomplete_missing_account_is_unknown() {
        const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n";
        let open = || Table::from_snapshot(Kind::Passwd, PASSWD, &mut Vec::new()).unwrap();
        let ask = |table: &Table<&[u8]>, key: &[u8]| table.lookup(key, NulModes::BOTH, &mut Vec::new());
        let (whole, part) = (open(), open().incomplete());
        let found = Ok(Outcome::Found(NulMode::Bare));
        assert_eq!((ask(&whole, b"root"), ask(&part, b"root")), (found, found));
        for key in [&b"netuser"[..], b"netuser@example.org", b"", b"@example.org", b"root+x"] {
            assert_eq!(ask(&whole, key), Ok(Outcome::Absent));
            assert_eq!(ask(&part, key), Err(TableError::MayBeElsewhere), "{key:?}");
        }
        // A client that asks for the address of an existing account then asks for the account.
        assert_eq!(ask(&part, b"root@example.org"), Ok(Outcome::Absent));
    }
}
