//! One commit for all that wait, and no reply before it.

use super::*;
use mapkeep_table_store::StoreError;

#[test]
fn many_clients_share_one_commit() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let gate = Gate::new(&fake);
    let mut first = broker.client();
    let mut clients: Vec<Client> = (0..16).map(|_| broker.client()).collect();
    gate.hold_up(&mut first);
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&update(TABLE, &format!("k{number}")));
    }
    gate.leave();
    assert_eq!(first.receive(), "status|0||");
    gate.entered();
    gate.leave();
    for client in &mut clients {
        assert_eq!(client.receive(), "status|0||");
    }
    let script = fake.script();
    assert_eq!(script.commits, [1, 16]);
    assert_eq!(script.entries.len(), 17);
    assert_eq!(script.entries.get(&b"k7\0"[..]), Some(&b"v-k7\0".to_vec()));
}

#[test]
fn no_reply_leaves_before_the_commit() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake), (OTHER, &Fake::default())]);
    let gate = Gate::new(&fake);
    let mut first = broker.client();
    let mut clients: Vec<Client> = (0..5).map(|_| broker.client()).collect();
    gate.hold_up(&mut first);
    // What each client has received by the time of the commit that its request is part of.
    let received = Arc::new(Mutex::new(Vec::new()));
    let watched: Vec<_> = clients.iter().map(|client| client.stream.try_clone().unwrap()).collect();
    let seen = Arc::clone(&received);
    fake.script().on_commit = Some(Arc::new(Mutex::new(move || {
        seen.lock().unwrap().extend(watched.iter().map(Client::arrived));
    })));
    // An update, an update without effect, a request for another table, an open, and a refusal.
    for (client, request) in clients.iter_mut().zip([
        update(TABLE, "a"),
        lookup(TABLE, "a"),
        lookup(OTHER, "a"),
        format!("request|open|table|{TABLE}|flags|0||"),
        lookup("btree:/unapproved", "a"),
    ]) {
        client.send(&request);
    }
    gate.leave();
    assert_eq!(first.receive(), "status|0||");
    let replies: Vec<String> = clients.iter_mut().map(Client::receive).collect();
    assert_eq!(replies[0], "status|0||");
    assert_eq!(replies[3], "status|0|flags|28||");
    assert_eq!(replies[4], "status|4|value|||");
    assert_eq!(*received.lock().unwrap(), [0; 5]);
}

#[test]
fn lookup_before_any_change_waits_for_no_commit() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let gate = Gate::new(&fake);
    let (mut first, mut reader, mut updater) = (broker.client(), broker.client(), broker.client());
    gate.hold_up(&mut first);
    reader.send(&lookup(TABLE, "first"));
    updater.send(&update(TABLE, "second"));
    gate.leave();
    assert_eq!(first.receive(), "status|0||");
    gate.entered();
    // The commit of what came after it has begun, and stands still.
    assert_eq!(reader.receive(), "status|0|value|v-first||");
    assert_eq!(Client::arrived(&updater.stream), 0);
    gate.leave();
    assert_eq!(updater.receive(), "status|0||");
}

#[test]
fn change_that_fails_takes_the_replies_of_other_clients_back() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let gate = Gate::new(&fake);
    let mut first = broker.client();
    let mut clients: Vec<Client> = (0..3).map(|_| broker.client()).collect();
    gate.hold_up(&mut first);
    clients[0].send(&update(TABLE, "a"));
    clients[1].send(&update(TABLE, "b"));
    clients[2].send(&lookup(TABLE, "first"));
    fake.script().put_fails_for = Some(b"b\0".to_vec());
    gate.leave();
    assert_eq!(first.receive(), "status|0||");
    assert_eq!(clients[0].receive(), "status|2||");
    assert_eq!(clients[1].receive(), "status|2||");
    assert_eq!(clients[2].receive(), "status|2|value|||");
    assert_eq!(fake.script().commits, [1]);
    gate.open(&fake);
    assert_eq!(clients[0].ask(&lookup(TABLE, "a")), "status|1|value|||");
}

