//! Peers that send what is no answer, and askers that are too many.

use super::later::Numbers;
use super::standin::*;
use super::*;
use mapkeep_proto::{Answer, Answered, NoAnswer};

/// A client that waits for the stand-in, and the ticket of its question.
fn waiting(service: &mut Service, standin: &mut Standin) -> (UnixStream, u32) {
    let client = service.client();
    ask(&client, RULES, "k");
    service.round();
    (client, standin.questions().pop().unwrap().ticket)
}

fn frame(ticket: u32, answered: Answered<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    Answer { ticket, answered }.encode(&mut frame);
    frame
}

#[test]
fn peer_that_sends_what_is_no_answer_is_dropped() {
    let good = |ticket| frame(ticket, Answered::Absent);
    type Wrong = fn(u32) -> Vec<u8>;
    let kinds: [(&str, Wrong); 6] = [
        ("too long", |_| u32::MAX.to_le_bytes().to_vec()),
        ("empty", |_| 0_u32.to_le_bytes().to_vec()),
        ("unknown tag", |ticket| [&[5, 0, 0, 0, 9][..], &ticket.to_le_bytes()].concat()),
        ("more than there is", |ticket| [&[6, 0, 0, 0, 2][..], &ticket.to_le_bytes(), &[0]].concat()),
        ("a ticket that nobody had", |ticket| frame(ticket + 1, Answered::Absent)),
        ("ticket 0", |_| frame(0, Answered::Absent)),
    ];
    for (what, wrong) in kinds {
        let mut service = Service::timeless();
        let mut standin = service.standin();
        let (client, ticket) = waiting(&mut service, &mut standin);
        // What is right and comes after it is not believed.
        standin.stream.write_all(&[wrong(ticket), good(ticket)].concat()).unwrap();
        service.round();
        assert_eq!(texts(&client), ["status|2|value|||"], "{what}");
        assert!(standin.is_dropped(), "{what}");
        let mut next = service.standin();
        let (client, ticket) = waiting(&mut service, &mut next);
        next.stream.write_all(&good(ticket)).unwrap();
        service.round();
        assert_eq!(texts(&client), ["status|1|value|||"], "{what}");
    }
}

#[test]
fn peer_cannot_answer_what_another_was_asked_nor_twice() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let (asked, ticket) = waiting(&mut service, &mut standin);
    let mut other = service.standin();
    other.answer(ticket, Answered::Found { with_nul: false, value: b"forged" });
    service.round();
    assert!(other.is_dropped() && texts(&asked).is_empty());
    standin.answer(ticket, Answered::Absent);
    standin.answer(ticket, Answered::Found { with_nul: false, value: b"again" });
    service.round();
    // The second is like one that was on its way while the question was withdrawn.
    assert_eq!(texts(&asked), ["status|1|value|||"]);
}

#[test]
fn answers_come_whole_however_they_are_cut() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let long = vec![b'v'; mapkeep_proto::MAX_VALUE];
    for value in [&b"short"[..], &long] {
        let (client, ticket) = waiting(&mut service, &mut standin);
        let bytes = frame(ticket, Answered::Found { with_nul: false, value });
        let (mut got, mut sent) = (Vec::new(), 0);
        while got.len() < value.len() {
            let piece = bytes.get(sent..bytes.len().min(sent + 30_000)).unwrap();
            let piece = if value.len() < 100 { piece.get(..1).unwrap_or_default() } else { piece };
            sent += (&standin.stream).write(piece).unwrap_or_default();
            service.round();
            let _ = (&client).read_to_end(&mut got);
        }
        service.round();
        let _ = (&client).read_to_end(&mut got);
        assert_eq!(got.len(), "status|0|value|||".len() + value.len());
    }
}

#[test]
fn random_bytes_for_answers_cost_temporary_errors_at_most() {
    let mut numbers = Numbers(0x00A5_5E55);
    let mut wrong = 0;
    for _ in 0..400 {
        let mut service = Service::timeless();
        let mut standin = service.standin();
        let clients: Vec<(UnixStream, u32)> = (0..4).map(|_| waiting(&mut service, &mut standin)).collect();
        let mut bytes = Vec::new();
        for (_, ticket) in &clients {
            let answered = match numbers.below(4) {
                0 => Answered::Absent,
                1 => Answered::Failed { why: NoAnswer::Later, reason: "why" },
                _ => Answered::Found { with_nul: numbers.below(2) == 0, value: b"some value" },
            };
            bytes.extend(frame(*ticket, answered));
        }
        for _ in 0..numbers.below(4) {
            let place = numbers.below(bytes.len());
            match numbers.below(3) {
                0 => bytes[place] = u8::try_from(numbers.below(256)).unwrap(),
                1 => drop(bytes.remove(place)),
                _ => bytes.insert(place, u8::try_from(numbers.below(256)).unwrap()),
            }
        }
        for piece in bytes.chunks(1 + numbers.below(40)) {
            // The worker may have dropped us by now.
            let _ = (&standin.stream).write(piece);
            service.round();
        }
        wait(Duration::from_secs(60));
        service.round();
        for (client, _) in &clients {
            let got = texts(client);
            assert_eq!(got.len(), 1, "one reply each: {got:?}");
            wrong += usize::from(got[0] == "status|2|value|||");
        }
    }
    assert!((100..1500).contains(&wrong), "{wrong}");
}

