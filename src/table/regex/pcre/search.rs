//! A match in parts, between which the clock is read.
//!
//! Purpose: a match that ends when its time is over. May: call [`Matcher::run`]. Never: unsafe code; give an answer
//! that one call for the whole subject would not give.
//!
//! PCRE2 tries a pattern at each place of the subject, one after another, and cannot be interrupted. Its limit of steps
//! counts again at each place, and a step may read the rest of the subject. So a match on a long subject can take minutes
//! below every limit: `[0-9]+@` reads a row of digits to its end from each of them. Here a call is for some places only
//! (PCRE2's offset limit), with so few steps for each that it ends soon; the next one goes on, with more places or more
//! steps, for as long as there is time. A key as they come takes one call, or a few.

use std::time::Duration;

use super::Regex;
use super::matcher::{Found, Matcher, Part};
use crate::{Groups, MatchError, Time};

/// Places that the first call tries.
const FIRST_PLACES: usize = 64;

/// Steps of all tries of one call together: about 30 ms.
const STEPS_A_CALL: u32 = 1 << 20;

/// Bytes that all tries of one call may read together if each reads the rest of the subject: 150 ms at worst.
const BYTES_A_CALL: usize = 1 << 25;

/// A call that took less may be followed by one that tries twice as many places.
const SHORT: Duration = Duration::from_millis(1);

/// By how much a try that took too many steps is allowed more; and by how much fewer places are tried then.
const GROWTH: u32 = 8;

/// Where in a subject a pattern can match.
#[derive(Clone, Debug)]
pub(super) struct Starts {
    pub first: First,
    /// Into which parts a subject can be cut.
    pub extent: Extent,
    /// Whether the pattern is for UTF-8, so that places are at characters.
    pub utf: bool,
}

/// What is known about the offsets at which a match can begin.
#[derive(Clone, Debug)]
pub(super) enum First {
    Any,
    /// At the beginning and after a newline.
    Line,
    /// At bytes whose bit is set.
    Bytes(Box<[u8; 32]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Any number of places.
    Parts,
    /// There is one place.
    Beginning,
    /// The result at an offset depends on earlier offsets.
    OnePiece,
}

impl First {
    /// A match begins with this byte, in whatever case.
    pub fn byte(unit: u32) -> First {
        let Ok(byte) = u8::try_from(unit) else { return First::Any };
        let mut bits = Box::new([0_u8; 32]);
        for byte in [byte.to_ascii_lowercase(), byte.to_ascii_uppercase()] {
            if let Some(eight) = bits.get_mut(usize::from(byte >> 3)) {
                *eight |= 1 << (byte & 7);
            }
        }
        First::Bytes(bits)
    }
}

impl Starts {
    /// A match can begin anywhere.
    pub fn anywhere() -> Starts {
        Starts { first: First::Any, extent: Extent::Parts, utf: false }
    }

    /// A match can begin at the first byte only.
    pub fn at_the_beginning() -> Starts {
        Starts { extent: Extent::Beginning, ..Starts::anywhere() }
    }

    /// The subject cannot be cut into parts.
    pub fn in_one_piece() -> Starts {
        Starts { extent: Extent::OnePiece, ..Starts::anywhere() }
    }

