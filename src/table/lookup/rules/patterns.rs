//! `regexp:` and `pcre:` tables.
//!
//! Purpose: compile the rules, and find the first that holds for a key. May: use the processor as long as the query
//! allows. Never: take "not known" for "no match": where Postfix goes on to the next rule after a match that ran
//! into a limit, the lookup ends here with an error.
//!
//! The clock is read before each rule, and within matches that take long: those of PCRE2 are run in parts, and what
//! regexec() of the C library would take is measured on pieces of the key. With back-references in a `regexp:` pattern
//! regexec() may take exponential time all the same; then the broker, which misses the worker's heartbeat, kills the
//! worker.

use std::ffi::CString;

use mapkeep_table_regex::{CompileError, Groups, MatchError, Time};

use super::answer::Answer;
use super::{Effort, Keyword, each_line, keyword, pattern};
use crate::MAX_COMPILED;
use mapkeep_query::TableError;
use mapkeep_query::{Query, Substitution};
use mapkeep_table_format::text::lines::Place;
use mapkeep_table_format::text::{is_space, trim};
use mapkeep_table_format::{Complaint, Fault, Portion, complain};

mod building;

pub(crate) use building::Building;

/// The library of a kind of table, and what its rules look like.
pub(crate) trait Library {
    /// The options of a pattern.
    type Options: Copy;
    type Regex;
    /// What one lookup needs.
    type Matcher;

    /// The options before any letter.
    const DEFAULT: Self::Options;
    /// Whether a rule may have a second pattern (`/this/!/not this/`).
    const SECOND: bool;

    /// Changes what `letter` stands for.
    fn change(options: &mut Self::Options, letter: u8) -> Letter;

    /// No less than what the pattern may take and [`Library::size`] does not tell, in bytes; nothing if it is too complex.
    fn foreseen(pattern: &[u8], options: Self::Options) -> Option<usize>;

    /// A complaint is for this pattern, an error for the table.
    fn compile(
        pattern: &[u8],
        options: Self::Options,
        with_groups: bool,
    ) -> Result<Result<Self::Regex, Fault>, TableError>;

    fn groups(regex: &Self::Regex) -> usize;

    /// The memory that it takes, in bytes, as far as the library reports it.
    fn size(regex: &Self::Regex) -> usize;

    /// The memory that the process has, in bytes, where the library does not tell what a pattern takes.
    fn allocated() -> Option<usize>;

    /// `groups`: as many as any answer of the table needs.
    fn matcher(groups: usize) -> Result<Self::Matcher, TableError>;

    fn exec(
        matcher: &mut Self::Matcher,
        regex: &Self::Regex,
        subject: &CString,
        with_groups: bool,
        time: Time<'_>,
    ) -> Result<Option<Groups>, MatchError>;

    /// The library's error number for a pattern.
    fn fault(code: i32, offset: usize) -> Fault;
}

/// What a letter after a pattern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Letter {
    Known,
    Obsolete,
    Unknown,
}

/// A compiled table.
pub(crate) struct Patterns<L: Library> {
    steps: Vec<Step<L>>,
    highest_group: usize,
}

struct Step<L: Library> {
    line: u32,
    first: Test<L>,
    second: Option<Test<L>>,
    action: Action,
}

struct Test<L: Library> {
    negated: bool,
    regex: L::Regex,
}

enum Action {
    Answer(Answer),
    /// `if`: where to continue if it does not match.
    Block {
        end: usize,
    },
}

impl<L: Library> Patterns<L> {
    /// Compiles the rules of `text`, one a step.
    #[cfg(test)]
    fn build(text: &[u8], complaints: &mut Vec<Complaint>) -> Result<Self, TableError> {
        let mut building = Building::new();
        loop {
            match building.step(text, complaints, &mut Portion::until(&|| true))? {
                Ok(table) => return Ok(table),
                Err(later) => building = later,
            }
        }
    }

    fn end_block(&mut self, place: usize) {
        let next = self.steps.len();
        if let Some(Step { action: Action::Block { end }, .. }) = self.steps.get_mut(place) {
            *end = next;
        }
    }

    /// Fills `answer` and returns true if a rule holds for the key.
    pub fn find(&self, query: &Query<'_>, answer: &mut Vec<u8>) -> Result<bool, TableError> {
        let subject = CString::new(query.key).map_err(|_| TableError::NulInKey)?;
        let mut matcher = L::matcher(self.highest_group)?;
        let mut effort = Effort::new(query);
        let mut place = effort.first_rule();
        while let Some(step) = self.steps.get(place) {
            let this = place;
            place = place.saturating_add(1);
            if step.is_refused(query.substitution) {
                continue;
            }
            let time = effort.spend(query.key.len(), step.line)?;
            effort.pause(this, query.key.len(), time)?;
            let held = step.holds(&mut matcher, &subject, time).map_err(|error| match error {
                MatchError::OutOfTime => TableError::OutOfTime { line: step.line },
                MatchError::Limit | MatchError::Refused => TableError::Limit { line: step.line },
            })?;
            match (&step.action, held) {
                (Action::Answer(text), Some(groups)) => {
                    return text.put(query.key, &groups, answer).map(|()| true);
                }
                (Action::Block { end }, None) => place = *end,
                _ => {}
            }
        }
        Ok(false)
    }
}

impl<L: Library> Step<L> {
    /// Whether the rule does not count, since it would give out a part of the key.
    fn is_refused(&self, substitution: Substitution) -> bool {
        substitution == Substitution::Refused && self.needs_groups()
    }

    fn needs_groups(&self) -> bool {
        matches!(&self.action, Action::Answer(answer) if answer.highest_group() > 0)
    }

    /// The groups of the first pattern if the rule holds; they may be empty.
    fn holds(
        &self,
        matcher: &mut L::Matcher,
        subject: &CString,
        time: Time<'_>,
    ) -> Result<Option<Groups>, MatchError> {
        let first = self.first.holds(matcher, subject, self.needs_groups(), time)?;
        let Some(groups) = first else { return Ok(None) };
        let Some(second) = &self.second else { return Ok(Some(groups)) };
        match second.holds(matcher, subject, false, Time { now: (time.left)(), ..time })? {
            None => Ok(None),
            _ => Ok(Some(groups)),
        }
    }
}

impl<L: Library> Test<L> {
    fn holds(
        &self,
        matcher: &mut L::Matcher,
        subject: &CString,
        with_groups: bool,
        time: Time<'_>,
    ) -> Result<Option<Groups>, MatchError> {
        let found = L::exec(matcher, &self.regex, subject, with_groups, time)?;
        match (found, self.negated) {
            (Some(groups), false) => Ok(Some(groups)),
            (None, true) => Ok(Some(Groups::new())),
            _ => Ok(None),
        }
    }
}

/// Divides a library's messages about a pattern into complaints and errors.
pub(crate) fn sort<L: Library>(
    compiled: Result<L::Regex, CompileError>,
) -> Result<Result<L::Regex, Fault>, TableError> {
    match compiled {
        Ok(regex) => Ok(Ok(regex)),
        Err(CompileError::Pattern { code, offset }) => Ok(Err(L::fault(code, offset))),
        Err(CompileError::OutOfMemory) => Err(TableError::OutOfMemory),
    }
}

#[cfg(test)]
mod tests;
