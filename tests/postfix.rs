//! End to end: a private Postfix with chrooted daemons answers SMTP clients through tables outside the jail.
//!
//! Each scenario is one function that takes the server. Both servers run it: stock proxymap(8) shows that the scenario
//! is right, mapkeepd that it can stand in. Where the two differ on purpose, the scenario says so where it branches.
#![cfg(test)]

#[path = "postfix/accounts.rs"]
mod accounts;
#[path = "postfix/changing.rs"]
mod changing;
mod common;
#[path = "postfix/servers.rs"]
mod servers;

use accounts::*;
use changing::*;
use common::postfix::{Instance, Server, Way};
use common::process;
use common::smtp::Smtp;
use common::stopwatch::poll_promise;
use common::{PATIENCE, poll};
use servers::*;
use std::time::Duration;

/// An instance with the tables that the routing and access scenarios ask.
fn furnished(server: Server, way: Way) -> Instance {
    let mut mail = Instance::reached_by(server, way);
    let virtual_ = mail.table(
        "hash",
        "virtual",
        "info@alias.example root@local.example\n@catch.example daemon@local.example\nboth@alias.example root@local.example, ann@relay.example\n",
    );
    let relay = mail.table("lmdb", "relay", "ann@relay.example ok\n@routed.example ok\n@gated.example ok\n");
    let transport = mail.table("texthash", "transport", "# routes\nrouted.example   discard:by-texthash\n");
    let access = mail.table(
        "btree",
        "access",
        "daemon@local.example REJECT no mail for daemons\nfriend@gated.example OK\ngated.example REJECT the gate is closed\ngames@ REJECT no games\n",
    );
    let clients = mail.table(
        "cdb",
        "clients",
        "192.0.2.66 REJECT this client\n198.51.100 REJECT this network\nbad.example REJECT this domain\n",
    );
    let senders = mail.table("hash", "senders", "spam@bulk.example REJECT this sender\n");
    let canonical = mail.table("hash", "canonical", "old@sender.example new@sender.example\n");
    mail.set("local_recipient_maps", "proxy:unix:passwd.byname");
    mail.set("virtual_alias_domains", "alias.example catch.example");
    mail.set("virtual_alias_maps", &format!("proxy:{virtual_}"));
    mail.set("relay_domains", "relay.example routed.example gated.example");
    mail.set("relay_recipient_maps", &format!("proxy:{relay}"));
    mail.set("transport_maps", &format!("proxy:{transport}"));
    mail.set("sender_canonical_maps", &format!("proxy:{canonical}"));
    mail.set(
        "smtpd_recipient_restrictions",
        &format!("check_client_access proxy:{clients}, check_sender_access proxy:{senders}, check_recipient_access proxy:{access}"),
    );
    mail.start();
    mail
}

fn assert_code(session: &mut Smtp, recipient: &str, code: u16, says: &str) {
    let reply = session.rcpt(recipient);
    assert!(
        reply.code == code && reply.text.contains(says),
        "{recipient}: wanted {code} {says:?}, got {reply:?}"
    );
}

/// Recipients of every class of address are distinguished: local, virtual alias, catch-all, relay, transport, unknown.
fn recipients_of_each_class(server: Server) {
    let mail = furnished(server, Way::Relative);
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    assert_code(&mut smtp, "root@local.example", 250, "");
    assert_code(&mut smtp, "nobody@local.example", 250, "");
    assert_code(&mut smtp, "no-such-user@local.example", 550, "User unknown in local recipient table");
    assert_code(&mut smtp, "info@alias.example", 250, "");
    assert_code(&mut smtp, "INFO@Alias.Example", 250, "");
    assert_code(&mut smtp, "nothere@alias.example", 550, "User unknown in virtual alias table");
    assert_code(&mut smtp, "anything@catch.example", 250, "");
    assert_code(&mut smtp, "ann@relay.example", 250, "");
    assert_code(&mut smtp, "bob@relay.example", 550, "User unknown in relay recipient table");
    assert_code(&mut smtp, "whoever@routed.example", 250, "");
    assert_code(&mut smtp, "x@elsewhere.example", 554, "Relay access denied");
    smtp.quit();
    assert_chrooted(&mail, "smtpd");
}

