//! What each fuzz target does with its bytes, without libFuzzer.
//!
//! Purpose: one function for each target, which panics when a promise of the code under test is broken. `targets/` gives
//! them to libFuzzer; `tests/soak.rs` of the project runs the seeds through them without it. May: panic, on purpose.
//! Never: read a file, the clock or a random number; the same bytes always do the same.

mod config;
mod gateways;
mod messages;
mod questions;
mod service;
mod tables;
mod templates;

pub use config::{main_cf, master_cf, table_cf};
pub use gateways::{socketmap, tcp};
pub use messages::{messages, names};
pub use questions::questions;
pub use service::{session, wire_request};
pub use tables::{accounts, bdb_btree, bdb_hash, cdb, cidr, composite, inline, lmdb, pcre, regexp, texthash};
pub use templates::template;

/// What a target does with its bytes.
pub type Target = fn(&[u8]);

/// Every target by name, for those who replay seeds.
pub const TARGETS: [(&str, Target); 22] = [
    ("bdb_hash", bdb_hash),
    ("bdb_btree", bdb_btree),
    ("lmdb", lmdb),
    ("cdb", cdb),
    ("texthash", texthash),
    ("inline", inline),
    ("cidr", cidr),
    ("regexp", regexp),
    ("pcre", pcre),
    ("composite", composite),
    ("accounts", accounts),
    ("wire_request", wire_request),
    ("session", session),
    ("main_cf", main_cf),
    ("master_cf", master_cf),
    ("messages", messages),
    ("names", names),
    ("questions", questions),
    ("socketmap", socketmap),
    ("tcp", tcp),
    ("template", template),
    ("table_cf", table_cf),
];
