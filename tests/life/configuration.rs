//! What is approved, and what happens to tables that must not be served: never a denial that mail would die of, always
//! a line that says what to do.

use crate::ask::{ABSENT, DENIED, RETRY, found, lookup, open, until};
use crate::common::master::{Site, set_mode};
use std::fs;
use std::process::Command;

const TABLE: &str = "inline:{a=b}";
const OPEN_OK: &str = "status|0|flags|";

pub fn missing_main_cf_denies_nothing() {
    let site = Site::new();
    let main = site.path("etc/main.cf");
    fs::remove_file(&main).unwrap();
    let mut master = site.start();
    let mut wire = master.wire();
    for table in ["hash:/etc/postfix/any", TABLE, "unknown:x"] {
        let reply = wire.ask(&open(table));
        assert!(reply.starts_with(OPEN_OK), "{table}: {reply}");
        assert_eq!(wire.ask(&lookup(table, "a")), RETRY, "{table}");
    }
    site.wait_for_log(0, &["error: ", main.to_str().unwrap(), "No such file"]);
    site.wait_for_log(0, &["the configuration cannot be read"]);
    assert!(master.runs());
    // put right, the next service (after "postfix reload") serves
    site.approve(&[TABLE], "");
    drop(wire);
    drop(master);
    assert_eq!(site.start().wire().ask(&lookup(TABLE, "a")), found("b"));
}

pub fn bad_line_in_main_cf_leaves_the_good_ones_in_force() {
    let site = Site::new();
    let hash = site.table("hash", "good", "k v\n");
    site.approve(&[TABLE, &hash], "this line has no equals sign\n");
    let master = site.start();
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup(TABLE, "a")), found("b"));
    assert_eq!(wire.ask(&lookup(&hash, "k")), found("v"));
    // It is not known whether the bad line would have approved it.
    assert_eq!(wire.ask(&lookup("hash:/etc/unlisted", "k")), RETRY);
    assert!(wire.ask(&open("hash:/etc/unlisted")).starts_with(OPEN_OK));
    site.wait_for_log(0, &["error: ", "main.cf:7", "no \"=\" after"]);
    // Without the bad line it is known not to be approved.
    site.approve(&[TABLE], "");
    drop((wire, master));
    assert_eq!(site.start().wire().ask(&lookup("hash:/etc/unlisted", "k")), DENIED);
}

/// The broker may read every file; who may ask is decided by approval, not by the file's mode.
pub fn file_that_only_root_can_read_is_served() {
    let site = Site::new();
    let text = site.table("texthash", "secret", "k v\n");
    set_mode(&site.path("tables/secret"), 0o600);
    site.approve(&[&text], "");
    let master = site.start();
    assert_eq!(master.wire().ask(&lookup(&text, "k")), found("v"));
}

pub fn account_secrets_are_refused() {
    let site = Site::new();
    let copy = site.path("tables/innocent");
    std::os::unix::fs::symlink("/etc/shadow", &copy).unwrap();
    let through_link = format!("texthash:{}", copy.display());
    let secrets = ["texthash:/etc/shadow", "texthash:/etc/gshadow", "texthash:/etc//shadow", &through_link];
    site.approve(&secrets, "");
    let master = site.start();
    let mut wire = master.wire();
    for table in secrets {
        assert!(wire.ask(&open(table)).starts_with(OPEN_OK), "{table}");
        for key in ["root", "root:*", "root:!", "daemon"] {
            assert_eq!(wire.ask(&lookup(table, key)), RETRY, "{table}");
        }
        let line = site.wait_for_log(0, &["error: ", table, "T6", "account database that holds secrets"]);
        assert!(line.text.contains("remove the table from the configuration"), "{line:?}");
    }
    let root = fs::read_to_string("/etc/shadow").unwrap();
    let hash = root.lines().next().unwrap().split(':').nth(1).unwrap();
    let told = site.log().iter().any(|line| hash.len() > 3 && line.text.contains(hash));
    assert!(!told, "the log tells a password hash");
}

