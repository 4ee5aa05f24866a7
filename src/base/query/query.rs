//! What a lookup is asked for, beside the key.
//!
//! Purpose: plain data. May: nothing else. Never: I/O; the clock is the caller's.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use mapkeep_name::Class;

use crate::NulModes;

/// A query for one key. No field has a default: the caller must decide each.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The key, without NUL bytes. Already folded for a table with its own entries; a composite table gets it as the
    /// client wrote it, and folds it for each member.
    pub key: &'a [u8],
    /// Which forms of the key to try in tables that may store a NUL byte with it.
    pub modes: NulModes,
    /// Whether rules that put a part of the key into the answer are used.
    pub substitution: Substitution,
    /// For the members of a composite table, each of which folds its own key.
    pub folding: Folding,
    /// For composite tables: whether keys and answers must be UTF-8, also those of members, and are folded as such (the
    /// UTF8_REQUEST flag with smtputf8_enable).
    pub utf8: bool,
    /// What the client treats the answer as.
    pub values: Values,
    /// A number, different for each request, for `randmap:`. It need not be secret.
    pub random: u64,
    /// How much time is left for the request; zero when it is over. Asked before each rule, within matches that take
    /// long, and before each member of a composite table; it should be cheap, and take no locks.
    pub time_left: &'a dyn Fn() -> Duration,
    /// For `regexp:` and `pcre:` tables: where a lookup may be interrupted. Others, and members of composite tables, are
    /// asked in one go.
    pub pause: Option<&'a Pause<'a>>,
}

impl<'a> Query<'a> {
    /// What postmap(1) asks: all forms of the key, nothing folded, rules may substitute, the answer is text, and there is
    /// neither an end of the time nor an interruption.
    #[must_use]
    pub const fn plain(key: &'a [u8]) -> Query<'a> {
        Query {
            key,
            modes: NulModes::BOTH,
            substitution: Substitution::Allowed,
            folding: Folding::NONE,
            utf8: false,
            values: Values::Text,
            random: 0,
            time_left: &|| Duration::MAX,
            pause: None,
        }
    }
}

/// A lookup that is interrupted between two rules when it has used some time ([`crate::TableError::Paused`]), and
/// continued later with the same query and the same table.
#[derive(Debug)]
pub struct Pause<'a> {
    /// It is interrupted before a rule that would begin with less time left than this.
    pub below: Duration,
    /// Where it begins; and, after an interruption, where it continues.
    pub place: &'a Cell<Place>,
}

/// How far a lookup in a table of rules has come. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The rule that is tried next.
    pub rule: usize,
    /// The bytes read so far, counted against the bound on the work of a lookup.
    pub work: u64,
}

/// Whether `$1` and the like are allowed in answers: the NO_REGSUB flag. Where they are refused, a rule that has one is
/// skipped, as in Postfix, so that a client cannot put text of its choice into, say, a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Substitution {
    /// Rules that substitute are used.
    Allowed,
    /// They are skipped.
    Refused,
}

/// Which tables fold their key: the FOLD_FIX and FOLD_MUL flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folding {
    /// Those with exact keys.
    pub fixed: bool,
    /// Those with patterns.
    pub pattern: bool,
}

impl Folding {
    /// No table folds.
    pub const NONE: Folding = Folding { fixed: false, pattern: false };

    /// Whether a table of this class folds.
    #[must_use]
    pub fn applies(self, class: Class) -> bool {
        match class {
            Class::Fixed => self.fixed,
            Class::Pattern => self.pattern,
        }
    }
}

/// What the client treats an answer as: the SRC_RHS_IS_FILE flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Text, as it stands in the table.
    Text,
    /// The content of files, in base64. Indexed files made by `postmap -F` hold it; the source text of a table has the
    /// names of the files, which are no answer ([`crate::TableError::ValueNamesFiles`]).
    FileContent,
}

/// Shows neither the key nor anything else of the client.
impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("modes", &self.modes).finish_non_exhaustive()
    }
}