#[test]
fn peer_that_does_not_read_has_a_bounded_queue_and_others_are_asked() {
    let mut service = Service::timeless();
    let _deaf = service.standin();
    let key = "k".repeat(200 << 10);
    let clients: Vec<UnixStream> = (0..8).map(|_| service.client()).collect();
    for mut client in &clients {
        let bytes = lookups(RULES, std::iter::once(key.clone()));
        let mut sent = 0;
        while sent < bytes.len() {
            sent += client.write(&bytes[sent..]).unwrap_or_default();
            service.round();
        }
        // All that has come is read.
        (0..20).for_each(|_| service.round());
    }
    assert!(service.worker.elsewhere.unsent() <= (64 << 10) + key.len() + 64);
    // Whoever reads gets those that wait.
    let mut standin = service.standin();
    let mut waiting = 0;
    for _ in 0..200 {
        waiting += standin.questions().len();
        service.round();
    }
    assert!(waiting >= 5, "{waiting}");
}

/// Else the peer would have as much queued as is allowed, and not read what is withdrawn.
#[test]
fn long_keys_that_one_peer_has_at_a_time_are_bounded() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let key = "k".repeat(250 << 10);
    let bytes = lookups(RULES, std::iter::once(key));
    let (mut clients, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let client = service.client();
        let mut sent = 0;
        while sent < bytes.len() {
            sent += (&client).write(&bytes[sent..]).unwrap_or_default();
            service.round();
            asked.extend(standin.questions());
        }
        for _ in 0..20 {
            service.round();
            asked.extend(standin.questions());
        }
        clients.push(client);
    }
    // 16 MiB are 66 of them.
    assert_eq!(asked.len(), 66);
    standin.answer(asked[0].ticket, Answered::Absent);
    for _ in 0..20 {
        service.round();
        asked.extend(standin.questions());
    }
    assert_eq!(asked.len(), 67, "one answer, one question more");
    // Their clients have gone: those that wait are asked in their place.
    clients.drain(..67).for_each(drop);
    for _ in 0..400 {
        service.round();
        asked.extend(standin.questions());
    }
    assert_eq!(asked.len(), 100);
}

#[test]
fn bytes_of_waiting_requests_are_bounded_for_all_together() {
    let mut service = Service::timeless();
    let key = "k".repeat(250 << 10);
    let bytes = lookups(RULES, std::iter::once(key));
    let mut clients = Vec::new();
    for _ in 0..300 {
        let client = service.client();
        let mut sent = 0;
        while sent < bytes.len() {
            match (&client).write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
            service.round();
        }
        (0..20).for_each(|_| service.round());
        clients.push(client);
    }
    let closed: u32 = service
        .unread
        .iter()
        .map(|said| if let LookupToBroker::Closed(count) = said { *count } else { 0 })
        .sum();
    // 64 MiB are 262 of them.
    assert!((30..=45).contains(&closed), "{closed}");
    assert!(service.worker.elsewhere.is_waited_for());
}

#[test]
fn what_answers_leave_behind_in_requests_that_wait_is_bounded_too() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let clients: Vec<UnixStream> = (0..150).map(|_| service.client()).collect();
    clients.iter().for_each(|client| ask(client, PIPE, "k"));
    service.round();
    // The answer of the first member is the key for the next two: it is kept twice, and once more in the question.
    let value = vec![b'v'; 200 << 10];
    for put in standin.questions() {
        let bytes = frame(put.ticket, Answered::Found { with_nul: false, value: &value });
        let mut sent = 0;
        while sent < bytes.len() {
            sent += (&standin.stream).write(&bytes[sent..]).unwrap_or_default();
            service.round();
        }
        standin.questions();
    }
    (0..20).for_each(|_| service.round());
    let closed = |client: &mut &UnixStream| client.read(&mut [0]).is_ok_and(|count| count == 0);
    let closed = clients.iter().map(|mut client| closed(&mut client)).filter(|closed| *closed).count();
    // 64 MiB are 109 of them.
    assert!((35..=45).contains(&closed), "{closed}");
}

#[test]
fn room_in_the_stream_to_a_peer_is_waited_for_and_then_no_longer() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let key = "k".repeat(10 << 10);
    let clients: Vec<UnixStream> = (0..100).map(|_| service.client()).collect();
    clients.iter().for_each(|client| ask(client, RULES, &key));
    (0..20).for_each(|_| service.round());
    let (mut asked, mut events) = (0, [EpollEvent::empty(); 8]);
    loop {
        let before = asked;
        asked += standin.questions().len();
        if asked == clients.len() {
            break;
        }
        assert!(asked > before, "no more than {asked} come");
        let told = service.worker.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap();
        assert!(told > 0, "nothing tells of the room that there is");
        assert!(service.worker.round().unwrap());
    }
    assert_eq!(
        service.worker.epoll.wait(&mut events, EpollTimeout::ZERO),
        Ok(0),
        "there is room: {events:?}"
    );
}
