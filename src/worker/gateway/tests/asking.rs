//! Questions that are answered, and connections that come and go without anybody's noticing.

use super::*;

#[test]
fn question_is_asked_on_a_connection_and_answered() {
    let mut scene = Scene::socketmap(8);
    let mut asker = scene.asker();
    asker.look_up(1, "secret@key");
    scene.settle();
    let mut server = scene.connect();
    assert_eq!(server.asked(), "14:map secret@key,");
    server.say(b"9:OK secret,");
    scene.settle();
    assert_eq!(asker.answer(), "=secret");
    assert_lines(&[": connected"]);
    // The next one has the same connection.
    for (said, expected) in [
        (&b"8:NOTFOUND,"[..], "absent"),
        (b"11:TEMP broken,", "Later the server has a temporary error: broken"),
        (b"6:PERM x,", "Permanent the server has a permanent error: x"),
        (b"6:OK \xc3\xa4 ,", "=ä "),
    ] {
        asker.look_up(1, "k");
        scene.settle();
        assert_eq!(server.asked(), "5:map k,");
        server.say(said);
        scene.settle();
        assert_eq!(asker.answer(), expected);
    }
    assert_eq!((scene.wishes(), lines()), (vec![], vec![]));
    // What must be UTF-8 and is not.
    asker.ask(TABLE, 1, Asked::Lookup { key: b"k", manner: Manner { utf8: true, ..MANNER } });
    scene.settle();
    server.say(b"4:OK \xff,");
    scene.settle();
    assert_eq!(asker.answer(), "NotUtf8 ");
}

#[test]
fn tcp_server_is_asked_in_lines_and_closed_after_a_temporary_error() {
    let mut scene = Scene::tcp(8);
    let mut asker = scene.asker();
    asker.look_up(1, "a b");
    scene.settle();
    let mut server = scene.connect();
    assert_eq!(server.asked(), "get a%20b\n");
    server.say(b"200 v%20w\n");
    scene.settle();
    assert_eq!(asker.answer(), "=v w");
    asker.look_up(1, "x");
    scene.settle();
    server.say(b"400 busy\n");
    scene.settle();
    assert_eq!(asker.answer(), "Later the server has a temporary error: busy");
    assert!(server.is_closed());
    asker.look_up(1, "x");
    scene.settle();
    let mut server = scene.connect();
    assert_eq!(server.asked(), "get x\n");
    assert_lines(&[": connected"]);
}

#[test]
fn answer_may_come_byte_by_byte_and_a_long_question_leave_in_pieces() {
    let mut scene = Scene::tcp(1);
    let mut asker = scene.asker();
    let mut bytes = Vec::new();
    let key = vec![b' '; mapkeep_proto::MAX_KEY];
    let asked = Asked::Lookup { key: &key, manner: MANNER };
    Question { ticket: 9, table: TABLE, client: 1, asked }.encode(&mut bytes);
    let (mut sent, mut got, mut server) = (0, 0, None);
    while got < 4 + 3 * key.len() + 1 {
        sent += asker.stream.write(&bytes[sent..]).unwrap_or_default();
        scene.round();
        if let [number] = scene.wishes()[..] {
            server = Some(scene.connected(number));
        }
        got += server.as_mut().map_or(0, |server| server.asked().len());
    }
    for byte in b"200 value\n" {
        assert_eq!(asker.tickets(), []);
        server.as_mut().unwrap().say(&[*byte]);
        scene.round();
    }
    assert_eq!(asker.answers(), [(9, "=value".to_owned())]);
}

#[test]
fn one_question_is_in_flight_on_each_connection_and_no_more_connections_are_opened_than_may_be() {
    let mut scene = Scene::tcp(3);
    let mut asker = scene.asker();
    (1..=5).for_each(|client| {
        asker.look_up(client, &format!("k{client}"));
    });
    scene.settle();
    // One shows whether the backend is there at all; then there are as many as are needed.
    let mut servers = vec![scene.connect()];
    let wishes = scene.wishes();
    assert_eq!(wishes.len(), 2);
    wishes.into_iter().for_each(|number| servers.push(scene.connected(number)));
    let asked: Vec<String> = servers.iter_mut().map(Server::asked).collect();
    assert_eq!(asked, ["get k1\n", "get k2\n", "get k3\n"]);
    assert_eq!(scene.wishes(), []);
    // Whichever is free first has the next.
    for (server, next) in [(1, "get k4\n"), (2, "get k5\n"), (0, ""), (1, ""), (2, "")] {
        servers[server].say(b"500 no\n");
        scene.settle();
        assert_eq!(servers[server].asked(), next);
    }
    assert_eq!(asker.tickets(), [2, 3, 1, 4, 5]);
    // Later questions have the connection that was used last, so that the others become idle.
    for _ in 0..3 {
        asker.look_up(1, "again");
        scene.settle();
        assert_eq!(servers[2].asked(), "get again\n");
        servers[2].say(b"500 no\n");
        scene.settle();
        wait(MS);
    }
    assert_eq!(scene.wishes(), []);
}

