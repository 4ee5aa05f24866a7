//! The dialer, and the connectors that it forks: connections to the servers of gateways.
//!
//! A gateway cannot connect and the broker may not; so the broker asks the dialer, which forks a connector for each wish.
//! The connector narrows itself, finds the address, connects, hands the connection to the broker, and is gone. May: fork,
//! and in a fork read what the name service needs, ask name servers, and connect. Never: read or write a byte of the
//! connection, listen, start a program.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod connect;
mod connector;
mod reason;
mod services;
mod serving;
mod start;

pub use start::main;
