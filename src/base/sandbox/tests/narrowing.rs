//! Forks of a locked process that take on a narrower lock, looked at from outside, and what each lets them reach.

#![cfg(test)]

mod raw;
mod runner;
mod scene;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mapkeep_sandbox::{
    Confined, FileRules, Lock, LockError, Narrower, Privilege, Role, Tcp, enter, expected, inspect,
};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::fork::{Forked, keep_only, split};
use nix::unistd::{getpid, getppid};
use raw::{Death, end, start};
use scene::*;

/// The number of a connector's channel, as in policy/seccomp.json.
const NUMBER: i32 = 256;
const KNOWN: &[i32] = &[0, 1, 2, NUMBER];

fn main() -> ExitCode {
    if !runner::have_root("narrowing") {
        return ExitCode::SUCCESS;
    }
    runner::run(&[
        ("fork_has_both_filters_and_the_account_of_its_parent", fork_has_both_filters),
        ("fork_dies_with_its_parent", fork_dies_with_its_parent),
        ("fork_reaches_the_files_and_ports_of_its_own_domain_only", fork_reaches_its_own),
        ("fork_that_is_not_as_it_should_be_is_refused", fork_is_refused),
    ])
}

fn dialer() -> Lock<'static> {
    let files = FileRules { read_beneath: vec!["/".into()], tcp: Tcp::Anywhere, ..FileRules::default() };
    let locked = lock(Role::Dialer, Path::new("/"));
    Lock {
        files,
        limits: mapkeep_sandbox::Limits { nproc: u64::MAX, nofile: 300, ..locked.limits },
        ..locked
    }
}

fn connector() -> Narrower<'static> {
    let files = FileRules::default();
    Narrower { role: Role::Connector, files, expected_descriptors: KNOWN, parent_pid: getppid().as_raw() }
}

/// Sends the test a message on the channel of the fork.
fn say(channel: &Channel, text: &str) {
    channel.send(text.as_bytes(), &[]).unwrap();
}

/// Starts a locked dialer whose fork does `body` with its channel; returns the dialer and the end of the channel.
fn with_fork(body: impl FnOnce(&Confined, Channel) -> i32) -> (nix::unistd::Pid, std::os::fd::OwnedFd) {
    let (test, child_side) = channel();
    let child = start(|| {
        prepare_descriptors(&child_side);
        // `prepare_descriptors` has put the channel there.
        let Ok(own) = mapkeep_sys::inherit::take(3) else { return 90 };
        let Ok((confined, _)) = enter(dialer()) else { return 91 };
        match split() {
            Ok(Forked::Parent(fork)) => match end(fork) {
                Death::Exit(status) => i32::from(status != 0),
                Death::Signal(_) => 1,
            },
            Ok(Forked::Child) => {
                let Ok(kept) = keep_only(own.as_fd(), NUMBER) else { raw::exit_now(3) };
                let status = body(&confined, Channel::from_descriptor(kept));
                raw::exit_now(u64::try_from(status).unwrap())
            }
            Err(_) => 92,
        }
    });
    (child, test)
}

/// Waits for the end of its channel with a call that a connector has.
fn wait_for_the_end() {
    // struct pollfd: the descriptor, the requested events (none, so only the end), the returned events.
    let mut poll = [NUMBER, 0];
    raw::call(libc::SYS_poll, [poll.as_mut_ptr() as u64, 1, 60_000, 0, 0, 0]);
}

fn fork_has_both_filters() {
    let (dialer_pid, test) = with_fork(|confined, channel| {
        let narrowed = confined.narrow(&connector());
        match &narrowed {
            Ok(confined) => assert_eq!(confined.role(), Role::Connector),
            Err(error) => say(&channel, &error.to_string()),
        }
        say(&channel, &getpid().to_string());
        wait_for_the_end();
        0
    });
    let said = receive(&test);
    let fork: i32 = said.parse().unwrap_or_else(|_| panic!("{said}"));
    let privilege = dialer().privilege;
    assert!(matches!(&privilege, Privilege::Account { groups, .. } if groups.len() == 2));
    for (role, pid, inherited) in [(Role::Dialer, dialer_pid.as_raw(), 0), (Role::Connector, fork, 1)] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let found = inspect(pid, &text).unwrap();
        println!("    {}: {found}", role.name());
        let differences = expected(role, &privilege, inherited).differences(&found);
        assert_eq!(differences, Vec::<String>::new(), "{role:?}");
    }
    drop(test);
    assert_eq!(end(dialer_pid), Death::Exit(0));
}