#[test]
fn connection_that_is_closed_while_idle_is_opened_anew_without_a_word() {
    let mut scene = Scene::tcp(8);
    let mut asker = scene.asker();
    for _ in 0..3 {
        let server = scene.served(&mut asker, b"200 v\n");
        assert_eq!(asker.answer(), "=v");
        drop(server);
        scene.settle();
    }
    assert_lines(&[": connected"]);
    assert_eq!(scene.sleep(), None);
}

#[test]
fn question_whose_connection_is_lost_is_asked_once_more_on_a_fresh_one() {
    for half in [&b""[..], b"10:OK val", b"10"] {
        let mut scene = Scene::socketmap(8);
        let mut asker = scene.asker();
        (0..2).for_each(|client| {
            asker.look_up(client, "k");
        });
        scene.settle();
        let mut first = scene.connect();
        let mut second = scene.connect();
        [&mut first, &mut second].into_iter().for_each(|server| server.say(b"4:OK v,"));
        scene.settle();
        assert_eq!(asker.tickets().len(), 2);
        first.asked();
        second.asked();
        asker.look_up(1, "k");
        scene.settle();
        // The other one has most likely been closed, too.
        let (mut used, mut other) = if second.asked().is_empty() { (first, second) } else { (second, first) };
        used.say(half);
        drop(used);
        scene.settle();
        assert_eq!((other.asked(), asker.tickets()), (String::new(), vec![]));
        let mut fresh = scene.connect();
        assert_eq!(fresh.asked(), "5:map k,");
        fresh.say(b"4:OK w,");
        scene.settle();
        assert_eq!(asker.answer(), "=w");
        assert_lines(&[": connected"]);
    }
}

#[test]
fn answer_that_comes_with_the_end_of_its_connection_counts() {
    let mut scene = Scene::tcp(8);
    let mut asker = scene.asker();
    let mut server = scene.asked(&mut asker);
    server.say(b"200 v\n");
    drop(server);
    // The question that comes at the same time is not asked there.
    asker.look_up(1, "k2");
    scene.settle();
    assert_eq!(asker.answers(), [(1, "=v".to_owned())]);
    assert_eq!(scene.connect().asked(), "get k2\n");
}

#[test]
fn idle_connections_close_after_ten_seconds_and_none_is_older_than_a_hundred() {
    let mut scene = Scene::socketmap(8);
    let mut asker = scene.asker();
    let mut server = scene.served(&mut asker, b"4:OK v,");
    let mut spent = Duration::ZERO;
    while spent < 99 * SECOND {
        assert_eq!(scene.sleep(), Some((10 * SECOND).min(100 * SECOND - spent)));
        wait(9 * SECOND);
        spent += 9 * SECOND;
        scene.settle();
        assert!(!server.asked().is_empty());
        asker.look_up(1, "k");
        scene.settle();
        server.say(b"4:OK v,");
        scene.settle();
    }
    asker.tickets();
    wait(SECOND);
    scene.settle();
    assert!(server.is_closed(), "it is too old");
    let mut server = scene.served(&mut asker, b"4:OK v,");
    wait(10 * SECOND);
    scene.settle();
    assert!(server.is_closed(), "it was idle for too long");
    assert_eq!(scene.sleep(), None);
    assert_lines(&[": connected"]);
}

#[test]
fn tcp_connection_stays_for_as_long_as_the_server_likes() {
    let mut scene = Scene::tcp(8);
    let mut asker = scene.asker();
    let mut server = scene.served(&mut asker, b"200 v\n");
    wait(100_000 * SECOND);
    scene.settle();
    assert_eq!(scene.sleep(), None);
    asker.look_up(1, "k");
    scene.settle();
    assert_eq!(server.asked(), "get k\nget k\n");
}
