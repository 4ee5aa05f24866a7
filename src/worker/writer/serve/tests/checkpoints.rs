//! Checkpoints, with a broker that makes files, puts them in place, or does not.

use super::*;
use crate::testing::STEPS;
use mapkeep_proto::{BrokerToWriter, TableId, WriterToBroker};
use mapkeep_table_store::StoreError;
use std::io::Write;
use std::os::fd::AsFd;

const ID: TableId = TableId(0);

fn served(fake: &Fake) -> (Broker, Client) {
    let broker = Broker::with_fakes(&[(TABLE, fake)]);
    let client = broker.client();
    (broker, client)
}

/// Hands out an empty file.
fn give_file(broker: &Broker, id: TableId, name: &str) {
    let file = broker.scratch.file(name);
    broker.say(BrokerToWriter::New(id), &[file.as_fd()]);
}

#[test]
fn table_that_has_changed_is_written_when_it_is_left_alone() {
    let fake = Fake::with_checkpoints();
    let (broker, mut client) = served(&fake);
    assert_eq!(client.ask(&update(TABLE, "a")), "status|0||");
    assert_eq!(broker.receive(), WriterToBroker::WantNew(ID));
    assert_eq!(fake.script().begun, 0);
    give_file(&broker, ID, "new");
    assert_eq!(broker.receive(), WriterToBroker::Replace(ID));
    assert_eq!(fake.look(|script| (script.begun, script.steps, script.placed)), (1, STEPS, 0));
    assert_eq!(std::fs::read(broker.scratch.path("new")).unwrap(), b"checkpoint");
    assert_eq!(client.ask(&lookup(TABLE, "a")), "status|0|value|v-a||");
    broker.say(BrokerToWriter::Replaced(ID), &[]);
    broker.say(BrokerToWriter::Ping(1), &[]);
    assert_eq!(broker.receive(), WriterToBroker::Pong(1));
    assert_eq!(fake.look(|script| (script.placed, script.unsaved)), (1, false));
    // Nothing has changed: nothing is due, unless a checkpoint is requested.
    broker.say(BrokerToWriter::Checkpoint, &[]);
    assert_eq!(broker.receive(), WriterToBroker::WantNew(ID));
    broker.say(BrokerToWriter::NotReplaced(ID), &[]);
    assert_eq!(broker.receive(), WriterToBroker::WantNew(ID), "again after a pause");
    assert_eq!(fake.script().given_up, 1);
}

#[test]
fn failed_checkpoint_is_abandoned_and_tried_again() {
    let fake = Fake::with_checkpoints();
    let (broker, _client) = served(&fake);
    broker.say(BrokerToWriter::Checkpoint, &[]);
    assert_eq!(broker.receive(), WriterToBroker::WantNew(ID));
    fake.script().step_fails = Some(StoreError::NoRoom("quota".to_owned()));
    give_file(&broker, ID, "first");
    assert_eq!(broker.receive(), WriterToBroker::Discard(ID));
    assert_eq!(broker.receive(), WriterToBroker::WantNew(ID));
    give_file(&broker, ID, "second");
    assert_eq!(broker.receive(), WriterToBroker::Replace(ID));
    // A file that was not requested.
    give_file(&broker, ID, "third");
    assert_eq!(broker.receive(), WriterToBroker::Discard(ID));
}

#[test]
fn one_checkpoint_is_written_at_a_time() {
    let (one, two) = (Fake::with_checkpoints(), Fake::with_checkpoints());
    let broker = Broker::with_fakes(&[(TABLE, &one), ("hash:/o", &two)]);
    broker.say(BrokerToWriter::Checkpoint, &[]);
    assert_eq!(broker.receive(), WriterToBroker::WantNew(ID));
    give_file(&broker, ID, "one");
    assert_eq!(broker.receive(), WriterToBroker::Replace(ID));
    broker.say(BrokerToWriter::Ping(1), &[]);
    assert_eq!(broker.receive(), WriterToBroker::Pong(1));
    broker.say(BrokerToWriter::Replaced(ID), &[]);
    assert_eq!(broker.receive(), WriterToBroker::WantNew(TableId(1)));
    assert_eq!((one.script().begun, two.script().begun), (1, 0));
}

