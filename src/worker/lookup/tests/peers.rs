//! The loop with a process that answers, with several, or with none.

use super::standin::*;
use super::*;
use mapkeep_proto::{Answer, Answered, Manner, NoAnswer, Question};

#[test]
fn answers_may_come_in_any_order() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let clients: Vec<UnixStream> = (0..3).map(|_| service.client()).collect();
    for (number, client) in clients.iter().enumerate() {
        ask(client, RULES, &format!("k{number}"));
    }
    service.round();
    let questions = standin.questions();
    assert_eq!(questions.len(), 3);
    let mut numbers: Vec<u64> = questions.iter().map(|put| put.client).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), 3, "each client is told apart");
    for put in questions.iter().rev() {
        assert_eq!(put.table, RULES_ID);
        standin.answer_well(put);
    }
    service.round();
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(texts(client), [format!("status|0|value|T2-k{number}||")]);
    }
}

#[test]
fn a_client_has_one_question_at_a_time_and_is_answered_in_order() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let client = service.client();
    for (table, key) in [(FINE, "1"), (RULES, "a"), (FINE, "2"), (RULES, "b"), (FINE, "3")] {
        ask(&client, table, key);
    }
    service.round();
    let first = standin.questions();
    assert_eq!((first.len(), texts(&client).len()), (1, 1), "what came before is answered");
    ask(&client, FINE, "4");
    service.round();
    assert_eq!((standin.questions().len(), texts(&client).len()), (0, 0));
    standin.answer_well(&first[0]);
    service.round();
    service.round();
    assert_eq!(texts(&client), ["status|0|value|T2-a||", "status|0|value|fine||"]);
    let second = standin.questions().pop().unwrap();
    standin.answer_well(&second);
    for _ in 0..3 {
        service.round();
    }
    let fine = "status|0|value|fine||";
    assert_eq!(texts(&client), ["status|0|value|T2-b||", fine, fine]);
}

#[test]
fn clients_of_other_tables_are_served_in_the_same_round() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let waiting: Vec<UnixStream> = (0..50).map(|_| service.client()).collect();
    let mut other = service.client();
    for round in 0..20 {
        waiting.iter().for_each(|client| ask(client, RULES, &format!("{round}")));
        other.write_all(&fine(3)).unwrap();
        service.round();
        assert_eq!(replies(&other), 3, "in the very round in which they are asked, whoever waits");
    }
    assert_eq!(standin.questions().len(), 50);
}

#[test]
fn manner_follows_from_the_request() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let mut client = service.client();
    let utf8_and_folding = 524_288 + 32_768;
    for (flags, key, shown) in
        [(12, "K", "K"), (8 + 0x800, "K", "K"), (utf8_and_folding, "K", "k"), (2_097_152, "K", "K")]
    {
        let request = format!("request|lookup|table|{RULES}|flags|{flags}|key|{key}||").replace('|', "\0");
        client.write_all(request.as_bytes()).unwrap();
        service.round();
        let put = standin.questions().pop().unwrap();
        assert_eq!(put.key.as_deref(), Some(shown.as_bytes()), "{flags}");
        let manner = Manner {
            with_nul: flags & 8 != 0,
            bare: flags & 4 != 0,
            substitution: flags & 0x800 == 0,
            utf8: flags == utf8_and_folding,
            file_content: flags == 2_097_152,
        };
        assert_eq!(put.manner, Some(manner), "{flags}");
        standin.answer(put.ticket, Answered::Absent);
        service.round();
        assert_eq!(texts(&client), ["status|1|value|||"]);
    }
}

#[test]
fn listing_is_a_question_whether_the_table_can_be_asked() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let mut client = service.client();
    let missing = Answered::Failed { why: NoAnswer::Unavailable, reason: "its file does not exist" };
    for (answered, reply) in
        [(Answered::Absent, "status|5|key||value|||"), (missing, "status|2|key||value|||")]
    {
        let request = format!("request|sequence|table|{RULES}|flags|64|function|0||").replace('|', "\0");
        client.write_all(request.as_bytes()).unwrap();
        service.round();
        let put = standin.questions().pop().unwrap();
        assert!(put.key.is_none());
        standin.answer(put.ticket, answered);
        service.round();
        assert_eq!(texts(&client).concat(), reply);
    }
}

#[test]
fn failures_have_the_status_of_their_class() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let client = service.client();
    for (why, status) in [
        (NoAnswer::Later, 2),
        (NoAnswer::OnPurpose, 2),
        (NoAnswer::Unavailable, 2),
        (NoAnswer::Unsupported, 5),
        (NoAnswer::NotUtf8, 5),
    ] {
        for table in [RULES, PIPE] {
            ask(&client, table, "k");
            service.round();
            let put = standin.questions().pop().unwrap();
            standin.answer(put.ticket, Answered::Failed { why, reason: "reason" });
            service.round();
            assert_eq!(texts(&client), [format!("status|{status}|value|||")], "{why:?} {table}");
        }
    }
}

