//! The proxymap protocol, byte for byte, against the service under a real master(8).
//!
//! The scenarios in `wire/both.rs` are asked of stock proxymap(8) and of mapkeepd alike, those in `wire/beyond_stock.rs`
//! of mapkeepd only. In requests and replies `|` stands for one NUL byte. Old dialect: Postfix up to 3.10; new dialect:
//! 3.11 and later.
#![cfg(test)]

#[path = "wire/beyond_stock.rs"]
mod beyond_stock;
#[path = "wire/both.rs"]
mod both;
mod common;
#[path = "wire/fixture.rs"]
mod fixture;

use beyond_stock::*;
use both::*;
use common::postfix::Server;

// `cargo test --test wire stock::` or `ours::` for those of one server.
common::scenarios_by_server!(
    both:
        old_dialect_has_the_known_bytes,
        same_bytes_as_stock,
        sequence_gives_every_entry_once,
        accounts_are_answered_as_promised,
        capitals_in_text_tables,
        malformed_requests_are_refused,
        fragments_of_one_byte,
        abandoned_requests_do_no_harm,
        many_clients_at_once,
        idle_service_exits_and_is_started_again;
    ours:
        workers_are_replaced_after_max_use,
        new_dialect_has_the_known_bytes,
        dialects_may_alternate,
        pipelined_requests_are_answered_in_order,
        stalled_request_is_closed,
        hostile_flags_end_no_process,
        sequence_of_a_type_without_one_is_answered,
        requests_over_the_limits_are_closed,
        connection_without_a_request_is_closed,
);
