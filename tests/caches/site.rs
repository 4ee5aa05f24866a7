//! What the scenarios share: a mail system with a cache in its data directory, and a look at its log.

use crate::common::postfix::{Instance, Server, account, free_port};
use crate::common::{PATIENCE, poll, process};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// `TYPE:/.../data/NAME`, in the data directory of the instance.
pub fn cache(mail: &Instance, kind: &str, name: &str) -> String {
    format!("{kind}:{}", mail.path("data").join(name).display())
}

/// A port for another service of an instance.
pub fn port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(5000);
    free_port(std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// How many lines of the log contain all of these texts.
pub fn count(mail: &Instance, texts: &[&str]) -> usize {
    mail.log_lines().iter().filter(|line| texts.iter().all(|text| line.contains(text))).count()
}

/// Reloads. Stock's new proxywrite may exit because of an earlier client: if that client's first request opens the
/// table with flags on which it panics (lmdb), or while the previous proxywrite holds the lock; master(8) then starts
/// no other for a minute. So stock gets time to finish its processes.
pub fn reload(mail: &Instance) {
    let programs = ["verify", "postscreen", "smtp", "proxymap"];
    let old: Vec<u32> = programs.iter().flat_map(|name| mail.daemons(name)).map(|p| p.pid).collect();
    mail.reload();
    if mail.server == Server::Stock {
        assert_eq!(process::wait_gone(&old, PATIENCE), [], "daemons that outlive a reload");
    }
}

/// Stops the instance, and waits until the writing service has exited, too: it has its own session, and writes its
/// files after master(8) has exited.
pub fn stop(mail: &Instance) {
    let family: Vec<u32> = mail.processes().iter().map(|p| p.pid).collect();
    mail.stop();
    assert_eq!(process::wait_gone(&family, PATIENCE), [], "processes that outlive postfix stop");
}

/// The keys of a cache, as postmap(1) shows them. The service must have ended: stock keeps the file locked.
pub fn keys(mail: &Instance, cache: &str) -> Vec<String> {
    let out = Command::new("timeout")
        .args(["60", "postmap", "-c"])
        .arg(mail.path("etc"))
        .args(["-s", cache])
        .output();
    let out = out.unwrap();
    assert!(out.status.success(), "postmap -s {cache}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_string()).collect()
}

/// What Postfix logs now and then although nothing is wrong: a reload ends daemons while others are connected to them,
/// and the clocks of a virtual machine do not always agree.
const NOISE: [&str; 3] = ["problem talking to service", "file system clock is", "resetting file time stamps"];

/// Postfix's start script looks into the machine's own /etc/postfix as well, and complains about what it finds there.
fn is_about_the_machine(line: &str) -> bool {
    line.contains("postfix/postfix-script[") && line.contains(": /etc/postfix/")
}

/// Asserts that the log has no warnings except those that contain one of these texts.
pub fn assert_content(mail: &Instance, allowed: &[&str]) {
    let bad = |line: &String| {
        ["warning:", "error:", "fatal:", "panic:"].iter().any(|word| line.contains(word))
            && !allowed.iter().chain(&NOISE).any(|text| line.contains(text))
            && !is_about_the_machine(line)
    };
    let complaints: Vec<String> = mail.log_lines().into_iter().filter(bad).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// The cache is in the hands of proxywrite, of the server under test, and its files belong to the mail owner.
pub fn assert_served(mail: &Instance, name: &str) {
    let program = if mail.server == Server::Ours { "mapkeepd" } else { "proxymap" };
    assert!(!mail.daemons(program).is_empty(), "no {program} runs");
    let files: Vec<PathBuf> = crate::common::writing::beside(&mail.path("data").join(name));
    assert!(!files.is_empty(), "no file of {name}");
    for path in files {
        use std::os::unix::fs::MetadataExt;
        let status = path.symlink_metadata().unwrap();
        let (uid, _) = account("postfix");
        assert_eq!((status.uid(), status.mode() & 0o777), (uid, 0o600), "{}", path.display());
    }
}

/// Waits until two clean-up scans, among what a program has logged after the first `seen` lines, have left at most this
/// number of entries: the second of them has begun after all those lines. Returns how many entries each scan kept and
/// dropped.
pub fn wait_for_clean_up(mail: &Instance, seen: usize, program: &str, left: usize) -> Vec<(usize, usize)> {
    let number = |line: &str, name: &str| -> usize {
        let (_, rest) = line.split_once(name).unwrap();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    let scans = || -> Vec<(usize, usize)> {
        let lines = mail.log_lines().into_iter().skip(seen);
        let scans = lines.filter(|line| line.contains(program) && line.contains("full cleanup: retained="));
        scans.map(|line| (number(&line, "retained="), number(&line, "dropped="))).collect()
    };
    let enough = |scans: &Vec<(usize, usize)>| scans.iter().filter(|(kept, _)| *kept <= left).count() >= 2;
    let done = poll(PATIENCE, || Some(scans()).filter(enough));
    let done = done.unwrap_or_else(|| panic!("{program}: only {:?}\n{}", scans(), mail.log_text()));
    eprintln!("{:?} {program}: retained and dropped {done:?}", mail.server);
    done
}