#[test]
fn members_here_that_fail_end_the_lookup_after_those_elsewhere() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let client = service.client();
    for table in [FAILING, MISSING] {
        ask(&client, table, "k");
        service.round();
        let put = standin.questions().pop().unwrap();
        assert_eq!(put.table, RULES_ID);
        standin.answer_well(&put);
        service.round();
        assert_eq!(texts(&client), [RETRY], "{table}");
    }
}

#[test]
fn least_loaded_peer_is_asked() {
    let mut service = Service::timeless();
    let (mut one, mut other) = (service.standin(), service.standin());
    let clients: Vec<UnixStream> = (0..10).map(|_| service.client()).collect();
    clients.iter().for_each(|client| ask(client, RULES, "k"));
    service.round();
    let (at_one, at_other) = (one.questions(), other.questions());
    assert_eq!((at_one.len(), at_other.len()), (5, 5));
    // One gets on with its work; so it gets more.
    at_one.iter().for_each(|put| one.answer_well(put));
    service.round();
    clients.iter().for_each(|client| ask(client, RULES, "k"));
    service.round();
    assert_eq!((one.questions().len(), other.questions().len()), (5, 0), "half of them still wait");
}

#[test]
fn questions_wait_for_a_peer_and_then_for_no_longer_than_the_rest_of_the_time() {
    let mut service = Service::timeless();
    let clients: Vec<UnixStream> = (0..3).map(|_| service.client()).collect();
    clients.iter().for_each(|client| ask(client, RULES, "k"));
    service.round();
    wait(Duration::from_secs(59));
    let mut standin = service.standin();
    let questions = standin.questions();
    assert_eq!(questions.len(), 3);
    standin.answer_well(&questions[0]);
    service.round();
    let answered = |client: &&UnixStream| texts(client) == ["status|0|value|T2-k||"];
    assert_eq!(clients.iter().filter(answered).count(), 1);
    wait(Duration::from_secs(1));
    service.round();
    let given_up = |client: &&UnixStream| texts(client) == [RETRY];
    assert_eq!(clients.iter().filter(given_up).count(), 2);
    assert!(!service.worker.elsewhere.is_waited_for());
    // The peer is told, and an answer that was on its way changes nothing.
    standin.questions();
    assert_eq!(standin.withdrawn, [questions[1].ticket, questions[2].ticket]);
    standin.answer_well(&questions[1]);
    service.round();
    assert!(clients.iter().all(|client| texts(client).is_empty()) && !standin.is_dropped());
}

#[test]
fn all_questions_of_a_request_have_one_deadline() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let client = service.client();
    ask(&client, UNION, "k");
    service.round();
    wait(Duration::from_secs(58));
    let first = standin.questions().pop().unwrap();
    standin.answer_well(&first);
    service.round();
    assert_eq!(standin.questions().len(), 1, "the second member");
    wait(Duration::from_secs(1));
    ask(&client, FINE, "k");
    service.round();
    assert!(texts(&client).is_empty());
    wait(Duration::from_secs(1));
    service.round();
    assert_eq!(texts(&client)[0], RETRY, "a minute after the request, not after the question");
}

#[test]
fn questions_of_a_peer_that_dies_fail_at_once_and_others_go_to_the_next() {
    let mut service = Service::timeless();
    let mut dying = service.standin();
    let (lost, next) = (service.client(), service.client());
    ask(&lost, RULES, "k");
    service.round();
    assert_eq!(dying.questions().len(), 1);
    drop(dying);
    ask(&next, RULES, "k");
    service.round();
    assert_eq!(texts(&lost), [RETRY]);
    assert!(texts(&next).is_empty());
    let mut standin = service.standin();
    let put = standin.questions().pop().unwrap();
    standin.answer_well(&put);
    service.round();
    assert_eq!(texts(&next), ["status|0|value|T2-k||"]);
}

#[test]
fn client_that_leaves_takes_its_question_back() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let (leaves, stays) = (service.client(), service.client());
    ask(&leaves, RULES, "k");
    ask(&stays, RULES, "k");
    service.round();
    let questions = standin.questions();
    drop(leaves);
    service.round();
    standin.questions();
    assert_eq!(standin.withdrawn, [questions[0].ticket]);
    assert_eq!(service.received(), LookupToBroker::Closed(1));
    questions.iter().for_each(|put| standin.answer_well(put));
    service.round();
    assert_eq!(texts(&stays), ["status|0|value|T2-k||"]);
    assert!(!standin.is_dropped() && !service.worker.elsewhere.is_waited_for());
}

