//! The whole dialer as a process of its own, locked in as under the supervisor, in a network of its own with servers and
//! name servers of every kind; a broker's end in the test's hands. Then the same with hostile code inside.
//!
//! A runner of its own, since processes are started by fork, and this program is the dialer, too.

#![cfg(test)]

mod dialer;
mod escapes;
mod failing;
mod hijack;
mod network;
#[path = "../../../../base/sandbox/tests/runner/mod.rs"]
mod runner;

use dialer::{ACCOUNT, Broker, Came, Dialer, GROUP, tcp};
use failing::*;
use mapkeep_proto::{Host, Launch, version_text};
use network::{deaf, greets, server};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    if mapkeep_process::is_launched() {
        hijack::arm();
        match mapkeep_process::launched("process", || version_text("process")) {
            (Launch::Dialer(launch), channel) => mapkeep_worker_dialer::main(launch, channel),
            _ => mapkeep_process::refuse("process", "the launch of another process"),
        }
    }
    if !runner::have_root("the dialer's process test") || !network::isolate() {
        return ExitCode::SUCCESS;
    }
    runner::run(&[
        ("names_and_addresses_of_both_families_are_connected_to", names_and_addresses),
        ("protocols_are_those_of_inet_protocols", protocols),
        ("services_have_their_ports", services_have_their_ports),
        ("name_service_files_that_are_replaced_are_read_anew", replaced_files),
        ("paths_are_connected_to_with_the_account_and_its_groups", paths),
        ("failures_have_their_reason", failures_have_their_reason),
        ("silent_address_leaves_time_for_the_next", silent_address),
        ("silent_server_costs_its_time_and_no_more", silent_server),
        ("name_servers_that_are_silent_or_talk_nonsense_fail", bad_name_servers),
        ("limit_of_connectors_and_a_connector_that_is_killed", limit_and_kill),
        ("numbers_come_back_right_whoever_is_first", numbers_come_back),
        ("broker_that_breaks_the_protocol_loses_its_channel_alone", garbage),
        ("broker_that_goes_takes_its_connectors_along", broker_goes),
        ("broker_that_does_not_read_is_heard_when_it_does", broker_that_does_not_read),
        ("dialer_ends_with_the_supervisor", ends_with_the_supervisor),
        ("hijacked_connector_is_held", escapes::connector),
        ("hijacked_dialer_is_held", escapes::dialer),
    ])
}

