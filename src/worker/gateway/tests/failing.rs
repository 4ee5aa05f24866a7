//! Servers that cannot be reached, hang, close, or talk nonsense.

use super::*;

#[test]
fn backend_that_cannot_be_reached_costs_one_attempt_a_second() {
    let mut scene = Scene::tcp(8);
    let mut asker = scene.asker();
    let start = clock();
    let (mut attempts, mut pauses, mut last) = (0_u32, Vec::new(), None);
    while clock() - start < 20 * SECOND {
        (0..10).for_each(|client| {
            asker.look_up(client, "k");
        });
        scene.settle();
        for number in scene.wishes() {
            attempts += 1;
            pauses.extend(last.replace(clock()).map(|last| clock() - last));
            scene.refuse(number, "connection refused");
        }
        let answers = asker.answers();
        assert_eq!(answers.len(), 10);
        assert!(answers.iter().all(|(_, text)| text == "Later cannot connect: connection refused"));
        wait(5 * MS);
    }
    assert!((18..=23).contains(&attempts), "{attempts}");
    assert!(pauses.iter().all(|pause| (900 * MS..=1105 * MS).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause != pauses[0]), "several gateways would come together");
    assert_lines(&[": cannot connect: connection refused -- "]);
}

#[test]
fn backend_that_is_back_is_asked_by_the_first_question_after_a_second() {
    let mut scene = Scene::tcp(8);
    let mut asker = scene.asker();
    asker.look_up(1, "k");
    scene.settle();
    let wish = scene.wishes()[0];
    scene.refuse(wish, "no route to host");
    assert_eq!(asker.answer(), "Later cannot connect: no route to host");
    wait(800 * MS);
    assert_eq!(scene.answer(&mut asker, "k"), "Later cannot connect: no route to host");
    assert_eq!((scene.wishes(), scene.sleep()), (vec![], None));
    wait(301 * MS);
    let _server = scene.served(&mut asker, b"200 v\n");
    assert_eq!(asker.answer(), "=v");
    assert_lines(&[": cannot connect: no route to host -- ", ": answers again"]);
}

#[test]
fn attempt_that_takes_long_is_waited_for_by_who_was_there_and_not_by_who_comes_then() {
    let mut scene = Scene::tcp(8);
    let mut asker = scene.asker();
    asker.look_up(1, "k");
    scene.settle();
    let wish = scene.wishes()[0];
    scene.refuse(wish, "timed out");
    asker.tickets();
    wait(2 * SECOND);
    let first = asker.look_up(1, "first");
    scene.settle();
    wait(900 * MS);
    let second = asker.look_up(2, "second");
    scene.settle();
    assert_eq!(asker.tickets(), []);
    wait(100 * MS);
    assert_eq!(scene.answer(&mut asker, "third"), "Later cannot connect: timed out");
    // Those who wait do not wait without end.
    wait(PATIENCE - SECOND);
    scene.settle();
    let late = "Later no connection was free within 5000 ms".to_owned();
    assert_eq!(asker.answers(), [(first, late)]);
    let mut server = scene.connect();
    server.say(b"200 v\n");
    scene.settle();
    assert_eq!(asker.answers(), [(second, "=v".to_owned())]);
}

#[test]
fn failed_attempt_for_one_more_connection_leaves_those_that_are_open() {
    let mut scene = Scene::tcp(8);
    let mut asker = scene.asker();
    (1..=3).for_each(|client| {
        asker.look_up(client, "k");
    });
    scene.settle();
    let mut server = scene.connect();
    let wishes = scene.wishes();
    assert_eq!(wishes.len(), 2);
    wishes.into_iter().for_each(|number| scene.refuse(number, "too many connections"));
    for expected in 1..=3 {
        server.say(b"500 no\n");
        scene.settle();
        assert_eq!((asker.tickets(), scene.wishes()), (vec![expected], vec![]), "no attempt for a second");
    }
    (1..=2).for_each(|client| {
        asker.look_up(client, "k");
    });
    scene.settle();
    assert!(scene.sleep().is_some_and(|time| (900 * MS..=1101 * MS).contains(&time)), "{:?}", scene.sleep());
    wait(1101 * MS);
    scene.settle();
    assert_eq!(scene.wishes().len(), 1);
    assert_lines(&[": connected", ": cannot connect: too many connections -- ", ": answers again"]);
}

