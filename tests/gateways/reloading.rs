//! A reload of a service of its own: servers that are added, removed and changed.

use crate::ask::{DENIED, RETRY, found, lookup};
use crate::common::{PATIENCE, poll, process};
use crate::serve::{Service, approve, site};
use crate::server::{Language, Server};

pub fn servers_come_and_go_with_the_configuration() {
    let site = site();
    let one = Server::at_path(Language::Socketmap, site.path("one"));
    let other = Server::at_port(Language::Tcp);
    let (first, added) = (one.table("m"), one.table("added"));
    let second = other.table("");
    approve(&site, &[&first], "");
    let service = Service::start(&site, &[]);
    let mut old = service.wire();
    assert_eq!(old.ask(&lookup(&first, "k")), found("m-k"));
    assert_eq!(old.ask(&lookup(&second, "k")), DENIED);
    approve(&site, &[&first, &added, &second], "");
    service.reload_well();
    let mut new = service.wire();
    for (table, value) in [(&first, "m-k"), (&added, "added-k"), (&second, "tcp-k")] {
        assert_eq!(new.ask(&lookup(table, "k")), found(value));
    }
    assert_eq!(old.ask(&lookup(&first, "k")), found("m-k"), "as long as it stays");
    drop(old);
    let gateways = || (service.of_role("gateway").len() == 2).then_some(());
    poll(PATIENCE, gateways).expect("the gateway of the previous configuration leaves");
    approve(&site, &[&second], "");
    service.reload_well();
    let mut last = service.wire();
    assert_eq!(last.ask(&lookup(&first, "k")), DENIED);
    assert_eq!(last.ask(&lookup(&second, "k")), found("tcp-k"));
    assert_eq!(new.ask(&lookup(&added, "k")), found("added-k"));
    let warned = site.log().into_iter().find(|line| {
        let text = &line.text;
        text.contains("exited") && text.contains("warning: ")
            || text.contains("gateway")
            || text.contains("error: ")
    });
    assert_eq!(warned, None, "all of that was asked for");
    assert_eq!(service.of_role("dialer").len(), 1);
}

pub fn first_server_needs_a_restart_and_the_log_says_so() {
    const OTHER: &str = "inline:{a=b}";
    let site = site();
    let server = Server::at_path(Language::Socketmap, site.path("socket"));
    let table = server.table("m");
    approve(&site, &[OTHER], "");
    let service = Service::start(&site, &[]);
    assert_eq!(service.wire().ask(&lookup(OTHER, "a")), found("b"));
    assert!(service.of_role("dialer").is_empty() && service.of_role("gateway").is_empty());
    approve(&site, &[OTHER, &table], "");
    service.reload_well();
    site.wait_for_log(0, &["restart the service", "systemctl restart", "temporary error"]);
    let mut wire = service.wire();
    assert_eq!(wire.ask(&lookup(&table, "k")), RETRY);
    site.wait_for_log(0, &[&server.title(), "started without the process that connects"]);
    assert_eq!(wire.ask(&lookup(OTHER, "a")), found("b"));
    drop((wire, service));
    let service = Service::start(&site, &[]);
    assert_eq!(service.wire().ask(&lookup(&table, "k")), found("m-k"));
}

pub fn dialer_that_is_killed_is_a_failure_to_a_service_manager() {
    let site = site();
    let server = Server::at_path(Language::Socketmap, site.path("socket"));
    approve(&site, &[&server.table("m")], "");
    let mut service = Service::start(&site, &[]);
    assert_eq!(service.wire().ask(&lookup(&server.table("m"), "k")), found("m-k"));
    process::signal("KILL", service.of_role("dialer")[0]);
    assert_eq!(service.wait().code(), Some(1), "Restart=on-failure starts it anew");
}
