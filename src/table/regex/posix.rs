//! The C library's regular expressions (POSIX.1-2017, regcomp() and regexec()), for `regexp:` tables.
//!
//! Purpose: compile a pattern, run it on a subject. May: call regcomp(), regexec(), regerror() and regfree(). Never:
//! change the locale; it stays "C", as in Postfix, since nothing in this program calls setlocale().
//!
//! regexec() of glibc has no limit on steps and cannot be interrupted. Most patterns that are not anchored take time in
//! the square of the subject's length on some subjects: what that would come to is measured on pieces first
//! (`estimate`). With back-references it can take time that is exponential in the length, which is not seen before.
//! Whoever calls it needs a watchdog outside of this process.

mod estimate;

use std::ffi::{CStr, CString, c_char, c_int, c_ulong, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use crate::{CompileError, Groups, MatchError, Time};

/// How a pattern is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Extended syntax (REG_EXTENDED), else basic.
    pub extended: bool,
    /// Upper and lower case are the same (REG_ICASE).
    pub ignore_case: bool,
    /// A newline ends a line: `.` does not match it, `^` and `$` match beside it (REG_NEWLINE).
    pub newline: bool,
}

impl Flags {
    /// Those of a rule without letters (regexp_table(5)).
    pub const POSTFIX: Flags = Flags { extended: true, ignore_case: true, newline: false };
}

/// glibc's regex_t. POSIX makes `re_nsub` public, but the libc crate does not give access to it.
#[repr(C)]
struct Layout {
    buffer: *mut c_void,
    allocated: usize,
    used: usize,
    syntax: c_ulong,
    fastmap: *mut c_char,
    translate: *mut c_char,
    re_nsub: usize,
    bits: u8,
}

#[cfg(not(target_env = "gnu"))]
compile_error!("the layout of regex_t is that of glibc");
const _: () = assert!(size_of::<Layout>() == size_of::<libc::regex_t>());
const _: () = assert!(align_of::<Layout>() == align_of::<libc::regex_t>());

/// A compiled pattern.
pub struct Regex {
    /// On the heap, so that it stays where regcomp() made it.
    compiled: Box<libc::regex_t>,
    with_groups: bool,
}

impl Regex {
    /// Compiles `pattern`. With `with_groups`, [`Regex::exec`] returns the groups; without, it is faster.
    ///
    /// # Errors
    /// The pattern has a NUL byte or is not well formed; there is no memory.
    pub fn compile(pattern: &[u8], flags: Flags, with_groups: bool) -> Result<Regex, CompileError> {
        let pattern = CString::new(pattern).map_err(|error| CompileError::Pattern {
            code: libc::REG_BADPAT,
            offset: error.nul_position(),
        })?;
        let bits = [
            (flags.extended, libc::REG_EXTENDED),
            (flags.ignore_case, libc::REG_ICASE),
            (flags.newline, libc::REG_NEWLINE),
            (!with_groups, libc::REG_NOSUB),
        ];
        let flags = bits.into_iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
        let mut room: Box<MaybeUninit<libc::regex_t>> = Box::new(MaybeUninit::zeroed());
        // SAFETY: `room` is writable memory of the size of a regex_t, and `pattern` ends in NUL.
        let code = unsafe { libc::regcomp(room.as_mut_ptr(), pattern.as_ptr(), flags) };
        match code {
            0 => {}
            libc::REG_ESPACE => return Err(CompileError::OutOfMemory),
            code => return Err(CompileError::Pattern { code, offset: 0 }),
        }
        // SAFETY: all zero bytes are a valid regex_t (numbers and null pointers), and regcomp() has succeeded.
        let compiled = unsafe { room.assume_init() };
        Ok(Regex { compiled, with_groups })
    }

    /// How many groups the pattern has, not counting the whole match.
    #[must_use]
    pub fn groups(&self) -> usize {
        let layout: *const Layout = ptr::from_ref(&*self.compiled).cast();
        // SAFETY: the two types have the same size and alignment (checked above), and `Layout` has the fields of
        // glibc's <regex.h> in their order, all of them initialised.
        unsafe { (*layout).re_nsub }
    }

    /// Runs the pattern on `subject`: `None` if it does not match.
    ///
    /// # Errors
    /// [`MatchError::Limit`] if there is no memory; [`MatchError::OutOfTime`] if, by the estimate, the match would take
    /// longer than the time left.
    pub fn exec(&self, subject: &CStr, time: Time<'_>) -> Result<Option<Groups>, MatchError> {
        if !estimate::fits(subject.to_bytes(), time, |piece, inside| self.run(piece, inside).map(drop))? {
            return Err(MatchError::OutOfTime);
        }
        self.run(subject, false)
    }

