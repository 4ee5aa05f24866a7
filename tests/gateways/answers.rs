//! What clients get while all is well: both types, both dialects, composites.

use crate::ask::{ABSENT, RETRY, found, lookup};
use crate::common::master::Site;
use crate::server::{Language, Server};

const CONFIG: &str = "status|5|value|||";

pub fn tables_of_servers_are_asked_in_both_dialects() {
    let site = Site::new();
    let unix = Server::at_path(Language::Socketmap, site.path("socket"));
    let inet = Server::at_port(Language::Socketmap);
    let tcp = Server::at_port(Language::Tcp);
    let (one, other) = (unix.table("one"), unix.table("other"));
    let (third, fourth) = (inet.table("third"), tcp.table(""));
    let union = format!("unionmap:{{{one},inline:{{k=v}},{fourth}}}");
    let pipe = format!("pipemap:{{inline:{{k=v}},{third}}}");
    let tables = [&one, &other, &third, &fourth, &union, &pipe, &"hash:/nowhere".to_owned()];
    site.approve(&tables.map(|table: &String| table.as_str()), "");
    let master = site.start();
    let mut wire = master.wire();
    for (table, value) in [
        (&one, "one-k"),
        (&other, "other-k"),
        (&third, "third-k"),
        (&fourth, "tcp-k"),
        (&union, "one-k,v,tcp-k"),
        (&pipe, "third-v"),
    ] {
        assert_eq!(wire.ask(&lookup(table, "k")), found(value), "{table}");
        let new = format!("request|lookup|table|{table}|instance_flags|64|flags|64|key|k||");
        let reply = wire.ask(&new);
        assert!(reply.contains(&format!("value|{value}|")), "{table}: {reply}");
    }
    for (table, key, status) in [
        (&one, "absent", ABSENT),
        (&one, "later", RETRY),
        (&one, "never", CONFIG),
        (&fourth, "absent", ABSENT),
        (&fourth, "later", RETRY),
    ] {
        assert_eq!(wire.ask(&lookup(table, key)), status, "{table} {key}");
    }
    assert_eq!(master.of_role("gateway").len(), 3, "one for each server");
    assert_eq!(master.of_role("dialer").len(), 1);
    assert!(unix.most() <= 1 && tcp.most() <= 1, "one client needs one connection");
}
