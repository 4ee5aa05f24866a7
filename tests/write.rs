//! The writing service as a whole: the same requests to stock proxywrite and to mapkeepd, and what only mapkeepd
//! promises.
//!
//! Each scenario is one function that takes the server. Stock runs those that it survives: it shows that they are
//! right; mapkeepd runs all. Deaths of processes are in tests/crash.rs, real Postfix programs in tests/caches.rs.
#![cfg(test)]

#[path = "write/answers.rs"]
mod answers;
mod common;
#[path = "write/compliance.rs"]
mod compliance;
#[path = "write/corruption.rs"]
mod corruption;
#[path = "write/cursors.rs"]
mod cursors;
#[path = "write/locks.rs"]
mod locks;
#[path = "write/questions.rs"]
mod questions;
#[path = "write/refusals.rs"]
mod refusals;
#[path = "write/sharing.rs"]
mod sharing;
#[path = "write/syncs.rs"]
mod syncs;

use common::postfix::Server;

/// One test for each scenario, server and word: `cargo test --test write stock::` or `ours::`.
macro_rules! scenarios {
    (both: $($both:ident = $what:expr),+; ours: $($ours:ident = $more:expr),+ $(,)?) => {
        scenarios!(stock, crate::Server::Stock, $($both = $what),+);
        scenarios!(ours, crate::Server::Ours, $($both = $what),+, $($ours = $more),+);
    };
    ($module:ident, $server:expr, $($name:ident = $what:expr),+ $(,)?) => {
        mod $module {
            $(
                #[test]
                fn $name() {
                    if crate::common::can_run(stringify!($name)) {
                        let scenario: fn(crate::Server) = $what;
                        scenario($server);
                    }
                }
            )+
        }
    };
}

