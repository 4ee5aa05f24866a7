//! Start and end of the service as master(8) sees them.

use crate::ask::{for_a_while, found, lookup};
use crate::common::master::{GENERATION, Master, Record, Site};
use crate::common::stopwatch::{Stopwatch, poll_promise};
use crate::common::wire::Received;
use crate::common::{PATIENCE, process};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

const TABLE: &str = "inline:{a=b}";
/// How soon master(8) must see the end of a service; it waits for it with all others standing still.
const PROMPT: Duration = Duration::from_secs(2);

fn site() -> Site {
    let site = Site::new();
    site.approve(&[TABLE], "");
    site
}

/// Waits until the service is up, without being its client.
fn up(master: &Master<'_>) {
    master.site.wait_for_log(0, &["proxymap is up with 1 table, "]);
}

fn gone_promptly(family: &[u32], after: &str) {
    let left = || family.iter().filter(|pid| process::alive(**pid)).count();
    let gone = poll_promise(PROMPT, || (left() == 0).then_some(()));
    assert!(gone.is_some(), "{after}: {} of {family:?} are left", left());
}

pub fn status_records_come_with_the_first_client_and_once() {
    let site = site();
    let mut master = site.start();
    let flags = master.shared_flags();
    up(&master);
    assert_eq!(master.records(1, Duration::from_millis(300)), [], "no client, no record");
    let mut first = master.wire();
    let pid = i32::try_from(master.pid()).unwrap();
    let generation = u32::from_str_radix(GENERATION, 8).unwrap();
    let taken = Record { pid, generation, available: 0 };
    let available = Record { available: 1, ..taken };
    assert_eq!(master.records(2, PATIENCE), [taken, available]);
    // Nothing more may come: master would start a second family for every state but "available".
    for _ in 0..20 {
        assert_eq!(master.wire().ask(&lookup(TABLE, "a")), found("b"));
    }
    assert_eq!(first.ask(&lookup(TABLE, "a")), found("b"));
    assert_eq!(master.records(1, Duration::from_millis(300)), []);
    assert_eq!(master.shared_flags(), flags, "the mode of what master shares with its siblings");
}

pub fn closed_status_channel_ends_the_whole_family() {
    let site = site();
    let mut master = site.start();
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup(TABLE, "a")), found("b"));
    let family: Vec<u32> = master.family().iter().map(|p| p.pid).collect();
    assert_eq!(family.len(), 3, "logger, broker, lookup worker");
    let (start, flags) = (Stopwatch::start(), master.shared_flags());
    master.status = None;
    assert_eq!(master.wait().code(), Some(0));
    let time = start.elapsed();
    eprintln!("end after the status channel was closed: {} ms", time.as_millis());
    assert!(time < PROMPT, "{time:?}");
    gone_promptly(&family, "closed");
    assert_eq!(wire.receive(PATIENCE), Received::Closed);
    assert_eq!(master.shared_flags(), flags);
}

pub fn signals_end_the_whole_family() {
    let site = site();
    for signal in ["TERM", "INT", "HUP"] {
        let mut master = site.start();
        let _wire = master.wire();
        let family: Vec<u32> = master.family().iter().map(|p| p.pid).collect();
        let start = Stopwatch::start();
        process::signal(signal, master.pid());
        assert_eq!(master.wait().code(), Some(0), "{signal}");
        assert!(start.elapsed() < PROMPT, "{signal}: {:?}", start.elapsed());
        gone_promptly(&family, signal);
    }
    // SIGKILL leaves no time for a farewell: the kernel ends the children.
    let mut master = site.start();
    let _wire = master.wire();
    let family: Vec<u32> = master.family().iter().map(|p| p.pid).collect();
    process::signal("KILL", master.pid());
    assert!(!master.wait().success());
    gone_promptly(&family, "KILL");
}