/// Access tables: whole addresses, localparts, domains, networks; REJECT, OK, and no opinion.
fn access_by_client_sender_and_recipient(server: Server) {
    let mail = furnished(server, Way::Relative);
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    assert_code(&mut smtp, "daemon@local.example", 554, "no mail for daemons");
    assert_code(&mut smtp, "games@local.example", 554, "no games");
    assert_code(&mut smtp, "friend@gated.example", 250, "");
    assert_code(&mut smtp, "enemy@gated.example", 554, "the gate is closed");
    assert_code(&mut smtp, "root@local.example", 250, "");
    smtp.reset();
    smtp.mail("spam@bulk.example");
    assert_code(&mut smtp, "root@local.example", 554, "this sender");
    smtp.quit();
    let cases = [
        ("a.example", "192.0.2.66", 554, "this client"),
        ("b.example", "198.51.100.9", 554, "this network"),
        ("host.bad.example", "203.0.113.5", 554, "this domain"),
        ("c.example", "192.0.2.67", 250, ""),
    ];
    for (name, ip, code, says) in cases {
        let mut smtp = Smtp::open_as(mail.smtp_address(), name, ip);
        smtp.mail("someone@client.example");
        assert_code(&mut smtp, "root@local.example", code, says);
        smtp.quit();
    }
}

/// Whole messages go through cleanup, qmgr and trivial-rewrite, and leave by the route that the tables say.
fn messages_take_their_route(server: Server) {
    let mail = furnished(server, Way::Relative);
    let mut smtp = mail.smtp();
    let delivered = |id: &str, to: &str, route: &str| {
        let line = mail.wait_for_log(&["/discard[", id, &format!("to=<{to}>"), "status=sent"], PATIENCE);
        assert!(line.contains(&format!("({route})")), "{to} should leave {route}: {line}");
    };
    let id = smtp.deliver("a@client.example", "root@local.example");
    delivered(&id, "root@local.example", "by-local");
    let id = smtp.deliver("a@client.example", "whoever@routed.example");
    delivered(&id, "whoever@routed.example", "by-texthash");
    let id = smtp.deliver("a@client.example", "both@alias.example");
    delivered(&id, "root@local.example", "by-local");
    delivered(&id, "ann@relay.example", "by-relay");
    let id = smtp.deliver("a@client.example", "anything@catch.example");
    delivered(&id, "daemon@local.example", "by-local");
    let id = smtp.deliver("old@sender.example", "ann@relay.example");
    delivered(&id, "ann@relay.example", "by-relay");
    mail.wait_for_log(&["/qmgr[", &id, "from=<new@sender.example>"], PATIENCE);
    smtp.quit();
    assert_chrooted(&mail, "cleanup");
    assert_chrooted(&mail, "trivial-rewrite");
    assert_nothing_deferred(&mail);
}

/// The server is found through a link in daemon_directory as well as through a path that climbs out of it.
fn reached_through_a_link(server: Server) {
    let mail = furnished(server, Way::Link);
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    assert_code(&mut smtp, "root@local.example", 250, "");
    assert_code(&mut smtp, "no-such-user@local.example", 550, "User unknown");
    assert_code(&mut smtp, "ann@relay.example", 250, "");
    let program = if server == Server::Ours { "mapkeepd" } else { "proxymap" };
    assert!(!mail.daemons(program).is_empty(), "{program} serves the lookups");
    smtp.quit();
}

/// A reload between two recipients of one message: the open session continues, with a new lookup server.
fn reload_during_a_session(server: Server) {
    let mail = furnished(server, Way::Relative);
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    assert_code(&mut smtp, "ann@relay.example", 250, "");
    let program = if server == Server::Ours { "mapkeepd" } else { "proxymap" };
    let old: Vec<u32> = mail.daemons(program).iter().map(|p| p.pid).collect();
    assert!(!old.is_empty(), "a lookup server runs");
    mail.reload();
    assert!(process::wait_gone(&old, PATIENCE).is_empty(), "lookup servers {old:?} outlived the reload");
    assert_code(&mut smtp, "root@local.example", 250, "");
    assert_code(&mut smtp, "no-such-user@local.example", 550, "");
    assert_code(&mut smtp, "bob@relay.example", 550, "");
    let id = smtp.data("across a reload");
    mail.wait_for_log(&["/discard[", &id, "to=<ann@relay.example>", "(by-relay)"], PATIENCE);
    mail.wait_for_log(&["/discard[", &id, "to=<root@local.example>", "(by-local)"], PATIENCE);
    smtp.quit();
    assert_nothing_deferred(&mail);
}

