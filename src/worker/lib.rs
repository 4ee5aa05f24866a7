//! The processes that handle bytes from outside: the lookup worker and the logger.
//!
//! Purpose: parse clients and answer them from snapshots; write lines to the log. May: what
//! policy/seccomp.json lists for `lookup` and `logger`. Never: a path, open, socket or exec once locked down.
//! Called by: the `mapkeep-worker` program, which mapkeepd starts.
#![forbid(unsafe_code)]

mod catalogue;
mod client;
pub mod flags;
mod logger;
mod lookup;
pub mod session;
mod start;
pub mod wire;

pub use start::{LOCK_FAILED, main};
