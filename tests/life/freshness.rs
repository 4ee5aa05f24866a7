//! How soon a changed table answers to a client that is connected already, and that nothing is ever half there.

use crate::ask::{ABSENT, RETRY, found, lookup, until};
use crate::common::master::{Master, Site};
use crate::common::stopwatch::poll_promise;
use crate::common::wire::Wire;
use crate::common::{PATIENCE, poll, process};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const INDEXED: [&str; 4] = ["hash", "btree", "lmdb", "cdb"];

fn file_of(site: &Site, kind: &str, name: &str) -> std::path::PathBuf {
    let suffix = match kind {
        "hash" | "btree" => ".db",
        "lmdb" => ".lmdb",
        "cdb" => ".cdb",
        _ => "",
    };
    site.path(&format!("tables/{name}{suffix}"))
}

/// A service of these tables, each made from one source.
fn service<'s>(site: &'s Site, names: &[&str]) -> (Master<'s>, Wire) {
    site.approve(names, "");
    let master = site.start();
    let wire = master.wire();
    (master, wire)
}

pub fn rebuilt_tables_are_served_at_once() {
    let site = Site::new();
    let names = INDEXED.map(|kind| site.table(kind, kind, "k one\n"));
    let (_master, mut wire) = service(&site, &names.each_ref().map(String::as_str));
    for (kind, name) in INDEXED.iter().zip(&names) {
        assert_eq!(wire.ask(&lookup(name, "k")), found("one"));
        site.table(kind, kind, "k two\n");
        until(&format!("{kind} rebuilt"), &mut wire, &lookup(name, "k"), &found("one"), &found("two"));
    }
}

pub fn edited_texts_are_served_at_once() {
    let site = Site::new();
    let name = site.table("texthash", "text", "k one\n");
    let path = site.path("tables/text");
    let (_master, mut wire) = service(&site, &[&name]);
    let ask = lookup(&name, "k");
    assert_eq!(wire.ask(&ask), found("one"));
    overwrite(&path, "k two\n");
    until("text edited in place", &mut wire, &ask, &found("one"), &found("two"));
    replace(&path, "k three\n");
    until("text replaced", &mut wire, &ask, &found("two"), &found("three"));
    // The same size, twice within one clock tick of the file system.
    replace(&path, "k fours\n");
    replace(&path, "k fives\n");
    until_either(&mut wire, &ask, &["three", "fours"], "fives");
}

/// Overwrites the existing file. It is never seen empty: if this test were delayed, a file that was truncated a while
/// ago could not be distinguished from one that is meant to be empty.
fn overwrite(path: &Path, text: &str) {
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_len(text.len() as u64).unwrap();
}

/// As editors and configuration management write: a new file, then its name.
fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

fn until_either(wire: &mut Wire, ask: &str, before: &[&str], wanted: &str) {
    let looked = poll_promise(crate::ask::LIMIT, || {
        let reply = wire.ask(ask);
        let known = before.iter().any(|value| reply == found(value));
        assert!(known || reply == found(wanted), "{reply}");
        (reply == found(wanted)).then_some(())
    });
    assert!(looked.is_some(), "{wanted} does not come");
}

