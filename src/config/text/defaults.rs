//! Built-in defaults of the parameters that matter here, for when `postconf -d` cannot be asked.
//!
//! Data only. Source: `postconf -d` of Debian's 3.7.11 (directories are Debian's) and of 3.12-20260821.

use std::collections::BTreeMap;

use crate::version::PostfixVersion;

/// The defaults of `version`, by name.
pub(crate) fn built_in(version: &PostfixVersion) -> BTreeMap<&'static [u8], Vec<u8>> {
    let mut values: BTreeMap<&'static [u8], Vec<u8>> =
        VALUES.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes().to_vec())).collect();
    let mut names = READ_MAPS.to_vec();
    if version.has_long_read_list() {
        names.extend(READ_MAPS_3_12);
        values.insert(b"address_verify_map", b"$default_cache_db_type:$data_directory/verify_cache".to_vec());
        values.insert(
            b"postscreen_cache_map",
            b"$default_cache_db_type:$data_directory/postscreen_cache".to_vec(),
        );
    }
    let references: Vec<String> = names.iter().map(|name| format!("${name}")).collect();
    values.insert(b"proxy_read_maps", references.join(" ").into_bytes());
    values
}

const VALUES: &[(&str, &str)] = &[
    ("address_verify_map", "btree:$data_directory/verify_cache"),
    ("address_verify_sender_dependent_default_transport_maps", "$sender_dependent_default_transport_maps"),
    ("address_verify_sender_dependent_relayhost_maps", "$sender_dependent_relayhost_maps"),
    ("address_verify_transport_maps", "$transport_maps"),
    ("alias_maps", "hash:/etc/aliases, nis:mail.aliases"),
    ("command_directory", "/usr/sbin"),
    ("compatibility_level", "0"),
    ("config_directory", "/etc/postfix"),
    ("daemon_directory", "/usr/lib/postfix/sbin"),
    ("daemon_table_open_error_is_fatal", "no"),
    ("daemon_timeout", "18000s"),
    ("data_directory", "/var/lib/postfix"),
    ("default_cache_db_type", "btree"),
    ("default_database_type", "hash"),
    ("default_privs", "nobody"),
    ("default_process_limit", "100"),
    ("inet_protocols", "all"),
    ("ipc_idle", "5s"),
    ("ipc_timeout", "3600s"),
    ("ipc_ttl", "1000s"),
    ("lmtp_delivery_status_filter", "$default_delivery_status_filter"),
    ("local_delivery_status_filter", "$default_delivery_status_filter"),
    ("local_login_sender_maps", "static:*"),
    ("local_recipient_maps", "proxy:unix:passwd.byname $alias_maps"),
    ("mail_owner", "postfix"),
    ("mail_version", "3.7.0"),
    ("maillog_file", ""),
    ("maillog_file_prefixes", "/var, /dev/stdout"),
    ("max_idle", "100s"),
    ("max_use", "100"),
    ("meta_directory", "/etc/postfix"),
    ("mime_header_checks", "$header_checks"),
    ("mydestination", "$myhostname, localhost.$mydomain, localhost"),
    ("nested_header_checks", "$header_checks"),
    ("pipe_delivery_status_filter", "$default_delivery_status_filter"),
    ("postlog_service_name", "postlog"),
    ("postscreen_cache_map", "btree:$data_directory/postscreen_cache"),
    ("postscreen_discard_ehlo_keyword_address_maps", "$smtpd_discard_ehlo_keyword_address_maps"),
    ("postscreen_reject_footer_maps", "$smtpd_reject_footer_maps"),
    (
        "proxy_write_maps",
        "$smtp_sasl_auth_cache_name $lmtp_sasl_auth_cache_name $address_verify_map $postscreen_cache_map",
    ),
    ("proxymap_service_name", "proxymap"),
    ("proxywrite_service_name", "proxywrite"),
    ("queue_directory", "/var/spool/postfix"),
    ("relay_domains", "${{$compatibility_level} <level {2} ? {$mydestination} : {}}"),
    ("service_throttle_time", "60s"),
    ("setgid_group", "postdrop"),
    ("shlib_directory", "/usr/lib/postfix"),
    ("smtp_delivery_status_filter", "$default_delivery_status_filter"),
    (
        "smtpd_relay_restrictions",
        "${{$compatibility_level} <level {1} ? {} : {permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination}}",
    ),
    ("smtpd_restriction_classes", ""),
    ("smtputf8_enable", "${{$compatibility_level} <level {1} ? {no} : {yes}}"),
    ("syslog_facility", "mail"),
    ("syslog_name", "${multi_instance_name?{$multi_instance_name}:{postfix}}"),
    ("tlsproxy_client_policy_maps", "${tlsproxy_client_policy:$smtp_tls_policy_maps}"),
    ("virtual_alias_domains", "$virtual_alias_maps"),
    ("virtual_alias_maps", "$virtual_maps"),
    ("virtual_delivery_status_filter", "$default_delivery_status_filter"),
    ("virtual_mailbox_domains", "$virtual_mailbox_maps"),
];

