//! What a lookup is asked for, beside the key.
//!
//! Purpose: plain data. May: nothing else. Never: I/O; the clock is the caller's. Called by: the worker (fills it in).

use std::fmt;
use std::time::Duration;

use mapkeep_proto::Class;

use crate::probe::NulModes;

/// A request for the answer to one key.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The key, without NUL bytes.
    pub key: &'a [u8],
    /// Which forms of the key to try in tables that may store a NUL byte with it.
    pub modes: NulModes,
    /// Whether rules that put a part of the key into the answer count.
    pub substitution: Substitution,
    /// For the members of a composite table, each of which folds the key that it is asked for; the key of the whole
    /// is the caller's to fold.
    pub folding: Folding,
    /// For the members of a composite table: whether their keys and answers must be UTF-8 (the UTF8_REQUEST flag with
    /// smtputf8_enable).
    pub utf8: bool,
    /// Any number, another one for each request, for `randmap:`. It need not be secret.
    pub random: u64,
    /// How much time is left for the request; zero when it is over. Asked before each rule, within matches that take
    /// long, and before each member of a composite table; it should be cheap, and take no locks.
    pub time_left: &'a dyn Fn() -> Duration,
}

/// Whether `$1` and the like are allowed in answers: the NO_REGSUB flag. Where they are refused, a rule that has
/// one does not count, as in Postfix, so that a client cannot put text of its choice into, say, a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Substitution {
    /// Rules that substitute count.
    #[default]
    Allowed,
    /// They are passed over.
    Refused,
}

/// Which members of a composite table fold their key: the FOLD_FIX and FOLD_MUL flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Folding {
    /// Those with exact keys.
    pub fixed: bool,
    /// Those with patterns.
    pub pattern: bool,
}

impl Folding {
    /// Whether a member of this class folds.
    #[must_use]
    pub fn applies(self, class: Class) -> bool {
        match class {
            Class::Fixed => self.fixed,
            Class::Pattern => self.pattern,
        }
    }
}

impl<'a> Query<'a> {
    /// A query for `key` in all forms, with substitution, without folding, without an end of the time.
    #[must_use]
    pub fn new(key: &'a [u8]) -> Self {
        Query {
            key,
            modes: NulModes::BOTH,
            substitution: Substitution::Allowed,
            folding: Folding::default(),
            utf8: false,
            random: 0,
            time_left: &|| Duration::MAX,
        }
    }
}

/// Shows neither the key nor anything else of the client.
impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("modes", &self.modes).finish_non_exhaustive()
    }
}
