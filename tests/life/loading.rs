//! Contents that a worker dies of, and a table that changes without end: the other tables know little of it.

use crate::ask::{RETRY, found, lookup, until};
use crate::common::master::{Master, Site};
use crate::common::wire::Wire;
use crate::common::{PATIENCE, poll, process};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const OTHER: &str = "inline:{a=b}";
/// Lines of a text that takes a worker long enough to load for a test to interrupt it.
const LINES: usize = 300_000;

/// A text with `k` and this value, and very many other keys.
fn large(value: &str) -> String {
    text_of(LINES, value)
}

fn text_of(lines: usize, value: &str) -> String {
    let mut text = format!("k {value}\n");
    for number in 0..lines {
        writeln!(text, "another-key-{number} some-value").unwrap();
    }
    text
}

fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

/// Whether this process has mapped a table of at least a megabyte.
fn has_large_table(pid: u32) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let size = |line: &str| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        Some(usize::from_str_radix(to, 16).ok()? - usize::from_str_radix(from, 16).ok()?)
    };
    maps.lines().any(|line| line.contains("mapkeep-table") && size(line) > Some(1 << 20))
}

/// Ends a worker that has just begun to load the large table, as the kernel does when memory is short.
fn end_while_it_loads(master: &Master<'_>) {
    assert!(poll(PATIENCE, || end_if_it_loads(master)).is_some(), "no worker loads the large table");
}

/// The same, if there is such a worker now.
fn end_if_it_loads(master: &Master<'_>) -> Option<()> {
    let pid = master.of_role("lookup worker").into_iter().find(|pid| has_large_table(*pid))?;
    process::signal("KILL", pid);
    assert_eq!(process::wait_gone(&[pid], PATIENCE), []);
    Some(())
}

fn tables_of(master: &Master<'_>) -> Vec<bool> {
    master.of_role("lookup worker").into_iter().map(has_large_table).collect()
}

pub fn snapshot_that_crashes_a_worker_is_replaced_by_the_previous_one() {
    let site = Site::new();
    let name = site.table("texthash", "text", "k one\n");
    let path = site.path("tables/text");
    site.approve(&[&name, OTHER], "max_use = 5\n");
    let mut master = site.start();
    assert_eq!(master.wire().ask(&lookup(&name, "k")), found("one"));
    replace(&path, &large("two"));
    end_while_it_loads(&master);
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup(&name, "k")), found("one"));
    assert_eq!(wire.ask(&lookup(OTHER, "a")), found("b"));
    let said = site.wait_for_log(0, &["a worker exited while loading", "still serving the previous version"]);
    assert!(said.text.contains(&name) && said.text.contains(path.to_str().unwrap()), "{}", said.text);
    assert_eq!(tables_of(&master), [false], "the next worker is not given it");
    // The snapshot was not the cause: the worker that replaces this one loads it while this one serves, and then all
    // do.
    let seen = site.log().len();
    let mut wires: Vec<_> = (0..5).map(|_| master.wire()).collect();
    site.wait_for_log(seen, &[&name, "one worker has loaded the version that another could not load"]);
    let two = || (wires[0].ask(&lookup(&name, "k")) == found("two")).then_some(());
    assert!(poll(PATIENCE, two).is_some(), "the worker that serves gets it as well");
    assert!(master.runs());
}

pub fn snapshot_that_crashes_two_workers_is_not_tried_again() {
    let site = Site::new();
    let name = site.table("texthash", "text", "k one\n");
    let path = site.path("tables/text");
    site.approve(&[&name, OTHER], "max_use = 3\n");
    let mut master = site.start();
    assert_eq!(master.wire().ask(&lookup(&name, "k")), found("one"));
    replace(&path, &large("two"));
    end_while_it_loads(&master);
    let mut wires: Vec<_> = (0..3).map(|_| master.wire()).collect();
    let ask = |wire: &mut Wire| assert_eq!(wire.ask(&lookup(&name, "k")), found("one"));
    // The next worker tries it while this one serves.
    end_while_it_loads(&master);
    site.wait_for_log(0, &["a worker exited while loading", "will not be tried again"]);
    wires.iter_mut().for_each(ask);
    // The worker after that is ready without it.
    let both = || (master.of_role("lookup worker").len() == 2).then_some(());
    assert!(poll(PATIENCE, both).is_some(), "{:?}", master.family());
    for _ in 0..4 {
        let mut wire = master.wire();
        assert_eq!(wire.ask(&lookup(&name, "k")), found("one"));
        assert_eq!(wire.ask(&lookup(OTHER, "a")), found("b"));
    }
    assert!(!tables_of(&master).contains(&true));
    // Another version of the file is another matter.
    replace(&path, "k three\n");
    let mut wire = master.wire();
    until("mended", &mut wire, &lookup(&name, "k"), &found("one"), &found("three"));
    assert!(master.runs());
}