#[test]
fn late_answer_is_a_failure_and_its_connection_is_closed() {
    let mut scene = Scene::tcp(1);
    let mut asker = scene.asker();
    let mut server = scene.asked(&mut asker);
    wait(PATIENCE / 2);
    let second = asker.look_up(1, "k2");
    scene.settle();
    assert_eq!(scene.sleep(), Some(PATIENCE / 2));
    wait(PATIENCE / 2 - MS);
    scene.settle();
    assert_eq!(asker.tickets(), []);
    wait(MS);
    scene.settle();
    assert_eq!(asker.answers(), [(1, "Later no answer within 5000 ms".to_owned())]);
    assert!(server.is_closed());
    // The one that waited for it has its own time, and another connection.
    let mut server = scene.connect();
    assert_eq!(server.asked(), "get k2\n");
    server.say(b"200 v\n");
    scene.settle();
    assert_eq!(asker.answers(), [(second, "=v".to_owned())]);
    assert_lines(&[": connected", ": no answer within 5000 ms -- "]);
    // All is well when nothing more has happened for a while.
    wait(10 * SECOND);
    asker.look_up(1, "k");
    scene.settle();
    server.say(b"200 v\n");
    scene.settle();
    assert_lines(&[": answers again"]);
}

#[test]
fn server_that_closes_twice_before_an_answer_is_not_asked_for_a_second() {
    let mut scene = Scene::socketmap(8);
    let mut asker = scene.asker();
    asker.look_up(1, "k");
    scene.settle();
    for _ in 0..2 {
        let mut server = scene.connect();
        assert_eq!(server.asked(), "5:map k,");
        drop(server);
        scene.settle();
    }
    let failure = "Later lost the connection before the answer: the server closed it";
    assert_eq!(asker.answer(), failure);
    assert_eq!(scene.answer(&mut asker, "k"), failure);
    assert_eq!(scene.wishes(), []);
    assert_lines(&[": connected", ": lost the connection twice before an answer: the server closed it -- "]);
    wait(1101 * MS);
    asker.look_up(1, "k");
    scene.settle();
    assert_eq!(scene.connect().asked(), "5:map k,");
}

#[test]
fn connection_that_is_closed_before_it_is_asked_is_replaced_at_once() {
    let mut scene = Scene::tcp(8);
    let mut asker = scene.asker();
    asker.look_up(1, "k");
    scene.settle();
    let number = scene.wishes()[0];
    let (ours, theirs) = pair();
    drop(ours);
    scene.tell(BrokerToGateway::Connected { number }, Some(theirs.as_fd()));
    scene.settle();
    let mut server = scene.connect();
    assert_eq!(server.asked(), "get k\n");
    server.say(b"200 v\n");
    scene.settle();
    assert_eq!(asker.answer(), "=v");
}

#[test]
fn what_is_no_answer_costs_its_question_and_its_connection_and_nobody_else() {
    for (junk, reason) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "not a netstring"),
        (b"4:OK v;", "not a netstring"),
        (b"100001:", "a reply longer than is allowed"),
    ] {
        let mut scene = Scene::socketmap(2);
        let mut asker = scene.asker();
        (1..=3).for_each(|client| {
            asker.look_up(client, "secret");
        });
        scene.settle();
        let mut first = scene.connect();
        let mut second = scene.connect();
        first.say(junk);
        scene.settle();
        assert_eq!(asker.answers(), [(1, format!("Later the server sent {reason}"))]);
        assert!(first.is_closed());
        second.say(b"4:OK v,");
        scene.settle();
        assert_eq!(asker.answers(), [(2, "=v".to_owned())]);
        assert_lines(&[": connected", &format!(": invalid answer: {reason} -- ")]);
    }
}

#[test]
fn bytes_behind_an_answer_cost_the_connection_and_not_the_answer() {
    let mut scene = Scene::socketmap(8);
    let mut asker = scene.asker();
    let mut server = scene.served(&mut asker, b"4:OK v,4:OK w,");
    assert_eq!(asker.answer(), "=v");
    assert!(server.is_closed());
    // What would have been taken for the answer to the next question is not.
    let mut server = scene.served(&mut asker, b"4:OK x,");
    assert_eq!(asker.answer(), "=x");
    // The same of what comes when nothing was asked.
    server.say(b"junk");
    scene.settle();
    assert!(server.is_closed());
    let invalid = ": invalid answer: bytes that belong to no answer -- ";
    assert_lines(&[": connected", invalid]);
}
