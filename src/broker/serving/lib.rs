//! What the two brokers have in common: their start, their event loop, their sockets, and their channel to the supervisor.
//!
//! May: accept clients, and pass descriptors on. Never: read a byte of a client, open a table.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

pub mod event_loop;
pub mod listeners;
pub mod prepare;
pub mod rhythm;
pub mod supervisor_channel;