pub fn idle_service_leaves_and_a_busy_one_stays() {
    let site = site();
    site.approve(&[TABLE], "max_idle = 1s\n");
    let mut master = site.start();
    let mut wire = master.wire();
    for_a_while(Duration::from_millis(1800), || assert!(master.runs(), "left with a client connected"));
    assert_eq!(wire.ask(&lookup(TABLE, "a")), found("b"));
    let (start, watch) = (Instant::now(), Stopwatch::start());
    drop(wire);
    assert_eq!(master.wait().code(), Some(0));
    let (least, most) = (start.elapsed(), watch.elapsed());
    assert!(least >= Duration::from_millis(900) && most < Duration::from_secs(4), "{least:?}, {most:?}");
    assert_eq!(master.records(3, Duration::from_millis(100)).len(), 2, "one pair of records in all");
    // The time begins when the service is up, so that a slow start with a client waiting does not end in leaving. This
    // start waits for a second: a table is being written.
    let built = site.table("hash", "built", "k v\n");
    site.approve(&[TABLE, &built], "max_idle = 1s\n");
    let writer = fs::File::options().write(true).open(site.path("tables/built.db")).unwrap();
    writer.lock().unwrap();
    let start = Instant::now();
    assert_eq!(site.start().wait().code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(1900), "{:?}", start.elapsed());
}

pub fn overrides_of_master_cf_count() {
    let site = Site::new();
    site.approve(&["inline:{main.cf=x}"], "");
    let maps = format!("proxy_read_maps=proxy:{TABLE}");
    let mut master = site.start_with(&["-o", &maps, "-o", "max_idle=1"]);
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup(TABLE, "a")), found("b"));
    assert_eq!(wire.ask(&lookup("inline:{main.cf=x}", "main.cf")), crate::ask::DENIED);
    drop(wire);
    assert_eq!(master.wait().code(), Some(0), "max_idle");
}

pub fn service_name_decides_the_role() {
    let site = Site::new();
    // One of the few types without a file that the writing service answers for.
    site.main("proxy_read_maps = proxy:inline:{r=x}\nproxy_write_maps = proxy:static:b\n");
    let daemon = Path::new(env!("CARGO_BIN_EXE_mapkeepd"));
    let master = site.start_program(daemon, &["-l", "-n", "proxywrite", "-t", "unix", "-u"]);
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup("static:b", "a")), found("b"));
    assert_eq!(wire.ask(&lookup("inline:{r=x}", "r")), crate::ask::DENIED);
}

pub fn odd_command_lines_are_refused() {
    let site = site();
    let daemon = Path::new(env!("CARGO_BIN_EXE_mapkeepd"));
    for (words, message) in [
        (&["-n", "proxymap", "-u"][..], "no transport type specified"),
        (&["-n", "proxymap", "-t", "unix", "-Q"], "unknown option \"-Q\""),
        (&["-n", "elsewhere", "-t", "unix", "-u"], "service name \"elsewhere\""),
        (&["-n", "proxymap", "-t", "unix", "word"], "unexpected argument \"word\""),
    ] {
        let mut master = site.start_program(daemon, words);
        let status = master.wait();
        assert!(status.code().is_some_and(|code| code != 0), "{words:?}: {status}");
        assert!(site.errors().contains(message), "{words:?}: {:?}", site.errors());
        assert_eq!(master.records(1, Duration::from_millis(10)), []);
    }
    // Under master(8) standard error leads nowhere, so it is also in the log.
    site.wait_for_log(
        0,
        &[
            "fatal: ",
            "service name \"elsewhere\" is neither proxymap nor proxywrite",
            "within service_throttle_time",
        ],
    );
}

pub fn link_in_another_directory_finds_the_worker() {
    let site = site();
    let daemons = site.path("daemons");
    fs::create_dir(&daemons).unwrap();
    let link = daemons.join("proxymap");
    symlink(env!("CARGO_BIN_EXE_mapkeepd"), &link).unwrap();
    // The name of the link is the name of the service, as master(8) then gives no -n.
    let master = site.start_program(&link, &["-t", "unix", "-u"]);
    assert_eq!(master.wire().ask(&lookup(TABLE, "a")), found("b"));
}
