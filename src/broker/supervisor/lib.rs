//! The supervisor: starts and ends the other processes, and answers to master(8) or a service manager.
//!
//! May: see docs/SECURITY.md, section 3. Never: read from a worker or a client.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod children;
mod launch;
mod master;
mod notify;
mod remarks;
mod socket;
mod supervise;

pub use launch::main;
