//! The writer: the one process that changes tables.
//!
//! Purpose: answer the clients of the writing service from stores, durably before it says so, and write stores into the
//! files that stock Postfix reads. May: what policy/seccomp.json lists for `writer`, on descriptors that the broker has
//! handed over. Never: a path, open, socket or exec once locked down.
//!
//! | file | purpose |
//! |---|---|
//! | `start.rs` | what the process is given, and its lock-down |
//! | `serve.rs` | the event loop: turns, groups of changes, the end; `serve/broker.rs`: messages |
//! | `group.rs` | the replies that a turn holds back |
//! | `tables.rs` | names, stores, and what a request may ask of them |
//! | `opening.rs` | opening stores, taking over files and what is left of damaged ones |
//! | `checkpoints.rs` | checkpoints |
//! | `engine.rs` | what is needed of a store |
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod checkpoints;
mod engine;
mod group;
mod line;
mod opening;
mod serve;
mod start;
mod tables;
#[cfg(test)]
mod testing;

pub use start::main;
