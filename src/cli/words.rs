//! The words after a command, read alike in every command.
//!
//! Options may stand anywhere before `--`; what begins with a dash and follows `--` is no option. `--help` anywhere
//! before it prints the usage on standard output and ends with status 0. Anything that is not understood is one line on
//! standard error that names the word, and status 64. May: print.

use crate::error::{Error, Exit};
use lexopt::Parser;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// Whether the usage is asked for.
pub(crate) fn ask_for_help(words: &[OsString]) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h")
}

/// Prints a text that was asked for.
pub(crate) fn say(text: &str) -> Result<Exit, Error> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| Error::new(Exit::Output, error))?;
    Ok(Exit::Success)
}

/// For commands that know no more words.
pub(crate) fn none(mut words: Parser) -> Result<(), Error> {
    words.next()?.map_or(Ok(()), |word| Err(word.unexpected().into()))
}

/// Reads the value of `-c CONFIG_DIR`, which may be given once.
pub(crate) fn directory(words: &mut Parser, directory: &mut Option<PathBuf>) -> Result<(), Error> {
    match directory.replace(words.value()?.into()) {
        None => Ok(()),
        Some(_) => Err(Error::word("option given twice:", "-c")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn help_is_seen_before_two_dashes_only() {
        let asks = |line: &str| ask_for_help(&words(line));
        assert!(asks("--help") && asks("a -h") && asks("-c --help"));
        assert!(!asks("a -- --help") && !asks("") && !asks("--helpful"));
    }

    #[test]
    fn refusals_name_the_word_in_one_line() {
        for (words, told) in [
            (&["--frob"][..], "unknown option \"--frob\""),
            (&["--frob=1"], "unknown option \"--frob\""),
            (&["-xy"], "unknown option \"-x\""),
            (&["--", "--frob"], "unexpected argument \"--frob\""),
            (&["-"], "unexpected argument \"-\""),
            (&["a\nb"], "unexpected argument \"a\\nb\""),
            (&["--\x1b[2J"], "unknown option \"--\\x1b[2J\""),
        ] {
            let told = format!("mapkeep demo: {told} (see mapkeep demo --help)");
            assert_eq!(none(Parser::from_args(words)).unwrap_err().message("mapkeep demo"), told);
        }
        assert_eq!(none(Parser::from_args(words(""))), Ok(()));
    }

    #[test]
    fn directory_is_named_once() {
        let read = |line: &str| {
            let (mut parser, mut found) = (Parser::from_args(words(line)), None);
            while parser.next()?.is_some() {
                directory(&mut parser, &mut found)?;
            }
            Ok::<_, Error>(found)
        };
        assert_eq!(read("-c /d"), Ok(Some("/d".into())));
        assert_eq!(read("-c --"), Ok(Some("--".into())), "whatever it is");
        assert_eq!(read("-c /d -c /e"), Err(Error::word("option given twice:", "-c")));
        assert_eq!(read("-c"), Err(Error::word("this option needs a value:", "-c")));
    }
}
