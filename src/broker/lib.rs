//! The supervisor and the broker: approve, open, hand over, watch, accept.
//!
//! Purpose: everything that takes privileges, in two processes: the supervisor starts and ends the others, the
//! broker opens the approved tables and accepts clients. May: see docs/SECURITY.md, section 3. Never: see a
//! client's byte, a key or a result. Called by: the `mapkeepd` program.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod accounts;
mod checks;
mod children;
mod deciding;
mod door;
mod gather;
mod launch;
mod link;
mod master;
mod notices;
mod notify;
mod options;
mod outbox;
mod place;
mod plan;
mod prepare;
mod redact;
mod rhythm;
mod serve;
pub mod snapshot;
mod socket;
mod start;
mod supervise;
mod tables;
pub mod trust;
mod watch;
mod workers;
mod write;

pub use checks::obstacles;
pub use deciding::distrusted;
pub use gather::installed_defaults;
pub use launch::main;
pub use notices::{Notice, Notices};
pub use start::main as broker;
pub use write::main as write_broker;
