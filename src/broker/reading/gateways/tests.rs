//! Gateways and the dialer, with the test as both.

use super::*;
use mapkeep_proto::{
    Asks, Backend, BackendTable, Backends, BrokerToDialer, Decode, DialerToBroker, Encoded, GatewayToBroker,
    Host, Listed, MAX_GATEWAYS, Protocol,
};
use mapkeep_sys::channel::Received;
use mapkeep_sys::mapping::Mapping;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Descriptors for settings.
const ROOM: usize = 1000;
const ID: WorkerId = WorkerId(7);

fn settings() -> Backends {
    Backends {
        query_timeout: Duration::from_secs(3),
        connections: 2,
        max_reply: 1000,
        max_query: 100,
        queue_directory: "/queue".into(),
        dialer: true,
        gateways: true,
    }
}

fn listed(names: &[&str]) -> Vec<Listed> {
    let listed = |name: &&str| Listed { name: name.as_bytes().to_vec(), approved: true, incomplete: false };
    names.iter().map(listed).collect()
}

fn known(names: &[&str]) -> Vec<Server> {
    servers(&listed(names), &settings(), Path::new(""), ROOM).unwrap().0
}

fn decoded<T: Encoded>(descriptor: &OwnedFd, size: u64) -> T {
    T::decode(Mapping::of(descriptor.as_fd(), size).unwrap().as_ref()).unwrap()
}

/// The broker's side, and ends of the test: a gateway's, the dialer's.
struct Scene {
    gateways: Gateways,
    gateway: Channel,
    dialer: Channel,
    now: Instant,
}

impl Scene {
    /// A gateway that has been started and has said nothing.
    fn started() -> Scene {
        let (near, dialer) = Channel::pair().unwrap();
        let now = Instant::now();
        let mut gateways = Gateways::new(known(&["socketmap:inet:a:1:m"]), Dialer::new(Some(near)), now);
        assert_eq!((gateways.ask(now), gateways.ask(now)), (1, 0));
        let (near, gateway) = Channel::pair().unwrap();
        assert!(gateways.add(ID, near));
        let mut scene = Scene { gateways, gateway, dialer, now };
        assert!(matches!(scene.told(), Some((BrokerToGateway::Backend { .. }, Some(_)))));
        scene
    }

    /// One that is checked and has its tables.
    fn admitted() -> Scene {
        let mut scene = Scene::started();
        assert_eq!(scene.says(GatewayToBroker::Ready), Incoming::Ready);
        scene.gateways.admitted(ID, scene.now);
        while let Some((message, _)) = scene.told() {
            if let BrokerToGateway::Table { id, generation, .. } = message {
                assert_eq!(scene.says(GatewayToBroker::Loaded { id, generation }), Incoming::Nothing);
            }
        }
        scene
    }

    /// What the gateway is told next.
    fn told(&mut self) -> Option<(BrokerToGateway, Option<OwnedFd>)> {
        self.gateways.get_mut(ID).map(|gateway| gateway.flush().unwrap());
        let mut buffer = [0; 4096];
        match self.gateway.receive(&mut buffer).unwrap() {
            Received::Message(length, mut freight) => {
                Some((BrokerToGateway::decode(&buffer[..length]).unwrap(), freight.pop()))
            }
            _ => None,
        }
    }

    /// What comes of something that the gateway says.
    fn says(&mut self, message: GatewayToBroker) -> Incoming {
        self.gateway.send(&message.encode(), &[]).unwrap();
        self.gateways.receive(ID).unwrap()
    }

    /// It wishes for a connection, which is passed on if it is time.
    fn wishes(&mut self, number: u32) -> Option<u32> {
        let came = self.says(GatewayToBroker::Connect { number, host: 0 });
        assert_eq!(came, Incoming::Connect { number, host: 0 });
        self.gateways.wish(ID, number, 0);
        self.dialed()
    }

    /// The number of the next wish that the dialer gets.
    fn dialed(&mut self) -> Option<u32> {
        self.gateways.dial(self.now);
        self.gateways.dialer.flush().unwrap();
        let mut buffer = [0; 4096];
        let Received::Message(length, _) = self.dialer.receive_plain(&mut buffer).unwrap() else {
            return None;
        };
        let BrokerToDialer::Connect { number, milliseconds, host } =
            BrokerToDialer::decode(&buffer[..length]).unwrap();
        assert_eq!((milliseconds, host), (3000, Host::Tcp { name: b"a".to_vec(), port: b"1".to_vec() }));
        Some(number)
    }

