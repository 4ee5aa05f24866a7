//! What the processes on the way to a server are locked into, as the kernel shows it.

use crate::ask::{found, lookup};
use crate::common::master::Site;
use crate::common::process::{Process, descendants};
use crate::common::{PATIENCE, poll};
use crate::server::{Language, Server};
use std::collections::BTreeSet;
use std::fs;

/// One line of /proc/PID/status; none when the process has gone.
fn status(pid: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn is_locked(pid: u32, filters: &str) {
    for (name, wanted) in [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", filters),
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("Threads", "1"),
    ] {
        assert_eq!(status(pid, name).as_deref(), Some(wanted), "{name} of {pid}");
    }
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"", "an empty environment");
}

/// The ids of mail_owner, and the groups that name it, from the account files.
fn mail_owner() -> (String, String, BTreeSet<String>) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with("postfix:")).unwrap();
    let fields: Vec<&str> = line.split(':').collect();
    let group = fs::read_to_string("/etc/group").unwrap();
    let names_it = |line: &&str| line.rsplit(':').next().unwrap().split(',').any(|name| name == "postfix");
    let groups = group.lines().filter(names_it).map(|line| line.split(':').nth(2).unwrap().to_owned());
    let groups = groups.chain([fields[3].to_owned()]).collect();
    (fields[2].to_owned(), fields[3].to_owned(), groups)
}

pub fn gateway_and_dialer_are_locked_as_seen_from_outside() {
    let site = Site::new();
    let server = Server::at_path(Language::Socketmap, site.path("socket"));
    site.approve(&[&server.table("m")], "");
    let master = site.start();
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup(&server.table("m"), "k")), found("m-k"));
    let (gateway, dialer) = (master.only("gateway"), master.only("dialer"));
    // That of the supervisor and its own.
    is_locked(gateway, "2");
    is_locked(dialer, "1");
    let worker = master.only("lookup worker");
    let uid = status(gateway, "Uid").unwrap();
    assert_ne!(uid, status(worker, "Uid").unwrap());
    assert!(!uid.starts_with("0 ") && status(gateway, "Groups").unwrap().is_empty());
    assert_eq!(fs::read_dir(format!("/proc/{gateway}/root")).unwrap().count(), 0, "an empty root directory");
    let (owner, group, groups) = mail_owner();
    assert_eq!(status(dialer, "Uid").unwrap(), [owner.as_str(); 4].join(" "));
    assert_eq!(status(dialer, "Gid").unwrap(), [group.as_str(); 4].join(" "));
    let found_groups = status(dialer, "Groups").unwrap();
    assert_eq!(found_groups.split(' ').map(str::to_owned).collect::<BTreeSet<String>>(), groups);
    assert!(descendants(dialer).is_empty(), "a connector leaves when it has connected");
    // No socket of the network is in any process but the gateway, which has one.
    let sockets = |pid: u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).count()
    };
    let numbers = 6 + 1 + 1;
    assert_eq!(sockets(gateway), numbers, "0 to 5, the lookup worker, the server");
}

/// A server that does not answer keeps a connector waiting.
pub fn connector_is_locked_as_seen_from_outside() {
    let site = Site::new();
    let silent = full();
    site.keep("query_timeout = 30s\n");
    let table = format!("socketmap:inet:127.0.0.1:{}:m", silent.port);
    site.approve(&[&table], "");
    let master = site.start();
    let mut wire = master.wire();
    wire.send(&crate::common::wire::bytes(&lookup(&table, "k"))).unwrap();
    // A connector is a fork, and so has the title of its parent.
    let is_first = |process: &&Process| process.parent == master.pid();
    let named = |process: &&Process| process.command.starts_with("mapkeep: dialer");
    let dialer = master.family().iter().filter(named).find(is_first).expect("a dialer").pid;
    let connector = poll(PATIENCE, || {
        let pid = descendants(dialer).first()?.pid;
        (status(pid, "Seccomp_filters")? == "2").then_some(pid)
    })
    .expect("a connector tries");
    is_locked(connector, "2");
    assert_eq!(status(connector, "Uid"), status(dialer, "Uid"));
    let open: BTreeSet<u32> = fs::read_dir(format!("/proc/{connector}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap())
        .collect();
    assert!(open.is_superset(&[0, 1, 2, 256].into()) && open.len() == 5, "and one socket: {open:?}");
}

/// A port at which nobody answers.
struct Full {
    port: u16,
    _listener: std::net::TcpListener,
    _queued: Vec<std::net::TcpStream>,
}

/// A listener whose queue is full: the kernel drops the first packet of whoever comes next.
fn full() -> Full {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    let wait = std::time::Duration::from_millis(200);
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, wait) {
        queued.push(stream);
    }
    Full { port: address.port(), _listener: listener, _queued: queued }
}
