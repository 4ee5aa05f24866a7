//! `regexp:` tables: the patterns of POSIX, by the C library.
//!
//! Purpose: the options of regexp_table(5). May: call the regex room. Never: hand regcomp() a pattern that is too
//! complex for it.

use std::ffi::CString;

use mapkeep_table_regex::posix;
use mapkeep_table_regex::posix::{Flags, Regex, error_text};
use mapkeep_table_regex::{Groups, MatchError, Time};

use super::complexity::most_memory;
use super::patterns::{Letter, Library, sort};
use mapkeep_query::TableError;
use mapkeep_table_format::Fault;

/// The library of `regexp:` tables.
pub(crate) enum Posix {}

impl Library for Posix {
    type Options = Flags;
    type Regex = Regex;
    type Matcher = ();

    const DEFAULT: Flags = Flags::POSTFIX;
    const SECOND: bool = true;

    fn change(options: &mut Flags, letter: u8) -> Letter {
        let option = match letter {
            b'i' => &mut options.ignore_case,
            b'm' => &mut options.newline,
            b'x' => &mut options.extended,
            _ => return Letter::Unknown,
        };
        *option = !*option;
        Letter::Known
    }

    fn foreseen(pattern: &[u8], options: Flags) -> Option<usize> {
        most_memory(pattern, options.extended).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    fn compile(
        pattern: &[u8],
        options: Flags,
        with_groups: bool,
    ) -> Result<Result<Regex, Fault>, TableError> {
        sort::<Posix>(Regex::compile(pattern, options, with_groups))
    }

    fn groups(regex: &Regex) -> usize {
        regex.groups()
    }

    fn size(_: &Regex) -> usize {
        0
    }

    fn allocated() -> Option<usize> {
        Some(posix::allocated())
    }

    fn matcher(_: usize) -> Result<(), TableError> {
        Ok(())
    }

    fn exec(
        (): &mut (),
        regex: &Regex,
        subject: &CString,
        _: bool,
        time: Time<'_>,
    ) -> Result<Option<Groups>, MatchError> {
        regex.exec(subject, time)
    }

    fn fault(code: i32, _: usize) -> Fault {
        Fault::BadPattern { text: error_text(code), offset: None }
    }
}
