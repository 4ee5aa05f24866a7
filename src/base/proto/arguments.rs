//! The arguments with which one of our processes starts another: `name=value`, visible in `ps`.
//!
//! They come from the supervisor, never from a worker or a client, and hold numbers and the names of places
//! that the configuration states.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Arguments by name.
#[derive(Debug, Default)]
pub struct Arguments(BTreeMap<String, String>);

/// Which argument is missing or not what it should be. The two programs are then not of one version.
#[derive(Debug, PartialEq, Eq)]
pub struct ArgumentError(String);

impl fmt::Display for ArgumentError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "argument `{}' is missing or malformed; this program is started by mapkeepd, not by hand",
            self.0
        )
    }
}

impl std::error::Error for ArgumentError {}

impl Arguments {
    /// Reads `name=value` words; words without `=` are ignored.
    pub fn read(words: impl IntoIterator<Item = String>) -> Arguments {
        let split = |word: String| word.split_once('=').map(|(name, value)| (name.into(), value.into()));
        Arguments(words.into_iter().filter_map(split).collect())
    }

    /// The text of an argument.
    ///
    /// # Errors
    /// When it was not given.
    pub fn text(&self, name: &str) -> Result<&str, ArgumentError> {
        self.0.get(name).map(String::as_str).ok_or_else(|| ArgumentError(name.to_owned()))
    }

    /// An argument as a number or another type that can be read from text.
    ///
    /// # Errors
    /// When it was not given or does not read as a `T`.
    pub fn value<T: FromStr>(&self, name: &str) -> Result<T, ArgumentError> {
        self.text(name)?.parse().map_err(|_| ArgumentError(name.to_owned()))
    }

    /// A list of values with commas between them; an empty text is an empty list.
    ///
    /// # Errors
    /// When it was not given or an element does not read as a `T`.
    pub fn list<T: FromStr>(&self, name: &str) -> Result<Vec<T>, ArgumentError> {
        let words = self.text(name)?.split(',').filter(|word| !word.is_empty());
        words.map(|word| word.parse().map_err(|_| ArgumentError(name.to_owned()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_and_typed() {
        let words = ["uid=7", "fds=6,8", "none=", "junk", "dir=/a=b"].map(String::from);
        let arguments = Arguments::read(words);
        assert_eq!(arguments.value::<u32>("uid"), Ok(7));
        assert_eq!(arguments.list::<i32>("fds"), Ok(vec![6, 8]));
        assert_eq!(arguments.list::<i32>("none"), Ok(vec![]));
        assert_eq!(arguments.text("dir"), Ok("/a=b"));
        assert!(arguments.value::<u32>("dir").is_err());
        assert!(arguments.text("absent").is_err());
    }
}
