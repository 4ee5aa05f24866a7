//! The broker of the reading service: opens, copies and watches the approved tables, accepts clients, and hands both to
//! the lookup workers.
//!
//! May: see docs/SECURITY.md, section 3. Never: see a client's byte, a key or a result.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod gateways;
mod serve;
mod start;
mod tables;
mod watch;
mod workers;

pub use start::main;
