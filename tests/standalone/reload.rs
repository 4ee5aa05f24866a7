//! SIGHUP: a new configuration, and what clients of the old one notice of it, which is nothing.

use crate::ask::{ABSENT, DENIED, RETRY, found, lookup};
use crate::common::master::Site;
use crate::common::process;
use crate::common::wire::{Received, Wire};
use crate::common::{BEAT, PATIENCE, poll};
use crate::serve::{NAME, Service, approve, site};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const FIRST: &str = "inline:{a=b}";
const SECOND: &str = "inline:{c=d}";

fn approved(tables: &[&str]) -> Site {
    let site = site();
    approve(&site, tables, "");
    site
}

pub fn new_tables_are_approved_and_old_ones_denied() {
    let site = approved(&[FIRST]);
    let text = site.table("texthash", "text", "k v\n");
    let service = Service::start(&site, &[]);
    let mut old = service.wire();
    assert_eq!(old.ask(&lookup(FIRST, "a")), found("b"));
    assert_eq!(old.ask(&lookup(SECOND, "c")), DENIED);
    approve(&site, &[SECOND, &text], "");
    service.reload_well();
    let mut new = service.wire();
    assert_eq!(new.ask(&lookup(SECOND, "c")), found("d"));
    assert_eq!(new.ask(&lookup(&text, "k")), found("v"));
    assert_eq!(new.ask(&lookup(FIRST, "a")), DENIED);
    assert_eq!(old.ask(&lookup(FIRST, "a")), found("b"), "a client keeps the configuration that it knows");
    assert_eq!(old.ask(&lookup(SECOND, "c")), DENIED);
    drop(old);
    let one_family = || (service.of_role("broker").len() == 1).then_some(());
    poll(PATIENCE, one_family).expect("the old broker leaves with its last client");
    let one_worker = || (service.of_role("lookup worker").len() == 1).then_some(());
    poll(PATIENCE, one_worker).expect("and so does its worker");
    let warned =
        site.log().into_iter().find(|line| line.text.contains("exited") && line.text.contains("warning"));
    assert_eq!(warned, None, "an end that was asked for is no cause for a warning");
}

pub fn number_of_workers_follows_the_configuration() {
    let site = approved(&[FIRST]);
    let service = Service::start(&site, &[]);
    let _ = service.wire();
    for workers in [3, 2] {
        site.keep(&format!("workers = {workers}\n"));
        service.reload_well();
        assert_eq!(service.wire().ask(&lookup(FIRST, "a")), found("b"));
        let as_set = || (service.of_role("lookup worker").len() == workers).then_some(());
        assert!(poll(PATIENCE, as_set).is_some(), "{:?}", service.of_role("lookup worker"));
    }
    let seen = site.log().len();
    site.keep("workers = 65\n");
    service.reload_well();
    site.wait_for_log(seen, &["error: ", "mapkeep.cf:1", "workers", "a number from 1 to 64"]);
    assert_eq!(service.wire().ask(&lookup(FIRST, "a")), found("b"));
}