    /// The dialer says something.
    fn hears(&mut self, message: &DialerToBroker, freight: &[BorrowedFd<'_>]) -> Heard {
        self.dialer.send(&message.encode(), freight).unwrap();
        self.gateways.dialer.receive().unwrap()
    }
}

#[test]
fn tables_of_one_server_have_one_gateway_and_all_settings() {
    let names =
        ["hash:/x", "socketmap:unix:/run/s:a", "tcp:h:25", "socketmap:unix:/run/s:b", "socketmap:unix:rel:c"];
    let found = known(&names);
    let titles: Vec<&str> = found.iter().map(|server| server.title.as_str()).collect();
    assert_eq!(titles, ["socketmap unix:/run/s", "tcp inet:h:25", "socketmap unix:rel"]);
    let backend: Backend = decoded(&found[0].backend.descriptor, found[0].backend.size);
    assert_eq!(
        backend,
        Backend {
            title: "socketmap unix:/run/s".into(),
            hosts: vec![Host::Unix(b"/run/s".to_vec())],
            connections: 2,
            protocol: Protocol::Socketmap { max_reply: 1000, max_query: 100 },
        }
    );
    assert_eq!(found[0].ids().collect::<Vec<_>>(), [TableId(1), TableId(3)]);
    let (_, memory) = &found[0].tables[1];
    let table: BackendTable = decoded(&memory.descriptor, memory.size);
    assert_eq!(table.asks, Asks::Socketmap { map: b"b".to_vec() });
    assert_eq!((table.name.as_slice(), table.milliseconds), (names[3].as_bytes(), 3000));
    assert_eq!(found[2].hosts, [Host::Unix(b"/queue/rel".to_vec())]);
    let (dialer, now) = (Dialer::new(None), Instant::now());
    let routes = Gateways::new(found, dialer, now).routes();
    let route = |id, gateway| BrokerToLookup::Routed {
        id: TableId(id),
        gateway: GatewayId(gateway),
        milliseconds: 3000,
    };
    assert_eq!(routes, [route(1, 0), route(3, 0), route(2, 1), route(4, 2)]);
}

#[test]
fn sockets_lie_where_the_roots_of_tables_are_and_paths_have_a_limit() {
    let long = format!("socketmap:unix:{}:m", "/l".repeat(53));
    let list = listed(&["socketmap:unix:/run/s:m", &long]);
    let (found, problems) = servers(&list, &settings(), Path::new("/queue"), ROOM).unwrap();
    assert_eq!(found[0].hosts, [Host::Unix(b"/queue/run/s".to_vec())]);
    assert!(
        found.len() == 1 && problems.len() == 1 && problems[0].contains("longer than 107"),
        "{problems:?}"
    );
}

#[test]
fn servers_beyond_the_limit_are_named() {
    let names: Vec<String> = (0..MAX_GATEWAYS + 2).map(|port| format!("tcp:h:{}", port + 1)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (found, problems) = servers(&listed(&names), &settings(), Path::new(""), ROOM).unwrap();
    assert_eq!((found.len(), problems.len()), (MAX_GATEWAYS as usize, 2));
    assert!(problems[1].starts_with("tcp inet:h:66: tables have more than 64 servers"), "{problems:?}");
}

#[test]
fn server_whose_tables_are_more_than_there_is_room_for_is_named_and_others_are_asked() {
    let names: Vec<String> = (0..3).map(|map| format!("socketmap:inet:big:1:{map}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push("tcp:small:1");
    for (room, wanted) in [(6, 2), (5, 1), (4, 1), (3, 1), (2, 1), (1, 0)] {
        let (found, problems) = servers(&listed(&names), &settings(), Path::new(""), room).unwrap();
        assert_eq!((found.len(), problems.len()), (wanted, 2 - wanted), "{room}");
        let used: usize = found.iter().map(|server| server.memories().count()).sum();
        assert!(used <= room);
    }
    let (_, problems) = servers(&listed(&names), &settings(), Path::new(""), 3).unwrap();
    assert!(problems[0].starts_with("socketmap inet:big:1: the limit of open files"), "{problems:?}");
}

#[test]
fn without_their_program_there_are_no_gateways() {
    let settings = Backends { gateways: false, ..settings() };
    let (found, problems) = servers(&listed(&["tcp:a:1"]), &settings, Path::new(""), ROOM).unwrap();
    assert!(found.is_empty() && problems.is_empty(), "the start has told of it: {problems:?}");
}

#[test]
fn gateway_gets_tables_once_it_is_checked() {
    let mut scene = Scene::started();
    assert!(scene.told().is_none());
    assert_eq!(scene.says(GatewayToBroker::Ready), Incoming::Ready);
    assert!(scene.told().is_none() && !scene.gateways.are_settled(scene.now));
    scene.gateways.admitted(ID, scene.now);
    let Some((BrokerToGateway::Table { id, generation, .. }, Some(_))) = scene.told() else { panic!() };
    assert!(!scene.gateways.are_settled(scene.now));
    assert_eq!(scene.says(GatewayToBroker::Loaded { id, generation }), Incoming::Nothing);
    assert!(scene.gateways.are_settled(scene.now));
}

#[test]
fn whatever_else_a_gateway_says_ends_it() {
    let connect = |number, host| GatewayToBroker::Connect { number, host };
    let loaded = |id| GatewayToBroker::Loaded { id: TableId(id), generation: 1 };
    let rejected = GatewayToBroker::Rejected { id: TableId(0), generation: 1 };
    for early in [connect(1, 0), loaded(0), rejected, GatewayToBroker::Pong(1)] {
        assert!(matches!(Scene::started().says(early), Incoming::Violation(_)), "{early:?}");
    }
    for late in
        [GatewayToBroker::Ready, connect(1, 1), loaded(0), loaded(9), rejected, GatewayToBroker::Pong(1)]
    {
        assert!(matches!(Scene::admitted().says(late), Incoming::Violation(_)), "{late:?}");
    }
    let mut scene = Scene::admitted();
    scene.wishes(1);
    assert_eq!(scene.says(connect(1, 0)), Incoming::Violation("one number for two wishes"));
    let mut scene = Scene::admitted();
    scene.wishes(1);
    scene.wishes(2);
    assert_eq!(
        scene.says(connect(3, 0)),
        Incoming::Violation("wishes for more connections than it may have")
    );
    let scene = &mut Scene::admitted();
    for packet in [&b"\xff"[..], &[4, 1][..], &[0; 64][..]] {
        scene.gateway.send(packet, &[]).unwrap();
        assert!(matches!(scene.gateways.receive(ID), Some(Incoming::Violation(_))), "{packet:?}");
    }
}

#[test]
fn connection_goes_to_the_gateway_that_asked_for_it() {
    let mut scene = Scene::admitted();
    let number = scene.wishes(5).unwrap();
    let (socket, _other) = stream::pair().unwrap();
    let heard = scene.hears(&DialerToBroker::Connected { number }, &[socket.as_fd()]);
    let Heard::Answer(answer) = heard else { panic!("{heard:?}") };
    scene.gateways.answer(answer, scene.now);
    assert!(matches!(scene.told(), Some((BrokerToGateway::Connected { number: 5 }, Some(_)))));
    // The number can be used again, and the next attempt is made at once.
    assert!(scene.wishes(5).is_some());
}

#[test]
fn whatever_else_the_dialer_says_does_nothing() {
    let invalid = |heard| matches!(heard, Heard::Invalid(_));
    let unwanted = |heard| matches!(heard, Heard::Unwanted);
    let (socket, _other) = stream::pair().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let mut scene = Scene::admitted();
    let number = scene.wishes(1).unwrap();
    for guess in [number.wrapping_add(1), 0, 1] {
        assert!(
            unwanted(scene.hears(&DialerToBroker::Connected { number: guess }, &[socket.as_fd()])),
            "{guess}"
        );
    }
    assert!(invalid(scene.hears(&DialerToBroker::Connected { number }, &[null.as_fd()])));
    assert!(invalid(scene.hears(&DialerToBroker::Connected { number }, &[])));
    let failed = DialerToBroker::Failed { number, reason: "no".into() };
    assert!(invalid(scene.hears(&failed, &[socket.as_fd()])));
    scene.dialer.send(b"\xff", &[]).unwrap();
    assert!(invalid(scene.gateways.dialer.receive().unwrap()));
    assert!(matches!(scene.hears(&failed, &[]), Heard::Answer(_)));
    assert!(unwanted(scene.hears(&failed, &[])), "twice");
}

#[test]
fn numbers_of_wishes_tell_nothing_of_each_other() {
    let mut scene = Scene::admitted();
    let mut numbers = Vec::new();
    for number in 0..100 {
        let dialed = scene.wishes(number).unwrap();
        let heard = scene.hears(&DialerToBroker::Failed { number: dialed, reason: String::new() }, &[]);
        let Heard::Answer(answer) = heard else { panic!("{heard:?}") };
        scene.gateways.answer(answer, scene.now);
        numbers.push(dialed);
        scene.now += Duration::from_secs(1);
    }
    let apart = numbers.windows(2).filter(|two| two[0].abs_diff(two[1]) > 1 << 16).count();
    assert!(apart > 90, "{numbers:?}");
}

#[test]
fn wish_without_an_answer_fails_in_time_and_the_late_answer_is_for_nobody() {
    let mut scene = Scene::admitted();
    let number = scene.wishes(1).unwrap();
    scene.now += Duration::from_millis(4999);
    scene.gateways.dial(scene.now);
    assert!(scene.told().is_none());
    scene.now += Duration::from_millis(1);
    scene.gateways.dial(scene.now);
    assert!(matches!(scene.told(), Some((BrokerToGateway::NotConnected { number: 1, .. }, None))));
    let (socket, _other) = stream::pair().unwrap();
    let heard = scene.hears(&DialerToBroker::Connected { number }, &[socket.as_fd()]);
    assert!(matches!(heard, Heard::Unwanted), "{heard:?}");
}

#[test]
fn without_a_dialer_each_wish_fails_and_says_why() {
    let mut scene = Scene::admitted();
    scene.wishes(1).unwrap();
    scene.gateways.dialer.lose(scene.now);
    scene.gateways.dial(scene.now);
    assert!(matches!(scene.told(), Some((BrokerToGateway::NotConnected { number: 1, .. }, None))));
    scene.now += Duration::from_secs(1);
    assert_eq!(scene.wishes(2), None);
    let Some((BrokerToGateway::NotConnected { number: 2, reason }, None)) = scene.told() else { panic!() };
    assert!(reason.contains("about to restart"), "{reason}");
}

#[test]
fn gateway_that_dies_is_replaced_after_pauses_that_double_until_one_lives_for_a_minute() {
    let mut scene = Scene::admitted();
    let mut waited = Vec::new();
    for round in 0..8u64 {
        if round == 7 {
            scene.gateways.admitted(ID, scene.now);
            scene.now += GOOD_LIFE;
        }
        scene.gateways.remove(ID, scene.now).unwrap();
        assert!(scene.gateways.is_short() && scene.gateways.ask(scene.now) == 0);
        scene.gateways.are_settled(scene.now);
        let next = scene.gateways.next_moment().unwrap();
        waited.push((next - scene.now).as_secs());
        scene.now = next;
        assert_eq!(scene.gateways.ask(scene.now), 1);
        scene.gateways.add(ID, Channel::pair().unwrap().0);
    }
    assert_eq!(waited, [1, 2, 4, 8, 16, 30, 30, 1]);
}

#[test]
fn silent_gateway_is_found_and_nobody_is_asked_while_nobody_is_connected() {
    let mut scene = Scene::admitted();
    let limit = Duration::from_secs(100);
    assert!(scene.gateways.heartbeat(scene.now, limit, false).is_empty());
    assert!(scene.told().is_none());
    assert!(scene.gateways.heartbeat(scene.now, limit, true).is_empty());
    assert!(matches!(scene.told(), Some((BrokerToGateway::Ping(1), None))));
    scene.now += Duration::from_secs(5);
    assert!(scene.gateways.heartbeat(scene.now, limit, true).is_empty());
    scene.now += Duration::from_millis(1);
    assert_eq!(scene.gateways.heartbeat(scene.now, limit, true), [ID]);
    assert_eq!(scene.says(GatewayToBroker::Pong(1)), Incoming::Nothing);
    assert!(scene.gateways.heartbeat(scene.now, limit, true).is_empty());
}

#[test]
fn first_client_waits_no_longer_than_a_second_for_gateways() {
    let mut scene = Scene::started();
    assert!(!scene.gateways.are_settled(scene.now));
    assert!(scene.gateways.are_settled(scene.now + START_TIME));
    let mut none = Gateways::new(Vec::new(), Dialer::new(None), scene.now);
    assert!(none.are_settled(scene.now) && none.next_moment().is_none());
    assert!(!none.add(ID, Channel::pair().unwrap().0), "nobody was asked for");
}