#[test]
fn failed_commit_makes_every_reply_about_the_table_a_temporary_error() {
    let (fake, other) = (Fake::default(), Fake::default());
    let broker = Broker::with_fakes(&[(TABLE, &fake), (OTHER, &other)]);
    let mut first = broker.client();
    assert_eq!(first.ask(&update(TABLE, "old")), "status|0||");
    let gate = Gate::new(&fake);
    let mut clients: Vec<Client> = (0..6).map(|_| broker.client()).collect();
    gate.hold_up(&mut first);
    clients[0].send(&update(TABLE, "new"));
    clients[1].send(&lookup(TABLE, "old"));
    clients[2].send(&format!("request|delete|table|{TABLE}|instance_flags|0|flags|28|key|old||"));
    // One client's replies about another table stand, before and after those that do not.
    let pipeline = [
        update(OTHER, "o"),
        format!("request|open|table|{TABLE}|flags|0||"),
        update(TABLE, "new"),
        "request|nonsense||".to_owned(),
        sequence(TABLE, 0),
        lookup(OTHER, "o"),
    ];
    clients[3].send(&pipeline.concat());
    clients[4].send(&sequence(TABLE, 0));
    clients[5].send(&lookup(OTHER, "none"));
    gate.leave();
    assert_eq!(first.receive(), "status|0||");
    gate.entered();
    fake.script().commit_fails = Some(StoreError::NoRoom("quota".to_owned()));
    gate.leave();
    assert_eq!(clients[0].receive(), "status|2||");
    assert_eq!(clients[1].receive(), "status|2|value|||");
    assert_eq!(clients[2].receive(), "status|2|flags|284||");
    for reply in [
        "status|0||",
        "status|0|flags|28||",
        "status|2||",
        "status|3||",
        "status|2|key||value|||",
        "status|0|value|v-o||",
    ] {
        assert_eq!(clients[3].receive(), reply);
    }
    assert_eq!(clients[4].receive(), "status|2|key||value|||");
    assert_eq!(clients[5].receive(), "status|1|value|||");
    // Nothing of it has been done, and the next request is a new beginning.
    gate.open(&fake);
    assert_eq!(clients[0].ask(&lookup(TABLE, "old")), "status|0|value|v-old||");
    assert_eq!(clients[0].ask(&lookup(TABLE, "new")), "status|1|value|||");
    assert_eq!(clients[0].ask(&update(TABLE, "new")), "status|0||");
    // A scan that began with a reply which does not hold has not begun.
    assert_eq!(clients[4].ask(&sequence(TABLE, 1)), "status|1|key||value|||");
    assert_eq!(other.script().entries.len(), 1);
}

#[test]
fn change_that_fails_takes_its_group_along_and_nothing_else() {
    let (fake, other) = (Fake::default(), Fake::default());
    let broker = Broker::with_fakes(&[(TABLE, &fake), (OTHER, &other)]);
    let mut client = broker.client();
    fake.script().put_fails = Some(StoreError::Io("broken disk".to_owned()));
    let pipeline =
        [lookup(TABLE, "a"), update(OTHER, "o"), update(TABLE, "a"), update(TABLE, "b"), lookup(TABLE, "b")];
    client.send(&pipeline.concat());
    for reply in ["status|2|value|||", "status|0||", "status|2||", "status|2||", "status|2|value|||"] {
        assert_eq!(client.receive(), reply);
    }
    assert_eq!(fake.script().undone, 1);
    assert!(fake.script().commits.is_empty());
    assert_eq!(client.ask(&update(TABLE, "a")), "status|0||");
    assert_eq!(other.script().commits, [1]);
}

#[test]
fn key_that_does_not_fit_leaves_the_rest_of_the_group() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(OTHER, &fake)]);
    let mut client = broker.client();
    let long = "k".repeat(511);
    client
        .send(&[update(OTHER, "a"), update(OTHER, &long), update(OTHER, "b"), lookup(OTHER, &long)].concat());
    for reply in ["status|0||", "status|5||", "status|0||", "status|1|value|||"] {
        assert_eq!(client.receive(), reply);
    }
    assert_eq!(fake.script().commits, [2]);
    let large = format!("request|update|table|{OTHER}|flags|64|key|k|value|{}||", "v".repeat(1 << 20));
    assert_eq!(client.ask(&large), "status|5||");
}

#[test]
fn lookup_that_fails_leaves_the_group() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let mut client = broker.client();
    fake.script().get_fails = Some(StoreError::Busy);
    client.send(&[update(TABLE, "a"), lookup(TABLE, "a"), lookup(TABLE, "a")].concat());
    for reply in ["status|0||", "status|2|value|||", "status|0|value|v-a||"] {
        assert_eq!(client.receive(), reply);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_in_one_group() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let mut client = broker.client();
    let requests: Vec<String> = (0..100)
        .flat_map(|number| {
            let key = format!("k{number:03}");
            [update(TABLE, &key), lookup(TABLE, &key)]
        })
        .collect();
    client.send(&requests.concat());
    for number in 0..100 {
        assert_eq!(client.receive(), "status|0||");
        assert_eq!(client.receive(), format!("status|0|value|v-k{number:03}||"));
    }
    assert_eq!(fake.script().commits.iter().sum::<usize>(), 100);
    assert_eq!(client.ask(&sequence(TABLE, 0)), "status|0|key|k000|value|v-k000||");
    assert_eq!(client.ask(&sequence(TABLE, 1)), "status|0|key|k001|value|v-k001||");
    // Nothing was changed: nothing is committed.
    let commits = fake.script().commits.len();
    assert_eq!(client.ask(&lookup(TABLE, "k050")), "status|0|value|v-k050||");
    assert_eq!(fake.script().commits.len(), commits);
}

