//! Tables that are lists of rules: `cidr:`, `regexp:` and `pcre:`, from a file or from braces in the name.
//!
//! Purpose: what the three have in common: lines, keywords, blocks, the bounds of a lookup. May: borrow, complain.
//! Never: quote a rule.
//!
//! The syntax is that of regexp_table(5), pcre_table(5) and cidr_table(5); where these say nothing, that of
//! Postfix 3.7 as observed. A faulty rule is skipped and the others stay, as in Postfix.

pub(crate) mod answer;
pub(crate) mod cidr;
mod complexity;
pub(crate) mod pattern;
pub(crate) mod patterns;
pub(crate) mod pcre;
pub(crate) mod regexp;

use crate::MAX_WORK;
use mapkeep_query::{Place, Query, TableError};
use mapkeep_table_format::text::lines::{self, Found, Lines};
use mapkeep_table_format::text::trim;
use mapkeep_table_format::{Complaint, Fault, Portion, complain};
use mapkeep_table_regex::Time;

/// Calls `take` with the number and the text of each usable logical line from `place` on, until the portion is used up;
/// the text neither begins nor ends with white space. `take` returns how much work it was. True at the end of the text.
pub(crate) fn each_line(
    text: &[u8],
    place: &mut lines::Place,
    complaints: &mut Vec<Complaint>,
    portion: &mut Portion<'_>,
    mut take: impl FnMut(u32, &[u8], &mut Vec<Complaint>) -> Result<usize, TableError>,
) -> Result<bool, TableError> {
    let mut lines = Lines::resume(text, *place);
    loop {
        let logical = match lines.find(portion) {
            Found::Line(logical) => logical,
            Found::Later => break,
            Found::End => return Ok(true),
        };
        if logical.is_orphan() {
            complain(complaints, logical.line, Fault::NothingToContinue);
            continue;
        }
        if logical.is_too_long() {
            complain(complaints, logical.line, Fault::LineTooLong);
            continue;
        }
        if logical.has_nul() {
            complain(complaints, logical.line, Fault::EmbeddedNul);
        }
        let content = logical.content();
        let content = trim(&content);
        let work = match content {
            [] => 0,
            content => take(logical.line, content, complaints)?,
        };
        if portion.is_used_up(work) {
            break;
        }
    }
    *place = lines.place();
    Ok(false)
}

/// What a line is, by its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword<'a> {
    /// `if`, and what follows it, without white space at its ends.
    If(&'a [u8]),
    /// `endif`, and what follows it.
    Endif(&'a [u8]),
}

/// The keyword with which `line` begins, in any case. Another letter or digit after it makes it another word.
pub(crate) fn keyword(line: &[u8]) -> Option<Keyword<'_>> {
    let after = |word: &[u8]| {
        let (head, rest) = line.split_at_checked(word.len())?;
        let ends = rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric());
        (head.eq_ignore_ascii_case(word) && ends).then(|| trim(rest))
    };
    after(b"if").map(Keyword::If).or_else(|| after(b"endif").map(Keyword::Endif))
}

/// Counts what a lookup has used.
pub(crate) struct Effort<'a> {
    query: &'a Query<'a>,
    work: u64,
}

impl<'a> Effort<'a> {
    pub fn new(query: &'a Query<'a>) -> Self {
        Effort { query, work: query.pause.map_or(0, |pause| pause.place.get().work) }
    }

    /// The rule with which a lookup begins or continues.
    pub fn first_rule(&self) -> usize {
        self.query.pause.map_or(0, |pause| pause.place.get().rule)
    }

    /// Interrupts the lookup before `rule`, which would read `bytes` and has `time`, if the query says so.
    pub fn pause(&self, rule: usize, bytes: usize, time: Time<'_>) -> Result<(), TableError> {
        let Some(pause) = self.query.pause.filter(|pause| time.now < pause.below) else { return Ok(()) };
        let work = self.work.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
        pause.place.set(Place { rule, work });
        Err(TableError::Paused)
    }

    /// Must be called before the rule of `line` is tried on a subject of `bytes` bytes. Returns how much time it may
    /// take.
    pub fn spend(&mut self, bytes: usize, line: u32) -> Result<Time<'a>, TableError> {
        self.work = self.work.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.work > MAX_WORK {
            return Err(TableError::TooMuchWork { line });
        }
        let now = (self.query.time_left)();
        if now.is_zero() {
            return Err(TableError::OutOfTime { line });
        }
        Ok(Time { now, left: self.query.time_left })
    }
}

/// For tests that look at the memory of this process: one at a time.
#[cfg(test)]
pub(crate) static MEMORY: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyword_any_case_whole_words_only() {
        assert_eq!(keyword(b"IF !/a/ "), Some(Keyword::If(b"!/a/")));
        assert_eq!(keyword(b"if"), Some(Keyword::If(b"")));
        assert_eq!(keyword(b"if::1"), Some(Keyword::If(b"::1")));
        assert_eq!(keyword(b"EndIf# x"), Some(Keyword::Endif(b"# x")));
        for other in [&b"iff /a/"[..], b"endif1", b"i", b"/if/", b"if\xc3"] {
            let expected = (other == b"if\xc3").then_some(Keyword::If(b"\xc3"));
            assert_eq!(keyword(other), expected, "{other:?}");
        }
    }
}