/// A directory that everybody may enter, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = PathBuf::from(format!("/run/mapkeep-dialer-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        Place(path)
    }

    fn unix(&self, name: &str) -> Host {
        Host::Unix(self.0.join(name).into_os_string().into_encoded_bytes())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Only what inet_protocols names is tried: a name with addresses of both kinds is tried at one of them.
fn protocols() {
    let ((four, port4), (six, port6)) = (server("127.0.0.1"), server("::1"));
    let (only4, only6) = (Dialer::with(true, false), Dialer::with(false, true));
    let (with4, with6) = (only4.broker(), only6.broker());
    greets(&four, with4.connection(1, tcp("both.test", port4)));
    greets(&six, with6.connection(1, tcp("both.test", port6)));
    let reason = with4.reason(2, 10_000, tcp("both.test", port6));
    assert!(reason.starts_with(&format!("127.0.0.1 port {port6}: Connection refused")), "{reason}");
    assert!(!reason.contains("::1"), "{reason}");
    let reason = with6.reason(2, 10_000, tcp("127.0.0.1", port4));
    assert!(reason.starts_with("host 127.0.0.1: no address of a protocol that inet_protocols"), "{reason}");
}

fn names_and_addresses() {
    let dialer = Dialer::start();
    let broker = dialer.broker();
    let four = server("127.0.0.1");
    let six = server("::1");
    for (number, (name, (listener, port))) in (7..).zip([
        ("127.0.0.1", &four),
        ("::1", &six),
        ("fe80::1%lo", &four),
        ("localhost", &four),
        ("here.test", &four),
        ("six.test", &six),
        // The first of its addresses refuses.
        ("both.test", &four),
        ("named.test", &four),
        ("NAMED.test", &four),
        ("named-six.test", &six),
        // The answer does not fit into a datagram, and is asked for again by TCP.
        ("long.test", &four),
    ]) {
        // An address with the name of an interface is taken as one; nobody listens there.
        if name.contains('%') {
            let reason = broker.reason(number, 10_000, tcp(name, port));
            assert!(reason.starts_with("fe80::1"), "{reason}");
            continue;
        }
        greets(listener, broker.connection(number, tcp(name, port)));
    }
    dialer.wait_for_connectors(0);
}

fn services_have_their_ports() {
    std::fs::write("/etc/services", "first 7/udp\nthe-service 4190/tcp other-name\n").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:4190").unwrap();
    let dialer = Dialer::start();
    let broker = dialer.broker();
    for (number, name) in (1..).zip(["the-service", "other-name", "4190"]) {
        greets(&listener, broker.connection(number, tcp("localhost", name)));
    }
    let reason = broker.reason(9, 10_000, tcp("localhost", "first"));
    assert_eq!(reason, "port first: /etc/services has no TCP service of this name");
}

/// As programs do that keep resolv.conf: a new file takes the place of the old one.
fn replaced_files() {
    let dialer = Dialer::start();
    let broker = dialer.broker();
    let (listener, port) = server("127.0.0.1");
    let reason = broker.reason(1, 10_000, tcp("later.test", port));
    assert!(reason.starts_with("host later.test: Name or service not known"), "{reason}");
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap();
    std::fs::write("/etc/hosts.new", format!("{hosts}127.0.0.1 later.test\n")).unwrap();
    std::fs::rename("/etc/hosts.new", "/etc/hosts").unwrap();
    greets(&listener, broker.connection(2, tcp("later.test", port)));
    // A link to where systemd-resolved or resolvconf keep it.
    let place = Place::new("resolv");
    let resolv = std::fs::read("/etc/resolv.conf").unwrap();
    std::fs::write(place.0.join("stub"), &resolv).unwrap();
    std::fs::remove_file("/etc/resolv.conf").unwrap();
    std::os::unix::fs::symlink(place.0.join("stub"), "/etc/resolv.conf").unwrap();
    greets(&listener, broker.connection(3, tcp("named.test", port)));
    std::fs::remove_file("/etc/resolv.conf").unwrap();
    std::fs::write("/etc/resolv.conf", resolv).unwrap();
}

fn paths() {
    let place = Place::new("paths");
    let dialer = Dialer::start();
    let broker = dialer.broker();
    let open = UnixListener::bind(place.0.join("open")).unwrap();
    mode(&place.0.join("open"), 0o666);
    // Only who has the supplementary group comes here.
    std::fs::create_dir(place.0.join("group")).unwrap();
    chown(place.0.join("group"), Some(0), Some(GROUP)).unwrap();
    mode(&place.0.join("group"), 0o750);
    let group = UnixListener::bind(place.0.join("group/socket")).unwrap();
    mode(&place.0.join("group/socket"), 0o666);
    for (number, (name, listener)) in (1..).zip([("open", &open), ("group/socket", &group)]) {
        let connected = broker.connection(number, place.unix(name));
        let (mut server_side, _) = listener.accept().unwrap();
        // The server sees the account.
        let seen =
            nix::sys::socket::getsockopt(&server_side, nix::sys::socket::sockopt::PeerCredentials).unwrap();
        assert_eq!((seen.uid(), seen.gid()), (dialer::UID, dialer::GID));
        drop(connected);
        assert_eq!(server_side.read(&mut [0; 8]).unwrap(), 0);
    }
    // What cannot be connected to.
    let _closed = UnixListener::bind(place.0.join("closed")).unwrap();
    mode(&place.0.join("closed"), 0o600);
    std::fs::write(place.0.join("file"), "").unwrap();
    mode(&place.0.join("file"), 0o666);
    let _datagram = UnixDatagram::bind(place.0.join("datagram")).unwrap();
    mode(&place.0.join("datagram"), 0o666);
    let account = format!("user {ACCOUNT} may not connect to it");
    for (number, (name, reasons)) in (10..).zip([
        ("missing", ["No such file or directory", "is the server running?"]),
        ("file", ["Connection refused", "is the server running?"]),
        ("closed", ["Permission denied", &account]),
        ("datagram", ["Protocol wrong type for socket", "it is no stream socket"]),
    ]) {
        let reason = broker.reason(number, 10_000, place.unix(name));
        let named = reason.starts_with(&*place.0.join(name).to_string_lossy());
        assert!(named && reasons.iter().all(|part| reason.contains(part)), "{name}: {reason}");
    }
    // A server that accepts nobody: its queue is full, and has room again later.
    let full = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    let path = place.0.join("full");
    let address = nix::sys::socket::UnixAddr::new(&path).unwrap();
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&full), &address).unwrap();
    nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    mode(&path, 0o666);
    let _first = UnixStream::connect(&path).unwrap();
    let reason = broker.reason(20, 100, place.unix("full"));
    assert!(reason.contains("no answer within ") && reason.contains("accepts nobody"), "{reason}");
    broker.want(21, 10_000, place.unix("full"));
    dialer.wait_for_connectors(1);
    let full = UnixListener::from(full);
    full.accept().unwrap();
    assert!(matches!(broker.hear(), Came::Connected(21, _)));
}

