//! Deaths and full disks: what the writing service has acknowledged is there afterwards.
//!
//! `MAPKEEP_KILLS=2000 cargo test --test crash -- --nocapture` runs the long form. Figures go to standard error.
#![cfg(test)]

#[path = "crash/caller.rs"]
mod caller;
mod common;
#[path = "crash/full.rs"]
mod full;
#[path = "crash/kills.rs"]
mod kills;
#[path = "crash/owner.rs"]
mod owner;

use common::can_run;
use common::postfix::Server;

/// Stock is one process and runs these too: lmdb survives any kill of it, so it shows that the test is right. Its hash
/// and btree files promise nothing after a kill, so they are left out.
#[test]
fn stock_lmdb_survives_kills() {
    if can_run("kills of stock proxywrite") {
        kills::storm(Server::Stock, &["lmdb"], 25);
    }
}

#[test]
fn hash_and_btree_survive_kills() {
    if can_run("kills with hash and btree") {
        kills::storm(Server::Ours, &["hash", "btree"], 200);
    }
}

#[test]
fn lmdb_survives_kills() {
    if can_run("kills with lmdb") {
        kills::storm(Server::Ours, &["lmdb"], 200);
    }
}

#[test]
fn hash_survives_a_full_disk() {
    if can_run("hash on a full disk") {
        full::disk("hash");
    }
}

#[test]
fn btree_survives_a_full_disk() {
    if can_run("btree on a full disk") {
        full::disk("btree");
    }
}

#[test]
fn lmdb_survives_a_full_disk() {
    if can_run("lmdb on a full disk") {
        full::disk("lmdb");
    }
}
