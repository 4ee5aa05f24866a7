//! `regexp:` and `pcre:` tables.
//!
//! Purpose: compile the rules, and find the first that holds for a key. May: use the processor as long as the query
//! allows. Never: take "not known" for "no match": where Postfix goes on to the next rule after a match that ran
//! into a limit, the lookup ends here with an error. Called by: `Table`.
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

/// How much work a rule is, as a [`Portion`] counts it: the caller is asked after each.
const RULE: usize = usize::MAX;

/// By how much the memory of patterns may have grown without a look at it, in bytes: as many patterns as take no more, by what
/// is foreseen, are looked at together. A look takes long where the heap is in many pieces.
const UNKNOWN: usize = 4 << 20;

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

    /// The memory that it takes, in bytes, as far as the library tells.
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

    /// The library's number for what is wrong with a pattern.
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
    /// `if`: where to go on if it does not hold.
    Block {
        end: usize,
    },
}

/// A table on its way.
pub(crate) struct Building<L: Library> {
    place: Place,
    table: Patterns<L>,
    /// The blocks that have no end yet.
    open: Vec<usize>,
    used: Compiled,
}

impl<L: Library> Building<L> {
    pub fn new() -> Self {
        let table = Patterns { steps: Vec::new(), highest_group: 0 };
        Building { place: Place::START, table, open: Vec::new(), used: Compiled::default() }
    }

    /// Goes on with `text`, which is the same each time, until the portion is used up or the table is there.
    ///
    /// # Errors
    /// There is no memory; a pattern is too complex, or all together are too large. Rules with other faults are skipped.
    pub fn step(
        mut self,
        text: &[u8],
        complaints: &mut Vec<Complaint>,
        portion: &mut Portion<'_>,
    ) -> Result<Result<Patterns<L>, Self>, TableError> {
        let Building { place, table, open, used } = &mut self;
        used.begin::<L>();
        // Where a look at the memory takes long, as many patterns as may be are compiled between two of them.
        let looks_long = used.before.is_some() && portion.is_used_up(RULE);
        let mut last = 0;
        let is_done = each_line(text, place, complaints, portion, |line, content, complaints| {
            last = line;
            take::<L>(table, open, used, (line, content), complaints)?;
            Ok(if looks_long && used.before.is_some() { 0 } else { RULE })
        })?;
        used.settle::<L>(last)?;
        if !is_done {
            return Ok(Err(self));
        }
        while let Some(place) = open.pop() {
            table.end_block(place);
            let line = table.steps.get(place).map_or(0, |step| step.line);
            complain(complaints, line, Fault::IfWithoutEndif);
        }
        Ok(Ok(self.table))
    }
}

/// Adds what a line says to a table.
fn take<L: Library>(
    table: &mut Patterns<L>,
    open: &mut Vec<usize>,
    used: &mut Compiled,
    (line, content): (u32, &[u8]),
    complaints: &mut Vec<Complaint>,
) -> Result<(), TableError> {
    let plain = content.first().is_some_and(u8::is_ascii_alphanumeric);
    let step = match keyword(content) {
        Some(Keyword::If(condition)) => block(condition, line, used, complaints)?,
        Some(Keyword::Endif(extra)) => {
            if !extra.is_empty() {
                complain(complaints, line, Fault::ExtraText);
            }
            match open.pop() {
                Some(place) => table.end_block(place),
                None => complain(complaints, line, Fault::EndifWithoutIf),
            }
            return Ok(());
        }
        None if plain => Err(Fault::UnknownRequest),
        None => rule(content, line, used, complaints)?,
    };
    match step {
        Ok(step) => {
            match &step.action {
                Action::Block { .. } => open.push(table.steps.len()),
                Action::Answer(answer) => {
                    table.highest_group = table.highest_group.max(answer.highest_group());
                }
            }
            table.steps.try_reserve(1).map_err(|_| TableError::OutOfMemory)?;
            table.steps.push(step);
        }
        Err(fault) => {
            complain(complaints, line, fault);
            if matches!(keyword(content), Some(Keyword::If(_))) {
                complain(complaints, line, Fault::Unconditional);
            }
        }
    }
    Ok(())
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

    /// How many rules there are, blocks included.
    pub fn len(&self) -> usize {
        self.steps.len()
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

/// A step, or why there is none.
type Parsed<L> = Result<Result<Step<L>, Fault>, TableError>;

/// Parses what follows `if`.
fn block<L: Library>(
    condition: &[u8],
    line: u32,
    used: &mut Compiled,
    complaints: &mut Vec<Complaint>,
) -> Parsed<L> {
    let mut notes = Notes { line, complaints };
    let (parsed, extra) = match Raw::<L>::cut(condition, &mut notes) {
        Ok(cut) => cut,
        Err(fault) => return Ok(Err(fault)),
    };
    if !trim(extra).is_empty() {
        notes.add(Fault::ExtraText);
    }
    let first = parsed.compile(false, line, used)?;
    Ok(first.map(|first| Step { line, first, second: None, action: Action::Block { end: 0 } }))
}

/// Parses a line that begins with a pattern.
fn rule<L: Library>(
    content: &[u8],
    line: u32,
    used: &mut Compiled,
    complaints: &mut Vec<Complaint>,
) -> Parsed<L> {
    let mut notes = Notes { line, complaints };
    let raw = match RawRule::<L>::cut(content, &mut notes) {
        Ok(raw) => raw,
        Err(fault) => return Ok(Err(fault)),
    };
    let needed = raw.answer.highest_group();
    let first = match raw.first.compile(needed > 0, line, used)? {
        Ok(first) => first,
        Err(fault) => return Ok(Err(fault)),
    };
    if needed > L::groups(&first.regex) {
        return Ok(Err(Fault::NoSuchGroup));
    }
    let second = match raw.second.map(|second| second.compile(false, line, used)).transpose()?.transpose() {
        Ok(second) => second,
        Err(fault) => return Ok(Err(fault)),
    };
    Ok(Ok(Step { line, first, second, action: Action::Answer(raw.answer) }))
}

/// What the patterns of a table have taken so far, in bytes of memory.
#[derive(Default)]
struct Compiled {
    known: usize,
    /// No less than what those have taken that are not in `known` yet.
    foreseen: usize,
    /// What the process had when `known` was right. Whatever else the process does between steps is not ours.
    before: Option<usize>,
}

impl Compiled {
    /// To be called before a pattern is compiled.
    fn begin<L: Library>(&mut self) {
        self.before = self.before.or_else(L::allocated);
    }

    /// A pattern has been compiled, and has taken no more than `foreseen`. It counts also if its rule is skipped after that;
    /// ones that take next to nothing only if they stay.
    fn add<L: Library>(
        &mut self,
        regex: Option<&L::Regex>,
        foreseen: usize,
        line: u32,
    ) -> Result<(), TableError> {
        self.known = self.known.saturating_add(regex.map_or(0, L::size));
        self.foreseen = self.foreseen.saturating_add(foreseen);
        if self.foreseen > UNKNOWN || self.known > MAX_COMPILED { self.settle::<L>(line) } else { Ok(()) }
    }

    /// Has a look at what is not known yet.
    fn settle<L: Library>(&mut self, line: u32) -> Result<(), TableError> {
        if let Some(before) = self.before.take() {
            let now = L::allocated().unwrap_or(before);
            self.known = self.known.saturating_add(now.saturating_sub(before));
        }
        self.foreseen = 0;
        if self.known > MAX_COMPILED { Err(TableError::PatternsTooLarge { line }) } else { Ok(()) }
    }
}

/// Complaints about one line that do not stop its rule.
struct Notes<'a> {
    line: u32,
    complaints: &'a mut Vec<Complaint>,
}

impl Notes<'_> {
    fn add(&mut self, fault: Fault) {
        complain(self.complaints, self.line, fault);
    }
}