pub fn untrusted_files_are_refused_until_put_right() {
    let site = Site::new();
    let writable = site.table("hash", "writable", "k v\n");
    let file = site.path("tables/writable.db");
    set_mode(&file, 0o646);
    let fifo = site.path("tables/fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let fifo_table = format!("texthash:{}", fifo.display());
    // /tmp is sticky: other users cannot replace the file, but any user could have created it.
    let shared = std::path::PathBuf::from(format!("/tmp/mapkeep-life-{}", std::process::id()));
    fs::write(&shared, "k v\n").unwrap();
    let shared_table = format!("texthash:{}", shared.display());
    let good = site.table("texthash", "good", "k v\n");
    site.approve(&[&writable, &fifo_table, &shared_table, &good], "");
    let master = site.start();
    let mut wire = master.wire();
    let cases = [
        (&writable, file.to_str().unwrap(), "T4", "chmod go-w"),
        (&fifo_table, fifo.to_str().unwrap(), "T4", "a FIFO, not a regular file"),
        (&shared_table, "/tmp", "T2", "move the table to a directory in which only root"),
    ];
    for (table, component, rule, remedy) in cases {
        assert!(wire.ask(&open(table)).starts_with(OPEN_OK), "{table}");
        assert_eq!(wire.ask(&lookup(table, "k")), RETRY, "{table}");
        site.wait_for_log(0, &["error: ", table.as_str(), component, rule, remedy]);
    }
    fs::remove_file(&shared).unwrap();
    assert_eq!(wire.ask(&lookup(&good, "k")), found("v"), "the others are served");
    assert_eq!(wire.ask(&lookup(&good, "none")), ABSENT);

    let seen = site.log().len();
    assert!(Command::new("chmod").arg("go-w").arg(&file).status().unwrap().success());
    until("chmod go-w", &mut wire, &lookup(&writable, "k"), RETRY, &found("v"));
    site.wait_for_log(seen, &[writable.as_str(), "is available"]);
    // If the setting is removed again, the trusted snapshot stays in use, and the log says why no newer one will be.
    let seen = site.log().len();
    set_mode(&file, 0o666);
    site.wait_for_log(seen, &["warning: ", &writable, "keeping its last version", "T4"]);
    assert_eq!(wire.ask(&lookup(&writable, "k")), found("v"));
}

pub fn each_of_many_refused_tables_is_logged() {
    let site = Site::new();
    let names: Vec<String> =
        (0..150).map(|i| format!("texthash:{}/none{i}.", site.path("tables").display())).collect();
    site.approve(&names.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let master = site.start();
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup(&names[149], "k")), RETRY);
    for name in &names {
        site.wait_for_log(0, &["error: ", name]);
    }
}

/// The faults of one table do not use up the lines of another, and dropped lines are counted.
pub fn faults_of_each_table_are_named_and_counted() {
    let site = Site::new();
    let networks: String = (0..40).map(|i| format!("10.{i}.1.1/24 REJECT x\n")).collect();
    let cidr = site.table("cidr", "hostbits", &format!("{networks}192.0.2.0/24 REJECT good\n"));
    let pcre = site.table("pcre", "other", "/(unclosed/ REJECT x\n/ok/ OK\n");
    let mut tables = vec![cidr.clone(), pcre.clone()];
    for number in 0..31 {
        let path = site.path(&format!("tables/junk{number:02}.db"));
        fs::write(&path, "not a database\n").unwrap();
        set_mode(&path, 0o644);
        tables.push(format!("hash:{}", path.with_extension("").display()));
    }
    site.approve(&tables.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let master = site.start();
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup(&cidr, "192.0.2.5")), found("REJECT good"));
    assert_eq!(wire.ask(&lookup(&pcre, "ok")), found("OK"));
    let named = "line 1: non-null host address bits, perhaps you should use 10.0.1.0/24 instead";
    site.wait_for_log(0, &["warning: ", &cidr, named]);
    site.wait_for_log(0, &["warning: ", &cidr, ": 30 more faults"]);
    site.wait_for_log(0, &["warning: ", &pcre, "line 1: bad pattern"]);
    for table in &tables[2..] {
        site.wait_for_log(0, &["error: ", table]);
    }
    let lines = site.log();
    let of = |table: &str| lines.iter().filter(|line| line.text.contains(&format!("table {table}"))).count();
    assert_eq!((of(&cidr), of(&pcre)), (11, 1), "ten of them and the count: {lines:#?}");
}

/// The administrator should know before the first lookup, and what to do.
pub fn types_that_are_not_served_are_named_at_the_start() {
    let site = Site::new();
    let tables = [
        "mysql:/etc/postfix/x.cf",
        "unionmap:{static:a,ldap:/etc/postfix/y.cf}",
        "hsah:/typing/error",
        TABLE,
    ];
    site.approve(&tables, "");
    let master = site.start();
    site.wait_for_log(0, &["proxymap is up with 4 tables"]);
    for (table, why, remedy) in [
        ("mysql:/etc/postfix/x.cf", "mysql is not served yet", "stay with stock's proxymap for now"),
        ("ldap:/etc/postfix/y.cf", "ldap is not served yet", "stay with stock's proxymap for now"),
        ("hsah:/typing/error", "there is no such type of table", "correct the name"),
    ] {
        let line = site.wait_for_log(0, &[&format!("warning: table {table}: {why}: "), remedy]);
        assert_eq!(line.pid, master.pid());
    }
    assert_eq!(site.log().iter().filter(|line| line.text.starts_with("warning: ")).count(), 3);
    assert_eq!(master.wire().ask(&lookup("mysql:/etc/postfix/x.cf", "a")), RETRY);
}
