//! Rules on their way from the text of a table to compiled ones, in steps.
//!
//! May: compile, within the memory that a table may have. Never: keep a table that is only in part there.

use super::*;

/// How much work a rule is, as a [`Portion`] counts it: the caller is asked after each.
const RULE: usize = usize::MAX;

/// By how much the memory of patterns may have grown without a look at it, in bytes: as many patterns as take no more, by what
/// is foreseen, are looked at together. A look takes long where the heap is in many pieces.
const UNKNOWN: usize = 4 << 20;

/// A table that is being built.
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

/// Adds a line to a table.
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
    /// Must be called before a pattern is compiled.
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

    /// Checks the memory use that is not known yet.
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
