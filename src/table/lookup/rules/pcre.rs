//! `pcre:` tables: the patterns of Perl, by PCRE2.
//!
//! Purpose: the options of pcre_table(5). May: call the regex room. Never: use JIT.

use std::ffi::CString;

use mapkeep_table_regex::pcre::{Flags, Matcher, Regex, error_text};
use mapkeep_table_regex::{Groups, MatchError, Time};

use super::patterns::{Letter, Library, sort};
use mapkeep_query::TableError;
use mapkeep_table_format::Fault;

/// The library of `pcre:` tables.
pub(crate) enum Pcre {}

impl Library for Pcre {
    type Options = Flags;
    type Regex = Regex;
    type Matcher = Matcher;

    const DEFAULT: Flags = Flags::POSTFIX;
    const SECOND: bool = false;

    fn change(options: &mut Flags, letter: u8) -> Letter {
        let option = match letter {
            b'i' => &mut options.ignore_case,
            b'm' => &mut options.multi_line,
            b's' => &mut options.dot_all,
            b'x' => &mut options.extended,
            b'A' => &mut options.anchored,
            b'E' => &mut options.dollar_end_only,
            b'U' => &mut options.ungreedy,
            // An option of the first PCRE.
            b'X' => return Letter::Obsolete,
            _ => return Letter::Unknown,
        };
        *option = !*option;
        Letter::Known
    }

    fn foreseen(_: &[u8], _: Flags) -> Option<usize> {
        Some(0)
    }

    fn compile(pattern: &[u8], options: Flags, _: bool) -> Result<Result<Regex, Fault>, TableError> {
        sort::<Pcre>(Regex::compile(pattern, options))
    }

    fn groups(regex: &Regex) -> usize {
        regex.groups()
    }

    fn size(regex: &Regex) -> usize {
        regex.size()
    }

    fn allocated() -> Option<usize> {
        None
    }

    fn matcher(groups: usize) -> Result<Matcher, TableError> {
        Matcher::new(groups).ok_or(TableError::OutOfMemory)
    }

    fn exec(
        matcher: &mut Matcher,
        regex: &Regex,
        subject: &CString,
        with_groups: bool,
        time: Time<'_>,
    ) -> Result<Option<Groups>, MatchError> {
        matcher.exec(regex, subject.as_bytes(), with_groups, time)
    }

    fn fault(code: i32, offset: usize) -> Fault {
        let offset = Some(u32::try_from(offset).unwrap_or(u32::MAX));
        Fault::BadPattern { text: error_text(code), offset }
    }
}
