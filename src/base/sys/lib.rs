//! The only crate with `unsafe`: descriptor passing, spawning, memory, inherited descriptors, clocks; and deadlines.
//!
//! May: ask the kernel for exactly one thing per function. Never: decide what to allow, log, or read a configuration.
//! Each `unsafe` block does one thing and says why it holds.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod access_list;
pub mod channel;
pub mod clock;
pub mod deadline;
pub mod exit;
pub mod fork;
pub mod inherit;
pub mod lease;
pub mod listen;
pub mod mapping;
pub mod memory;
pub mod signals;
pub mod spawn;
pub mod status;
pub mod stream;
pub mod title;
