//! The loop with gateways: who is asked for which table, and for how long.

use super::standin::*;
use super::*;
use mapkeep_proto::{Answered, GatewayId, Group, NoAnswer};

const ONE: GatewayId = GatewayId(1);
const OTHER: GatewayId = GatewayId(2);

fn id_of(table: &str) -> TableId {
    let place = TABLES.iter().position(|name| *name == table).unwrap();
    TableId(RULES_ID.0 + u16::try_from(place).unwrap())
}

impl Service {
    /// Has the gateway asked for the table, with ten seconds for each answer.
    fn route(&mut self, table: &str, gateway: GatewayId) {
        self.tell(BrokerToLookup::Routed { id: id_of(table), gateway, milliseconds: 10_000 }, None);
    }

    /// One whose socketmap table is asked of the one gateway, and whose tcp table of the other.
    fn routed() -> Service {
        let mut service = Service::timeless();
        service.route(SOCKETMAP, ONE);
        service.route(TCP, OTHER);
        service
    }
}

#[test]
fn each_table_is_asked_of_its_own_group_only() {
    let mut service = Service::routed();
    let mut rules = service.standin();
    let (mut one, mut other) = (service.peer(Group::Gateway(ONE)), service.peer(Group::Gateway(OTHER)));
    let clients: Vec<UnixStream> = (0..3).map(|_| service.client()).collect();
    for (client, table) in clients.iter().zip([RULES, SOCKETMAP, TCP]) {
        ask(client, table, "k");
    }
    service.round();
    for (standin, table) in [(&mut rules, RULES), (&mut one, SOCKETMAP), (&mut other, TCP)] {
        let questions = standin.questions();
        assert_eq!(questions.iter().map(|put| put.table).collect::<Vec<_>>(), [id_of(table)]);
        standin.answer_well(&questions[0]);
    }
    service.round();
    for (client, table) in clients.iter().zip([RULES, SOCKETMAP, TCP]) {
        assert_eq!(texts(client), [format!("status|0|value|T{}-k||", id_of(table).0)]);
    }
}

#[test]
fn gateway_cannot_answer_for_another() {
    let mut service = Service::routed();
    let (mut one, mut other) = (service.peer(Group::Gateway(ONE)), service.peer(Group::Gateway(OTHER)));
    let client = service.client();
    ask(&client, SOCKETMAP, "k");
    service.round();
    let put = one.questions().pop().unwrap();
    other.answer(put.ticket, Answered::Found { with_nul: false, value: b"forged" });
    service.round();
    assert!(other.is_dropped() && texts(&client).is_empty());
    one.answer(put.ticket, Answered::Absent);
    service.round();
    assert_eq!(texts(&client), ["status|1|value|||"]);
}

#[test]
fn table_that_no_gateway_is_known_for_is_a_temporary_error_at_once() {
    let mut service = Service::timeless();
    let _one = service.peer(Group::Gateway(ONE));
    let client = service.client();
    for table in [SOCKETMAP, TCP, BOTH, BAD_SERVER] {
        ask(&client, table, "k");
        service.round();
        assert_eq!(texts(&client), [RETRY], "{table}");
    }
    assert!(!service.worker.elsewhere.is_waited_for());
}

#[test]
fn questions_wait_for_a_gateway_until_its_time_is_over() {
    let mut service = Service::routed();
    let client = service.client();
    ask(&client, SOCKETMAP, "k");
    service.round();
    // One second more than the gateway has, which is there to say why there is no answer.
    wait(Duration::from_millis(10_999));
    service.round();
    assert!(texts(&client).is_empty());
    wait(Duration::from_millis(1));
    service.round();
    assert_eq!(texts(&client), [RETRY]);
    ask(&client, SOCKETMAP, "k");
    service.round();
    let mut one = service.peer(Group::Gateway(ONE));
    let put = one.questions().pop().unwrap();
    one.answer_well(&put);
    service.round();
    assert_eq!(texts(&client).len(), 1);
}

#[test]
fn gateway_that_is_silent_is_told_that_nobody_waits_any_more() {
    let mut service = Service::routed();
    let mut one = service.peer(Group::Gateway(ONE));
    let client = service.client();
    ask(&client, SOCKETMAP, "k");
    service.round();
    let put = one.questions().pop().unwrap();
    wait(Duration::from_secs(11));
    service.round();
    assert_eq!(texts(&client), [RETRY]);
    assert!(one.questions().is_empty());
    assert_eq!(one.withdrawn, [put.ticket]);
}

#[test]
fn question_of_a_gateway_that_exits_fails_at_once_and_the_next_waits_for_another() {
    let mut service = Service::routed();
    let mut one = service.peer(Group::Gateway(ONE));
    let (lost, next) = (service.client(), service.client());
    ask(&lost, SOCKETMAP, "k");
    service.round();
    assert_eq!(one.questions().len(), 1);
    drop(one);
    service.round();
    assert_eq!(texts(&lost), [RETRY]);
    ask(&next, SOCKETMAP, "k");
    service.round();
    assert!(texts(&next).is_empty());
    let mut one = service.peer(Group::Gateway(ONE));
    let put = one.questions().pop().unwrap();
    one.answer_well(&put);
    service.round();
    assert_eq!(texts(&next).len(), 1);
}

