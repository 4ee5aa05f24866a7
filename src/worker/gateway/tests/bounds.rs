//! What waits, for how long and in which order; and lookup workers that send what they may not, that do not read, that leave.

use super::*;
use crate::queue::WAITING;
use mapkeep_worker_answering::UNREAD;

/// Answers questions one by one on one connection: their keys, in order.
fn served(scene: &mut Scene, server: &mut Server, count: usize) -> Vec<String> {
    let mut keys = Vec::new();
    for _ in 0..count {
        scene.settle();
        let asked = server.asked();
        keys.push(asked.trim_start_matches("get ").trim_end().to_owned());
        server.say(b"500 no\n");
        scene.settle();
    }
    keys
}

#[test]
fn askers_and_their_clients_are_served_in_turn() {
    let mut scene = Scene::tcp(1);
    let (mut first, mut second) = (scene.asker(), scene.asker());
    (1..=4).for_each(|number| {
        first.look_up(1, &format!("busy{number}"));
    });
    first.look_up(2, "calm");
    second.look_up(1, "other1");
    second.look_up(9, "other2");
    scene.settle();
    let mut server = scene.connect();
    let order = served(&mut scene, &mut server, 7);
    assert_eq!(order, ["busy1", "other1", "calm", "other2", "busy2", "busy3", "busy4"]);
}

#[test]
fn as_many_wait_as_may_and_more_are_temporary_errors_at_once() {
    let mut scene = Scene::tcp(1);
    let (mut asker, mut other) = (scene.asker(), scene.asker());
    for client in 0..WAITING as u64 {
        asker.look_up(client, "k");
        if client % 100 == 0 {
            scene.settle();
        }
    }
    scene.settle();
    assert_eq!((asker.tickets(), lines()), (vec![], vec![]));
    assert_eq!(scene.answer(&mut asker, "k"), format!("Later {WAITING} questions wait already"));
    let told = lines();
    assert!(
        told[0].starts_with(&format!("table the table: {WAITING} questions wait for backend already")),
        "{told:?}"
    );
    // Another one has room nevertheless: the last of the first makes way.
    other.look_up(1, "k");
    scene.settle();
    assert_eq!((other.tickets(), asker.tickets()), (vec![], vec![u32::try_from(WAITING).unwrap()]));
    // All of them have an end.
    wait(PATIENCE);
    scene.settle();
    let mut count = other.tickets().len();
    while count < WAITING {
        let tickets = asker.tickets().len();
        assert!(tickets > 0);
        count += tickets;
        scene.settle();
    }
    assert_eq!(count, WAITING);
}

#[test]
fn question_that_is_withdrawn_is_not_asked_and_its_answer_is_dropped() {
    let mut scene = Scene::tcp(1);
    let mut asker = scene.asker();
    let in_flight = asker.look_up(1, "in-flight");
    let waiting = asker.look_up(1, "waiting");
    let last = asker.look_up(1, "last");
    scene.settle();
    let mut server = scene.connect();
    assert_eq!(server.asked(), "get in-flight\n");
    [in_flight, waiting, 77].into_iter().for_each(|ticket| asker.withdraw(ticket));
    scene.settle();
    server.say(b"200 v\n");
    scene.settle();
    assert_eq!(server.asked(), "get last\n");
    server.say(b"200 w\n");
    scene.settle();
    assert_eq!(asker.answers(), [(last, "=w".to_owned())]);
    // One that is withdrawn keeps a connection no longer than another.
    let ticket = asker.look_up(1, "k");
    scene.settle();
    asker.withdraw(ticket);
    wait(PATIENCE);
    scene.settle();
    assert!(server.is_closed());
    assert_eq!(asker.tickets(), []);
}

#[test]
fn question_that_waits_to_be_asked_again_can_be_withdrawn_and_ends() {
    let mut scene = Scene::tcp(8);
    let mut asker = scene.asker();
    for is_withdrawn in [true, false] {
        let ticket = asker.look_up(1, "k");
        scene.settle();
        drop(scene.connect());
        scene.settle();
        assert_eq!(scene.sleep(), Some(PATIENCE), "it is to be asked again");
        let wish = scene.wishes()[0];
        if is_withdrawn {
            asker.withdraw(ticket);
            scene.settle();
            assert_eq!(scene.sleep(), None);
        }
        wait(PATIENCE);
        scene.settle();
        assert_eq!(asker.tickets(), if is_withdrawn { vec![] } else { vec![ticket] });
        drop(scene.connected(wish));
        scene.settle();
    }
}

