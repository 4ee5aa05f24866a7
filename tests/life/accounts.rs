//! Accounts while the name service has sources that nobody of ours asks: never "there is no such account" of one that may
//! exist. Each service sees an nsswitch.conf of the test's own in a mount namespace of its own.

use crate::ask::{ABSENT, RETRY, found, lookup};
use crate::common::master::{Master, Site, set_mode};
use std::fs;
use std::path::Path;
use std::process::Command;

const USERS: &str = "unix:passwd.byname";
const GROUPS: &str = "unix:group.byname";
const UNION: &str = "unionmap:{unix:passwd.byname}";

/// Runs what follows with the file `$0` in the place of /etc/nsswitch.conf.
const PRIVATE: [&str; 4] = ["-m", "/bin/sh", "-c", "mount --bind \"$0\" /etc/nsswitch.conf && exec \"$@\""];

fn site() -> Site {
    let site = Site::new();
    site.approve(&[USERS, GROUPS, UNION], "");
    site
}

fn file(site: &Site, nsswitch: &str) -> String {
    let path = site.path("nsswitch.conf");
    fs::write(&path, nsswitch).unwrap();
    set_mode(&path, 0o644);
    path.to_str().unwrap().to_owned()
}

fn start<'s>(site: &'s Site, nsswitch: &str) -> Master<'s> {
    let mine = file(site, nsswitch);
    let daemon = [env!("CARGO_BIN_EXE_mapkeepd"), "-n", "proxymap", "-t", "unix", "-u"];
    let words: Vec<&str> = PRIVATE.into_iter().chain([mine.as_str()]).chain(daemon).collect();
    site.start_program(Path::new("/usr/bin/unshare"), &words)
}

/// `mapkeep tables` under this nsswitch.conf: its exit status and what it prints.
fn tables(site: &Site, nsswitch: &str) -> (Option<i32>, String) {
    let mut command = Command::new("/usr/bin/unshare");
    command.args(PRIVATE).arg(file(site, nsswitch)).arg(env!("CARGO_BIN_EXE_mapkeep"));
    let output = command.args(["tables", "-c"]).arg(site.path("etc")).output().unwrap();
    // Lines are folded.
    let text = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    (output.status.code(), text)
}

pub fn accounts_of_other_sources_are_temporary_errors() {
    let nsswitch = "passwd: files sss\ngroup: files systemd\n";
    let site = site();
    let master = start(&site, nsswitch);
    let mut wire = master.wire();
    for table in [USERS, UNION] {
        assert_eq!(wire.ask(&lookup(table, "root")), found("root:x:::::"), "{table}");
        assert_eq!(wire.ask(&lookup(table, "no-such-user")), RETRY, "{table}");
        assert_eq!(wire.ask(&lookup(table, "no-such-user@example.org")), RETRY, "{table}");
        // Clients ask for the address first, and must get to the account that is there.
        assert_eq!(wire.ask(&lookup(table, "root@example.org")), ABSENT, "{table}");
    }
    assert_eq!(wire.ask(&lookup(GROUPS, "no-such-group")), ABSENT);
    site.wait_for_log(0, &["warning: ", USERS, "temporary error", "\"sss\"", "stay with stock's proxymap"]);
    site.wait_for_log(0, &["warning: ", GROUPS, "systemd"]);
    let (status, text) = tables(&site, nsswitch);
    assert_eq!(status, Some(1), "{text}");
    for words in
        ["in-part", "names \"sss\" for passwd", "stay with stock's proxymap", "note systemd's own accounts"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
}

pub fn accounts_of_files_alone_are_known() {
    let nsswitch = "passwd: files [NOTFOUND=return] sss\ngroup: compat\n";
    let site = site();
    let master = start(&site, nsswitch);
    let mut wire = master.wire();
    for table in [USERS, UNION, GROUPS] {
        assert_eq!(wire.ask(&lookup(table, "no-such-account")), ABSENT, "{table}");
    }
    let (_, text) = tables(&site, nsswitch);
    assert!(!text.contains("in-part") && !text.contains("nsswitch"), "{text}");
}

pub fn tables_of_file_names_are_named_at_the_start() {
    let site = Site::new();
    let text = site.table("texthash", "sni", "a.example /nonexistent/key\n");
    site.approve(&[&text], &format!("tls_server_sni_maps = proxy:{text}\n"));
    let path = text.strip_prefix("texthash:").unwrap();
    let remedy = format!("run: chmod 600 {path} && postmap -F hash:{path} (or lmdb:{path})");
    let master = site.start();
    let mut wire = master.wire();
    site.wait_for_log(0, &["warning: ", &text, "tls_server_sni_maps", &remedy]);
    // LOCK, FOLD_FIX and SRC_RHS_IS_FILE, as smtpd(8) asks.
    let ask = |key: &str| format!("request|lookup|table|{text}|flags|{}|key|{key}||", 0x20_4040);
    assert_eq!(wire.ask(&ask("a.example")), RETRY);
    assert_eq!(wire.ask(&ask("b.example")), ABSENT);
    // Who wants text gets it.
    assert_eq!(wire.ask(&lookup(&text, "a.example")), found("/nonexistent/key"));
    let output =
        Command::new(env!("CARGO_BIN_EXE_mapkeep")).args(["tables", "-c"]).arg(site.path("etc")).output();
    let output = output.unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        output.status.code() == Some(1) && shown.contains("in-part") && shown.contains(&remedy),
        "{shown}"
    );
}