pub fn first_snapshot_that_crashes_a_worker_makes_no_other_table_unavailable() {
    let site = Site::new();
    let name = site.table("texthash", "text", &large("one"));
    let small = site.table("texthash", "small", "k small\n");
    site.approve(&[&name, &small, OTHER], "");
    let mut master = site.start();
    // If other snapshots were in flight as well, it may have been any of them, and the next worker gets them one by
    // one.
    let mut deaths = 0;
    let known = poll(PATIENCE, || {
        deaths += u32::from(end_if_it_loads(&master).is_some());
        site.log()
            .iter()
            .any(|line| line.text.contains("lookups in this table fail with a temporary error"))
            .then_some(())
    });
    assert!(known.is_some() && (1..=2).contains(&deaths), "{deaths}");
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup(&name, "k")), RETRY);
    assert_eq!(wire.ask(&lookup(&small, "k")), found("small"));
    assert_eq!(wire.ask(&lookup(OTHER, "a")), found("b"));
    site.wait_for_log(
        0,
        &["a worker exited while loading", "lookups in this table fail with a temporary error"],
    );
    replace(&site.path("tables/text"), "k two\n");
    until("mended", &mut wire, &lookup(&name, "k"), RETRY, &found("two"));
    assert!(master.runs());
}

/// How often a process has `mapkeep-table` among its open files, or among its mappings.
fn contents_of(pid: u32) -> (usize, usize) {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    let open = links.filter(|link| link.to_string_lossy().contains("mapkeep-table")).count();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    (open, maps.lines().filter(|line| line.contains("mapkeep-table")).count())
}

/// What a client of another table saw for a while.
#[derive(Debug, Default)]
struct Seen {
    answers: u32,
    /// Those that came while the worker was loading, and went on loading.
    amid: u32,
    slowest: Duration,
    /// The most contents that the broker and the worker had at a time.
    most: (usize, usize),
}

/// Asks for this time, and touches a file all the time if there is one.
fn watch(wire: &mut Wire, (broker, worker): (u32, u32), time: Duration, touched: Option<&Path>) -> Seen {
    let (start, mut seen) = (Instant::now(), Seen::default());
    let mut last = start;
    while start.elapsed() < time {
        if let Some(path) = touched.filter(|_| last.elapsed() > Duration::from_millis(300)) {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(std::time::SystemTime::now()).unwrap();
            last = Instant::now();
        }
        let (_, before) = contents_of(worker);
        let asked = Instant::now();
        assert_eq!(wire.ask(&lookup(OTHER, "a")), found("b"));
        seen.slowest = seen.slowest.max(asked.elapsed());
        let ((open, _), (_, after)) = (contents_of(broker), contents_of(worker));
        seen.answers += 1;
        seen.amid += u32::from(before > 1 && after > 1);
        seen.most = (seen.most.0.max(open), seen.most.1.max(after));
        std::thread::sleep(Duration::from_millis(5));
    }
    seen
}

pub fn table_that_is_touched_without_end_leaves_the_others_their_time() {
    let site = Site::new();
    let name = site.table("texthash", "text", &text_of(LINES / 6, "one"));
    let path = site.path("tables/text");
    site.approve(&[&name, OTHER], "");
    let master = site.start();
    let mut wire = master.wire();
    let processes = (master.only("broker"), master.only("lookup worker"));
    let quiet = watch(&mut wire, processes, Duration::from_secs(4), None);
    let seen = site.log().len();
    let touched = watch(&mut wire, processes, Duration::from_secs(12), Some(&path));
    let log = site.log();
    let copies = log.iter().skip(seen).filter(|line| line.text.contains("has changed -- refreshing")).count();
    eprintln!("4 s of quiet: {quiet:?}; touched for 12 s: {copies} copies, {touched:?}");
    assert_eq!((quiet.most.1, quiet.amid), (1, 0), "one content, and nothing to load");
    // The broker has the names, a snapshot in use, one in flight and one that is being made, with a second descriptor
    // while it is sealed.
    assert!(touched.most.0 <= 5 && touched.most.1 <= 3, "contents kept: {touched:?}");
    assert!(copies >= 1, "it is served nevertheless");
    assert!(touched.amid >= 1, "no client waits for a whole content: {touched:?}");
    // A quarter of the worker's time is its own at most: three times as long is time for twice as many answers and more.
    assert!(touched.answers >= quiet.answers, "{quiet:?}, {touched:?}");
}
