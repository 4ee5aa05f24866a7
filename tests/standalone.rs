//! `mapkeep serve` as a service of its own: where it listens, what a service manager hears and gives, and how it reads
//! its configuration again without losing a client.
//!
//! Every scenario has a directory tree and a service of its own; the service manager is played by the test.
#![cfg(test)]

#[allow(dead_code)] // what life.rs needs and this does not
#[path = "life/ask.rs"]
mod ask;
mod common;
#[path = "standalone/manager.rs"]
mod manager;
#[path = "standalone/place.rs"]
mod place;
#[path = "standalone/reload.rs"]
mod reload;
#[path = "standalone/serve.rs"]
mod serve;

mod scenario {
    crate::common::scenarios_by_module! {
        place:
            usual_socket_has_owner_and_mode_of_master,
            socket_in_a_directory_of_root_gets_the_owner_too,
            name_of_master_cf_is_refused,
            configuration_that_cannot_be_read_is_refused_at_the_terminal,
            missing_directory_is_refused_with_remedy,
            stale_socket_is_replaced_and_a_live_one_is_not,
            link_in_the_mail_owners_directory_gains_nothing;
        manager:
            sockets_of_the_manager_are_served,
            sockets_for_another_process_are_left_alone,
            wrong_descriptors_are_refused,
            ready_reload_and_stop_are_reported,
            abstract_address_works,
            watchdog_is_fed;
        reload:
            new_tables_are_approved_and_old_ones_denied,
            number_of_workers_follows_the_configuration,
            connected_client_keeps_its_answers_through_twenty_reloads,
            unreadable_main_cf_keeps_the_old_configuration,
            bad_line_costs_only_itself,
            changes_that_need_a_restart_are_named,
            socket_that_master_cf_has_taken_since_is_named,
            sources_of_accounts_are_read_again,
            signals_during_a_reload_are_not_lost,
            silent_clients_of_the_previous_service_are_disconnected,
            killed_broker_of_before_leaves_the_service_alone,
            killed_broker_to_come_leaves_the_service_alone,
            stopped_broker_of_before_is_ended,
            too_many_configurations_end_the_oldest;
    }
}
