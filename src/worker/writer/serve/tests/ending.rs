//! The end of the service, of the broker, and of clients.

use super::*;
use mapkeep_proto::{BrokerToWriter, TableId, WriterToBroker};

#[test]
fn silent_clients_are_disconnected_and_then_the_service_ends() {
    let fake = Fake::default();
    let mut broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let mut clients: Vec<Client> = (0..3).map(|_| broker.client()).collect();
    assert_eq!(clients[1].ask(&update(TABLE, "a")), "status|0||");
    broker.say(BrokerToWriter::Finish, &[]);
    for client in &mut clients {
        assert_eq!(client.try_receive(), None);
    }
    broker.ended().unwrap();
}

#[test]
fn what_has_arrived_is_answered_before_the_end() {
    let fake = Fake::default();
    let mut broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let gate = Gate::new(&fake);
    let (mut first, mut second) = (broker.client(), broker.client());
    gate.hold_up(&mut first);
    second.send(&update(TABLE, "second"));
    broker.say(BrokerToWriter::Finish, &[]);
    gate.leave();
    gate.entered();
    gate.leave();
    assert_eq!(first.receive(), "status|0||");
    assert_eq!(second.receive(), "status|0||");
    assert_eq!((first.try_receive(), second.try_receive()), (None, None));
    broker.ended().unwrap();
    assert_eq!(fake.script().entries.len(), 2);
}

#[test]
fn busy_client_does_not_delay_the_end() {
    let fake = Fake::default();
    let mut broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let mut client = broker.client();
    let asking = std::thread::spawn(move || {
        let mut acknowledged = 0;
        use std::io::Write;
        while client.stream.write_all(&update(TABLE, "k").replace('|', "\0").into_bytes()).is_ok() {
            match client.try_receive() {
                Some(reply) => assert_eq!(reply, "status|0||"),
                None => break,
            }
            acknowledged += 1;
        }
        acknowledged
    });
    // It has been served before the end begins.
    let mut other = broker.client();
    while other.ask(&lookup(TABLE, "k")) != "status|0|value|v-k||" {}
    drop(other);
    broker.say(BrokerToWriter::Finish, &[]);
    broker.ended().unwrap();
    let acknowledged = asking.join().unwrap();
    let done = fake.script().commits.iter().sum::<usize>();
    assert!(acknowledged > 0 && done >= acknowledged, "{done} {acknowledged}");
}

#[test]
fn exit_of_the_broker_leaves_no_request_unanswered() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let gate = Gate::new(&fake);
    let (mut first, mut second) = (broker.client(), broker.client());
    gate.hold_up(&mut first);
    let requests: String = (0..50).map(|number| update(TABLE, &format!("k{number}"))).collect();
    second.send(&requests);
    let going = std::thread::spawn(|| broker.go());
    gate.leave();
    gate.open(&fake);
    assert_eq!(first.receive(), "status|0||");
    for _ in 0..50 {
        assert_eq!(second.receive(), "status|0||");
    }
    assert_eq!(second.try_receive(), None);
    going.join().unwrap().unwrap();
    assert_eq!(fake.script().entries.len(), 51);
}

#[test]
fn clients_that_go_are_counted() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    drop((broker.client(), broker.client(), broker.client()));
    let mut gone = 0;
    while gone < 3 {
        match broker.receive() {
            WriterToBroker::Closed(count) => gone += count,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(gone, 3);
}

#[test]
fn client_that_stalls_in_a_request_is_closed_and_one_that_waits_is_not() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let (mut stalled, mut idle) = (broker.client(), broker.client());
    stalled.send("request|lookup|table");
    assert_eq!(stalled.try_receive(), None);
    assert_eq!(idle.ask(&lookup(TABLE, "a")), "status|1|value|||");
}

#[test]
fn client_that_does_not_read_its_replies_is_closed_and_its_changes_stand() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let (mut deaf, mut other) = (broker.client(), broker.client());
    let value = "v".repeat(1 << 19);
    let large = format!("request|update|table|{TABLE}|flags|64|key|large|value|{value}||");
    assert_eq!(deaf.ask(&large), "status|0||");
    deaf.send(&lookup(TABLE, "large").repeat(4));
    deaf.send(&update(TABLE, "after"));
    assert!(matches!(broker.receive(), WriterToBroker::Closed(1)));
    assert_eq!(other.ask(&lookup(TABLE, "large")), format!("status|0|value|{value}||"));
}

#[test]
fn messages_that_make_no_sense_end_the_process() {
    for message in [
        BrokerToWriter::Lmdb { id: TableId(0), generation: 1 },
        BrokerToWriter::Store { id: TableId(7), generation: 1 },
    ] {
        let fake = Fake::default();
        let mut broker = Broker::with_fakes(&[(TABLE, &fake)]);
        let file = std::fs::File::open("/dev/null").unwrap();
        use std::os::fd::AsFd;
        broker.say(message, &[file.as_fd(), file.as_fd()]);
        assert!(broker.ended().is_err());
    }
    let fake = Fake::default();
    let mut broker = Broker::with_fakes(&[(TABLE, &fake)]);
    broker.say(BrokerToWriter::Client, &[]);
    assert!(broker.ended().is_err(), "a message without its descriptor");
}

#[test]
fn ping_is_answered() {
    let broker = Broker::with_fakes(&[(TABLE, &Fake::default())]);
    broker.say(BrokerToWriter::Ping(77), &[]);
    assert_eq!(broker.receive(), WriterToBroker::Pong(77));
}

#[test]
fn client_is_not_late_because_of_a_slow_commit() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let (mut first, mut half) = (broker.client(), broker.client());
    let gate = Gate::new(&fake);
    let request = update(TABLE, "half");
    let (begin, rest) = request.split_at(30);
    half.send(begin);
    // Once another client has been served after it, the beginning has been read.
    while first.ask(&lookup(TABLE, "x")) != "status|1|value|||" {}
    gate.hold_up(&mut first);
    half.send(rest);
    // The sync takes longer than a client may take over a request.
    std::thread::sleep(mapkeep_worker_session::client::DEADLINE * 3 / 2);
    gate.leave();
    gate.entered();
    gate.open(&fake);
    assert_eq!((first.receive(), half.receive()), ("status|0||".to_owned(), "status|0||".to_owned()));
}
