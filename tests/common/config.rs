//! The parts of main.cf and master.cf that every test instance has.

/// main.cf of every instance: no name service, no TLS, no penalty for wrong commands, and every route ends in
/// discard(8), whose log line shows the route as its nexthop.
pub const BASE_MAIN_CF: &str = "\
compatibility_level = 3.6
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.local.example
mydomain = local.example
mydestination = local.example
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtpd_tls_security_level = none
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_relay_restrictions = reject_unauth_destination
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 10000
smtpd_hard_error_limit = 10001
smtpd_recipient_limit = 10000
default_process_limit = 20
in_flow_delay = 0
alias_maps =
alias_database =
local_recipient_maps =
notify_classes =
local_transport = discard:by-local
relay_transport = discard:by-relay
virtual_transport = discard:by-virtual
default_transport = discard:by-default
";

/// master.cf as Debian ships it, less what these tests never use: the services that speak to the network or read tables
/// are chrooted, proxymap and qmgr are not.
pub const MASTER_CF: &str = "\
127.0.0.1:@PORT@ inet n - y - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - y 60 1 pickup
cleanup unix n - y - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - y - - trivial-rewrite
bounce unix - - y - 0 bounce
defer unix - - y - 0 bounce
trace unix - - y - 0 bounce
verify unix - - y - 1 verify
flush unix n - y 1000? 0 flush
showq unix n - y - - showq
error unix - - y - - error
retry unix - - y - - error
discard unix - - y - - discard
local unix - n n - - local
anvil unix - - y - 1 anvil
proxymap unix - - n - - @PROXYMAP@
proxywrite unix - - n - 1 @PROXYMAP@
";