#[test]
fn flood_of_one_client_does_not_keep_others_waiting() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let gate = Gate::new(&fake);
    let mut first = broker.client();
    let mut floods: Vec<Client> = (0..8).map(|_| broker.client()).collect();
    let mut one = broker.client();
    gate.hold_up(&mut first);
    // Far more than one turn answers.
    let flood: String = (0..1000).map(|number| update(TABLE, &format!("f{number}"))).collect();
    for client in &mut floods {
        client.send(&flood);
    }
    one.send(&update(TABLE, "one"));
    gate.leave();
    assert_eq!(first.receive(), "status|0||");
    // The clients take turns: this one's request is in a commit long before the last of the others'.
    let mut turns = 0;
    while !fake.script().entries.contains_key(&b"one\0"[..]) {
        gate.entered();
        gate.leave();
        turns += 1;
    }
    gate.open(&fake);
    assert!(turns < 8, "{turns}");
    assert_eq!(one.receive(), "status|0||");
    for client in &mut floods {
        for _ in 0..1000 {
            assert_eq!(client.receive(), "status|0||");
        }
    }
    let script = fake.script();
    assert!(script.commits.iter().all(|changes| *changes <= 1000), "{:?}", script.commits);
    assert_eq!(script.commits.iter().sum::<usize>(), 8 * 1000 + 2);
}

#[test]
fn stores_rest_after_each_turn() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let mut client = broker.client();
    for asked in 1..4 {
        client.ask(&lookup(TABLE, "a"));
        // The reply to this asks of no store, and comes in the turn after.
        client.ask(&format!("request|open|table|{TABLE}|flags|0||"));
        assert_eq!(fake.script().rests, asked);
    }
}

#[test]
fn scan_continues_past_entries_that_are_removed_and_stored_meanwhile() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let (mut scan, mut other) = (broker.client(), broker.client());
    for key in ["a", "b", "c", "d"] {
        other.ask(&update(TABLE, key));
    }
    assert_eq!(scan.ask(&sequence(TABLE, 1)), "status|1|key||value|||", "NEXT without FIRST");
    assert_eq!(scan.ask(&sequence(TABLE, 0)), "status|0|key|a|value|v-a||");
    assert_eq!(scan.ask(&sequence(TABLE, 1)), "status|0|key|b|value|v-b||");
    for key in ["b", "c"] {
        other.ask(&format!("request|delete|table|{TABLE}|flags|64|key|{key}||"));
    }
    other.ask(&update(TABLE, "aa"));
    other.ask(&update(TABLE, "cc"));
    assert_eq!(other.ask(&sequence(TABLE, 0)), "status|0|key|a|value|v-a||", "a cursor of its own");
    assert_eq!(scan.ask(&sequence(TABLE, 1)), "status|0|key|cc|value|v-cc||");
    assert_eq!(scan.ask(&sequence(TABLE, 1)), "status|0|key|d|value|v-d||");
    assert_eq!(scan.ask(&sequence(TABLE, 1)), "status|1|key||value|||");
    assert_eq!(scan.ask(&sequence(TABLE, 1)), "status|1|key||value|||", "NEXT after the end");
}

#[test]
fn garbage_closes_one_connection_after_earlier_requests_are_answered() {
    let fake = Fake::default();
    let broker = Broker::with_fakes(&[(TABLE, &fake)]);
    let (mut bad, mut good) = (broker.client(), broker.client());
    bad.send(&(update(TABLE, "a") + "|||garbage"));
    assert_eq!(bad.receive(), "status|0||");
    assert_eq!(bad.try_receive(), None);
    assert_eq!(good.ask(&lookup(TABLE, "a")), "status|0|value|v-a||");
    // One that goes in the middle of a request, and one that goes before its reply.
    broker.client().send("request|update|table");
    broker.client().send(&update(TABLE, "b"));
    while good.ask(&lookup(TABLE, "b")) != "status|0|value|v-b||" {}
}