fn fork_dies_with_its_parent() {
    let (dialer_pid, test) = with_fork(|confined, channel| {
        let _narrowed = confined.narrow(&connector());
        say(&channel, "ready");
        wait_for_the_end();
        0
    });
    assert_eq!(receive(&test), "ready");
    nix::sys::signal::kill(dialer_pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(end(dialer_pid), Death::Signal(libc::SIGKILL));
    // The end of the channel, since its other side has been closed.
    assert_eq!(receive(&test), "");
}

/// Whether a file can be opened, by the call that the C library makes.
fn open(path: &Path) -> i32 {
    let path = format!("{}\0", path.display());
    let at = u64::try_from(libc::AT_FDCWD).unwrap_or(u64::MAX);
    errno_of(raw::call(libc::SYS_openat, [at, path.as_ptr() as u64, 0, 0, 0, 0]))
}

fn fork_reaches_its_own() {
    let listeners: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = listeners.iter().map(|one| one.local_addr().unwrap().port()).collect();
    let (named, other) = (ports[0], ports[1]);
    let connect = |port: u16| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        std::net::TcpStream::connect(address).map_or_else(|error| error.raw_os_error().unwrap(), |_| 0)
    };
    let (dialer_pid, test) = with_fork(|confined, channel| {
        // The dialer's own domain.
        let before =
            [open(Path::new("/etc/passwd")), open(Path::new("/etc/hosts")), connect(named), connect(other)];
        let files = FileRules {
            read_if_there: ["/etc/hosts", "/etc/mapkeep-no-such-file"].map(PathBuf::from).to_vec(),
            tcp: Tcp::Ports(vec![named]),
            ..FileRules::default()
        };
        // The probes close what they have opened.
        let _ = mapkeep_sys::inherit::close_from(NUMBER + 1);
        for number in 3..NUMBER {
            drop(mapkeep_sys::inherit::take(number));
        }
        if let Err(error) = confined.narrow(&Narrower { files, ..connector() }) {
            say(&channel, &error.to_string());
            return 1;
        }
        let after = [
            open(Path::new("/etc/passwd")),
            open(Path::new("/etc/hosts")),
            open(Path::new("/etc/mapkeep-no-such-file")),
            connect(named),
            connect(other),
        ];
        say(&channel, &format!("{before:?} {after:?}"));
        0
    });
    let (denied, none) = (libc::EACCES, libc::ENOENT);
    assert_eq!(receive(&test), format!("[0, 0, 0, 0] [{denied}, 0, {none}, 0, {denied}]"));
    assert_eq!(end(dialer_pid), Death::Exit(0));
}

fn fork_is_refused() {
    type Asked = fn() -> Narrower<'static>;
    let checks: [(Asked, &str); 5] = [
        (|| Narrower { role: Role::Logger, ..connector() }, "dialer starts no logger"),
        (|| Narrower { expected_descriptors: &[0, 1, 2], ..connector() }, "[0, 1, 2, 256] are open"),
        (|| Narrower { parent_pid: 1, ..connector() }, "the parent 1 is gone"),
        (
            || Narrower {
                files: FileRules { write_beneath: vec!["/tmp".into()], ..FileRules::default() },
                ..connector()
            },
            "only the writing service writes files",
        ),
        (
            || Narrower {
                files: FileRules { execute_beneath: vec!["/bin".into()], ..FileRules::default() },
                ..connector()
            },
            "only the supervisor executes files",
        ),
    ];
    for (asked, reason) in checks {
        let (dialer_pid, test) = with_fork(|confined, channel| {
            let refused: Result<Confined, LockError> = confined.narrow(&asked());
            say(&channel, &refused.map_or_else(|error| error.to_string(), |_| "not refused".to_owned()));
            0
        });
        let said = receive(&test);
        assert!(said.contains(reason), "{said}");
        assert_eq!(end(dialer_pid), Death::Exit(0));
    }
}