fn limit_and_kill() {
    let dialer = Dialer::start();
    let broker = dialer.broker();
    let silent = deaf("127.0.0.1:0".parse().unwrap());
    let host = || tcp("127.0.0.1", silent.port);
    (0..64).for_each(|number| broker.want(number, 60_000, host()));
    dialer.wait_for_connectors(64);
    let reason = broker.reason(64, 60_000, host());
    assert!(reason.starts_with("64 connections are being made"), "{reason}");
    // Another broker's wish is one too many, too.
    let other = dialer.broker();
    assert!(other.reason(1, 60_000, host()).starts_with("64 connections"), "for all brokers together");
    let victim = dialer.connectors()[10];
    kill(victim, Signal::SIGKILL).unwrap();
    match broker.hear() {
        Came::Failed(number, reason) => {
            assert!(number < 64);
            assert_eq!(reason, "the connector was ended by SIGKILL");
        }
        other => panic!("{other:?}"),
    }
    assert!(dialer.is_alive());
    // There is room for one again.
    let (listener, port) = server("127.0.0.1");
    greets(&listener, broker.connection(65, tcp("127.0.0.1", port)));
}

fn numbers_come_back() {
    let dialer = Dialer::start();
    let brokers: Vec<Broker> = (0..3).map(|_| dialer.broker()).collect();
    let servers: Vec<_> = (0..3).map(|_| server("127.0.0.1")).collect();
    // The same numbers from each, for different servers.
    for (broker, (_, port)) in brokers.iter().zip(&servers) {
        for number in 0..20 {
            let host = if number % 2 == 0 { tcp("localhost", port) } else { tcp("nobody.test", port) };
            broker.want(u32::MAX - number, 20_000, host);
        }
    }
    for (broker, (_listener, port)) in brokers.iter().zip(&servers) {
        let (mut connected, mut failed) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..20 {
            match broker.hear() {
                Came::Connected(number, socket) => {
                    let peer = TcpStream::from(socket).peer_addr().unwrap();
                    assert_eq!(peer.port(), *port);
                    connected.insert(u32::MAX - number);
                }
                Came::Failed(number, _) => {
                    failed.insert(u32::MAX - number);
                }
                Came::Closed => panic!("closed"),
            }
        }
        assert_eq!(connected, (0..20).filter(|number| number % 2 == 0).collect());
        assert_eq!(failed, (0..20).filter(|number| number % 2 == 1).collect());
    }
}