/// mapkeepd only: the lookup worker is killed between two recipients; no 451, and the message is delivered.
fn worker_killed_during_a_session(server: Server) {
    let mail = furnished(server, Way::Relative);
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    assert_code(&mut smtp, "ann@relay.example", 250, "");
    let services: Vec<u32> = mail.daemons("mapkeepd").iter().map(|p| p.pid).collect();
    let mut killed = Vec::new();
    for round in 0..3 {
        let workers = poll(PATIENCE, || Some(mail.lookup_workers()).filter(|w| !w.is_empty()));
        for worker in workers.expect("a process whose title says `lookup`") {
            assert!(!killed.contains(&worker.pid), "a killed worker {} is still there", worker.pid);
            process::signal("KILL", worker.pid);
            assert!(process::wait_gone(&[worker.pid], PATIENCE).is_empty(), "worker {} lives on", worker.pid);
            killed.push(worker.pid);
        }
        assert_code(&mut smtp, "root@local.example", 250, "");
        assert_code(&mut smtp, &format!("nobody-{round}@local.example"), 550, "User unknown");
    }
    let id = smtp.data("across a worker's death");
    mail.wait_for_log(&["/discard[", &id, "to=<ann@relay.example>", "status=sent"], PATIENCE);
    mail.wait_for_log(&["/discard[", &id, "to=<root@local.example>", "status=sent"], PATIENCE);
    smtp.quit();
    let now: Vec<u32> = mail.daemons("mapkeepd").iter().map(|p| p.pid).collect();
    assert_eq!(services, now, "only workers were replaced, not the service");
    assert_nothing_deferred(&mail);
}

/// `postfix stop` takes the lookup server and everything below it away.
fn stop_leaves_nothing_behind(server: Server) {
    let mail = furnished(server, Way::Relative);
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    assert_code(&mut smtp, "ann@relay.example", 250, "");
    let _open_wire = mail.wire();
    let family: Vec<u32> = mail.processes().iter().map(|p| p.pid).collect();
    let program = if server == Server::Ours { "mapkeepd" } else { "proxymap" };
    assert!(!mail.daemons(program).is_empty(), "a lookup server ran");
    mail.stop();
    let left = || family.iter().filter_map(|&pid| process::Process::read(pid)).filter(|p| !p.zombie);
    let gone = poll_promise(Duration::from_secs(2), || left().next().is_none().then_some(()));
    assert!(gone.is_some(), "left behind: {:?}", left().collect::<Vec<_>>());
    // A process that began after the list was taken, or left the family, still shows by what it holds.
    let free = poll_promise(Duration::from_secs(2), || Some(mail.users_of_tree()).filter(Vec::is_empty));
    assert!(free.is_some(), "still uses the tree: {:#?}", mail.users_of_tree());
}

fn assert_nothing_deferred(mail: &Instance) {
    let bad: Vec<String> = mail
        .log_lines()
        .into_iter()
        .filter(|l| {
            [
                "status=deferred",
                "status=bounced",
                "NOQUEUE: reject: RCPT from unknown[127.0.0.1]: 451",
                "fatal:",
                "panic:",
            ]
            .iter()
            .any(|t| l.contains(t))
        })
        .collect();
    assert!(bad.is_empty(), "{} lines:\n{}", bad.len(), common::end_of(bad.iter().map(String::as_str)));
}

/// The scenario would prove little if the daemons could reach the tables by themselves. A daemon that master has only
/// just started is not in its jail yet, and one that is leaving shows no root any more: both are given the time to settle.
fn assert_chrooted(mail: &Instance, program: &str) {
    let jail = mail.path("spool");
    let jailed = || {
        let daemons = mail.daemons(program);
        (!daemons.is_empty() && daemons.iter().all(|d| d.root == jail)).then_some(())
    };
    let settled = poll(Duration::from_secs(10), jailed);
    assert!(
        settled.is_some(),
        "every {program} has the root {}: {:#?}",
        jail.display(),
        mail.daemons(program)
    );
}

// `cargo test --test postfix stock::` or `ours::` for those of one server.
common::scenarios_by_server!(
    both:
        recipients_of_each_class,
        access_by_client_sender_and_recipient,
        messages_take_their_route,
        reached_through_a_link,
        table_rebuilt_during_a_session,
        reload_during_a_session,
        stop_leaves_nothing_behind,
        missing_table_appears,
        recipients_that_a_server_knows;
    ours:
        edited_text_table_steers_the_next_message,
        worker_killed_during_a_session,
        broken_rebuild_keeps_the_old_answers,
        rebuilds_are_never_seen_half_done,
        account_of_another_source_is_a_temporary_error,
);
