//! What a connection that cannot be made costs, and what is said of it.

use super::*;

pub fn failures_have_their_reason() {
    let dialer = Dialer::start();
    let broker = dialer.broker();
    let (listener, port) = server("127.0.0.1");
    drop(listener);
    let named = |bytes: &[u8]| Host::Tcp { name: bytes.to_vec(), port: port.to_string().into_bytes() };
    let refused = format!("127.0.0.1 port {port}: Connection refused -- is the server running");
    let both = format!("::1 port {port}: Connection refused; {refused}");
    let unreachable = format!("192.0.2.1 port {port}: Network is unreachable -- is the network up");
    for (number, (host, start)) in (1..).zip([
        (named(b"localhost"), refused.as_str()),
        (named(b"both.test"), &both),
        (named(b"far.test"), &unreachable),
        (named(b"nobody.test"), "host nobody.test: Name or service not known -- see hosts(5)"),
        (named(b""), "host : "),
        (named(b"a b"), "host a b: "),
        (named(b"x\0y"), "host x?y: "),
        (named(b"\xff\x1b"), "host \u{fffd}?: no name"),
        (named(&[b'a'; 255]), "host aaaa"),
        (tcp("localhost", "no-service"), "port no-service: /etc/services has no TCP service"),
        (tcp("localhost", 65536), "port 65536: a port is a number from 1 to 65535"),
        (tcp("localhost", 0), "port 0: a port is a number from 1 to 65535"),
    ]) {
        let reason = broker.reason(number, 10_000, host);
        assert!(reason.starts_with(start), "{start}: {reason}");
    }
    assert!(dialer.is_alive());
}

pub fn silent_address() {
    let dialer = Dialer::start();
    let broker = dialer.broker();
    let silent = deaf("[::1]:0".parse().unwrap());
    let listener = std::net::TcpListener::bind(("127.0.0.1", silent.port)).unwrap();
    broker.want(3, 3000, tcp("both.test", silent.port));
    match broker.hear() {
        Came::Connected(3, socket) => greets(&listener, socket),
        other => panic!("{other:?}"),
    }
}

pub fn silent_server() {
    let dialer = Dialer::start();
    let broker = dialer.broker();
    let silent = deaf("127.0.0.1:0".parse().unwrap());
    let reason = broker.reason(1, 200, tcp("127.0.0.1", silent.port));
    assert!(reason.starts_with(&format!("127.0.0.1 port {}: no answer within ", silent.port)), "{reason}");
    assert!(reason.contains("is the server overloaded"), "{reason}");
    // No time at all.
    let reason = broker.reason(2, 0, tcp("127.0.0.1", silent.port));
    assert!(reason.contains("no answer within 0 ms"), "{reason}");
}

pub fn bad_name_servers() {
    let dialer = Dialer::start();
    let broker = dialer.broker();
    for (number, name) in [(1, "silent.test"), (2, "garbage.test")] {
        let reason = broker.reason(number, 10_000, tcp(name, 25));
        assert!(
            reason.starts_with(&format!("host {name}: Temporary failure in name resolution")),
            "{reason}"
        );
    }
    // The name servers have more time than there is.
    let reason = broker.reason(3, 100, tcp("silent.test", 25));
    assert!(reason.starts_with("no answer within 100 ms") && reason.contains("resolv.conf"), "{reason}");
    dialer.wait_for_connectors(0);
    assert!(dialer.is_alive());
}