/// A pattern that is not compiled yet.
struct Raw<'a, L: Library> {
    negated: bool,
    text: &'a [u8],
    options: L::Options,
}

impl<'a, L: Library> Raw<'a, L> {
    /// Cuts a pattern and its options off `text`; the second part of the result is what follows them.
    fn cut(text: &'a [u8], notes: &mut Notes<'_>) -> Result<(Self, &'a [u8]), Fault> {
        let pattern = pattern::cut(text)?;
        let ends = |byte: &u8| is_space(*byte) || (L::SECOND && *byte == b'!');
        let end = pattern.rest.iter().position(ends).unwrap_or(pattern.rest.len());
        let (letters, rest) = pattern.rest.split_at_checked(end).unwrap_or_default();
        let mut options = L::DEFAULT;
        for letter in letters {
            match L::change(&mut options, *letter) {
                Letter::Known => {}
                Letter::Obsolete => notes.add(Fault::ObsoleteOption),
                Letter::Unknown => return Err(Fault::UnknownOption),
            }
        }
        Ok((Raw { negated: pattern.negated, text: pattern.text, options }, rest))
    }

    fn compile(
        &self,
        with_groups: bool,
        line: u32,
        used: &mut Compiled,
    ) -> Result<Result<Test<L>, Fault>, TableError> {
        let foreseen = L::foreseen(self.text, self.options).ok_or(TableError::PatternTooComplex { line })?;
        used.begin::<L>();
        let regex = L::compile(self.text, self.options, with_groups)?;
        used.add::<L>(regex.as_ref().ok(), foreseen, line)?;
        Ok(regex.map(|regex| Test { negated: self.negated, regex }))
    }
}

/// A rule whose patterns are not compiled yet.
struct RawRule<'a, L: Library> {
    first: Raw<'a, L>,
    second: Option<Raw<'a, L>>,
    answer: Answer,
}

impl<'a, L: Library> RawRule<'a, L> {
    fn cut(content: &'a [u8], notes: &mut Notes<'_>) -> Result<Self, Fault> {
        let (first, mut rest) = Raw::cut(content, notes)?;
        let mut second = None;
        if L::SECOND && rest.first() == Some(&b'!') {
            let (pattern, after) = Raw::cut(rest, notes)?;
            second = Some(pattern);
            rest = after;
        }
        let text = trim(rest);
        if text.is_empty() {
            notes.add(Fault::EmptyAnswer);
        }
        let answer = Answer::parse(text)?;
        if first.negated && answer.highest_group() > 0 {
            return Err(Fault::GroupOfNegated);
        }
        Ok(RawRule { first, second, answer })
    }
}

/// Sorts what a library says about a pattern into complaints and errors.
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