// Stock beside stock shows that the questions have one answer each, and that stock survives them.
scenarios!(
    both:
    hash_beside_stock = |server| crate::compliance::compare("hash", server),
    btree_beside_stock = |server| crate::compliance::compare("btree", server),
    lmdb_beside_stock = |server| crate::compliance::compare("lmdb", server),
    internal_beside_stock = |server| crate::compliance::compare("internal", server),
    unapproved_tables_are_denied = crate::answers::unapproved_tables_are_denied,
    malformed_requests_are_bad = crate::answers::malformed_requests_are_bad,
    read_only_types_are_unavailable = crate::answers::read_only_types_are_unavailable,
    hash_scan_among_changes = |server| crate::cursors::scan_among_changes("hash", server),
    btree_scan_among_changes = |server| crate::cursors::scan_among_changes("btree", server),
    lmdb_scan_among_changes = |server| crate::cursors::scan_among_changes("lmdb", server),
    hash_clean_up = |server| crate::cursors::clean_up_behind_the_scan("hash", server),
    btree_clean_up = |server| crate::cursors::clean_up_behind_the_scan("btree", server),
    lmdb_clean_up = |server| crate::cursors::clean_up_behind_the_scan("lmdb", server),
    internal_clean_up = |server| crate::cursors::clean_up_behind_the_scan("internal", server),
    hash_every_current_entry_is_removed =
        |server| crate::cursors::every_current_entry_is_removed("hash", server),
    btree_every_current_entry_is_removed =
        |server| crate::cursors::every_current_entry_is_removed("btree", server),
    hash_empty = |server| crate::cursors::empty_table_and_odd_functions("hash", server),
    btree_empty = |server| crate::cursors::empty_table_and_odd_functions("btree", server),
    lmdb_empty = |server| crate::cursors::empty_table_and_odd_functions("lmdb", server),
    internal_empty = |server| crate::cursors::empty_table_and_odd_functions("internal", server),
    hash_values_of_all_sizes = |server| crate::cursors::values_of_all_sizes("hash", server),
    btree_values_of_all_sizes = |server| crate::cursors::values_of_all_sizes("btree", server),
    lmdb_values_of_all_sizes = |server| crate::cursors::values_of_all_sizes("lmdb", server),
    hash_handed_to_and_fro = |server| crate::sharing::handed_to_and_fro("hash", server),
    btree_handed_to_and_fro = |server| crate::sharing::handed_to_and_fro("btree", server),
    lmdb_handed_to_and_fro = |server| crate::sharing::handed_to_and_fro("lmdb", server),
    hash_killed = |server| crate::sharing::killed_before_the_file_was_written("hash", server),
    btree_killed = |server| crate::sharing::killed_before_the_file_was_written("btree", server),
    lmdb_killed = |server| crate::sharing::killed_before_the_file_was_written("lmdb", server),
    hash_entry_deleted_under_a_scan =
        |server| crate::sharing::entry_deleted_under_a_scan_stays_away("hash", server),
    btree_entry_deleted_under_a_scan =
        |server| crate::sharing::entry_deleted_under_a_scan_stays_away("btree", server),
    hash_entries_without_nul = |server| crate::sharing::entries_without_nul("hash", server),
    btree_entries_without_nul = |server| crate::sharing::entries_without_nul("btree", server),
    lmdb_entries_without_nul = |server| crate::sharing::entries_without_nul("lmdb", server),
    hash_file_while_running = |server| crate::sharing::file_is_written_while_the_service_runs("hash", server),
    btree_file_while_running =
        |server| crate::sharing::file_is_written_while_the_service_runs("btree", server),
    lmdb_file_while_running = |server| crate::sharing::file_is_written_while_the_service_runs("lmdb", server),
    btree_file_under_updates =
        |server| crate::sharing::file_is_written_under_constant_updates("btree", server),
    hash_slow_postmap = |server| crate::locks::slow_postmap_keeps_its_entries("hash", server),
    btree_slow_postmap = |server| crate::locks::slow_postmap_keeps_its_entries("btree", server),
    lmdb_is_shared_with_programs = crate::sharing::lmdb_is_shared_with_programs;
    ours:
    acknowledged_is_synced = crate::syncs::acknowledged_is_synced,
    impossible_operations = crate::answers::impossible_operations_are_configuration_errors,
    keys_that_lmdb_cannot_hold = crate::answers::keys_that_lmdb_cannot_hold,
    hash_hostile_flags = |server| crate::answers::hostile_flags_change_nothing("hash", server),
    btree_hostile_flags = |server| crate::answers::hostile_flags_change_nothing("btree", server),
    lmdb_hostile_flags = |server| crate::answers::hostile_flags_change_nothing("lmdb", server),
    hash_new_dialect = |server| crate::answers::new_dialect_has_its_own_replies("hash", server),
    btree_new_dialect = |server| crate::answers::new_dialect_has_its_own_replies("btree", server),
    lmdb_new_dialect = |server| crate::answers::new_dialect_has_its_own_replies("lmdb", server),
    hash_next_from_nowhere = |server| crate::cursors::next_from_nowhere("hash", server),
    btree_next_from_nowhere = |server| crate::cursors::next_from_nowhere("btree", server),
    lmdb_next_from_nowhere = |server| crate::cursors::next_from_nowhere("lmdb", server),
    internal_next_from_nowhere = |server| crate::cursors::next_from_nowhere("internal", server),
    hash_two_scans = |server| crate::cursors::two_scans_at_a_time("hash", server),
    btree_two_scans = |server| crate::cursors::two_scans_at_a_time("btree", server),
    lmdb_two_scans = |server| crate::cursors::two_scans_at_a_time("lmdb", server),
    hash_restart_in_a_scan = |server| crate::cursors::restart_in_the_middle_of_a_scan("hash", server),
    btree_restart_in_a_scan = |server| crate::cursors::restart_in_the_middle_of_a_scan("btree", server),
    lmdb_restart_in_a_scan = |server| crate::cursors::restart_in_the_middle_of_a_scan("lmdb", server),
    lmdb_every_current_entry_is_removed =
        |server| crate::cursors::every_current_entry_is_removed("lmdb", server),
    hash_file_under_updates = |server| crate::sharing::file_is_written_under_constant_updates("hash", server),
    hash_file_changed_beside = |server| crate::sharing::file_changed_beside_the_service("hash", server),
    btree_file_changed_beside = |server| crate::sharing::file_changed_beside_the_service("btree", server),
    hash_readers_get_what_was_written = |server| crate::sharing::readers_get_what_was_written("hash", server),
    btree_readers_get_what_was_written =
        |server| crate::sharing::readers_get_what_was_written("btree", server),
    lmdb_readers_get_what_was_written = |server| crate::sharing::readers_get_what_was_written("lmdb", server),
    hash_two_services_at_once = |server| crate::sharing::two_services_at_once("hash", server),
    btree_two_services_at_once = |server| crate::sharing::two_services_at_once("btree", server),
    lmdb_two_services_at_once = |server| crate::sharing::two_services_at_once("lmdb", server),
    hash_locked_by_stock = |server| crate::locks::stock_has_locked_the_file("hash", server),
    btree_locked_by_stock = |server| crate::locks::stock_has_locked_the_file("btree", server),
    hash_open_in_stock = |server| crate::locks::stock_has_the_file_open_without_a_lock("hash", server),
    btree_open_in_stock = |server| crate::locks::stock_has_the_file_open_without_a_lock("btree", server),
    btree_locked_at_the_end = |server| crate::locks::end_of_the_service_leaves_the_file_alone("btree", server),
    checkpoint_without_a_service = crate::locks::checkpoint_ends_when_its_service_cannot_start,
    checkpoint_beside_an_impostor = crate::locks::checkpoint_signals_only_a_process_that_waits_for_it,
    hash_damaged_between_runs = |server| crate::corruption::damaged_between_runs("hash", server),
    btree_damaged_between_runs = |server| crate::corruption::damaged_between_runs("btree", server),
    lmdb_damaged_between_runs = |server| crate::corruption::damaged_between_runs("lmdb", server),
    hash_damaged_before_the_first_use =
        |server| crate::corruption::damaged_before_the_first_use("hash", server),
    btree_damaged_before_the_first_use =
        |server| crate::corruption::damaged_before_the_first_use("btree", server),
    hash_overwritten_beside = |server| crate::corruption::file_overwritten_beside_the_service("hash", server),
    btree_overwritten_beside =
        |server| crate::corruption::file_overwritten_beside_the_service("btree", server),
    btree_wrong_places = |server| crate::refusals::wrong_places_are_refused("btree", server),
    lmdb_wrong_places = |server| crate::refusals::wrong_places_are_refused("lmdb", server),
    btree_links_of_root = |server| crate::refusals::links_of_root_lead_to_tables("btree", server),
    lmdb_links_of_root = |server| crate::refusals::links_of_root_lead_to_tables("lmdb", server),
    hash_stores_are_checked = |server| crate::refusals::stores_are_checked_like_tables("hash", server),
    btree_stores_are_checked = |server| crate::refusals::stores_are_checked_like_tables("btree", server),
);
