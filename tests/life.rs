//! The life of mapkeepd under master(8), without a Postfix around it: start and refusal to start, what each process is
//! locked into, what is approved, how soon a changed table is served, and what a crowd of clients does.
//!
//! Every scenario starts a service of its own under a stand-in for master(8) (`common/master.rs`).
#![cfg(test)]

#[path = "life/accounts.rs"]
mod accounts;
#[path = "life/ask.rs"]
mod ask;
mod common;
#[path = "life/configuration.rs"]
mod configuration;
#[path = "life/confinement.rs"]
mod confinement;
#[path = "life/crowds.rs"]
mod crowds;
#[path = "life/freshness.rs"]
mod freshness;
#[path = "life/loading.rs"]
mod loading;
#[path = "life/many.rs"]
mod many;
#[path = "life/places.rs"]
mod places;
#[path = "life/refusals.rs"]
mod refusals;
#[path = "life/running.rs"]
mod running;
#[path = "life/several.rs"]
mod several;
#[path = "life/starting.rs"]
mod starting;

mod scenario {
    crate::common::scenarios_by_module! {
        starting:
            status_records_come_with_the_first_client_and_once,
            closed_status_channel_ends_the_whole_family,
            signals_end_the_whole_family,
            idle_service_leaves_and_a_busy_one_stays,
            overrides_of_master_cf_count,
            service_name_decides_the_role,
            odd_command_lines_are_refused,
            link_in_another_directory_finds_the_worker;
        running:
            worker_is_replaced_after_max_use,
            killed_worker_is_replaced,
            killed_broker_is_replaced,
            killed_logger_is_replaced,
            stopped_worker_is_replaced;
        confinement:
            each_process_reports_its_lock_and_the_report_is_true,
            start_is_one_line_and_so_is_the_end,
            root_directory_is_made_with_the_same_mode_whatever_the_umask,
            version_of_pcre2_is_logged_once,
            titles_are_short;
        accounts:
            accounts_of_other_sources_are_temporary_errors,
            accounts_of_files_alone_are_known,
            tables_of_file_names_are_named_at_the_start;
        refusals:
            chroot_directory_that_is_not_empty,
            chroot_directory_of_another_user,
            ids_that_belong_to_an_account,
            ids_that_cannot_be_used_leave_the_default,
            missing_worker_program;
        places:
            names_of_any_shape_end_nothing,
            files_of_root_in_another_ones_directory_stay_unread,
            volume_that_is_vouched_for_is_served,
            any_number_of_volumes_can_be_vouched_for,
            single_file_that_is_mounted_is_served,
            shared_store_of_root_is_served,
            owners_are_named_with_the_line_to_write,
            what_serves_only_form_is_not_asked,
            configuration_of_anybody_does_not_count,
            programs_of_anybody_are_not_started;
        configuration:
            missing_main_cf_denies_nothing,
            bad_line_in_main_cf_leaves_the_good_ones_in_force,
            file_that_only_root_can_read_is_served,
            account_secrets_are_refused,
            each_of_many_refused_tables_is_logged,
            faults_of_each_table_are_named_and_counted,
            types_that_are_not_served_are_named_at_the_start,
            untrusted_files_are_refused_until_put_right;
        freshness:
            rebuilt_tables_are_served_at_once,
            edited_texts_are_served_at_once,
            switched_links_are_served_at_once,
            broken_files_keep_the_old_answers,
            broken_file_keeps_the_old_answers_in_a_new_worker,
            removed_and_missing_tables_come_back,
            replaced_directories_are_followed_or_reported,
            rebuilds_never_show_half_a_table,
            large_tables_lie_in_large_pages;
        many:
            ten_thousand_tables_start_and_refresh_without_a_death;
        loading:
            snapshot_that_crashes_a_worker_is_replaced_by_the_previous_one,
            snapshot_that_crashes_two_workers_is_not_tried_again,
            first_snapshot_that_crashes_a_worker_makes_no_other_table_unavailable,
            table_that_is_touched_without_end_leaves_the_others_their_time;
        several:
            as_many_workers_serve_as_are_set_and_clients_are_spread_over_them,
            one_death_costs_the_clients_of_that_worker_only,
            end_of_a_rules_worker_closes_no_connection_of_a_client,
            rules_workers_are_there_only_where_there_are_rules,
            workers_of_a_crowd_are_replaced_one_after_another;
        crowds:
            two_thousand_connections_are_all_served,
            stalled_client_is_closed_alone,
            flood_of_unapproved_requests_leaves_the_log_readable;
    }
}
