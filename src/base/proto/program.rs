//! What every program says to a person at a terminal: its version, its usage, and which word it does not understand.
//!
//! `--help` gives the usage on standard output and exit status 0; a word that is not understood gives one line on
//! standard error, which names it, and [`WRONG_USAGE`]. May: compose text. Never: print it.

/// The exit status for a command line that is not understood: EX_USAGE of sysexits.h.
pub const WRONG_USAGE: u8 = 64;

/// What `--version` prints for `program`.
#[must_use]
pub fn version_text(program: &str) -> String {
    format!("{program} {}", env!("CARGO_PKG_VERSION"))
}

/// The answer of a program that only mapkeepd starts to a user who starts it.
#[derive(Debug, PartialEq, Eq)]
pub enum ByHand {
    /// For standard output; exit status 0.
    Say(String),
    /// For standard error; exit status [`WRONG_USAGE`].
    Refuse(String),
}

impl ByHand {
    /// `words` are what follows the name of `program`; `version` is what `--version` prints.
    #[must_use]
    pub fn of(program: &str, version: impl FnOnce() -> String, words: &[String]) -> ByHand {
        let why = "only mapkeepd can start this program";
        match words {
            [] => ByHand::Refuse(format!("{program}: no arguments: {why}")),
            [word] if word == "--help" || word == "-h" => {
                ByHand::Say(format!("usage: {program} --version\nOtherwise, {why}; see mapkeepd(8)."))
            }
            [word] if word == "--version" => ByHand::Say(version()),
            [word, extra, ..] if matches!(word.as_str(), "--help" | "-h" | "--version") => {
                ByHand::Refuse(format!("{program}: unexpected argument \"{extra}\" after {word}"))
            }
            [word, ..] => ByHand::Refuse(format!("{program}: unexpected argument \"{word}\": {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand_prints_help_and_version_and_names_other_words() {
        let of = |words: &[&str]| {
            let words = words.iter().map(ToString::to_string).collect::<Vec<_>>();
            ByHand::of("mapkeep-worker", || "mapkeep-worker 7".to_owned(), &words)
        };
        assert!(matches!(of(&["--help"]), ByHand::Say(text) if text.starts_with("usage: mapkeep-worker")));
        assert_eq!(of(&["--version"]), ByHand::Say("mapkeep-worker 7".to_owned()));
        for (words, named) in [
            (&[][..], "no arguments"),
            (&["role=lookup", "--help"], "\"role=lookup\""),
            (&["--version", "y"], "\"y\""),
        ] {
            let ByHand::Refuse(line) = of(words) else { panic!("{words:?}") };
            assert!(line.contains(named) && !line.contains('\n'), "{line}");
        }
    }
}
