//! What the broker says, and what it must not.

use super::*;

#[test]
fn it_leaves_with_its_last_asker_after_it_was_told_to() {
    let mut scene = Scene::tcp(8);
    let mut asker = scene.asker();
    scene.tell(BrokerToGateway::Finish, None);
    let _server = scene.served(&mut asker, b"200 v\n");
    assert_eq!(asker.answer(), "=v");
    drop(asker);
    assert!(!scene.gateway.round(EpollTimeout::ZERO).unwrap());

    let mut scene = Scene::empty();
    scene.broker.send(&BrokerToGateway::Finish.encode(), &[]).unwrap();
    assert!(!scene.gateway.round(EpollTimeout::ZERO).unwrap(), "it has none");
}

#[test]
fn without_its_broker_it_answers_on_the_connections_that_it_has() {
    let mut scene = Scene::tcp(1);
    let mut asker = scene.asker();
    let first = asker.look_up(1, "k");
    scene.settle();
    let mut server = scene.connect();
    let second = asker.look_up(1, "k2");
    scene.settle();
    let Scene { mut gateway, broker, _log } = scene;
    drop(broker);
    let mut round = || assert!(gateway.round(EpollTimeout::ZERO).unwrap());
    for ticket in [first, second] {
        server.say(b"200 v\n");
        round();
        assert_eq!(asker.answers(), [(ticket, "=v".to_owned())]);
        round();
    }
    // There will be no other.
    drop(server);
    round();
    asker.look_up(1, "k");
    round();
    assert_eq!(asker.answer(), "Later the service ends");
    assert_eq!(gateway.sleep(), EpollTimeout::NONE);
    drop(asker);
    assert!(!gateway.round(EpollTimeout::ZERO).unwrap());
}

#[test]
fn who_waits_for_a_connection_when_the_broker_goes_is_told_at_once() {
    let mut scene = Scene::tcp(1);
    let mut asker = scene.asker();
    asker.look_up(1, "k");
    scene.settle();
    let Scene { mut gateway, broker, _log } = scene;
    drop(broker);
    assert!(gateway.round(EpollTimeout::ZERO).unwrap());
    assert_eq!(asker.answer(), "Later the service ends");
}

#[test]
fn settings_change_for_questions_that_come_then() {
    let mut scene = Scene::socketmap(1);
    let mut asker = scene.asker();
    asker.look_up(1, "k");
    scene.settle();
    let load = |scene: &mut Scene, generation, asks| {
        let bytes = settings(asks).encode();
        let table = BrokerToGateway::Table { id: TABLE, generation, size: bytes.len() as u64 };
        scene.tell(table, Some(memory(&bytes).as_fd()));
    };
    load(&mut scene, 2, Asks::Socketmap { map: b"new".to_vec() });
    load(&mut scene, 3, Asks::Tcp);
    let mut heard = scene.heard();
    let wish = heard.remove(0);
    assert_eq!(
        heard,
        [
            GatewayToBroker::Loaded { id: TABLE, generation: 2 },
            GatewayToBroker::Rejected { id: TABLE, generation: 3 }
        ]
    );
    let GatewayToBroker::Connect { number, host: 0 } = wish else { panic!("{wish:?}") };
    let mut server = scene.connected(number);
    for question in ["5:map k,", "5:new k,"] {
        assert_eq!(server.asked(), question);
        server.say(b"8:NOTFOUND,");
        scene.settle();
        assert_eq!(asker.answer(), "absent");
        asker.look_up(1, "k");
        scene.settle();
    }
    server.say(b"8:NOTFOUND,");
    scene.settle();
    asker.tickets();
    scene.tell(BrokerToGateway::Withdrawn { id: TABLE }, None);
    assert_eq!(scene.answer(&mut asker, "k"), "Unavailable the gateway has no settings of it");
}

#[test]
fn hosts_take_turns_after_failures() {
    let mut scene = Scene::empty();
    let hosts = vec![Host::Unix(b"/a".to_vec()), Host::Unix(b"/b".to_vec())];
    let bytes = Backend { hosts, ..backend(Protocol::Tcp, 8) }.encode();
    scene.tell(BrokerToGateway::Backend { size: bytes.len() as u64 }, Some(memory(&bytes).as_fd()));
    let bytes = settings(Asks::Tcp).encode();
    let table = BrokerToGateway::Table { id: TABLE, generation: 1, size: bytes.len() as u64 };
    scene.tell(table, Some(memory(&bytes).as_fd()));
    scene.heard();
    let mut asker = scene.asker();
    for expected in [0, 1, 0] {
        asker.look_up(1, "k");
        scene.settle();
        let heard = scene.heard();
        let [GatewayToBroker::Connect { number, host }] = heard[..] else { panic!("{heard:?}") };
        assert_eq!(host, expected);
        scene.refuse(number, "down");
        wait(2 * SECOND);
    }
}

#[test]
fn pings_are_answered_and_what_makes_no_sense_is_not_believed() {
    let mut scene = Scene::empty();
    scene.tell(BrokerToGateway::Ping(7), None);
    assert_eq!(scene.heard(), [GatewayToBroker::Pong(7)]);
    let bytes = backend(Protocol::Tcp, 1).encode();
    let size = bytes.len() as u64;
    let (block, stream) = (memory(&bytes), pair().0);
    let (block, stream) = (block.as_fd(), stream.as_fd());
    let refused = || BrokerToGateway::NotConnected { number: 9, reason: "x".to_owned() };
    // Before it knows its backend, and with more or fewer bytes or descriptors than there are.
    for (message, freight) in [
        (BrokerToGateway::Table { id: TABLE, generation: 1, size }, Some(block)),
        (BrokerToGateway::Asker, Some(stream)),
        (BrokerToGateway::Connected { number: 1 }, Some(stream)),
        (BrokerToGateway::Withdrawn { id: TABLE }, None),
        (refused(), None),
        (BrokerToGateway::Backend { size: size + 1 }, Some(block)),
        (BrokerToGateway::Backend { size: size - 1 }, Some(block)),
        (BrokerToGateway::Backend { size }, None),
    ] {
        let mut scene = Scene::empty();
        let freight: Vec<_> = freight.into_iter().collect();
        scene.broker.send(&message.encode(), &freight).unwrap();
        assert!(scene.gateway.round(EpollTimeout::ZERO).is_err(), "{message:?}");
    }
    // A second backend, and connections that nobody has asked for.
    for (message, freight) in [
        (BrokerToGateway::Backend { size }, Some(block)),
        (BrokerToGateway::Connected { number: 1 }, Some(stream)),
        (refused(), None),
        (BrokerToGateway::Asker, None),
    ] {
        let mut scene = Scene::tcp(1);
        let freight: Vec<_> = freight.into_iter().collect();
        scene.broker.send(&message.encode(), &freight).unwrap();
        assert!(scene.gateway.round(EpollTimeout::ZERO).is_err(), "{message:?}");
    }
}
