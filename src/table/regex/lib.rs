//! Compiles and runs the regular expressions of `regexp:` and `pcre:` tables.
//!
//! Purpose: a safe interface to the two C libraries whose results Postfix gives out: the C library's regcomp() and
//! regexec(), and PCRE2. No Rust crate has the same leftmost-longest groups, or the same syntax. May: allocate, and use
//! the processor for as long as the caller says that there is time. Never: I/O, the clock, a rule's syntax, a decision.
//!
//! Nothing here is shared between threads: neither type is `Send` or `Sync`.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod pcre;
pub mod posix;

use std::fmt;
use std::time::Duration;

/// How much time a match may take, by the caller's clock.
#[derive(Clone, Copy)]
pub struct Time<'a> {
    /// The time left when the match begins.
    pub now: Duration,
    /// Returns the time left. It is called only if the match takes more than one step of work.
    pub left: &'a dyn Fn() -> Duration,
}

impl Time<'_> {
    /// It may take as long as it takes.
    #[cfg(test)]
    pub(crate) const ENDLESS: Time<'static> = Time { now: Duration::MAX, left: &|| Duration::MAX };
}

impl fmt::Debug for Time<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Time").field("now", &self.now).finish_non_exhaustive()
    }
}

/// The groups of a match: start and end as offsets into the subject, `None` for a group that took no part.
/// The first is the whole match. Empty when no groups were asked for.
pub type Groups = Vec<Option<(usize, usize)>>;

/// Why a pattern was not compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// The pattern is wrong; the number is the library's, for `error_text` of the module.
    Pattern {
        /// The library's error number.
        code: i32,
        /// Where in the pattern, in bytes; 0 where the library does not say.
        offset: usize,
    },
    /// There is no memory. Nothing is wrong with the pattern.
    OutOfMemory,
}

/// Why a pattern was not matched: the answer is not known, which is something else than "no match".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchError {
    /// The match takes more steps or memory than allowed.
    Limit,
    /// The match takes more time than is left.
    OutOfTime,
    /// The library refused for another reason, such as a subject that is not UTF-8 with a pattern that requires it.
    Refused,
}
