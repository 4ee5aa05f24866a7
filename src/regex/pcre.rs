//! PCRE2, for `pcre:` tables.
//!
//! Purpose: compile a pattern, run it on a subject with limits. May: call the 8-bit functions of PCRE2.
//! Never: translate to machine code (JIT), so that no memory is both writable and executable; take a subject for
//! UTF-8, unless the pattern itself says `(*UTF)`. Called by: the table room.

use std::ptr::{self, NonNull};

use pcre2_sys as sys;

use crate::{CompileError, Groups, MatchError};

/// How many steps of its inner function a match may take: PCRE2's own default, which Postfix leaves as it is.
pub const MATCH_LIMIT: u32 = 10_000_000;

/// How much memory for backtracking a match may use, in KiB: 64 MiB. PCRE2's own default is 20 million KiB.
pub const HEAP_LIMIT: u32 = 65_536;

/// The number that PCRE2 gives when it cannot allocate while it compiles (PCRE2_ERROR_HEAP_FAILED).
const HEAP_FAILED: i32 = 121;

/// The options that the letters of a pcre_table(5) rule stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Upper and lower case are the same (PCRE2_CASELESS).
    pub ignore_case: bool,
    /// `^` and `$` match beside each newline (PCRE2_MULTILINE).
    pub multi_line: bool,
    /// `.` matches a newline, too (PCRE2_DOTALL).
    pub dot_all: bool,
    /// White space and comments in the pattern do not count (PCRE2_EXTENDED).
    pub extended: bool,
    /// The match begins at the start of the subject (PCRE2_ANCHORED).
    pub anchored: bool,
    /// `$` matches at the very end only (PCRE2_DOLLAR_ENDONLY).
    pub dollar_end_only: bool,
    /// Quantifiers are not greedy (PCRE2_UNGREEDY).
    pub ungreedy: bool,
}

/// A compiled pattern.
pub struct Regex {
    code: NonNull<sys::pcre2_code_8>,
    groups: usize,
}

impl Regex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// The pattern has a NUL byte or is not well formed; there is no memory.
    pub fn compile(pattern: &[u8], flags: Flags) -> Result<Regex, CompileError> {
        if let Some(offset) = pattern.iter().position(|byte| *byte == 0) {
            return Err(CompileError::Pattern { code: sys::PCRE2_ERROR_BADDATA, offset });
        }
        let bits = [
            (flags.ignore_case, sys::PCRE2_CASELESS),
            (flags.multi_line, sys::PCRE2_MULTILINE),
            (flags.dot_all, sys::PCRE2_DOTALL),
            (flags.extended, sys::PCRE2_EXTENDED),
            (flags.anchored, sys::PCRE2_ANCHORED),
            (flags.dollar_end_only, sys::PCRE2_DOLLAR_ENDONLY),
            (flags.ungreedy, sys::PCRE2_UNGREEDY),
        ];
        let options = bits.into_iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
        let (mut error, mut offset) = (0, 0);
        // SAFETY: the pattern is given with its length, the two numbers outlive the call, and a null context asks
        // for the defaults.
        let code = unsafe {
            sys::pcre2_compile_8(
                pattern.as_ptr(),
                pattern.len(),
                options,
                &raw mut error,
                &raw mut offset,
                ptr::null_mut(),
            )
        };
        let Some(code) = NonNull::new(code) else {
            return Err(match error {
                HEAP_FAILED => CompileError::OutOfMemory,
                code => CompileError::Pattern { code, offset },
            });
        };
        let mut regex = Regex { code, groups: 0 };
        let mut groups = 0_u32;
        // SAFETY: `code` is a compiled pattern, and PCRE2_INFO_CAPTURECOUNT writes one uint32_t.
        unsafe {
            sys::pcre2_pattern_info_8(
                regex.code.as_ptr(),
                sys::PCRE2_INFO_CAPTURECOUNT,
                (&raw mut groups).cast(),
            )
        };
        regex.groups = usize::try_from(groups).map_err(|_| CompileError::OutOfMemory)?;
        Ok(regex)
    }

    /// How many groups the pattern has, not counting the whole match.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: `code` comes from pcre2_compile_8(), and this is the only call that frees it.
        unsafe { sys::pcre2_code_free_8(self.code.as_ptr()) };
    }
}

/// The memory that matches need, for any number of patterns one after another. It may grow to [`HEAP_LIMIT`], so
/// that one for each request is better than one for each table.
pub struct Matcher {
    limits: NonNull<sys::pcre2_match_context_8>,
    data: NonNull<sys::pcre2_match_data_8>,
}

impl Matcher {
    /// With room for `groups` groups beside the whole match, and the limits of this module.
    ///
    /// `None` when there is no memory.
    #[must_use]
    pub fn new(groups: usize) -> Option<Matcher> {
        Matcher::with_limits(groups, MATCH_LIMIT, HEAP_LIMIT)
    }

    fn with_limits(groups: usize, steps: u32, heap: u32) -> Option<Matcher> {
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
        // SAFETY: `limits` is a match context; the same for the next two.
        unsafe { sys::pcre2_set_match_limit_8(limits.as_ptr(), steps) };
        // SAFETY: as above.
        unsafe { sys::pcre2_set_depth_limit_8(limits.as_ptr(), steps) };
        // SAFETY: as above.
        unsafe { sys::pcre2_set_heap_limit_8(limits.as_ptr(), heap) };
        Some(Matcher { limits, data })
    }

