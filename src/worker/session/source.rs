//! The tables as session sees them. Implemented by the two workers that serve clients, and by fakes in tests.

use std::borrow::Cow;
use std::convert::Infallible;

use mapkeep_name::{Class, Kind};
use mapkeep_proto::{Answered as Reported, NoAnswer};
use mapkeep_query::{Folding, NulMode, NulModes, Outcome, Query, Step, Substitution, TableError, Values};

use crate::wire::Status;

/// Why a table gives no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The table is not available now: no file yet, an unknown type, a configuration that cannot be read. The text
    /// never comes from a client, and goes to the log.
    Unavailable(Cow<'static, str>),
    /// The table is damaged where the answer would be. Temporary for the client: mail waits until the table is rebuilt.
    Content(TableError),
    /// The same of a table that another process answers for, in its words, which go to the log.
    Reported(String),
    /// The server of a table answered that asking again would not help; its text goes to the log.
    Permanent(String),
    /// A `fail:` table, which does nothing else. Not logged, as in stock.
    OnPurpose,
    /// The table type has no such operation.
    Unsupported,
    /// The value is not UTF-8 although the client asked for UTF-8.
    ValueNotUtf8,
    /// It could not be done for now, and nothing of it has been: no room, a lock of another program, a damaged file.
    /// The text is ours and goes to the log.
    NotDone(String),
    /// Key or value is longer than can be stored. Stock exits on a long key in lmdb.
    TooLong {
        /// Which of the two.
        what: &'static str,
        /// Its length as it would be stored, in bytes.
        length: usize,
        /// The longest that can be stored, in bytes.
        limit: usize,
    },
    /// The format has no empty keys. Stock exits on one.
    KeyEmpty,
}

impl Failure {
    /// The one place that decides which status a failure is for the client.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Failure::Unavailable(_)
            | Failure::Content(_)
            | Failure::Reported(_)
            | Failure::OnPurpose
            | Failure::NotDone(_) => Status::Retry,
            Failure::Permanent(_)
            | Failure::Unsupported
            | Failure::ValueNotUtf8
            | Failure::TooLong { .. }
            | Failure::KeyEmpty => Status::Config,
        }
    }
}

impl Failure {
    /// For the process that has asked this one about a table: the class of the failure, and the text for its log, from
    /// which [`Failure::reported`] restores the same status and log line.
    #[must_use]
    pub fn report(&self) -> (NoAnswer, String) {
        match self {
            Failure::Unavailable(reason) => (NoAnswer::Unavailable, reason.to_string()),
            Failure::Content(error) => (NoAnswer::Later, error.to_string()),
            Failure::Reported(reason) | Failure::NotDone(reason) => (NoAnswer::Later, reason.clone()),
            Failure::Permanent(reason) => (NoAnswer::Permanent, reason.clone()),
            Failure::OnPurpose => (NoAnswer::OnPurpose, String::new()),
            Failure::ValueNotUtf8 => (NoAnswer::NotUtf8, String::new()),
            Failure::Unsupported | Failure::TooLong { .. } | Failure::KeyEmpty => {
                (NoAnswer::Unsupported, String::new())
            }
        }
    }

    /// What the answering process has reported about a table.
    #[must_use]
    pub fn reported(why: NoAnswer, reason: &str) -> Failure {
        match why {
            NoAnswer::Later => Failure::Reported(reason.to_owned()),
            NoAnswer::Permanent => Failure::Permanent(reason.to_owned()),
            NoAnswer::OnPurpose => Failure::OnPurpose,
            NoAnswer::Unsupported => Failure::Unsupported,
            NoAnswer::NotUtf8 => Failure::ValueNotUtf8,
            NoAnswer::Unavailable => Failure::Unavailable(Cow::Owned(reason.to_owned())),
        }
    }
}

/// What another process has answered, as if it had been looked up here: the value is appended to `value`.
///
/// # Errors
/// The reason why there is no answer, not even "absent".
pub fn outcome_of(reported: Reported<'_>, value: &mut Vec<u8>) -> Result<Outcome, Failure> {
    match reported {
        Reported::Found { with_nul, value: found } => {
            value.extend_from_slice(found);
            Ok(Outcome::Found(if with_nul { NulMode::WithNul } else { NulMode::Bare }))
        }
        Reported::Absent => Ok(Outcome::Absent),
        Reported::Failed { why, reason } => Err(Failure::reported(why, reason)),
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Failure {
        match error {
            TableError::AlwaysFails => Failure::OnPurpose,
            TableError::NoSequence => Failure::Unsupported,
            TableError::NotUtf8 => Failure::ValueNotUtf8,
            other => Failure::Content(other),
        }
    }
}

/// The properties of a table, whether or not it is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nature {
    /// Its type.
    pub kind: Kind,
    /// Which keys clients may send; for a composite table, those of its first member.
    pub class: Class,
    /// Whether Postfix has tables of this type, and so checks their keys and values for UTF-8, even if the table is not
    /// available.
    pub checks_utf8: bool,
}

impl Nature {
    /// That of the table `name` (`type:rest`).
    #[must_use]
    pub fn of(name: &[u8]) -> Nature {
        Nature {
            kind: Kind::of(name),
            class: mapkeep_name::class_of(name),
            checks_utf8: mapkeep_name::is_type_of_postfix(name),
        }
    }
}

