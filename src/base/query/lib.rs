//! What is asked of a table, and what it says.
//!
//! Purpose: the words between whoever asks (a session) and whatever answers (a table read from bytes, a store, another
//! process): the question, its outcome, the errors, and how keys are folded. May: compute. Never: know a format.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod error;
mod fold;
mod nul;
mod query;
mod text;

pub use error::TableError;
pub use fold::{casefold, fold, has_capital};
pub use nul::{NulMode, NulModes};
pub use query::{Folding, Pause, Place, Query, Substitution, Values};
pub use text::{append, put_text, text_of, until};

/// The longest key or value that is returned, in bytes: 1 MiB. Larger ones give [`TableError::ItemTooLong`].
pub const MAX_ITEM: usize = 1 << 20;

/// What a lookup gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The key is not in the table.
    Absent,
    /// The answer is filled; the key was stored in this form. Always [`NulMode::Bare`] for kinds of table without
    /// such forms ([`Kind::has_nul_modes`]).
    Found(NulMode),
}

/// What one step of a scan gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A record: key and value are filled.
    Record,
    /// No further record; every later step returns this as well.
    End,
}