pub fn switched_links_are_served_at_once() {
    let site = Site::new();
    let mount = site.path("tables/mounted");
    for version in ["one", "two", "three"] {
        let folder = mount.join(format!("..{version}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("text"), format!("k {version}\n")).unwrap();
    }
    // As the kubelet publishes a configuration: names lead through `..data`, which is switched by rename.
    symlink("..one", mount.join("..data")).unwrap();
    symlink("..data/text", mount.join("text")).unwrap();
    let name = format!("texthash:{}/text", mount.display());
    let (_master, mut wire) = service(&site, &[&name]);
    let ask = lookup(&name, "k");
    assert_eq!(wire.ask(&ask), found("one"));
    for (before, after) in [("one", "two"), ("two", "three")] {
        symlink(format!("..{after}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        fs::remove_dir_all(mount.join(format!("..{before}"))).unwrap();
        until("..data switched", &mut wire, &ask, &found(before), &found(after));
    }
}

/// Rebuilds every table that `break_all` broke.
fn mend_all(site: &Site, wire: &mut Wire, names: &[String]) {
    for (kind, name) in INDEXED.iter().zip(names) {
        let file = file_of(site, kind, kind);
        if *kind == "lmdb" {
            // postmap continues an existing lmdb file, and cannot do so with a broken one. A new one is a valid table
            // without entries until postmap has filled it, so it gets its name only then.
            site.table(kind, "mended", "k two\n");
            fs::rename(file_of(site, kind, "mended"), file).unwrap();
        } else {
            fs::remove_file(file).unwrap();
            site.table(kind, kind, "k two\n");
        }
        until(&format!("{kind} mended"), wire, &lookup(name, "k"), &found("one"), &found("two"));
    }
}

/// Breaks one table of each kind.
fn break_all(site: &Site, wire: &mut Wire, names: &[String]) {
    let whole: String = (0..2000).map(|i| format!("key{i} value\n")).collect();
    for (kind, name) in INDEXED.iter().zip(names) {
        let seen = site.log().len();
        let file = file_of(site, kind, kind);
        // Half of a valid table, as after a full disk. Of lmdb only the first two pages, which do not show how long the
        // file must be.
        site.table(kind, "whole", &whole);
        let bytes = fs::read(file_of(site, kind, "whole")).unwrap();
        let length = if *kind == "lmdb" { 8192 } else { bytes.len() / 2 };
        fs::write(&file, &bytes[..length]).unwrap();
        site.wait_for_log(seen, &["warning: ", name, "keeping the previous version"]);
        assert_eq!(wire.ask(&lookup(name, "k")), found("one"), "{name}");
    }
}

pub fn broken_files_keep_the_old_answers() {
    let site = Site::new();
    let mut names: Vec<String> = INDEXED.map(|kind| site.table(kind, kind, "k one\n")).into();
    names.push(site.table("texthash", "text", "k one\n"));
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let (_master, mut wire) = service(&site, &all);
    break_all(&site, &mut wire, &names);
    let text = &names[4];
    let seen = site.log().len();
    overwrite(&site.path("tables/text"), "k two\nk three\n");
    site.wait_for_log(seen, &["warning: ", text, "duplicate"]);
    assert_eq!(wire.ask(&lookup(text, "k")), found("one"));
    mend_all(&site, &mut wire, &names);
    overwrite(&site.path("tables/text"), "k two\n");
    until("text mended", &mut wire, &lookup(text, "k"), &found("one"), &found("two"));
}

pub fn broken_file_keeps_the_old_answers_in_a_new_worker() {
    let site = Site::new();
    let names: Vec<String> = INDEXED.map(|kind| site.table(kind, kind, "k one\n")).into();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let (master, mut wire) = service(&site, &all);
    break_all(&site, &mut wire, &names);
    // Workers are replaced all the time, after max_use clients; the next one has never seen the good file.
    let victim = master.only("lookup worker");
    process::signal("KILL", victim);
    master.wait_for_other("lookup worker", victim);
    let mut wire = master.wire();
    for name in &names {
        assert_eq!(wire.ask(&lookup(name, "k")), found("one"), "{name} in the new worker");
    }
    mend_all(&site, &mut wire, &names);
}

pub fn removed_and_missing_tables_come_back() {
    let site = Site::new();
    let hash = site.table("hash", "hash", "k one\n");
    let later = format!("cdb:{}", site.path("tables/later").display());
    let (_master, mut wire) = service(&site, &[&hash, &later]);
    assert_eq!(wire.ask(&lookup(&later, "k")), RETRY);
    site.wait_for_log(0, &["error: ", &later, "later.cdb"]);
    site.table("cdb", "later", "k one\n");
    until("missing table made", &mut wire, &lookup(&later, "k"), RETRY, &found("one"));

    let seen = site.log().len();
    fs::remove_file(site.path("tables/hash.db")).unwrap();
    site.wait_for_log(seen, &["warning: ", &hash, "keeping its last version"]);
    assert_eq!(wire.ask(&lookup(&hash, "k")), found("one"), "a removed table goes on answering");
    site.table("hash", "hash", "k two\n");
    until("removed table made anew", &mut wire, &lookup(&hash, "k"), &found("one"), &found("two"));
}

pub fn replaced_directories_are_followed_or_reported() {
    let site = Site::new();
    let beside = site.table("texthash", "beside", "k one\n");
    let folders = [site.path("tables/below"), site.path("alone")];
    let names = folders.each_ref().map(|folder| {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("text"), "k one\n").unwrap();
        format!("texthash:{}/text", folder.display())
    });
    let (_master, mut wire) = service(&site, &[&beside, &names[0], &names[1]]);
    for folder in &folders {
        let fresh = folder.with_extension("new");
        fs::create_dir(&fresh).unwrap();
        fs::write(fresh.join("text"), "k two\n").unwrap();
        fs::rename(folder, folder.with_extension("old")).unwrap();
        fs::rename(&fresh, folder).unwrap();
    }
    // Below a directory with tables of its own, a new directory is within what the broker may read.
    let below = lookup(&names[0], "k");
    until("directory replaced", &mut wire, &below, &found("one"), &found("two"));
    // Elsewhere the broker's Landlock domain forbids it: the previous snapshot answers, and the log says why.
    let line = site.wait_for_log(0, &["warning: ", &names[1], "keeping its last version"]);
    eprintln!("directory replaced outside of the lock: {}", line.text);
    assert_eq!(wire.ask(&lookup(&names[1], "k")), found("one"));
}

pub fn rebuilds_never_show_half_a_table() {
    let site = Site::new();
    let source = |round: usize| {
        let filler = (0..300).map(|i| format!("filler{i} {}\n", "v".repeat((i * (round + 1)) % 50 + 1)));
        format!("first 1\n{}last 2\n", filler.collect::<String>())
    };
    let names = INDEXED.map(|kind| site.table(kind, kind, &source(0)));
    let (_master, mut wire) = service(&site, &names.each_ref().map(String::as_str));
    let done = AtomicBool::new(false);
    let mut asked = 0u32;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=50 {
                for kind in INDEXED {
                    site.table(kind, kind, &source(round));
                }
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            for name in &names {
                assert_eq!(wire.ask(&lookup(name, "first")), found("1"), "{name}");
                assert_eq!(wire.ask(&lookup(name, "last")), found("2"), "{name}");
                assert_eq!(wire.ask(&lookup(name, "never")), ABSENT, "{name}");
                asked += 3;
            }
        }
    });
    eprintln!("200 rebuilds: {asked} answers, all right");
    // On a busy machine some earlier versions may still be in flight.
    let value = |round: usize| "v".repeat((299 * (round + 1)) % 50 + 1);
    let versions: Vec<String> = (0..=50).map(value).collect();
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    for name in &names {
        until_either(&mut wire, &lookup(name, "filler299"), &versions, &value(50));
    }
}

/// Tables that are larger than a large page (2 MiB) begin with one, and so does each new snapshot.
pub fn large_tables_lie_in_large_pages() {
    const ENTRIES: u32 = 100_000;
    let text =
        |age: &str| (0..ENTRIES).map(|key| format!("key{key} {age}-{key}-value\n")).collect::<String>();
    let site = Site::new();
    let kinds = ["hash", "cdb", "texthash"];
    let tables = kinds.map(|kind| site.table(kind, kind, &text("old")));
    site.approve(&tables.each_ref().map(String::as_str), "");
    let master = site.start();
    let mut wire = master.wire();
    for age in ["old", "new"] {
        for (kind, table) in kinds.iter().zip(&tables) {
            if age == "new" {
                site.table(kind, kind, &text(age));
            }
            let first = found(&format!("{age}-0-value"));
            poll(PATIENCE, || (wire.ask(&lookup(table, "key0")) == first).then_some(())).unwrap();
            for key in [1, ENTRIES / 2, ENTRIES - 1] {
                let wanted = found(&format!("{age}-{key}-value"));
                assert_eq!(wire.ask(&lookup(table, &format!("key{key}"))), wanted, "{table}");
            }
        }
        let starts = large_contents(master.only("lookup worker"));
        assert_eq!(starts.len(), tables.len(), "{starts:x?}");
        assert!(starts.iter().all(|start| start.is_multiple_of(LARGE_PAGE)), "{starts:x?}");
    }
}

const LARGE_PAGE: u64 = 2 << 20;

/// Where the contents of tables begin that a process has mapped, of those that would fill a large page.
fn large_contents(pid: u32) -> Vec<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let place = |line: &str| {
        let (start, rest) = line.split_once('-').unwrap();
        let (end, _) = rest.split_once(' ').unwrap();
        [start, end].map(|address| u64::from_str_radix(address, 16).unwrap())
    };
    let contents = maps.lines().filter(|line| line.contains("mapkeep-table")).map(place);
    contents.filter(|[start, end]| end - start >= LARGE_PAGE).map(|[start, _]| start).collect()
}