#[test]
fn nothing_is_asked_for_a_client_that_has_disconnected_when_its_request_is_read() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    for _ in 0..20 {
        ask(&service.client(), RULES, "k");
    }
    service.round();
    assert!(service.worker.clients.is_empty() && !service.worker.elsewhere.is_waited_for());
    assert!(standin.questions().is_empty() && standin.withdrawn.is_empty());
}

#[test]
fn client_that_leaves_before_a_peer_is_there_leaves_nothing() {
    let mut service = Service::timeless();
    let leaves = service.client();
    ask(&leaves, RULES, "k");
    service.round();
    assert_eq!(service.worker.elsewhere.untaken(), 1);
    drop(leaves);
    service.round();
    assert_eq!(service.worker.elsewhere.untaken(), 0);
    let mut standin = service.standin();
    assert!(standin.questions().is_empty() && standin.withdrawn.is_empty());
    assert!(!service.worker.elsewhere.is_waited_for());
}

#[test]
fn worker_that_drains_waits_for_the_answers_of_its_clients() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let (waits, silent) = (service.client(), service.client());
    ask(&waits, RULES, "k");
    service.round();
    service.tell(BrokerToLookup::Finish, None);
    for _ in 0..6 {
        wait(Duration::from_secs(1));
        service.round();
    }
    assert_eq!(service.received(), LookupToBroker::Closed(1));
    assert_eq!((&silent).read(&mut [0]).unwrap(), 0, "the silent one has been let go");
    let put = standin.questions().pop().unwrap();
    standin.answer_well(&put);
    service.round();
    assert_eq!(texts(&waits), ["status|0|value|T2-k||"]);
    drop(waits);
    assert!(!service.worker.round().unwrap(), "the last client has gone");
}

#[test]
fn worker_whose_broker_has_gone_gives_answers_that_have_come() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let client = service.client();
    ask(&client, RULES, "k");
    service.round();
    let put = standin.questions().pop().unwrap();
    drop(service.broker);
    standin.answer_well(&put);
    assert!(!service.worker.round().unwrap());
    assert_eq!(texts(&client), ["status|0|value|T2-k||"]);
}

#[test]
fn worker_whose_broker_has_gone_waits_for_answers_that_are_still_to_come() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let client = service.client();
    ask(&client, RULES, "k");
    drop(service.broker);
    let answering = std::thread::spawn(move || {
        standin.stream.set_nonblocking(false).unwrap();
        // The question is asked only by the worker's last round. Its head says how long it is.
        let mut head = [0; 4];
        standin.stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_le_bytes(head).try_into().unwrap()];
        standin.stream.read_exact(&mut body).unwrap();
        let ticket = Question::decode(&body).unwrap().ticket;
        standin.answer(ticket, Answered::Absent);
        standin
    });
    assert!(!service.worker.round().unwrap());
    assert_eq!(texts(&client), ["status|1|value|||"]);
    answering.join().unwrap();
}

#[test]
fn key_that_is_too_long_for_a_question_is_a_temporary_error() {
    let mut service = Service::timeless();
    let mut standin = service.standin();
    let mut client = service.client();
    // Folding makes six bytes of each two.
    let key = "\u{390}".repeat(100 << 10);
    let request = format!("request|lookup|table|{RULES}|flags|{}|key|{key}||", 524_288 + 32_768);
    let request = request.replace('|', "\0");
    let mut sent = 0;
    while sent < request.len() {
        sent += client.write(&request.as_bytes()[sent..]).unwrap_or_default();
        service.round();
    }
    (0..20).for_each(|_| service.round());
    assert_eq!((texts(&client), standin.questions().len()), (vec![RETRY.to_owned()], 0));
    // So is the answer of one member that is the key for the next.
    ask(&client, PIPE, "k");
    service.round();
    let put = standin.questions().pop().unwrap();
    let value = vec![b'v'; mapkeep_proto::MAX_KEY + 1];
    let mut frame = Vec::new();
    let answered = Answered::Found { with_nul: false, value: &value };
    Answer { ticket: put.ticket, answered }.encode(&mut frame);
    let mut sent = 0;
    while sent < frame.len() {
        sent += standin.stream.write(&frame[sent..]).unwrap_or_default();
        service.round();
    }
    (0..20).for_each(|_| service.round());
    assert_eq!((texts(&client), standin.questions().len()), (vec![RETRY.to_owned()], 0));
}

#[test]
fn message_for_the_other_kind_of_worker_is_an_error() {
    let mut service = Service::timeless();
    let (_, end) = UnixStream::pair().unwrap();
    service.broker.send(&BrokerToLookup::Asker.encode(), &[end.as_fd()]).unwrap();
    assert!(service.worker.round().is_err());
}
