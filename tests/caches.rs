//! Postfix's own programs on caches that they reach through proxywrite: verify(8), postscreen(8), and smtp(8) with its
//! cache of refused logins; their clean-up scans included.
//!
//! Each scenario takes the server and the type of the cache. Stock runs it too: it shows that the scenario is right.
#![cfg(test)]

mod common;
#[path = "caches/postscreen.rs"]
mod postscreen;
#[path = "caches/sasl.rs"]
mod sasl;
#[path = "caches/site.rs"]
mod site;
#[path = "caches/verify.rs"]
mod verify;
#[path = "caches/way_back.rs"]
mod way_back;

use common::postfix::Server;

/// One test for each scenario, server and type of cache: `cargo test --test caches stock::` or `ours::`.
macro_rules! scenarios {
    ($module:ident, $server:expr, $($name:ident = $what:path, $kind:literal);+ $(;)?) => {
        mod $module {
            $(
                #[test]
                fn $name() {
                    if crate::common::can_run(stringify!($name)) {
                        $what($server, $kind);
                    }
                }
            )+
        }
    };
}

scenarios!(
    stock,
    crate::Server::Stock,
    verify_btree = crate::verify::probes_are_cached_and_cleaned_up, "btree";
    verify_lmdb = crate::verify::probes_are_cached_and_cleaned_up, "lmdb";
    postscreen_btree = crate::postscreen::passes_are_cached_and_cleaned_up, "btree";
    postscreen_lmdb = crate::postscreen::passes_are_cached_and_cleaned_up, "lmdb";
    sasl_btree = crate::sasl::refused_logins_are_cached, "btree";
    sasl_lmdb = crate::sasl::refused_logins_are_cached, "lmdb";
);

scenarios!(
    ours,
    crate::Server::Ours,
    verify_btree = crate::verify::probes_are_cached_and_cleaned_up, "btree";
    verify_hash = crate::verify::probes_are_cached_and_cleaned_up, "hash";
    verify_lmdb = crate::verify::probes_are_cached_and_cleaned_up, "lmdb";
    postscreen_btree = crate::postscreen::passes_are_cached_and_cleaned_up, "btree";
    postscreen_lmdb = crate::postscreen::passes_are_cached_and_cleaned_up, "lmdb";
    sasl_btree = crate::sasl::refused_logins_are_cached, "btree";
    sasl_lmdb = crate::sasl::refused_logins_are_cached, "lmdb";
    writer_killed_btree = crate::verify::writer_is_killed_between_probes, "btree";
    writer_killed_lmdb = crate::verify::writer_is_killed_between_probes, "lmdb";
    way_back_btree = crate::way_back::stock_continues_after_a_crash, "btree";
    way_back_hash = crate::way_back::stock_continues_after_a_crash, "hash";
);