    /// The first place from `place` on at which a match can begin.
    fn next(&self, subject: &[u8], place: usize) -> Option<usize> {
        let rest = subject.get(place..)?;
        match &self.first {
            First::Any if self.utf => {
                // The end is one, too.
                let whole = |byte: &u8| byte & 0xc0 != 0x80;
                place.checked_add(rest.iter().position(whole).unwrap_or(rest.len()))
            }
            First::Any => Some(place),
            First::Line => {
                let before = place.checked_sub(1)?;
                let rest = subject.get(before..)?;
                place.checked_add(rest.iter().position(|byte| *byte == b'\n')?)
            }
            First::Bytes(bits) => {
                let is_set = |byte: &u8| {
                    bits.get(usize::from(byte >> 3)).is_some_and(|eight| eight & (1 << (byte & 7)) != 0)
                };
                place.checked_add(rest.iter().position(is_set)?)
            }
        }
    }
}

/// Whether what a pattern matches may depend on where a search begins (`\G`), or may move it on (verbs such as
/// `(*SKIP)` and `(*COMMIT)`). What only looks like one of them counts, too.
pub(super) fn is_indivisible(pattern: &[u8]) -> bool {
    let mut rest = pattern;
    while let Some(after) = rest.strip_prefix(b"(*UTF)").or_else(|| rest.strip_prefix(b"(*UCP)")) {
        rest = after;
    }
    rest.windows(2).any(|pair| pair == b"(*" || pair == br"\G")
}

impl Matcher {
    /// Runs `regex` on `subject`: `None` if it does not match. Groups are returned if `with_groups`, as far as there is
    /// room for them. The clock is read only if the match takes more than one call.
    ///
    /// # Errors
    /// A limit was reached, the time is over, or PCRE2 cannot take the subject.
    pub fn exec(
        &mut self,
        regex: &Regex,
        subject: &[u8],
        with_groups: bool,
        time: Time<'_>,
    ) -> Result<Option<Groups>, MatchError> {
        match self.search(regex, subject, time)? {
            false => Ok(None),
            true if with_groups => Ok(Some(self.groups(regex))),
            true => Ok(Some(Groups::new())),
        }
    }

    fn search(&mut self, regex: &Regex, subject: &[u8], time: Time<'_>) -> Result<bool, MatchError> {
        let Starts { extent, .. } = regex.starts;
        let length = subject.len().saturating_add(1);
        let most_places = BYTES_A_CALL.checked_div(length).unwrap_or(1).clamp(1, length);
        let mut places = match extent {
            Extent::Parts => FIRST_PLACES.min(most_places),
            Extent::Beginning => 1,
            Extent::OnePiece => length,
        };
        let mut part = Part { start: 0, last: 0, steps: 0, checked: false };
        part.steps = self.steps_each(places);
        let mut before = time.now;
        loop {
            let last = part.start.saturating_add(places).saturating_sub(1);
            part.last = if extent == Extent::Parts && last < subject.len() { last } else { usize::MAX };
            let found = self.run(regex, subject, part)?;
            part.checked = true;
            let next = match found {
                Found::Match => return Ok(true),
                Found::MoreSteps => None,
                Found::Nothing if part.last == usize::MAX || extent == Extent::Beginning => return Ok(false),
                Found::Nothing => match regex.starts.next(subject, part.last.saturating_add(1)) {
                    None => return Ok(false),
                    next => next,
                },
            };
            let now = (time.left)();
            if now.is_zero() {
                return Err(MatchError::OutOfTime);
            }
            let spent = before.saturating_sub(now);
            before = now;
            match next {
                Some(place) => {
                    part.start = place;
                    if spent < SHORT {
                        places = places.saturating_mul(2).min(most_places);
                    }
                    part.steps = self.steps_each(places);
                }
                None => {
                    part.steps = self.more_steps(part.steps, spent, now)?;
                    if extent == Extent::Parts {
                        places = places.div_euclid(8).max(1);
                    }
                }
            }
        }
    }

    /// Steps for each try of a call that tries this number of places.
    fn steps_each(&self, places: usize) -> u32 {
        let places = u32::try_from(places).unwrap_or(u32::MAX).max(1);
        STEPS_A_CALL.checked_div(places).unwrap_or(1).clamp(1, self.most_steps)
    }

    /// A larger number of steps than `steps`, which took the time `spent` and were not enough: as many as fit in the
    /// time left.
    fn more_steps(&self, steps: u32, spent: Duration, left: Duration) -> Result<u32, MatchError> {
        if steps >= self.most_steps {
            return Err(MatchError::Limit);
        }
        // With half as many again or less, it would hardly come further.
        let fit = left
            .as_nanos()
            .checked_div(spent.as_nanos())
            .map_or(GROWTH, |fit| u32::try_from(fit).unwrap_or(GROWTH).min(GROWTH));
        match fit {
            0 | 1 => Err(MatchError::OutOfTime),
            fit => Ok(steps.saturating_mul(fit).min(self.most_steps)),
        }
    }
}

#[cfg(test)]
mod tests;
