//! The processes that handle bytes from outside: the lookup worker and the logger, and what the writer shares with them.
//!
//! Purpose: parse clients and answer them from snapshots; write lines to the log. May: what
//! policy/seccomp.json lists for `lookup` and `logger`. Never: a path, open, socket or exec once locked down.
//! Called by: the `mapkeep-worker` program, which mapkeepd starts; the writer, with tables and an event loop of its own.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod broker;
mod catalogue;
pub mod client;
pub mod clients;
mod contents;
mod elsewhere;
pub mod flags;
mod loading;
mod log_start;
mod logger;
mod lookup;
pub mod process;
mod rules_worker;
pub mod session;
mod start;
pub mod wire;

pub use log_start::main as logger;
pub use start::main as lookup;