#[test]
fn file_that_another_program_has_written_is_imported_before_it_is_replaced() {
    let fake = Fake::with_checkpoints();
    let (broker, mut client) = served(&fake);
    client.ask(&update(TABLE, "a"));
    assert_eq!(broker.receive(), WriterToBroker::WantNew(ID));
    give_file(&broker, ID, "new");
    assert_eq!(broker.receive(), WriterToBroker::Replace(ID));
    broker.scratch.file("theirs").write_all(b"theirs").unwrap();
    let lock = broker.scratch.open("theirs");
    lock.lock().unwrap();
    let theirs = broker.scratch.open("theirs");
    broker.say(BrokerToWriter::Changed(ID), &[theirs.as_fd()]);
    // As long as it cannot be read, nothing replaces it, even if a checkpoint is requested.
    broker.say(BrokerToWriter::Checkpoint, &[]);
    broker.say(BrokerToWriter::Ping(1), &[]);
    assert_eq!(broker.receive(), WriterToBroker::Pong(1));
    for _ in 0..20 {
        assert_eq!(client.ask(&update(TABLE, "b")), "status|0||");
    }
    assert_eq!(fake.look(|script| (script.taken_over.len(), script.given_up)), (0, 1));
    lock.unlock().unwrap();
    assert_eq!(broker.receive(), WriterToBroker::WantNew(ID));
    assert_eq!(fake.script().taken_over, [b"theirs"]);
    give_file(&broker, ID, "newer");
    assert_eq!(broker.receive(), WriterToBroker::Replace(ID));
}

#[test]
fn end_of_the_service_writes_what_is_due() {
    let (fake, saved) = (Fake::with_checkpoints(), Fake::with_checkpoints());
    let mut broker = Broker::with_fakes(&[(TABLE, &fake), ("hash:/saved", &saved)]);
    let mut client = broker.client();
    client.ask(&update(TABLE, "a"));
    broker.say(BrokerToWriter::Finish, &[]);
    assert_eq!(client.try_receive(), None);
    let mut said = broker.receive();
    while let WriterToBroker::Closed(_) = said {
        said = broker.receive();
    }
    assert_eq!(said, WriterToBroker::WantNew(ID));
    give_file(&broker, ID, "new");
    assert_eq!(broker.receive(), WriterToBroker::Replace(ID));
    broker.say(BrokerToWriter::Replaced(ID), &[]);
    broker.ended().unwrap();
    assert_eq!((fake.script().placed, saved.script().begun), (1, 0));
}

#[test]
fn end_of_the_service_does_not_insist() {
    let fake = Fake::with_checkpoints();
    let (mut broker, mut client) = served(&fake);
    client.ask(&update(TABLE, "a"));
    drop(client);
    assert_eq!(broker.receive(), WriterToBroker::Closed(1));
    broker.say(BrokerToWriter::Finish, &[]);
    assert_eq!(broker.receive(), WriterToBroker::WantNew(ID));
    broker.say(BrokerToWriter::NotReplaced(ID), &[]);
    broker.ended().unwrap();
    assert!(fake.script().unsaved);
}

#[test]
fn damaged_store_ends_its_checkpoint() {
    let fake = Fake::with_checkpoints();
    let (broker, mut client) = served(&fake);
    broker.say(BrokerToWriter::Checkpoint, &[]);
    assert_eq!(broker.receive(), WriterToBroker::WantNew(ID));
    fake.script().step_fails = Some(StoreError::Corrupt("a page".to_owned()));
    give_file(&broker, ID, "new");
    assert_eq!(broker.receive(), WriterToBroker::Discard(ID));
    assert!(matches!(broker.receive(), WriterToBroker::Corrupt { id: ID, generation: 1, .. }));
    assert_eq!(client.ask(&lookup(TABLE, "a")), "status|2|value|||");
}
