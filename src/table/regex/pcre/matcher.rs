//! One call of pcre2_match(), with its limits.
//!
//! Purpose: hold the memory of matches, and run a pattern from a place of the subject. May: call PCRE2.
//! Never: decide how a match is cut into calls; that is `search`.

use std::ptr::{self, NonNull};

use pcre2_sys as sys;

use super::Regex;
use crate::{Groups, MatchError};

/// How many steps of its inner function a match may take from one place of the subject: PCRE2's own default, which
/// Postfix leaves as it is.
pub const MATCH_LIMIT: u32 = 10_000_000;

/// How much memory for backtracking a match may use, in KiB: 64 MiB. PCRE2's own default is 20 million KiB.
pub const HEAP_LIMIT: u32 = 65_536;

/// Which part of a match a call is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Where in the subject the first try begins.
    pub start: usize,
    /// Where the last one may begin; `usize::MAX` (PCRE2_UNSET) for the end.
    pub last: usize,
    /// How many steps each try may take.
    pub steps: u32,
    /// Whether the subject has been found to be UTF-8, if the pattern is for UTF-8.
    pub checked: bool,
}

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Match,
    Nothing,
    /// A try would have taken more than [`Part::steps`].
    MoreSteps,
}

/// The memory that matches need, for any number of patterns one after another. It may grow to [`HEAP_LIMIT`], so
/// that one for each request is better than one for each table.
pub struct Matcher {
    limits: NonNull<sys::pcre2_match_context_8>,
    data: NonNull<sys::pcre2_match_data_8>,
    /// [`MATCH_LIMIT`], except in tests.
    pub(super) most_steps: u32,
}

impl Matcher {
    /// With room for `groups` groups beside the whole match, and the limits of this module.
    ///
    /// `None` when there is no memory.
    #[must_use]
    pub fn new(groups: usize) -> Option<Matcher> {
        Matcher::with_limits(groups, MATCH_LIMIT, HEAP_LIMIT)
    }

    pub(super) fn with_limits(groups: usize, steps: u32, heap: u32) -> Option<Matcher> {
        let pairs = u32::try_from(groups.checked_add(1)?).ok()?;
        // SAFETY: a null general context asks for malloc() and free().
        let data = NonNull::new(unsafe { sys::pcre2_match_data_create_8(pairs, ptr::null_mut()) })?;
        // SAFETY: as above.
        let limits = unsafe { sys::pcre2_match_context_create_8(ptr::null_mut()) };
        let Some(limits) = NonNull::new(limits) else {
            // SAFETY: `data` was made above and goes no further.
            unsafe { sys::pcre2_match_data_free_8(data.as_ptr()) };
            return None;
        };
        // SAFETY: `limits` is a match context.
        unsafe { sys::pcre2_set_heap_limit_8(limits.as_ptr(), heap) };
        Some(Matcher { limits, data, most_steps: steps })
    }

    /// Runs a part of the match of `regex` on `subject`.
    pub(super) fn run(&mut self, regex: &Regex, subject: &[u8], part: Part) -> Result<Found, MatchError> {
        // SAFETY: `limits` is a match context; the same for the next two.
        unsafe { sys::pcre2_set_match_limit_8(self.limits.as_ptr(), part.steps) };
        // SAFETY: as above.
        unsafe { sys::pcre2_set_depth_limit_8(self.limits.as_ptr(), part.steps) };
        // SAFETY: as above; every pattern was compiled with PCRE2_USE_OFFSET_LIMIT.
        unsafe { sys::pcre2_set_offset_limit_8(self.limits.as_ptr(), part.last) };
        let options = if part.checked { sys::PCRE2_NO_UTF_CHECK } else { 0 };
        // SAFETY: the subject is given with its length, and `start` is checked against it by PCRE2; pattern, data and
        // context are alive, and `&mut self` makes sure that nothing else uses the data. With PCRE2_NO_UTF_CHECK an
        // earlier call for the same subject has checked all of it, and `start` is not inside of a character.
        let code = unsafe {
            sys::pcre2_match_8(
                regex.code.as_ptr(),
                subject.as_ptr(),
                subject.len(),
                part.start,
                options,
                self.data.as_ptr(),
                self.limits.as_ptr(),
            )
        };
        match code {
            sys::PCRE2_ERROR_NOMATCH => Ok(Found::Nothing),
            sys::PCRE2_ERROR_MATCHLIMIT | sys::PCRE2_ERROR_DEPTHLIMIT => Ok(Found::MoreSteps),
            sys::PCRE2_ERROR_HEAPLIMIT | sys::PCRE2_ERROR_NOMEMORY => Err(MatchError::Limit),
            code if code < 0 => Err(MatchError::Refused),
            _ => Ok(Found::Match),
        }
    }

    /// The groups of the match that was just found.
    pub(super) fn groups(&self, regex: &Regex) -> Groups {
        // SAFETY: `data` is alive.
        let room = unsafe { sys::pcre2_get_ovector_count_8(self.data.as_ptr()) };
        // SAFETY: as above.
        let start = unsafe { sys::pcre2_get_ovector_pointer_8(self.data.as_ptr()) };
        let room = usize::try_from(room).unwrap_or(0);
        // SAFETY: the vector has two numbers for each of the `room` groups, all initialised: after a match PCRE2 sets
        // those up to the pattern's last group, and the slice goes no further than that.
        let numbers = unsafe {
            std::slice::from_raw_parts(start, room.min(regex.groups.saturating_add(1)).saturating_mul(2))
        };
        let (pairs, _) = numbers.as_chunks::<2>();
        // usize::MAX (PCRE2_UNSET) stands for a group that took no part.
        pairs.iter().map(|[from, to]| (*from != usize::MAX).then_some((*from, *to))).collect()
    }
}

impl Drop for Matcher {
    fn drop(&mut self) {
        // SAFETY: made by pcre2_match_data_create_8(), and freed here only.
        unsafe { sys::pcre2_match_data_free_8(self.data.as_ptr()) };
        // SAFETY: made by pcre2_match_context_create_8(), and freed here only.
        unsafe { sys::pcre2_match_context_free_8(self.limits.as_ptr()) };
    }
}