#[test]
fn who_does_not_read_is_asked_for_nothing_and_holds_up_nobody() {
    let mut scene = Scene::socketmap(1);
    let (mut mute, mut other) = (scene.asker(), scene.asker());
    let value = [b"90003:OK ".to_vec(), vec![b'v'; 90_000], b",".to_vec()].concat();
    (0..10).for_each(|client| {
        mute.look_up(client, "mute");
    });
    scene.settle();
    let mut server = scene.connect();
    let mut of_mute = 0;
    for _ in 0..20 {
        let ticket = other.look_up(1, "other");
        let mut answered = vec![];
        while answered.is_empty() {
            let asked = server.asked();
            if asked.is_empty() {
                scene.settle();
                answered = other.tickets();
                continue;
            }
            let is_mute = asked == "8:map mute,";
            assert!(is_mute || asked == "9:map other,", "{asked}");
            of_mute += usize::from(is_mute);
            let mut rest = if is_mute { &value[..] } else { b"8:NOTFOUND," };
            while !rest.is_empty() {
                let sent = server.0.write(rest).unwrap_or_default();
                rest = &rest[sent..];
                scene.settle();
            }
            answered = other.tickets();
        }
        assert_eq!(answered, [ticket]);
    }
    // What the socket holds comes on top.
    let most = UNREAD / 90_000 + 2 + (256 << 10) / 90_000 + 1;
    assert!(of_mute < 10 && of_mute <= most, "{of_mute}");
}

#[test]
fn garbage_costs_its_asker_the_stream_and_nothing_is_kept_of_it() {
    let mut scene = Scene::tcp(1);
    let mut honest = scene.asker();
    for bytes in [&b"\xff\xff\xff\xff"[..], &[0; 4], b"\x01\0\0\0\x09"] {
        let mut asker = scene.asker();
        (0..3).for_each(|client| {
            asker.look_up(client, "garbage");
        });
        scene.settle();
        asker.stream.write_all(bytes).unwrap();
        scene.settle();
        assert!(asker.is_closed());
        assert_eq!(scene.sleep(), None, "nothing of it waits");
    }
    let told = lines();
    assert!(told.len() == 3 && told.iter().all(|line| line.contains("invalid question")), "{told:?}");
    let ticket = honest.look_up(1, "honest");
    scene.settle();
    let mut server = scene.connect();
    assert_eq!(server.asked(), "get honest\n");
    server.say(b"500 no\n");
    scene.settle();
    assert_eq!(honest.tickets(), [ticket]);
}

#[test]
fn answers_to_an_asker_that_has_gone_are_dropped() {
    let mut scene = Scene::tcp(1);
    let (mut gone, mut other) = (scene.asker(), scene.asker());
    (0..3).for_each(|client| {
        gone.look_up(client, "gone");
    });
    scene.settle();
    let mut server = scene.connect();
    let ticket = other.look_up(1, "other");
    drop(gone);
    scene.settle();
    server.asked();
    server.say(b"200 v\n");
    scene.settle();
    assert_eq!(server.asked(), "get other\n");
    server.say(b"200 w\n");
    scene.settle();
    assert_eq!(other.answers(), [(ticket, "=w".to_owned())]);
}

#[test]
fn what_needs_no_server_is_answered_at_once() {
    let mut scene = Scene::socketmap(8);
    let mut asker = scene.asker();
    asker.ask(TABLE, 1, Asked::Usable);
    scene.settle();
    assert_eq!(asker.answer(), "absent");
    asker.ask(TableId(8), 1, Asked::Usable);
    scene.settle();
    assert_eq!(asker.answer(), "Unavailable the gateway has no settings of it");
    let long = "secret".repeat(20);
    assert_eq!(scene.answer(&mut asker, &long), "absent");
    assert_eq!(scene.wishes(), []);
    let told = lines();
    let expected = "table the table: a key of 120 bytes is longer than socketmap_max_query_size (100), and taken for absent";
    assert_eq!(told, [expected]);
}
