//! Starts that must not happen: the service ends with a reason instead of serving with less isolation.

use crate::ask::{RETRY, found, lookup};
use crate::common::master::{Line, Master, Site, set_mode};
use crate::common::{PATIENCE, poll};
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const TABLE: &str = "inline:{a=b}";

fn site(keep: &str) -> Site {
    let site = Site::new();
    site.approve(&[TABLE], "");
    site.keep(keep);
    site
}

/// The service must end with an error and without a client, and log a fatal line with these texts.
pub fn assert_refused(mut master: Master<'_>, texts: &[&str]) -> Line {
    let status = master.wait();
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    let site = master.site;
    // Sites are started more than once: an earlier start's line is not the one.
    let own = |line: &Line| line.text.starts_with("fatal: ") && texts.iter().all(|t| line.text.contains(t));
    let line = poll(PATIENCE, || site.log().into_iter().find(own));
    let line = line.unwrap_or_else(|| panic!("no fatal line with {texts:?}"));
    // Mail waits for the next start: once the fault has been corrected, the administrator needs to know how to start it
    // at once.
    let when = ["within service_throttle_time", "postfix stop; postfix start"];
    assert!(when.iter().all(|text| line.text.contains(text)), "{line:?}");
    assert_eq!(master.records(1, Duration::from_millis(10)), [], "it never said that it serves");
    line
}

pub fn chroot_directory_that_is_not_empty() {
    let site = site("");
    let jail = site.path("empty");
    fs::write(jail.join("file"), "").unwrap();
    assert_refused(site.start(), &[jail.to_str().unwrap(), "not empty"]);
    fs::remove_file(jail.join("file")).unwrap();
    let master = site.start();
    assert_eq!(master.wire().ask(&lookup(TABLE, "a")), found("b"), "put right, it starts");
}

pub fn chroot_directory_of_another_user() {
    let site = site("");
    let jail = site.path("empty");
    chown(&jail, Some(1), None).unwrap();
    assert_refused(site.start(), &[jail.to_str().unwrap(), "others could put files", "install -d"]);
    chown(&jail, Some(0), None).unwrap();
    set_mode(&jail, 0o775);
    assert_refused(site.start(), &[jail.to_str().unwrap(), "others could put files"]);
}

pub fn ids_that_belong_to_an_account() {
    // By number, an account that every system has.
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some("1")).expect("uid 1 has a name");
    let name = line.split(':').next().unwrap();
    let site = site("broker_account = 1\n");
    assert_refused(site.start(), &["id 1 belongs to", name]);
    // A user whose files are trusted would be able to answer as a worker.
    site.keep("table_owners = 70000\nuid_base = 70000\n");
    assert_refused(site.start(), &["mapkeep-broker", "shares"]);
    // In the middle of the range, with an account file of the test's own in a mount namespace of its own.
    site.keep("uid_base = 70000\n");
    let mine = site.path("passwd");
    fs::write(&mine, format!("{passwd}squatter:x:70001:70001::/:/bin/false\n")).unwrap();
    let words = ["-m", "/bin/sh", "-c", "mount --bind \"$0\" /etc/passwd && exec \"$@\""];
    let mine = mine.to_str().unwrap();
    let daemon = [env!("CARGO_BIN_EXE_mapkeepd"), "-n", "proxymap", "-t", "unix", "-u"];
    let words: Vec<&str> = words.into_iter().chain([mine]).chain(daemon).collect();
    let master = site.start_program(Path::new("/usr/bin/unshare"), &words);
    assert_refused(master, &["id 70001 belongs to \"squatter\"", "uid_base in mapkeep.cf"]);
}

pub fn ids_that_cannot_be_used_leave_the_default() {
    for base in ["0", "1", "65534", "4294967295"] {
        let site = site(&format!("uid_base = {base}\n"));
        let master = site.start();
        assert_eq!(master.wire().ask(&lookup(TABLE, "a")), found("b"));
        site.wait_for_log(0, &["error: ", "mapkeep.cf:1", "uid_base"]);
        let worker = master.only("lookup worker");
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        assert!(status.contains("\nUid:\t61102\t61102\t61102\t61102\n"), "{base}: {status}");
    }
}

pub fn missing_worker_program() {
    let site = site("");
    let lib = site.path("lib");
    fs::create_dir(&lib).unwrap();
    let copy = |program: &str| {
        // By another process: a child that another test is just starting would inherit our descriptor of the copy, and a
        // program that is open for writing cannot be executed.
        assert!(Command::new("cp").arg(program).arg(&lib).status().unwrap().success());
    };
    copy(env!("CARGO_BIN_EXE_mapkeepd"));
    let words = ["-n", "proxymap", "-t", "unix", "-u"];
    let (daemon, worker) = (lib.join("mapkeepd"), lib.join("mapkeep-worker"));
    assert_refused(site.start_program(&daemon, &words), &[worker.to_str().unwrap(), "No such file"]);
    // An upgrade that has left out what only tables of servers need.
    copy(env!("CARGO_BIN_EXE_mapkeep-worker"));
    let server = "socketmap:unix:nowhere:m";
    site.approve(&[TABLE, server], "");
    for program in ["mapkeep-dialer", "mapkeep-gateway"] {
        let seen = site.log().len();
        let master = site.start_program(&daemon, &words);
        let mut wire = master.wire();
        assert_eq!(wire.ask(&lookup(TABLE, "a")), found("b"), "without {program}");
        site.wait_for_log(seen, &["socketmap and tcp tables", program, "every lookup in them fails"]);
        drop((wire, master));
        copy(env!("CARGO_BIN_EXE_mapkeep-dialer"));
    }
    copy(env!("CARGO_BIN_EXE_mapkeep-gateway"));
    let seen = site.log().len();
    let master = site.start_program(&daemon, &words);
    assert_eq!(master.wire().ask(&lookup(server, "a")), RETRY, "there is no server");
    assert!(!site.log().iter().skip(seen).any(|line| line.text.contains("every lookup in them fails")));
}