#[test]
fn table_goes_to_another_gateway_when_the_broker_says_so() {
    let mut service = Service::routed();
    let (mut one, mut other) = (service.peer(Group::Gateway(ONE)), service.peer(Group::Gateway(OTHER)));
    let (before, after) = (service.client(), service.client());
    ask(&before, SOCKETMAP, "before");
    service.round();
    service.route(SOCKETMAP, OTHER);
    ask(&after, SOCKETMAP, "after");
    service.round();
    let (first, second) = (one.questions().pop().unwrap(), other.questions().pop().unwrap());
    one.answer_well(&first);
    other.answer_well(&second);
    service.round();
    for (client, key) in [(&before, "before"), (&after, "after")] {
        assert_eq!(texts(client), [format!("status|0|value|T{}-{key}||", id_of(SOCKETMAP).0)]);
    }
    // A table that is not a server's stays where it is.
    service.route(RULES, OTHER);
    ask(&after, RULES, "k");
    service.round();
    assert!(other.questions().is_empty());
}

#[test]
fn members_are_asked_of_their_own_gateways_and_the_request_keeps_its_first_deadline() {
    let mut service = Service::routed();
    let (mut one, mut other) = (service.peer(Group::Gateway(ONE)), service.peer(Group::Gateway(OTHER)));
    let client = service.client();
    ask(&client, BOTH, "k");
    service.round();
    let first = one.questions().pop().unwrap();
    wait(Duration::from_secs(6));
    one.answer_well(&first);
    service.round();
    let second = other.questions().pop().unwrap();
    assert_eq!(second.table, id_of(TCP));
    other.answer_well(&second);
    service.round();
    let (socketmap, tcp) = (id_of(SOCKETMAP).0, id_of(TCP).0);
    assert_eq!(texts(&client), [format!("status|0|value|T{socketmap}-k,s,T{tcp}-k||")]);
    ask(&client, BOTH, "k");
    service.round();
    let first = one.questions().pop().unwrap();
    wait(Duration::from_secs(6));
    one.answer_well(&first);
    service.round();
    assert_eq!(other.questions().len(), 1);
    wait(Duration::from_secs(5));
    service.round();
    assert_eq!(texts(&client), [RETRY], "eleven seconds after the request, not after the second question");
}

#[test]
fn member_that_a_server_answers_for_has_no_more_time_than_its_own() {
    let mut service = Service::routed();
    let (mut rules, _other) = (service.standin(), service.peer(Group::Gateway(OTHER)));
    let client = service.client();
    ask(&client, RULES_FIRST, "k");
    service.round();
    let put = rules.questions().pop().unwrap();
    rules.answer_well(&put);
    service.round();
    assert!(texts(&client).is_empty());
    wait(Duration::from_secs(11));
    service.round();
    assert_eq!(texts(&client), [RETRY], "not the minute that the first member had");
}

#[test]
fn client_that_wants_no_unauthenticated_data_is_asked_for_by_no_member() {
    let mut service = Service::routed();
    let (mut one, _other) = (service.peer(Group::Gateway(ONE)), service.peer(Group::Gateway(OTHER)));
    let mut client = service.client();
    for table in [SOCKETMAP, BOTH] {
        let request = format!("request|lookup|table|{table}|flags|{}|key|k||", 0x2000).replace('|', "\0");
        client.write_all(request.as_bytes()).unwrap();
        service.round();
        assert_eq!((texts(&client), one.questions().len()), (vec![RETRY.to_owned()], 0), "{table}");
    }
}

#[test]
fn permanent_failure_of_a_server_is_a_configuration_error() {
    let mut service = Service::routed();
    let mut one = service.peer(Group::Gateway(ONE));
    let client = service.client();
    for table in [SOCKETMAP, BOTH] {
        ask(&client, table, "k");
        service.round();
        let put = one.questions().pop().unwrap();
        let why = NoAnswer::Permanent;
        one.answer(put.ticket, Answered::Failed { why, reason: "no such map" });
        service.round();
        assert_eq!(texts(&client), ["status|5|value|||"], "{table}");
    }
}

/// 250 KiB for each of many clients: half of the 32 MiB that may wait for gateways.
#[test]
fn silent_gateway_takes_nobody_elses_room() {
    let mut service = Service::routed();
    let _silent = service.peer(Group::Gateway(ONE));
    let (mut other, mut rules) = (service.peer(Group::Gateway(OTHER)), service.standin());
    let bytes = lookups(SOCKETMAP, std::iter::once("k".repeat(250 << 10)));
    let (mut clients, mut refused) = (Vec::new(), 0);
    for _ in 0..300 {
        let client = service.client();
        let mut sent = 0;
        while sent < bytes.len() {
            sent += (&client).write(&bytes[sent..]).unwrap_or_default();
            service.round();
        }
        (0..20).for_each(|_| service.round());
        refused += usize::from(texts(&client) == [RETRY]);
        clients.push(client);
    }
    // 16 MiB are 65 of them, with what each counts for besides.
    assert_eq!(clients.len() - refused, 65);
    let (of_other, of_rules) = (service.client(), service.client());
    ask(&of_other, TCP, "k");
    ask(&of_rules, RULES, "k");
    service.round();
    for (standin, client) in [(&mut other, &of_other), (&mut rules, &of_rules)] {
        let put = standin.questions().pop().unwrap();
        standin.answer_well(&put);
        service.round();
        assert_eq!(texts(client).len(), 1);
    }
    assert!(service.unread.is_empty(), "nobody's connection is closed: {:?}", service.unread);
}
