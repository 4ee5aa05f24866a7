//! The side of a stream that answers questions: rules workers and gateways read what lookup workers ask by it.
//!
//! May: read and write streams that it was handed. Never: answer, or know what a question waits for.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod asker;

pub use asker::{Asker, Gone, Pending, Taken, UNREAD, WAITING};
