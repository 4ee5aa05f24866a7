//! The values of the rows, joined to one result.

use std::num::NonZeroU32;

/// What is built is longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is in the result.
    Yes,
    /// It is NULL, or lacks a part that `result_format` needs.
    Skipped,
    /// It is empty, of which Postfix warns.
    SkippedEmpty,
}

/// Why a lookup has failed for its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultError {
    /// More values than `expansion_limit`.
    TooMany(NonZeroU32),
    /// The result is longer than this number of bytes.
    TooLong(usize),
}

impl std::fmt::Display for ResultError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ResultError::TooMany(limit) => write!(f, "there are more than {limit} values (expansion_limit)"),
            ResultError::TooLong(limit) => write!(f, "the result is longer than {limit} bytes"),
        }
    }
}

impl std::error::Error for ResultError {}

/// The result of a lookup as it grows: values separated by commas, which are not escaped in any way.
#[derive(Clone, Debug)]
pub struct Results {
    text: Vec<u8>,
    values: u32,
    most_values: Option<NonZeroU32>,
    most_bytes: usize,
}

impl Results {
    /// None so far. `expansion_limit` is that of the table; below 1 it sets no limit. The result has `most_bytes` at most.
    #[must_use]
    pub fn new(expansion_limit: i32, most_bytes: usize) -> Results {
        let most_values = u32::try_from(expansion_limit).ok().and_then(NonZeroU32::new);
        Results { text: Vec::new(), values: 0, most_values, most_bytes }
    }

    /// Adds what `fill` appends, within a limit of bytes, as one more value.
    pub(crate) fn add(
        &mut self,
        fill: impl FnOnce(usize, &mut Vec<u8>) -> Result<(), TooLong>,
    ) -> Result<Added, ResultError> {
        self.values = self.values.saturating_add(1);
        if let Some(limit) = self.most_values
            && self.values > limit.get()
        {
            return Err(ResultError::TooMany(limit));
        }
        if !self.text.is_empty() {
            self.text.push(b',');
        }
        let too_long = |TooLong| ResultError::TooLong(self.most_bytes);
        fill(self.most_bytes, &mut self.text).map_err(too_long)?;
        Ok(Added::Yes)
    }

    /// The result; `None` if no value was added, so that the key is not in the table.
    #[must_use]
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.text.is_empty()).then_some(self.text)
    }
}
