//! The second line: attempts at which the system call filter is not the only layer in the way.
//!
//! Purpose: each attempt is made under one other layer alone, and under all of them without the filter. May: run as root
//! what the attempts of the list do; so the list holds none that would do harm if it were not stopped.

use crate::common::{PATIENCE, poll};
use crate::report::Line;
use Layer::{Chroot, Landlock, Uid};
use mapkeep_attacker::layers::{Layer, attempt_under};
use mapkeep_attacker::raw::Idler;
use mapkeep_attacker::{Answer, Attempt, Loot, Role, attacks, errno_name};
use nix::errno::Errno::{self, EACCES, ENOENT, EPERM};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

/// An attempt of the table, and the layers that each stop it alone, with their errors.
struct Case(u8, &'static str, &'static [(Layer, Errno)]);

const CASES: &[Case] = &[
    Case(1, "open /etc/shadow", &[(Uid, EACCES), (Chroot, ENOENT), (Landlock, EACCES)]),
    Case(1, "openat main.cf", &[(Chroot, ENOENT), (Landlock, EACCES)]),
    Case(3, "openat /proc/self/fd/N", &[(Uid, EACCES), (Chroot, ENOENT), (Landlock, EACCES)]),
    // A chroot does not hold who has a directory outside: hence no worker is handed one.
    Case(5, "openat ../../etc/passwd", &[(Landlock, EACCES)]),
    Case(6, "unshare a user name space", &[(Chroot, EPERM)]),
    Case(19, "PTRACE_ATTACH", &[(Uid, EPERM), (Landlock, EPERM)]),
    Case(19, "PTRACE_SEIZE", &[(Uid, EPERM), (Landlock, EPERM)]),
    Case(19, "process_vm_readv", &[(Uid, EPERM), (Landlock, EPERM)]),
    Case(20, "pidfd_open, then pidfd_getfd", &[(Uid, EPERM), (Landlock, EPERM)]),
    Case(21, "kill", &[(Uid, EPERM), (Landlock, EPERM)]),
    Case(21, "tgkill", &[(Uid, EPERM), (Landlock, EPERM)]),
    Case(21, "pidfd_open, then pidfd_send_signal", &[(Uid, EPERM), (Landlock, EPERM)]),
    Case(22, "prlimit64", &[(Uid, EPERM)]),
    Case(22, "sched_setaffinity", &[(Uid, EPERM)]),
    Case(23, "mem", &[(Uid, EACCES), (Chroot, ENOENT), (Landlock, EACCES)]),
    Case(23, "environ", &[(Uid, EACCES), (Chroot, ENOENT), (Landlock, EACCES)]),
    Case(23, "cmdline", &[(Chroot, ENOENT), (Landlock, EACCES)]),
    Case(23, "maps", &[(Uid, EACCES), (Chroot, ENOENT), (Landlock, EACCES)]),
    Case(24, "socket, then connect", &[(Landlock, EPERM)]),
];

/// Makes every attempt of the list. Must be called while the program has one thread.
pub fn run(empty: &Path) -> Vec<Line> {
    let file = File::open("/etc/passwd").expect("/etc/passwd");
    let directory = File::open("/var/lib").expect("/var/lib");
    let _listener = listener();
    let other = Idler::start().expect("another process");
    let mut lines = Vec::new();
    for Case(item, what, stops) in CASES {
        let handed = if *item == 5 { directory.as_raw_fd() } else { file.as_raw_fd() };
        let loot = Loot { handed, client: -1, target: other.pid() };
        let attempt = find(*item, what);
        // Unlocked it succeeds: else a refusal would prove nothing.
        lines.push(line(*item, what, "no layer", "allowed", &attempt_under(&[], empty, attempt, &loot)));
        for (layer, errno) in *stops {
            let got = attempt_under(&[*layer], empty, attempt, &loot);
            lines.push(line(*item, what, &format!("{layer:?} alone"), &format!("{errno:?}"), &got));
        }
        // If several layers stop it, the error number is that of the first.
        let mut any: Vec<String> = stops.iter().map(|(_, errno)| format!("{errno:?}")).collect();
        any.sort();
        any.dedup();
        let got = attempt_under(&Layer::ALL, empty, attempt, &loot);
        lines.push(line(*item, what, "all but the filter", &any.join(" or "), &got));
    }
    lines
}

/// Listens on the name that the attempts go for. Another run of this program may have it for the moment.
fn listener() -> UnixListener {
    let name = SocketAddr::from_abstract_name("mapkeep-escape").expect("an abstract name");
    let bound = poll(PATIENCE, || UnixListener::bind_addr(&name).ok());
    bound.expect("nobody else has the name")
}

fn find(item: u8, what: &str) -> &'static Attempt {
    let attempts =
        attacks(Role::Lookup).filter(|attack| attack.item == item).flat_map(|attack| attack.attempts);
    let mut named = attempts.filter(|Attempt(name, _)| *name == what);
    named.next().unwrap_or_else(|| panic!("no attempt {what:?} at item {item}"))
}

fn line(item: u8, what: &str, under: &str, required: &str, got: &Answer) -> Line {
    let seen = match got {
        Ok(_) => "allowed".to_owned(),
        Err(number) => errno_name(*number),
    };
    let passed = required.split(" or ").any(|one| one == seen);
    let (what, required) = (format!("{what}; {under}"), required.to_owned());
    Line { item, what, required, seen, passed, log: String::new() }
}
