//! The words after a command, read alike in every command.
//!
//! Options may stand anywhere before `--`; what begins with a dash and follows `--` is no option. `--help` anywhere
//! before it prints the usage on standard output and ends with status 0. Anything that is not understood is one line on
//! standard error that names the word, and status 64. May: print. Called by: all commands.

use mapkeep_proto::WRONG_USAGE;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::slice::Iter;

/// The exit status when the usage cannot be printed (sysexits' EX_IOERR).
const NO_OUTPUT: u8 = 74;

/// A command line that is not understood: one line that names the word at fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Usage(String);

impl Usage {
    /// A word that is wrong by itself; `why` says what is wrong with it.
    pub(crate) fn word(why: &str, word: &OsStr) -> Usage {
        Usage(format!("{why} \"{}\"", word.as_bytes().escape_ascii()))
    }

    pub(crate) fn unknown(option: &OsStr) -> Usage {
        Usage::word("unknown option", option)
    }

    pub(crate) fn unexpected(argument: &OsStr) -> Usage {
        Usage::word("unexpected argument", argument)
    }

    pub(crate) fn missing(what: &str) -> Usage {
        Usage(format!("{what} is missing"))
    }

    /// Tells the person who typed it.
    pub(crate) fn print(&self, command: &str) -> ExitCode {
        // If standard error is closed too, the exit status still tells.
        let _ = writeln!(std::io::stderr(), "{}", self.line(command));
        ExitCode::from(WRONG_USAGE)
    }

    pub(crate) fn line(&self, command: &str) -> String {
        format!("{command}: {}", self.text(command))
    }

    /// The same, for a command that puts its name before all that it says.
    pub(crate) fn text(&self, command: &str) -> String {
        format!("{} (see {command} --help)", self.0)
    }
}

/// The usage, if it is asked for.
pub(crate) fn help(words: &[OsString], usage: &str) -> Option<ExitCode> {
    let asks = |word: &&OsString| *word == "--help" || *word == "-h";
    words.iter().take_while(|word| *word != "--").find(asks)?;
    Some(say(usage))
}

/// Prints a text that was asked for.
pub(crate) fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(NO_OUTPUT),
    }
}

/// One word.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word<'w> {
    /// It begins with a dash, and is more than that.
    Option(&'w OsStr),
    Argument(&'w OsStr),
}

/// Reads words one by one.
pub(crate) struct Words<'w> {
    rest: Iter<'w, OsString>,
    /// `--` has come.
    plain: bool,
}

impl<'w> Words<'w> {
    pub(crate) fn new(words: &'w [OsString]) -> Words<'w> {
        Words { rest: words.iter(), plain: false }
    }

    pub(crate) fn next(&mut self) -> Option<Word<'w>> {
        let mut word = self.rest.next()?;
        if !self.plain && word == "--" {
            self.plain = true;
            word = self.rest.next()?;
        }
        let is_option = !self.plain && word.as_bytes().starts_with(b"-") && word != "-";
        Some(if is_option { Word::Option(word) } else { Word::Argument(word) })
    }

    /// The value of an option: the word after it, whatever that is.
    pub(crate) fn value(&mut self, option: &OsStr) -> Result<&'w OsStr, Usage> {
        let word = self.rest.next().map(OsString::as_os_str);
        word.ok_or_else(|| Usage::word("no value after", option))
    }
}

/// For commands that know no words.
pub(crate) fn none(words: &[OsString]) -> Result<(), Usage> {
    match Words::new(words).next() {
        None => Ok(()),
        Some(Word::Option(option)) => Err(Usage::unknown(option)),
        Some(Word::Argument(argument)) => Err(Usage::unexpected(argument)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn options_end_at_two_dashes() {
        let line = words("-c x - -- -k --");
        let mut words = Words::new(&line);
        let mut read = || words.next();
        assert_eq!(read(), Some(Word::Option(OsStr::new("-c"))));
        assert_eq!(read(), Some(Word::Argument(OsStr::new("x"))));
        assert_eq!(read(), Some(Word::Argument(OsStr::new("-"))));
        assert_eq!(read(), Some(Word::Argument(OsStr::new("-k"))));
        assert_eq!(read(), Some(Word::Argument(OsStr::new("--"))), "only the first is a mark");
        assert_eq!(read(), None);
    }

    #[test]
    fn help_is_seen_before_two_dashes_only() {
        let asks = |line: &str| help(&words(line), "").is_some();
        assert!(asks("--help") && asks("a -h") && asks("-c --help"));
        assert!(!asks("a -- --help") && !asks("") && !asks("--helpful"));
    }

    #[test]
    fn refusals_name_the_word_in_one_line() {
        let line = |usage: Usage| usage.line("mapkeep demo");
        let refused = none(&words("--frob")).unwrap_err();
        assert_eq!(line(refused), "mapkeep demo: unknown option \"--frob\" (see mapkeep demo --help)");
        let refused = none(&["a\nb".into()]).unwrap_err();
        assert_eq!(line(refused), "mapkeep demo: unexpected argument \"a\\nb\" (see mapkeep demo --help)");
        assert_eq!(none(&words("")), Ok(()));
    }
}