fn garbage() {
    let dialer = Dialer::start();
    let good = dialer.broker();
    let (listener, port) = server("127.0.0.1");
    for packet in [&b"\x07"[..], b"\x01\x01", &[1; 4000], &[1; 5000], b"\x01\0\0\0\0\0\0\0\0\x03"] {
        let bad = dialer.broker();
        bad.0.send(packet, &[]).unwrap();
        assert!(matches!(bad.hear(), Came::Closed));
        let line = dialer.line();
        assert!(line.contains("it gets no more connections"), "{line}");
        greets(&listener, good.connection(1, tcp("localhost", port)));
    }
    // Descriptors that it was not to have are not taken.
    let bad = dialer.broker();
    let file = std::fs::File::open("/dev/null").unwrap();
    // It is known by now, and those before it are not.
    greets(&listener, bad.connection(4, tcp("localhost", port)));
    let before = std::fs::read_dir(format!("/proc/{}/fd", dialer.pid)).unwrap().count();
    let want = mapkeep_proto::BrokerToDialer::Connect {
        number: 5,
        milliseconds: 9000,
        host: tcp("localhost", port),
    };
    let freight = [std::os::fd::AsFd::as_fd(&file)];
    bad.0.send(&mapkeep_proto::Decode::encode(&want), &freight).unwrap();
    match bad.hear() {
        Came::Connected(5, socket) => greets(&listener, socket),
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read_dir(format!("/proc/{}/fd", dialer.pid)).unwrap().count(), before);
}

fn broker_goes() {
    let dialer = Dialer::start();
    let (one, other) = (dialer.broker(), dialer.broker());
    let silent = deaf("127.0.0.1:0".parse().unwrap());
    for broker in [&one, &other] {
        (0..5).for_each(|number| broker.want(number, 60_000, tcp("127.0.0.1", silent.port)));
    }
    dialer.wait_for_connectors(10);
    drop(one);
    dialer.wait_for_connectors(5);
    let (listener, port) = server("127.0.0.1");
    greets(&listener, other.connection(9, tcp("127.0.0.1", port)));
}

fn broker_that_does_not_read() {
    let dialer = Dialer::start();
    let (lazy, good) = (dialer.broker(), dialer.broker());
    // More wishes than the channel has room for answers, and none is read: at last it is not heard any more.
    let wish =
        mapkeep_proto::BrokerToDialer::Connect { number: 0, milliseconds: 0, host: tcp("localhost", "none") };
    let packet = mapkeep_proto::Decode::encode(&wish);
    let mut sent = 0;
    while dialer::writable_soon(&lazy.0) {
        match lazy.0.send(&packet, &[]) {
            Ok(()) => sent += 1,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    assert!(sent > 100, "{sent}");
    let (listener, port) = server("127.0.0.1");
    greets(&listener, good.connection(1, tcp("localhost", port)));
    for _ in 0..sent {
        assert!(matches!(lazy.hear(), Came::Failed(0, _)));
    }
    greets(&listener, lazy.connection(2, tcp("localhost", port)));
}

fn ends_with_the_supervisor() {
    let mut dialer = Dialer::start();
    let broker = dialer.broker();
    let silent = deaf("127.0.0.1:0".parse().unwrap());
    broker.want(1, 60_000, tcp("127.0.0.1", silent.port));
    dialer.wait_for_connectors(1);
    dialer.leave_alone();
    assert_eq!(dialer.wait(), WaitStatus::Exited(dialer.pid, 0));
    // Its connector, too, has gone: nobody holds the other end of the channel any more.
    match broker.hear() {
        Came::Closed => {}
        // It had not yet taken on its lock, and has seen that the dialer has gone.
        Came::Failed(1, reason) if reason.contains("is gone") => {
            assert!(matches!(broker.hear(), Came::Closed))
        }
        other => panic!("{other:?}"),
    }
}
