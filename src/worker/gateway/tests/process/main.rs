//! The whole gateway as a process of its own, locked in as under the supervisor, with its broker's end, lookup workers and
//! servers in the test's hands. As root everything is enforced; otherwise what can be without. And the same replies of
//! servers as stock's `postmap -q` takes them.
//!
//! A runner of its own, since processes are started by fork, and this program is the gateway, too.

#![cfg(test)]

mod gateway;
#[path = "../../../../base/sandbox/tests/runner/mod.rs"]
mod runner;
mod stock;

use gateway::{Gateway, TABLE};
use mapkeep_proto::{Asks, BrokerToGateway, GatewayToBroker, Launch, MAX_VALUE, Protocol, version_text};
use nix::sys::wait::WaitStatus;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if mapkeep_process::is_launched() {
        match mapkeep_process::launched("process", || version_text("process")) {
            (Launch::Gateway(launch), channel) => mapkeep_worker_gateway::main(&launch, channel),
            _ => mapkeep_process::refuse("process", "the launch of another process"),
        }
    }
    runner::run(&[
        ("questions_are_answered_under_the_lock", answered_under_the_lock),
        ("trouble_is_logged_under_the_lock", trouble_is_logged),
        ("gateway_ends_when_its_broker_goes", ends_with_its_broker),
        ("replies_are_taken_as_stock_takes_them", stock::replies_are_taken_alike),
    ])
}

fn socketmap() -> (Protocol, Asks) {
    (Protocol::Socketmap { max_reply: 0, max_query: 10_000 }, Asks::Socketmap { map: b"map".to_vec() })
}

fn answered_under_the_lock() {
    let (protocol, asks) = socketmap();
    let mut gateway = Gateway::start(protocol, asks);
    let mut askers = [gateway.asker(), gateway.asker()];
    let mut server = gateway.server_for(&mut askers[0], "key");
    assert_eq!(server.question(), "7:map key,");
    // As long as values may be, so that memory grows and is given back in every way.
    for length in [5, 1000, 100_000, MAX_VALUE] {
        let value = "v".repeat(length);
        server.say(format!("{}:OK {value},", length + 3).as_bytes());
        assert!(askers[0].answer() == format!("={value}"), "{length} bytes");
        askers[0].ask("key");
        assert_eq!(server.question(), "7:map key,");
    }
    server.say(b"8:NOTFOUND,");
    assert_eq!(askers[0].answer(), "absent");
    for _ in 0..200 {
        for asker in &mut askers {
            asker.ask("key");
            assert_eq!(server.question(), "7:map key,");
            server.say(b"4:OK v,");
            assert_eq!(asker.answer(), "=v");
        }
    }
    gateway.say(BrokerToGateway::Withdrawn { id: TABLE }, None);
    gateway.say(BrokerToGateway::Ping(3), None);
    assert_eq!(gateway.receive(), Some(GatewayToBroker::Pong(3)));
    gateway.say(BrokerToGateway::Finish, None);
    drop(askers);
    assert_eq!(gateway.wait(), WaitStatus::Exited(gateway.pid, 0));
    assert!(server.is_closed());
}

fn trouble_is_logged() {
    let (protocol, asks) = socketmap();
    let mut gateway = Gateway::start(protocol, asks);
    let mut asker = gateway.asker();
    let mut server = gateway.server_for(&mut asker, "key");
    server.say(b"junk");
    assert_eq!(asker.answer(), "Later the server sent not a netstring");
    assert!(server.is_closed());
    // A server that closes, and one that cannot be had.
    drop(gateway.server_for(&mut asker, "key"));
    gateway.refuse();
    assert_eq!(asker.answer(), "Later cannot connect: no route");
    let mut stranger = gateway.asker();
    stranger.stream.write_all(&[0xff; 8]).unwrap();
    assert!(stranger.is_closed());
    gateway.say(BrokerToGateway::Finish, None);
    drop(asker);
    assert_eq!(gateway.wait(), WaitStatus::Exited(gateway.pid, 0));
    let logged = gateway.logged().join("\n");
    for line in [
        "backend: connected",
        "backend: invalid answer",
        "backend: cannot connect: no route",
        "invalid question",
    ] {
        assert!(logged.contains(line), "{line}: {logged}");
    }
}

fn ends_with_its_broker() {
    let mut gateway = Gateway::start(Protocol::Tcp, Asks::Tcp);
    let mut asker = gateway.asker();
    let mut server = gateway.server_for(&mut asker, "key");
    gateway.channel = None;
    server.say(b"200 v\n");
    assert_eq!(asker.answer(), "=v");
    drop(asker);
    assert_eq!(gateway.wait(), WaitStatus::Exited(gateway.pid, 0));
}
