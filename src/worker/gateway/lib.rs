//! The gateway: answers lookup workers for the tables of one backend, on connections that it was handed.
//!
//! One thread, one event loop. Lookup workers ask on streams; each question waits in a bounded queue until a connection has
//! room for it, or until its time is over. What the backend's protocol says is worked out by an engine, which does no I/O.
//!
//! May: read and write streams and connections that it was handed, map settings that it was handed. Never: resolve a name,
//! connect, open, or execute; show a key or a value in the log; take the word of a server or of a lookup worker for more
//! than an answer or a question.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod askers;
pub mod engine;
mod pool;
mod question;
mod queue;
mod serve;
mod service;
mod start;
mod tables;

pub use start::main;

#[cfg(test)]
mod tests;
