//! Askers that send what they may not, that do not read, that leave; and a broker that does.

use super::*;
use mapkeep_proto::{GatewayId, Group};
use mapkeep_worker_answering::UNREAD;

#[test]
fn garbage_closes_the_stream_of_its_asker_only() {
    let lookup = Asked::Lookup { key: b"10.0.0.1", manner: MANNER };
    let frame = |table, asked, ticket| {
        let mut bytes = Vec::new();
        Question { ticket, table, client: 1, asked }.encode(&mut bytes);
        bytes
    };
    let twice = [frame(SLOW, lookup, 9), frame(SLOW, lookup, 9)].concat();
    let unknown = vec![15, 0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let too_long = u32::MAX.to_le_bytes().to_vec();
    let (not_ours, nowhere) = (frame(NOT_OURS, lookup, 9), frame(TableId(7), lookup, 9));
    let empty = vec![0; 4];
    let mut service = Service::new();
    let mut honest = service.asker();
    for bytes in [twice, unknown, too_long, not_ours, nowhere, empty] {
        let mut asker = service.asker();
        asker.look_up(SLOW, 1, "alice");
        asker.look_up(SLOW, 1, "alice");
        asker.stream.write_all(&bytes).unwrap();
        assert!(service.round());
        assert_eq!(service.worker.askers.len(), 1, "{bytes:?}");
        assert!(asker.is_closed());
        let ticket = honest.look_up(QUICK, 1, "10.0.0.1");
        assert!(service.round());
        assert_eq!(honest.tickets(), [ticket]);
    }
    // What the others had asked is not worked out for nobody.
    assert_eq!(service.worker.sleep(), EpollTimeout::NONE);
}

#[test]
fn nothing_is_done_for_an_asker_that_has_gone_or_a_question_that_was_withdrawn() {
    let mut service = Service::new();
    let (mut gone, mut other) = (service.asker(), service.asker());
    for _ in 0..50 {
        gone.look_up(SLOW, 1, "alice");
    }
    assert!(service.round());
    drop(gone);
    assert!(service.round());
    assert_eq!(service.worker.askers.len(), 1);
    assert_eq!(service.worker.sleep(), EpollTimeout::NONE, "nothing is left of it");
    let mut gone = service.asker();
    gone.look_up(SLOW, 1, "alice");
    drop(gone);
    let before = ticking();
    assert!(service.round());
    assert!(ticking() - before < 20 * MS, "not even one is looked up");
    let tickets: Vec<u32> = (0..4).map(|client| other.look_up(SLOW, client, "alice")).collect();
    for ticket in [tickets[1], tickets[3], 77] {
        other.send(&Question { ticket, table: SLOW, client: 1, asked: Asked::Withdrawn });
    }
    service.round();
    service.settle();
    assert_eq!(other.tickets(), [tickets[0], tickets[2]]);
    assert_eq!(format!("{:?}", service.worker.askers), "{2: Asker { waiting: 0, unread: 0, .. }}");
    // A ticket that has been answered or withdrawn can be given again.
    other.send(&Question { ticket: tickets[1], table: SLOW, client: 1, asked: Asked::Usable });
    service.round();
    service.settle();
    assert_eq!(other.tickets(), [tickets[1]]);
}

#[test]
fn who_does_not_read_gets_no_more_and_holds_up_nobody() {
    let mut service = Service::new();
    let (mut mute, mut other) = (service.asker(), service.asker());
    let asked: Vec<u32> = (0..100).map(|client| mute.look_up(PARTS, client, "long")).collect();
    for _ in 0..100 {
        let ticket = other.look_up(PARTS, 1, "a@b");
        service.round();
        service.settle();
        assert_eq!(other.tickets(), [ticket]);
    }
    let unread = service.worker.askers[&1].unread();
    assert!((UNREAD..UNREAD + 50_000).contains(&unread), "{unread}");
    // Nor is it read from.
    mute.look_up(PARTS, 1, "a@b");
    service.round();
    assert!(!service.worker.askers[&1].wanted().contains(EpollFlags::EPOLLIN));
    let mut got = Vec::new();
    while got.len() < 101 {
        got.extend(mute.tickets());
        service.round();
    }
    assert_eq!(got[..100], asked);
}

#[test]
fn asker_with_a_full_queue_is_not_read() {
    let mut service = Service::new();
    let mut asker = service.asker();
    let first = asker.look_up(QUICK, 1, "10.0.0.1");
    assert!(service.round());
    service.worker.askers.get_mut(&1).unwrap().limit(0);
    assert!(service.round());
    assert_eq!(asker.tickets(), [first]);
    asker.look_up(QUICK, 1, "10.0.0.1");
    let told = service.worker.epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO);
    assert_eq!(told, Ok(0));
    drop(asker);
    assert!(service.round());
    assert!(service.worker.askers.is_empty(), "but that it has gone is told");
}

#[test]
fn it_stays_until_its_last_asker_has_gone() {
    let mut service = Service::new();
    let mut asker = service.asker();
    service.tell(BrokerToLookup::Finish, None);
    let ticket = asker.look_up(QUICK, 1, "10.0.0.1");
    assert!(service.round());
    assert_eq!(asker.tickets(), [ticket]);
    drop(asker);
    assert!(!service.round());

    let mut service = Service::new();
    service.broker.send(&BrokerToLookup::Finish.encode(), &[]).unwrap();
    assert!(!service.round(), "it has none");
}

#[test]
fn it_answers_those_whose_broker_has_gone() {
    let mut service = Service::new();
    let mut asker = service.asker();
    let Service { mut worker, broker } = service;
    drop(broker);
    for _ in 0..3 {
        let ticket = asker.look_up(QUICK, 1, "10.0.0.1");
        assert!(worker.round(EpollTimeout::ZERO).unwrap());
        assert_eq!(asker.tickets(), [ticket]);
    }
    assert_eq!(worker.epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO), Ok(0), "it sleeps");
    drop(asker);
    assert!(!worker.round(EpollTimeout::ZERO).unwrap());
}

#[test]
fn broker_that_sends_a_client_or_forgets_a_descriptor_is_not_believed() {
    for message in [BrokerToLookup::Client, BrokerToLookup::Answerer(Group::Rules)] {
        let mut service = Service::new();
        service.broker.send(&message.encode(), &[memory(b"").as_fd()]).unwrap();
        assert!(service.worker.round(EpollTimeout::ZERO).is_err());
    }
    let routed = BrokerToLookup::Routed { id: TableId(0), gateway: GatewayId(0), milliseconds: 1 };
    for message in [BrokerToLookup::Asker, routed] {
        let mut service = Service::new();
        service.broker.send(&message.encode(), &[]).unwrap();
        assert!(service.worker.round(EpollTimeout::ZERO).is_err());
    }
}