    /// One call of regexec(). `inside`: the subject does not begin where a line begins.
    fn run(&self, subject: &CStr, inside: bool) -> Result<Option<Groups>, MatchError> {
        let count = if self.with_groups { self.groups().saturating_add(1) } else { 0 };
        let mut spans = vec![libc::regmatch_t { rm_so: -1, rm_eo: -1 }; count];
        let compiled = ptr::from_ref(&*self.compiled);
        let flags = if inside { libc::REG_NOTBOL } else { 0 };
        // SAFETY: `compiled` comes from regcomp() and was not freed, `subject` ends in NUL, and `spans` has room for
        // the `count` groups that regexec() may write.
        let code = unsafe { libc::regexec(compiled, subject.as_ptr(), count, spans.as_mut_ptr(), flags) };
        match code {
            0 => Ok(Some(spans.iter().map(span).collect())),
            libc::REG_NOMATCH => Ok(None),
            _ => Err(MatchError::Limit),
        }
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: regcomp() has succeeded on it, and this is the only call of regfree().
        unsafe { libc::regfree(&raw mut *self.compiled) };
    }
}

/// The bytes that this process has from malloc(). regcomp() does not tell how much it takes; what this has grown by does. It
/// takes time for each free piece of the heap: milliseconds where that is in many pieces.
#[must_use]
pub fn allocated() -> usize {
    // SAFETY: mallinfo2() has no argument, and reads the allocator's own counters.
    let counters = unsafe { libc::mallinfo2() };
    counters.uordblks.saturating_add(counters.hblkhd)
}

/// The meaning of the number in a [`CompileError::Pattern`], in the C library's words.
#[must_use]
pub fn error_text(code: i32) -> String {
    let mut text = [0_u8; 128];
    let code: c_int = code;
    // SAFETY: regerror() takes a null pointer for the pattern, and writes at most `text.len()` bytes.
    unsafe { libc::regerror(code, ptr::null(), text.as_mut_ptr().cast(), text.len()) };
    CStr::from_bytes_until_nul(&text)
        .map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}

/// A span, unless the group took no part in the match.
fn span(found: &libc::regmatch_t) -> Option<(usize, usize)> {
    Some((usize::try_from(found.rm_so).ok()?, usize::try_from(found.rm_eo).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTFIX: Flags = Flags::POSTFIX;

    const ENDLESS: Time<'_> = Time::ENDLESS;

    fn exec(pattern: &str, flags: Flags, subject: &CStr) -> Option<Groups> {
        Regex::compile(pattern.as_bytes(), flags, true).unwrap().exec(subject, ENDLESS).unwrap()
    }

    #[test]
    fn exec_groups_as_glibc_cuts_them() {
        let groups = exec("(a|ab)(c|bcd)(d*)", POSTFIX, c"abcd");
        assert_eq!(groups, Some(vec![Some((0, 4)), Some((0, 1)), Some((1, 4)), Some((4, 4))]));
        let groups = exec("x(a)?(B)", POSTFIX, c"..xb");
        assert_eq!(groups, Some(vec![Some((2, 4)), None, Some((3, 4))]));
        assert_eq!(exec("^b", POSTFIX, c"ab"), None);
    }

    #[test]
    fn exec_flags_change_the_meaning() {
        let newline = Flags { newline: true, ..POSTFIX };
        assert!(exec("^b", newline, c"a\nb").is_some());
        assert!(exec("a.b", POSTFIX, c"a\nb").is_some());
        assert!(exec("a.b", newline, c"a\nb").is_none());
        let basic = Flags { extended: false, ..POSTFIX };
        assert!(exec("a+", basic, c"aa").is_none());
        let exact = Flags { ignore_case: false, ..POSTFIX };
        assert!(exec("A", exact, c"a").is_none());
        // The C locale: bytes, and letters of ASCII only.
        assert!(exec("^.$", POSTFIX, c"\xc3\x9c").is_none());
        assert!(exec("\u{fc}", POSTFIX, c"\xc3\x9c").is_none());
    }

    #[test]
    fn groups_counted_also_without_groups() {
        for (pattern, count) in [("a", 0), ("(a)(b(c))", 3), (r"\(a\)", 0)] {
            for with_groups in [false, true] {
                let regex = Regex::compile(pattern.as_bytes(), POSTFIX, with_groups).unwrap();
                assert_eq!(regex.groups(), count, "{pattern}");
            }
        }
        let regex = Regex::compile(b"(a)", POSTFIX, false).unwrap();
        assert_eq!(regex.exec(c"a", ENDLESS), Ok(Some(vec![])));
    }

    #[test]
    fn compile_bad_patterns_refused_with_reason() {
        let compile = |pattern: &[u8]| Regex::compile(pattern, POSTFIX, true).err();
        assert_eq!(compile(b"a\0b"), Some(CompileError::Pattern { code: libc::REG_BADPAT, offset: 1 }));
        assert_eq!(compile(b"(a"), Some(CompileError::Pattern { code: libc::REG_EPAREN, offset: 0 }));
        assert_eq!(error_text(libc::REG_EPAREN), "Unmatched ( or \\(");
    }
}
