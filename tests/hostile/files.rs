//! What can stand where a table was.

use crate::common::PATIENCE;
use crate::common::master::{Master, Site, set_mode};
use crate::common::poll;
use crate::{DEADLINE, FINE, Innocent, is_as_before, lookup, settled};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

const RETRY: &str = "status|2|value|||";
const TABLES: [&str; 9] =
    ["fifo", "zero", "socket", "directory", "mem", "zero-link", "sparse", "dangling", "loop"];

/// Puts the thing of this name in place. False when the machine does not let anybody make it.
fn put(thing: &str, path: &Path) -> bool {
    let run = |program: &str, words: &[&str]| {
        Command::new(program)
            .arg(path)
            .args(words)
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
    };
    match thing {
        "fifo" => run("mkfifo", &[]),
        "zero" => run("mknod", &["c", "1", "5"]),
        "socket" => UnixListener::bind(path).is_ok(),
        "directory" => fs::create_dir(path).is_ok(),
        "mem" => symlink("/proc/self/mem", path).is_ok(),
        "zero-link" => symlink("/dev/zero", path).is_ok(),
        "dangling" => symlink("/nonexistent/table", path).is_ok(),
        "loop" => symlink(path.file_name().unwrap(), path).is_ok(),
        _ => {
            let file = fs::File::create(path).unwrap();
            set_mode(path, 0o644);
            file.set_len(1 << 40).is_ok()
        }
    }
}

fn clear(path: &Path) {
    let _ = fs::remove_dir(path);
    let _ = fs::remove_file(path);
}

fn text(path: &Path, value: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, format!("k {value}\n")).unwrap();
    set_mode(&fresh, 0o644);
    clear(path);
    fs::rename(fresh, path).unwrap();
}

/// A service of one text table for each odd thing; `sound`: the tables are there at the start.
fn site(sound: bool) -> (Site, Vec<(&'static str, String)>) {
    let site = Site::new();
    let mut names = Vec::new();
    for thing in TABLES {
        let path = site.path("tables").join(thing);
        if sound {
            text(&path, "old");
        } else if !put(thing, &path) {
            assert!(std::env::var_os("CI").is_none(), "{thing} cannot be made");
            eprintln!("*** SKIPPED: {thing} cannot be made here ***");
            clear(&path);
            continue;
        }
        names.push((thing, format!("texthash:{}", path.display())));
    }
    let mut all: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
    all.push(FINE);
    site.approve(&all, "");
    (site, names)
}

/// Puts sound files back and waits until they are served.
fn mend(site: &Site, innocent: &mut Innocent, names: &[(&str, String)], before: &str) {
    for (thing, name) in names {
        text(&site.path("tables").join(thing), "new");
        let come = poll(PATIENCE, || {
            let reply = innocent.wire.ask(&lookup(name, "k"));
            assert!(reply == before || reply == "status|0|value|new||", "{thing}: {reply}");
            (reply != before).then_some(())
        });
        assert!(come.is_some(), "{thing}: a sound file is not served");
    }
}

pub fn odd_files_in_place_of_tables_change_nothing() {
    let (site, names) = site(true);
    let master = site.start();
    let mut innocent = Innocent::new(&master);
    for (thing, name) in &names {
        assert_eq!(innocent.wire.ask(&lookup(name, "k")), "status|0|value|old||", "{thing}");
    }
    innocent.is_served(&master);
    let before = settled(&master, 1);
    for (thing, name) in &names {
        let (path, seen) = (site.path("tables").join(thing), site.log().len());
        clear(&path);
        if !put(thing, &path) {
            assert!(std::env::var_os("CI").is_none(), "{thing} cannot be made");
            eprintln!("*** SKIPPED: {thing} cannot be made here ***");
            continue;
        }
        // The log says that the last version of this table stays in use; meanwhile and afterwards all are served.
        let said = poll(PATIENCE, || {
            innocent.is_served(&master);
            assert_eq!(innocent.wire.ask(&lookup(name, "k")), "status|0|value|old||", "{thing}");
            site.log().into_iter().skip(seen).find(|line| line.text.contains(name.as_str()))
        });
        let said = said.unwrap_or_else(|| panic!("{thing}: nothing in the log"));
        assert!(said.text.contains("keeping its last version"), "{thing}: {}", said.text);
        eprintln!("{thing}: {}", said.text);
    }
    eprintln!("slowest answer beside odd files: {:.1?} of {DEADLINE:?}", innocent.slowest);
    is_as_before(&master, &before);
    mend(&site, &mut innocent, &names, "status|0|value|old||");
    is_as_before(&master, &before);
}

pub fn odd_files_at_the_start_are_refused() {
    let (site, names) = site(false);
    let master = site.start();
    let mut innocent = Innocent::new(&master);
    for (thing, name) in &names {
        assert_eq!(innocent.wire.ask(&lookup(name, "k")), RETRY, "{thing}");
        site.wait_for_log(0, &[name]);
    }
    innocent.is_served(&master);
    let before = settled(&master, 1);
    mend(&site, &mut innocent, &names, RETRY);
    // The same processes; the broker now holds the snapshot of each table for later workers, one descriptor for each.
    let (count, grown) =
        (|list: &[(u32, usize)]| list.iter().map(|(_, open)| open).sum::<usize>(), settled(&master, 1));
    assert!(
        grown.iter().map(|(pid, _)| pid).eq(before.iter().map(|(pid, _)| pid)),
        "{grown:?} after {before:?}"
    );
    assert_eq!(count(&grown), count(&before) + names.len(), "{grown:?} after {before:?}");
}

/// Most memory that the lookup worker has had, in KiB.
fn peak(master: &Master<'_>) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", master.only("lookup worker"))).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

pub fn lengths_of_four_gigabytes_are_not_believed() {
    let site = Site::new();
    let long = "v".repeat(9000);
    let kinds = ["hash", "btree", "lmdb", "cdb"];
    let names = kinds.map(|kind| site.table(kind, kind, &format!("k {long}\n")));
    for kind in kinds {
        let end = if matches!(kind, "hash" | "btree") { "db" } else { kind };
        let path = site.path("tables").join(format!("{kind}.{end}"));
        let mut bytes = fs::read(&path).unwrap();
        // Every field with the length of the value, with or without its NUL, is now almost 4 GiB.
        let mut changed = 0;
        for length in [9000_u32, 9001] {
            for at in 0..bytes.len() - 4 {
                if bytes[at..at + 4] == length.to_le_bytes() {
                    bytes[at..at + 4].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
                    changed += 1;
                }
            }
        }
        assert!(changed > 0, "{kind}: no length found");
        fs::write(&path, bytes).unwrap();
    }
    let mut all = names.each_ref().map(String::as_str).to_vec();
    all.push(FINE);
    site.approve(&all, "");
    let master = site.start();
    let mut innocent = Innocent::new(&master);
    innocent.is_served(&master);
    let before = peak(&master);
    for name in &names {
        assert_eq!(innocent.wire.ask(&lookup(name, "k")), RETRY, "{name}");
        let next = innocent.wire.ask(&format!("request|sequence|table|{name}|flags|64|function|0||"));
        assert_eq!(next, "status|2|key||value|||", "{name}");
    }
    let after = peak(&master);
    assert!(after < before + 4096, "{before} KiB became {after} KiB");
    innocent.is_served(&master);
}