/// A key, and how to look for it.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// The key, folded if necessary; for a composite table without UTF-8 checks, as the client sent it.
    pub key: &'a [u8],
    /// Which ways of storing it to try.
    pub modes: NulModes,
    /// Whether rules that put parts of the key into the answer count.
    pub substitution: Substitution,
    /// How the members of a composite table fold.
    pub folding: Folding,
    /// Whether keys and values must be UTF-8, those of members included.
    pub utf8: bool,
    /// What the client takes the value for.
    pub values: Values,
    /// Which servers the client accepts answers from. A table that is refused for this reason is never asked; for a
    /// composite table, it decides which members can be asked.
    pub servers: Servers,
}

/// Whether the client accepts tables that a server answers for (socketmap, tcp): the NO_UNAUTH flag. Such servers are
/// not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    /// They are.
    Believed,
    /// They are not: each lookup in them is a temporary error, as in Postfix.
    Refused,
}

impl<'a> Sought<'a> {
    /// The same for the table room. `random` and `time_left` are as [`Query`] has them.
    #[must_use]
    pub fn query(&self, random: u64, time_left: &'a dyn Fn() -> std::time::Duration) -> Query<'a> {
        let Sought { key, modes, substitution, folding, utf8, values, .. } = *self;
        Query { key, modes, substitution, folding, utf8, values, random, time_left, pause: None }
    }
}

/// A result, or the state of a request that waits for it.
#[derive(Debug, PartialEq, Eq)]
pub enum Got<T, S> {
    /// It is there.
    Now(T),
    /// Another process has to answer first.
    Later(S),
}

/// What a table keeps of a lookup for which another process has to answer. It owns what it needs.
pub trait Search {
    /// Bytes that it keeps, for the bound on what all clients together may have kept.
    fn held(&self) -> usize;
}

/// Of tables that always answer at once.
impl Search for Infallible {
    fn held(&self) -> usize {
        match *self {}
    }
}

/// One approved table, whether it can be read now or not.
///
/// One that takes changes implements `put` and `remove`. A change is seen at once by later requests; the sender of the
/// replies must see to it that it is durable.
pub trait LookupTable {
    /// The position of a scan; its default is before the first entry.
    type Cursor: Default;
    /// The state of a request while another process has to answer; [`Infallible`] if none ever has to.
    type Search: Search;

    /// The type and class of the table, by its name: an unavailable table keeps them.
    fn nature(&self) -> Nature;

    /// Puts the value for the key into `value`, which is empty before.
    ///
    /// # Errors
    /// The reason why there is no answer, not even "absent".
    fn lookup(&self, sought: Sought<'_>, value: &mut Vec<u8>) -> Result<Got<Outcome, Self::Search>, Failure>;

    /// Puts the entry after `cursor` into `key` and `value`, both empty before, and moves the cursor.
    ///
    /// # Errors
    /// The reason why there is no answer, not even "end".
    fn step(
        &self,
        cursor: &mut Self::Cursor,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Step, Failure>;

    /// Whether it can be scanned, as far as that is known beforehand. So a client that continues a scan that this
    /// process does not know (one of a previous process, say) is not told that it has reached the end.
    ///
    /// # Errors
    /// The reason why it cannot.
    fn usable(&self) -> Result<Got<(), Self::Search>, Failure> {
        Ok(Got::Now(()))
    }

    /// Stores an entry, replacing any with the same key; `mode` decides whether both end in a NUL byte.
    ///
    /// # Errors
    /// The reason why it is not stored.
    fn put(&self, key: &[u8], value: &[u8], mode: NulMode) -> Result<(), Failure> {
        let _ = (key, value, mode);
        Err(Failure::Unsupported)
    }

    /// Removes the entry of the first way of storing the key that there is, in the order of lookups. Says which it was.
    ///
    /// # Errors
    /// The reason why there is no answer, not even "absent".
    fn remove(&self, key: &[u8], modes: NulModes) -> Result<Outcome, Failure> {
        let _ = (key, modes);
        Err(Failure::Unsupported)
    }
}

/// The approved tables of one service.
pub trait Tables {
    /// Tells tables apart, and snapshots of a table if positions in one mean nothing in the next: a
    /// scan then ends early instead of giving entries twice.
    type Id: Copy + Eq;
    /// The position of a scan.
    type Cursor: Default;
    /// The state of a request while another process has to answer.
    type Search: Search;
    /// A table, or a handle to one.
    type Table<'t>: LookupTable<Cursor = Self::Cursor, Search = Self::Search>
    where
        Self: 't;

    /// The table whose approved name is exactly `name`; nothing if it is not approved. If the configuration cannot be
    /// read, so that it is not known, every name gives a table whose lookups fail: clients exit on DENY.
    fn find(&self, name: &[u8]) -> Option<(Self::Id, Self::Table<'_>)>;

    /// The name of the table that the client has asked.
    fn name(&self, search: &Self::Search) -> &[u8];

    /// Continues a search with the answer to it. The value is put into `value`, which is empty before. To the question
    /// whether a table is usable, "absent" means yes.
    ///
    /// # Errors
    /// The reason why there is no answer, not even "absent".
    fn resume(
        &self,
        search: Self::Search,
        reported: Reported<'_>,
        value: &mut Vec<u8>,
    ) -> Result<Got<Outcome, Self::Search>, Failure>;
}
