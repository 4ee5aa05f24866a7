//! Tables that servers answer for: what clients get while a server is well, ill or gone, and while a process on the way to it
//! dies; what each such process is locked into.
//!
//! Every scenario starts a service of its own under a stand-in for master(8), or as a service manager would, and servers of
//! its own in threads of the test.
#![cfg(test)]

#[path = "gateways/answers.rs"]
mod answers;
#[path = "life/ask.rs"]
#[allow(dead_code, reason = "requests that other tests need")]
mod ask;
mod common;
#[path = "gateways/confinement.rs"]
mod confinement;
#[path = "gateways/deaths.rs"]
mod deaths;
#[path = "gateways/failing.rs"]
mod failing;
#[path = "gateways/reloading.rs"]
mod reloading;
#[allow(dead_code, reason = "services that other tests need")]
#[path = "standalone/serve.rs"]
mod serve;
#[path = "gateways/server.rs"]
mod server;

mod scenario {
    crate::common::scenarios_by_module! {
        answers:
            tables_of_servers_are_asked_in_both_dialects;
        failing:
            server_that_stops_is_tried_once_a_second_and_found_again,
            server_that_hangs_up_is_connected_to_once_a_second,
            server_that_freezes_costs_its_own_table_the_deadline,
            half_an_answer_and_garbage_are_temporary_errors,
            server_that_answers_once_on_each_connection_is_asked_on_a_new_one,
            number_of_connections_is_bounded,
            server_that_is_not_there_keeps_nobody_waiting_at_the_start;
        deaths:
            gateway_that_is_killed_is_replaced_and_others_notice_nothing,
            gateway_that_is_stopped_is_replaced,
            gateway_that_keeps_dying_is_replaced_later_and_later,
            dialer_that_is_killed_ends_the_service_in_order,
            broker_that_is_killed_is_replaced_with_all_gateways;
        reloading:
            servers_come_and_go_with_the_configuration,
            first_server_needs_a_restart_and_the_log_says_so,
            dialer_that_is_killed_is_a_failure_to_a_service_manager;
        confinement:
            gateway_and_dialer_are_locked_as_seen_from_outside,
            connector_is_locked_as_seen_from_outside;
    }
}
