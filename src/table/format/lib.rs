//! The formats of tables, from bytes: Berkeley DB, LMDB, cdb, text, and what stands in a table's name.
//!
//! Purpose: find and list the entries of a table, without any of the libraries that Postfix uses; build whole Berkeley DB
//! files. May: compute, and allocate answers and the index of a text table. Never: I/O, a path, a descriptor, the clock;
//! panic, loop or allocate without bound on a hostile file.
//!
//! Bounds on hostile files: one lookup visits at most twice the pages of the file; a whole scan enters each page once
//! and returns no more bytes than the file has; keys and values are at most [`mapkeep_query::MAX_ITEM`] bytes.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod accounts;
pub mod bdb;
mod bytes;
pub mod cdb;
mod complaint;
mod cursor;
pub mod lmdb;
mod portion;
mod probe;
pub mod random;
pub mod text;

pub use bdb::build;
pub use complaint::{Complaint, Fault, complain};
pub use cursor::Cursor;
pub use portion::Portion;
pub use probe::Probe;

/// The longest logical line of a text table, in bytes, comments between its parts included: 2 MiB.
pub const MAX_LINE: usize = 2 << 20;

/// How many keys of a text table may differ only by case.
pub const MAX_CASE_VARIANTS: usize = 64;