/// Stops the askers when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub fn connected_client_keeps_its_answers_through_twenty_reloads() {
    let site = approved(&[FIRST]);
    let service = Service::start(&site, &[]);
    let mut faithful = service.wire();
    let socket = service.socket();
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let running = || !stop.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        // Also when an assertion below fails, or the threads would never end.
        let _end = Stop(&stop);
        scope.spawn(|| {
            while running() {
                assert_eq!(faithful.ask(&lookup(FIRST, "a")), found("b"));
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while running() {
                assert_eq!(
                    Wire::open(&socket).ask(&lookup(FIRST, "a")),
                    found("b"),
                    "a client that comes anew"
                );
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        let start = Instant::now();
        for round in 0..20 {
            let fresh = format!("inline:{{key=round{round}}}");
            approve(&site, &[FIRST, &fresh], "");
            service.reload_well();
            assert_eq!(service.wire().ask(&lookup(&fresh, "key")), found(&format!("round{round}")));
        }
        eprintln!("20 reloads took {} ms", start.elapsed().as_millis());
    });
    let asked = asked.load(Ordering::Relaxed);
    eprintln!("{asked} lookups, every one answered");
    assert!(asked > 100, "{asked}");
    drop(faithful);
    let one_family = || (service.family().len() == 3).then_some(());
    poll(PATIENCE, one_family).expect("previous brokers leave, and their workers");
    assert_eq!(service.of_role("broker").len(), 1);
}

pub fn unreadable_main_cf_keeps_the_old_configuration() {
    let site = approved(&[FIRST]);
    let service = Service::start(&site, &[]);
    let mut old = service.wire();
    let main = site.path("etc/main.cf");
    let broker = service.of_role("broker");
    fs::remove_file(&main).unwrap();
    service.reload("still serving the previous configuration");
    fs::create_dir(&main).unwrap();
    service.reload("not a regular file -- still serving the previous configuration");
    fs::remove_dir(&main).unwrap();
    // Opening it must not wait for a writer.
    assert!(Command::new("mkfifo").arg(&main).status().unwrap().success());
    service.reload("not a regular file -- still serving the previous configuration");
    assert_eq!(old.ask(&lookup(FIRST, "a")), found("b"));
    assert_eq!(service.wire().ask(&lookup(FIRST, "a")), found("b"));
    assert_eq!(service.of_role("broker"), broker);
    fs::remove_file(&main).unwrap();
    approve(&site, &[SECOND], "");
    service.reload_well();
    assert_eq!(service.wire().ask(&lookup(SECOND, "c")), found("d"), "the service can still reload");
}

pub fn bad_line_costs_only_itself() {
    let site = approved(&[FIRST]);
    let service = Service::start(&site, &[]);
    let _ = service.wire();
    approve(&site, &[SECOND], "no equals sign here\n");
    service.reload_well();
    site.wait_for_log(0, &["error: ", "main.cf:8", "no \"=\" after"]);
    assert_eq!(service.wire().ask(&lookup(SECOND, "c")), found("d"));
    // It is not known whether the bad line approves it.
    assert_eq!(service.wire().ask(&lookup(FIRST, "a")), RETRY);
}

pub fn changes_that_need_a_restart_are_named() {
    let site = approved(&[FIRST]);
    let service = Service::start(&site, &[]);
    let _ = service.wire();
    site.keep("uid_base = 61500\nchroot_directory = /run/mapkeep/other\n");
    site.approve(&[SECOND], "proxymap_service_name = elsewhere\nsyslog_name = other\n");
    fs::write(site.path("etc/master.cf"), "mapkeep unix - - n - - proxymap\n").unwrap();
    service.reload_well();
    for what in [
        "the ids of the roles",
        "chroot_directory",
        "the destination and names of the log",
        "the path of the socket",
    ] {
        site.wait_for_log(0, &["warning: ", what, "restart the service"]);
    }
    site.wait_for_log(0, &["error: ", "belongs to the service \"mapkeep\" of master.cf (line 1)"]);
    assert_eq!(service.wire().ask(&lookup(SECOND, "c")), found("d"));
    // An account that does not exist would end a service that starts; it is no reason to end one that runs.
    let seen = site.log().len();
    site.keep("broker_account = mapkeep-nobody\n");
    service.reload("still serving the previous configuration");
    site.wait_for_log(seen, &["error: ", "mapkeep-nobody"]);
    // A role's own id as the owner of tables would let it write what it serves.
    site.keep("uid_base = 61500\ntable_owners = 61102\n");
    service.reload("still serving the previous configuration");
    site.wait_for_log(seen, &["error: ", "user id 61102 owns tables"]);
}

/// The socket is master(8)'s from its next start on, whatever way leads to it; and the locked supervisor can tell.
pub fn socket_that_master_cf_has_taken_since_is_named() {
    let site = approved(&[FIRST]);
    std::os::unix::fs::symlink(site.path("spool"), site.path("detour")).unwrap();
    let path = site.path("detour/private").join(NAME);
    let mut service = Service::start(&site, &["--socket", path.to_str().unwrap()]);
    assert_eq!(service.wire().ask(&lookup(FIRST, "a")), found("b"));
    let master = site.path("etc/master.cf");
    let named = |seen: usize| {
        let lines = site.log().into_iter().skip(seen);
        let belongs = "belongs to the service \"mapkeep\" of master.cf (line 1)";
        lines.filter(|line| line.text.contains(path.to_str().unwrap()) && line.text.contains(belongs)).count()
    };
    for (text, times) in [
        ("mapkeep unix - - n - - proxymap\n", 1),
        ("mapkeep unix n - n - - proxymap\n", 0),
        ("other unix - - n - - proxymap\n", 0),
    ] {
        fs::write(&master, text).unwrap();
        let seen = site.log().len();
        service.reload_well();
        assert_eq!(named(seen), times, "{text}");
        assert_eq!(service.wire().ask(&lookup(FIRST, "a")), found("b"));
    }
    // Directories that no longer exist are no reason to exit.
    fs::write(&master, "mapkeep unix - - n - - proxymap\n").unwrap();
    fs::remove_file(site.path("detour")).unwrap();
    service.reload_well();
    assert!(service.runs());
    assert_eq!(service.wire().ask(&lookup(FIRST, "a")), found("b"));
}

/// nsswitch.conf is read again as well: whether an account that is not in the file may exist elsewhere.
pub fn sources_of_accounts_are_read_again() {
    const USERS: &str = "unix:passwd.byname";
    let site = approved(&[USERS]);
    let mine = site.path("nsswitch.conf");
    fs::write(&mine, "passwd: files\n").unwrap();
    // In a mount namespace of its own; `shift` drops the word that stands before the program.
    let first = format!(
        "exec unshare -m /bin/sh -c 'mount --bind {} /etc/nsswitch.conf && shift && exec \"$@\"' sh",
        mine.display()
    );
    let service = Service::start_through(&site, &first, &[], Stdio::null(), &[]);
    let unknown = lookup(USERS, "no-such-user");
    let mut old = service.wire();
    assert_eq!(old.ask(&unknown), ABSENT);
    fs::write(&mine, "passwd: files sss\n").unwrap();
    let seen = site.log().len();
    service.reload_well();
    site.wait_for_log(seen, &["warning: ", USERS, "\"sss\""]);
    let mut wire = service.wire();
    assert_eq!(wire.ask(&unknown), RETRY, "it may be there");
    assert_eq!(wire.ask(&lookup(USERS, "root")), found("root:x:::::"));
    assert_eq!(old.ask(&unknown), ABSENT, "a client keeps the configuration that it knows");
    fs::write(&mine, "passwd: files\n").unwrap();
    service.reload_well();
    assert_eq!(service.wire().ask(&unknown), ABSENT);
}

pub fn signals_during_a_reload_are_not_lost() {
    let site = approved(&[FIRST]);
    let mut service = Service::start(&site, &[]);
    let _ = service.wire();
    let seen = site.log().len();
    // Each signal has a configuration of its own: whichever reload the last one falls into, its own must be served.
    let mut last = String::new();
    for number in 0..50 {
        last = format!("inline:{{number={number}}}");
        approve(&site, &[SECOND, &last], "");
        process::signal("HUP", service.pid());
    }
    site.wait_for_log(seen, &["reload requested during a reload"]);
    let served = || {
        let reply = service.wire().ask(&lookup(&last, "number"));
        (reply == found("49") && service.of_role("broker").len() == 1).then_some(())
    };
    poll(PATIENCE, served).expect("the last configuration is served, by one broker");
    assert!(service.runs());
    assert_eq!(service.wire().ask(&lookup(SECOND, "c")), found("d"));
}

pub fn silent_clients_of_the_previous_service_are_disconnected() {
    let site = approved(&[FIRST]);
    let service = Service::start(&site, &[]);
    let mut silent = service.wire();
    let asked = Instant::now();
    assert_eq!(silent.ask(&lookup(FIRST, "a")), found("b"));
    service.reload_well();
    assert_eq!(silent.receive(PATIENCE), Received::Closed);
    let time = asked.elapsed();
    assert!(time >= Duration::from_secs(5), "{time:?}");
    let one_family = || (service.family().len() == 3).then_some(());
    poll(PATIENCE, one_family).expect("its broker and its worker leave");
}

pub fn killed_broker_of_before_leaves_the_service_alone() {
    let site = approved(&[FIRST]);
    let service = Service::start(&site, &[]);
    let mut old = service.wire();
    let broker = service.of_role("broker");
    let worker = service.of_role("lookup worker");
    service.reload_well();
    assert_eq!(old.ask(&lookup(FIRST, "a")), found("b"));
    let mut new = service.wire();
    let mut left: Vec<u32> = service.family().iter().map(|process| process.pid).collect();
    left.retain(|pid| !broker.contains(pid) && !worker.contains(pid));
    assert_eq!(left.len(), 3, "logger, broker, lookup worker");
    process::signal("KILL", broker[0]);
    assert_eq!(old.receive(PATIENCE), Received::Closed);
    site.wait_for_log(0, &["warning: ", "(previous configuration) exited: killed by SIGKILL"]);
    assert_eq!(new.ask(&lookup(FIRST, "a")), found("b"));
    // Its worker, which has closed the connection, may take a moment to end.
    let family = || service.family().iter().map(|process| process.pid).collect::<Vec<_>>();
    poll(PATIENCE, || (family().len() <= 3).then_some(())).expect("its worker leaves, too");
    assert_eq!(family(), left, "nothing was started in its place");
    // And the broker that serves is replaced, with the configuration that is in force.
    let before = service.of_role("broker");
    approve(&site, &[SECOND], "");
    service.reload_well();
    let serving = service.of_role("broker").into_iter().find(|pid| !before.contains(pid));
    process::signal("KILL", serving.expect("the broker of the new configuration"));
    assert_eq!(service.wire().ask(&lookup(SECOND, "c")), found("d"));
}

pub fn killed_broker_to_come_leaves_the_service_alone() {
    let site = approved(&[FIRST]);
    let built = site.table("hash", "built", "k v\n");
    let service = Service::start(&site, &[]);
    let mut old = service.wire();
    let serving = service.of_role("broker");
    approve(&site, &[SECOND, &built], "");
    // A table that is being written keeps the new broker from being ready, for a second.
    let writer = fs::File::options().write(true).open(site.path("tables/built.db")).unwrap();
    writer.lock().unwrap();
    process::signal("HUP", service.pid());
    let other = || service.of_role("broker").into_iter().find(|pid| !serving.contains(pid));
    process::signal("KILL", poll(PATIENCE, other).expect("a second broker"));
    site.wait_for_log(
        0,
        &["error: ", "exited before it was ready", "still serving the previous configuration"],
    );
    assert_eq!(old.ask(&lookup(FIRST, "a")), found("b"));
    assert_eq!(service.wire().ask(&lookup(SECOND, "c")), DENIED);
    assert_eq!(service.of_role("broker"), serving);
    writer.unlock().unwrap();
    service.reload_well();
    assert_eq!(service.wire().ask(&lookup(SECOND, "c")), found("d"));
}

/// Clients keep coming and being answered while the previous broker does not read that it is to finish.
pub fn stopped_broker_of_before_is_ended() {
    let site = approved(&[FIRST]);
    let service = Service::start(&site, &[]);
    let _ = service.wire();
    process::signal("STOP", service.of_role("broker")[0]);
    approve(&site, &[FIRST, SECOND], "");
    service.reload("the previous broker does not respond -- killing it");
    assert_eq!(service.wire().ask(&lookup(SECOND, "c")), found("d"));
    let one_family = || (service.family().len() == 3).then_some(());
    poll(PATIENCE, one_family).expect("only the new one is left");
    site.wait_for_log(0, &["serving the new configuration"]);
}

pub fn too_many_configurations_end_the_oldest() {
    let site = approved(&[FIRST]);
    let service = Service::start(&site, &[]);
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(service.wire());
        service.reload_well();
        // Nobody is silent for long.
        for client in clients.iter_mut().rev().take(4) {
            assert_eq!(client.ask(&lookup(FIRST, "a")), found("b"));
        }
        std::thread::sleep(BEAT);
    }
    site.wait_for_log(0, &["warning: ", "disconnecting those of the oldest"]);
    assert_eq!(clients[0].receive(PATIENCE), Received::Closed);
    assert_eq!(clients[5].ask(&lookup(FIRST, "a")), found("b"));
    let few = || (service.of_role("broker").len() <= 5).then_some(());
    poll(PATIENCE, few).expect("four previous ones and the one that serves");
}
