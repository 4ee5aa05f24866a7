//! Who is answered when: lookups that take long, and those that are interrupted.

use super::*;

#[test]
fn lookup_in_many_patterns_continues_between_those_of_others() {
    let mut service = Service::new();
    let (mut header, mut other) = (service.asker(), service.asker());
    let ticket = header.look_up(MANY, 1, "alice");
    let (began, mut rounds, mut answers) = (ticking(), 0, Vec::new());
    while answers.is_empty() {
        let quick = other.look_up(QUICK, 1, "10.0.0.1");
        assert!(service.round());
        assert_eq!(other.tickets(), [quick], "round {rounds}");
        answers = header.answers();
        rounds += 1;
    }
    assert_eq!(answers, [(ticket, "=many".to_owned())]);
    let took = ticking() - began;
    assert!((800 * MS..1200 * MS).contains(&took), "half of the time: {took:?}");
    // Nobody waits for one that is withdrawn while it is interrupted.
    let ticket = header.look_up(MANY, 1, "alice");
    assert!(service.round());
    header.send(&Question { ticket, table: MANY, client: 1, asked: Asked::Withdrawn });
    assert!(service.round());
    service.settle();
    assert_eq!(header.tickets(), []);
    // All its turns together have an end.
    TICK.set(100 * MS);
    TIME.set(Some(ticking() + Duration::from_secs(1)));
    let lookup = Asked::Lookup { key: b"alice", manner: MANNER };
    // A rule is tried in each turn, which takes 200 ms.
    let late = mapkeep_query::TableError::OutOfTime { line: 101 };
    assert_eq!(answer(&mut service, &mut header, MANY, lookup), format!("Later {late}"));
}

#[test]
fn the_longest_header_is_looked_up_in_turns_under_hundreds_of_rules() {
    let mut service = Service::new();
    let mut asker = service.asker();
    service.worker.clock = Instant::now;
    let rules = (0..300).map(|number| format!("/buy (cheap|{number}) .*pills/ REJECT\n"));
    service.load(FILE, 1, &(rules.collect::<String>() + "/fox/ found\n"));
    while !service.worker.loading.is_empty() {
        assert!(service.round());
    }
    let header: String =
        "the quick brown fox jumps over the lazy dog; ".chars().cycle().take(102_400).collect();
    let bytes = {
        let asked = Asked::Lookup { key: header.as_bytes(), manner: MANNER };
        let mut bytes = Vec::new();
        Question { ticket: 1, table: FILE, client: 1, asked }.encode(&mut bytes);
        bytes
    };
    let (mut sent, mut turns, mut answers) = (0, 0, Vec::new());
    while answers.is_empty() {
        sent += asker.stream.write(&bytes[sent..]).unwrap_or_default();
        turns += usize::from(sent == bytes.len());
        assert!(service.round());
        answers = asker.answers();
    }
    assert_eq!(answers, [(1, "=found".to_owned())]);
    assert!(turns > 2, "{turns} turns");
}

#[test]
fn interrupted_lookup_is_answered_from_a_newer_snapshot_if_there_is_one() {
    let mut service = Service::new();
    let mut asker = service.asker();
    service.load(FILE, 1, &("/^nobody$/ x\n".repeat(500) + "/^a/ first\n"));
    let loads = |service: &mut Service| {
        while !service.worker.loading.is_empty() {
            assert!(service.round());
        }
    };
    loads(&mut service);
    let ticket = asker.look_up(FILE, 1, "alice");
    (0..3).for_each(|_| assert!(service.round()));
    // Its first rule holds, and would not be tried if the lookup went on behind it.
    service.load(FILE, 2, "/^a/ second\n");
    loads(&mut service);
    service.settle();
    assert_eq!(asker.answers(), [(ticket, "=second".to_owned())]);
    // The content that it began with is let go of.
    service.tell(BrokerToLookup::Ping(1), None);
    assert_eq!(service.worker.contents.previous(), 0);
}

#[test]
fn slow_table_has_half_of_the_time_while_others_are_answered() {
    let mut service = Service::new();
    let (mut first, mut second) = (service.asker(), service.asker());
    let slow: Vec<u32> = (0..5).map(|client| first.look_up(SLOW, client, "alice")).collect();
    let (mut answered, began) = (Vec::new(), ticking());
    while answered.len() < 4 {
        let quick = (first.look_up(QUICK, 9, "10.0.0.1"), second.look_up(QUICK, 9, "10.0.0.1"));
        let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
        // One slow lookup may come before each of them at the most.
        (0..2).for_each(|_| {
            assert!(service.round());
            firsts.extend(first.tickets());
            seconds.extend(second.tickets());
        });
        assert!(firsts.contains(&quick.0) && seconds == [quick.1], "{firsts:?} {seconds:?}");
        answered.extend(firsts.into_iter().filter(|ticket| slow.contains(ticket)));
        let most = 1 + (ticking() - began).as_millis() / 42;
        assert!(answered.len() as u128 <= most, "{} of {most}", answered.len());
    }
    // Nobody else asks any more.
    TIME.set(Some(ticking() + Duration::from_secs(1)));
    service.settle();
    answered.extend(first.tickets());
    assert_eq!(answered, slow);
}

#[test]
fn slow_client_comes_after_others_of_its_table() {
    let mut service = Service::new();
    let (mut first, mut second) = (service.asker(), service.asker());
    let greedy = first.look_up(SLOW, 1, "alice");
    let patient = first.look_up(SLOW, 2, "alice");
    let distant = second.look_up(SLOW, 1, "alice");
    assert!(service.round());
    assert_eq!(first.tickets(), [greedy]);
    // It asks again at once, and another comes after that.
    let greedy = first.look_up(SLOW, 1, "alice");
    let late = first.look_up(SLOW, 3, "alice");
    let mut order = Vec::new();
    for _ in 0..4 {
        service.round();
        order.extend(first.tickets().into_iter().map(|ticket| (1, ticket)));
        order.extend(second.tickets().into_iter().map(|ticket| (2, ticket)));
    }
    assert_eq!(order, [(2, distant), (1, patient), (1, late), (1, greedy)]);
}

#[test]
fn answer_does_not_wait_for_a_lookup_that_may_take_long() {
    let mut service = Service::new();
    let (mut first, mut second) = (service.asker(), service.asker());
    // Answers that follow each other so closely are sent together.
    TICK.set(TOGETHER / 20);
    let quick = first.look_up(QUICK, 1, "10.0.0.1");
    let slow = second.look_up(SLOW, 1, "alice");
    WATCHED.set(Some(first.stream.try_clone().unwrap()));
    let began = ticking();
    assert!(service.round());
    WATCHED.set(None);
    assert!(SEEN.get().unwrap() - began < TOGETHER / 2, "{:?}", SEEN.get().unwrap() - began);
    assert!(ticking() - began > TOGETHER);
    assert_eq!((first.tickets(), second.tickets()), (vec![quick], vec![slow]));
}