    /// Runs `regex` on `subject`: `None` if it does not match. Groups are told if `with_groups`, as far as there is
    /// room for them.
    ///
    /// # Errors
    /// A limit was reached, or PCRE2 cannot take the subject.
    pub fn exec(
        &mut self,
        regex: &Regex,
        subject: &[u8],
        with_groups: bool,
    ) -> Result<Option<Groups>, MatchError> {
        // SAFETY: the subject is given with its length; pattern, data and context are alive, and `&mut self` makes
        // sure that nothing else uses the data.
        let code = unsafe {
            sys::pcre2_match_8(
                regex.code.as_ptr(),
                subject.as_ptr(),
                subject.len(),
                0,
                0,
                self.data.as_ptr(),
                self.limits.as_ptr(),
            )
        };
        match code {
            sys::PCRE2_ERROR_NOMATCH => Ok(None),
            sys::PCRE2_ERROR_MATCHLIMIT
            | sys::PCRE2_ERROR_DEPTHLIMIT
            | sys::PCRE2_ERROR_HEAPLIMIT
            | sys::PCRE2_ERROR_NOMEMORY => Err(MatchError::Limit),
            code if code < 0 => Err(MatchError::Refused),
            _ if with_groups => Ok(Some(self.groups(regex))),
            _ => Ok(Some(Groups::new())),
        }
    }

    /// The groups of the match that was just found.
    fn groups(&self, regex: &Regex) -> Groups {
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

/// The meaning of the number in a [`CompileError::Pattern`], in PCRE2's words.
#[must_use]
pub fn error_text(code: i32) -> String {
    let mut text = [0_u8; 256];
    // SAFETY: the buffer is given with its length, and PCRE2 ends what it writes with NUL.
    unsafe { sys::pcre2_get_error_message_8(code, text.as_mut_ptr(), text.len()) };
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTFIX: Flags = Flags {
        ignore_case: true,
        multi_line: false,
        dot_all: true,
        extended: false,
        anchored: false,
        dollar_end_only: false,
        ungreedy: false,
    };

    fn exec(pattern: &str, flags: Flags, subject: &[u8]) -> Result<Option<Groups>, MatchError> {
        let regex = Regex::compile(pattern.as_bytes(), flags).unwrap();
        Matcher::new(regex.groups()).unwrap().exec(&regex, subject, true)
    }

    #[test]
    fn exec_groups_told_unset_ones_none() {
        let groups = exec("x(a)?(B)(c)?", POSTFIX, b"..xb").unwrap();
        assert_eq!(groups, Some(vec![Some((2, 4)), None, Some((3, 4)), None]));
        assert_eq!(exec("^b", POSTFIX, b"ab"), Ok(None));
        // Less room than groups: those that fit are told.
        let regex = Regex::compile(b"(a)(b)", POSTFIX).unwrap();
        let mut matcher = Matcher::new(1).unwrap();
        assert_eq!(matcher.exec(&regex, b"ab", true), Ok(Some(vec![Some((0, 2)), Some((0, 1))])));
        assert_eq!(matcher.exec(&regex, b"ab", false), Ok(Some(vec![])));
        // More room than groups.
        let other = Regex::compile(b"b", POSTFIX).unwrap();
        assert_eq!(matcher.exec(&other, b"ab", true), Ok(Some(vec![Some((1, 2))])));
    }

    #[test]
    fn exec_each_flag_changes_the_meaning() {
        let found =
            |pattern, flags, subject: &str| exec(pattern, flags, subject.as_bytes()).unwrap().is_some();
        assert!(!found("A", Flags { ignore_case: false, ..POSTFIX }, "a"));
        assert!(found("^b", Flags { multi_line: true, ..POSTFIX }, "a\nb"));
        assert!(!found("a.b", Flags { dot_all: false, ..POSTFIX }, "a\nb"));
        assert!(found("a b", Flags { extended: true, ..POSTFIX }, "ab"));
        assert!(!found("b", Flags { anchored: true, ..POSTFIX }, "ab"));
        assert!(!found("a$", Flags { dollar_end_only: true, ..POSTFIX }, "a\n"));
        let shortest = exec("a+", Flags { ungreedy: true, ..POSTFIX }, b"aaa");
        assert_eq!(shortest, Ok(Some(vec![Some((0, 1))])));
        // Bytes, not characters.
        assert!(!found("^.$", POSTFIX, "ü"));
        assert!(!found("ü", POSTFIX, "Ü"));
    }

    #[test]
    fn exec_endless_backtracking_is_a_limit_not_a_miss() {
        let subject = [&[b'a'; 40][..], b"!"].concat();
        assert_eq!(exec("^(a+)+$", POSTFIX, &subject), Err(MatchError::Limit));
        let regex = Regex::compile(b"(?:a|b)*[cd]", POSTFIX).unwrap();
        let mut matcher = Matcher::with_limits(0, MATCH_LIMIT, 10).unwrap();
        assert_eq!(matcher.exec(&regex, &[b'a'; 100_000], false), Err(MatchError::Limit));
    }

    #[test]
    fn exec_subject_not_utf8_for_utf_pattern_refused() {
        assert_eq!(exec("(*UTF).", POSTFIX, b"\xff"), Err(MatchError::Refused));
        assert!(exec("(*UTF)^.$", POSTFIX, "ü".as_bytes()).unwrap().is_some());
    }

    #[test]
    fn compile_bad_patterns_refused_with_place_and_reason() {
        let error = Regex::compile(b"(a", POSTFIX).err().unwrap();
        assert_eq!(error, CompileError::Pattern { code: 114, offset: 2 });
        assert_eq!(error_text(114), "missing closing parenthesis");
        let error = Regex::compile(b"a\0", POSTFIX).err().unwrap();
        assert!(matches!(error, CompileError::Pattern { offset: 1, .. }));
    }
}
