//! PCRE2, for `pcre:` tables.
//!
//! Purpose: compile a pattern, run it on a subject with limits. May: call the 8-bit functions of PCRE2. Never:
//! translate to machine code (JIT), so that no memory is both writable and executable; take a subject for UTF-8, unless
//! the pattern itself says `(*UTF)`.

mod matcher;
mod search;

use std::ptr::{self, NonNull};

use pcre2_sys as sys;

use crate::CompileError;

pub use matcher::{HEAP_LIMIT, MATCH_LIMIT, Matcher};

/// PCRE2's error number for a failed allocation during compilation (PCRE2_ERROR_HEAP_FAILED).
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

impl Flags {
    /// Those of a rule without letters (pcre_table(5)).
    pub const POSTFIX: Flags = Flags {
        ignore_case: true,
        multi_line: false,
        dot_all: true,
        extended: false,
        anchored: false,
        dollar_end_only: false,
        ungreedy: false,
    };
}

/// A compiled pattern.
pub struct Regex {
    code: NonNull<sys::pcre2_code_8>,
    groups: usize,
    starts: search::Starts,
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
        // With it a match can be run piece by piece (`search`); it changes no meaning.
        let options = bits
            .into_iter()
            .filter(|(set, _)| *set)
            .fold(sys::PCRE2_USE_OFFSET_LIMIT, |all, (_, bit)| all | bit);
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
        let mut regex = Regex { code, groups: 0, starts: search::Starts::anywhere() };
        let groups = regex.number(sys::PCRE2_INFO_CAPTURECOUNT);
        regex.groups = usize::try_from(groups).map_err(|_| CompileError::OutOfMemory)?;
        regex.starts = regex.find_starts(pattern);
        Ok(regex)
    }

    /// A number that PCRE2 knows of the pattern; `what` is one of those that are a uint32_t.
    fn number(&self, what: u32) -> u32 {
        let mut number = 0_u32;
        // SAFETY: `code` is a compiled pattern, and each `what` that is asked for here writes one uint32_t.
        unsafe { sys::pcre2_pattern_info_8(self.code.as_ptr(), what, (&raw mut number).cast()) };
        number
    }

    /// Where a match can begin.
    fn find_starts(&self, pattern: &[u8]) -> search::Starts {
        let options = self.number(sys::PCRE2_INFO_ALLOPTIONS);
        let utf = options & sys::PCRE2_UTF != 0;
        if self.number(sys::PCRE2_INFO_NEWLINE) != sys::PCRE2_NEWLINE_LF || search::is_indivisible(pattern) {
            return search::Starts { utf, ..search::Starts::in_one_piece() };
        }
        if options & sys::PCRE2_ANCHORED != 0 {
            return search::Starts { utf, ..search::Starts::at_the_beginning() };
        }
        let first = match self.number(sys::PCRE2_INFO_FIRSTCODETYPE) {
            // In whatever case: PCRE2 does not tell whether case counts. With UTF or UCP letters beyond ASCII have two, too.
            1 if !utf && options & sys::PCRE2_UCP == 0 => {
                search::First::byte(self.number(sys::PCRE2_INFO_FIRSTCODEUNIT))
            }
            1 => search::First::Any,
            2 => search::First::Line,
            _ => self.first_bytes().map_or(search::First::Any, search::First::Bytes),
        };
        search::Starts { first, utf, ..search::Starts::anywhere() }
    }

    /// The bytes with which a match can begin, a bit for each, if PCRE2 knows.
    fn first_bytes(&self) -> Option<Box<[u8; 32]>> {
        let mut table: *const [u8; 32] = ptr::null();
        // SAFETY: `code` is a compiled pattern, and PCRE2_INFO_FIRSTBITMAP writes one pointer.
        unsafe {
            sys::pcre2_pattern_info_8(
                self.code.as_ptr(),
                sys::PCRE2_INFO_FIRSTBITMAP,
                (&raw mut table).cast(),
            )
        };
        // SAFETY: it is null, or points to 256 bits that live as long as the compiled pattern.
        unsafe { table.as_ref() }.map(|bits| Box::new(*bits))
    }

    /// How much memory the pattern takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let mut size = 0_usize;
        // SAFETY: `code` is a compiled pattern, and PCRE2_INFO_SIZE writes one size_t.
        unsafe {
            sys::pcre2_pattern_info_8(self.code.as_ptr(), sys::PCRE2_INFO_SIZE, (&raw mut size).cast())
        };
        size.saturating_add(size_of::<Regex>())
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

/// The version of the library and its date, such as `10.42 2022-12-11`.
#[must_use]
pub fn version() -> String {
    let mut text = [0_u8; 64];
    // SAFETY: the longest version of PCRE2, with its NUL, has 24 bytes, and `text` is longer.
    unsafe { sys::pcre2_config_8(sys::PCRE2_CONFIG_VERSION, text.as_mut_ptr().cast()) };
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
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
    use crate::{Groups, MatchError, Time};

    const POSTFIX: Flags = Flags::POSTFIX;

    const ENDLESS: Time<'_> = Time::ENDLESS;

    fn exec(pattern: &str, flags: Flags, subject: &[u8]) -> Result<Option<Groups>, MatchError> {
        let regex = Regex::compile(pattern.as_bytes(), flags).unwrap();
        Matcher::new(regex.groups()).unwrap().exec(&regex, subject, true, ENDLESS)
    }

    #[test]
    fn exec_groups_are_returned_and_unset_ones_are_none() {
        let groups = exec("x(a)?(B)(c)?", POSTFIX, b"..xb").unwrap();
        assert_eq!(groups, Some(vec![Some((2, 4)), None, Some((3, 4)), None]));
        assert_eq!(exec("^b", POSTFIX, b"ab"), Ok(None));
        // Less room than groups: those that fit are returned.
        let regex = Regex::compile(b"(a)(b)", POSTFIX).unwrap();
        let mut matcher = Matcher::new(1).unwrap();
        assert_eq!(matcher.exec(&regex, b"ab", true, ENDLESS), Ok(Some(vec![Some((0, 2)), Some((0, 1))])));
        assert_eq!(matcher.exec(&regex, b"ab", false, ENDLESS), Ok(Some(vec![])));
        // More room than groups.
        let other = Regex::compile(b"b", POSTFIX).unwrap();
        assert_eq!(matcher.exec(&other, b"ab", true, ENDLESS), Ok(Some(vec![Some((1, 2))])));
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
        assert_eq!(matcher.exec(&regex, &[b'a'; 100_000], false, ENDLESS), Err(MatchError::Limit));
    }

    #[test]
    fn exec_subject_not_utf8_for_utf_pattern_refused() {
        assert_eq!(exec("(*UTF).", POSTFIX, b"\xff"), Err(MatchError::Refused));
        assert!(exec("(*UTF)^.$", POSTFIX, "ü".as_bytes()).unwrap().is_some());
    }

    #[test]
    fn version_is_that_of_the_systems_library() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps.contains("/libpcre2-8.so"), "the system's library is linked");
        let said = std::process::Command::new("pkg-config").args(["--modversion", "libpcre2-8"]).output();
        let installed = String::from_utf8(said.unwrap().stdout).unwrap();
        assert!(version().starts_with(installed.trim()), "{} {installed}", version());
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