/// What proxy_read_maps refers to by default since 3.7.
const READ_MAPS: [&str; 78] = [
    "local_recipient_maps",
    "mydestination",
    "virtual_alias_maps",
    "virtual_alias_domains",
    "virtual_mailbox_maps",
    "virtual_mailbox_domains",
    "relay_recipient_maps",
    "relay_domains",
    "canonical_maps",
    "sender_canonical_maps",
    "recipient_canonical_maps",
    "relocated_maps",
    "transport_maps",
    "mynetworks",
    "smtpd_sender_login_maps",
    "sender_bcc_maps",
    "recipient_bcc_maps",
    "smtp_generic_maps",
    "lmtp_generic_maps",
    "alias_maps",
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_recipient_restrictions",
    "address_verify_sender_dependent_default_transport_maps",
    "address_verify_sender_dependent_relayhost_maps",
    "address_verify_transport_maps",
    "fallback_transport_maps",
    "lmtp_discard_lhlo_keyword_address_maps",
    "lmtp_pix_workaround_maps",
    "lmtp_sasl_password_maps",
    "lmtp_tls_policy_maps",
    "mailbox_command_maps",
    "mailbox_transport_maps",
    "postscreen_discard_ehlo_keyword_address_maps",
    "rbl_reply_maps",
    "sender_dependent_default_transport_maps",
    "sender_dependent_relayhost_maps",
    "smtp_discard_ehlo_keyword_address_maps",
    "smtp_pix_workaround_maps",
    "smtp_sasl_password_maps",
    "smtp_tls_policy_maps",
    "smtpd_discard_ehlo_keyword_address_maps",
    "smtpd_milter_maps",
    "virtual_gid_maps",
    "virtual_uid_maps",
    "local_login_sender_maps",
    "postscreen_reject_footer_maps",
    "smtpd_reject_footer_maps",
    "tls_server_sni_maps",
    "tlsproxy_client_policy_maps",
    "default_delivery_status_filter",
    "lmtp_delivery_status_filter",
    "lmtp_dns_reply_filter",
    "lmtp_reply_filter",
    "local_delivery_status_filter",
    "pipe_delivery_status_filter",
    "postscreen_command_filter",
    "smtp_delivery_status_filter",
    "smtp_dns_reply_filter",
    "smtp_reply_filter",
    "smtpd_command_filter",
    "smtpd_dns_reply_filter",
    "virtual_delivery_status_filter",
    "body_checks",
    "header_checks",
    "lmtp_body_checks",
    "lmtp_header_checks",
    "lmtp_mime_header_checks",
    "lmtp_nested_header_checks",
    "milter_header_checks",
    "mime_header_checks",
    "nested_header_checks",
    "smtp_body_checks",
    "smtp_header_checks",
    "smtp_mime_header_checks",
    "smtp_nested_header_checks",
];

/// What 3.12 adds.
const READ_MAPS_3_12: [&str; 29] = [
    "smtpd_reject_filter_maps",
    "debug_peer_list",
    "smtpd_etrn_restrictions",
    "fast_flush_domains",
    "authorized_flush_users",
    "lmtp_connection_cache_destinations",
    "local_header_rewrite_clients",
    "masquerade_exceptions",
    "postscreen_access_list",
    "postscreen_allowlist_interfaces",
    "postscreen_forbidden_commands",
    "qmqpd_authorized_clients",
    "authorized_mailq_users",
    "smtp_connection_cache_destinations",
    "smtpd_log_access_permit_actions",
    "smtpd_forbidden_commands",
    "smtpd_client_event_limit_exceptions",
    "smtpd_sasl_exceptions_networks",
    "smtpd_sasl_mechanism_filter",
    "smtp_requiretls_policy",
    "smtp_sasl_mechanism_filter",
    "authorized_submit_users",
    "smtpd_authorized_verp_clients",
    "smtpd_authorized_xclient_hosts",
    "smtpd_authorized_xforward_hosts",
    "lmtp_tls_loglevel_maps",
    "postscreen_tls_loglevel_maps",
    "smtp_tls_loglevel_maps",
    "smtpd_tls_loglevel_maps",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_read_list_has_the_length_of_its_version() {
        let count = |text: &str| {
            let values = built_in(&PostfixVersion::parse(text).unwrap());
            values[&b"proxy_read_maps"[..]].split(|byte| *byte == b' ').count()
        };
        assert_eq!(count("3.7.11"), 78);
        assert_eq!(count("3.12-20260821"), 107);
    }

    #[test]
    fn built_in_names_stand_once() {
        assert_eq!(built_in(&PostfixVersion::UNKNOWN).len(), VALUES.len() + 1);
    }
}
