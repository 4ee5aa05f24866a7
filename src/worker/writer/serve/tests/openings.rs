//! Tables before they are open, and tables whose files are damaged or written by others.

use super::*;
use crate::engine::Rescue;
use crate::opening::{Fresh, Refused};
use crate::testing::Opening;
use mapkeep_proto::{BrokerToWriter, Part, TableId, Unavailable, WriterToBroker};
use mapkeep_table_store::StoreError;
use std::fs::File;
use std::io::Write;

const ID: TableId = TableId(0);

fn opened(generation: u32) -> WriterToBroker {
    WriterToBroker::Opened { id: ID, generation }
}

fn corrupt(generation: u32, part: Part) -> WriterToBroker {
    WriterToBroker::Corrupt { id: ID, generation, part }
}

#[test]
fn table_is_a_temporary_error_until_it_is_open() {
    let fake = Fake::default();
    let mut attempts =
        vec![Ok(fake.clone()), Err(Refused::Later(StoreError::NoRoom("quota".to_owned()), None))];
    let opening: Opening = Box::new(move |_, _, _, _| attempts.pop().unwrap().map(|fake| fake.fresh()));
    let broker = Broker::new(&[TABLE], opening);
    let mut client = broker.client();
    assert_eq!(client.ask(&update(TABLE, "a")), "status|2||");
    assert_eq!(client.ask(&format!("request|open|table|{TABLE}|flags|0||")), "status|0|flags|28||");
    broker.say(BrokerToWriter::Unavailable { id: ID, reason: Unavailable::NoRoom }, &[]);
    assert_eq!(client.ask(&lookup(TABLE, "a")), "status|2|value|||");
    broker.hand_out(ID, 1, TABLE);
    assert_eq!(broker.receive(), WriterToBroker::Failed { id: ID, generation: 1 });
    assert_eq!(client.ask(&sequence(TABLE, 0)), "status|2|key||value|||");
    broker.hand_out(ID, 2, TABLE);
    assert_eq!(broker.receive(), opened(2));
    assert_eq!(client.ask(&update(TABLE, "a")), "status|0||");
    // One that is open stays so.
    broker.say(BrokerToWriter::Unavailable { id: ID, reason: Unavailable::Missing }, &[]);
    assert_eq!(client.ask(&lookup(TABLE, "a")), "status|0|value|v-a||");
}

#[test]
fn ping_during_a_long_opening_is_answered() {
    let fake = Fake::default();
    let (done, waits) = std::sync::mpsc::channel();
    let opening: Opening = Box::new(move |_, _, _, pause| {
        while waits.try_recv().is_err() {
            pause();
        }
        Ok(fake.fresh())
    });
    let broker = Broker::new(&[TABLE], opening);
    broker.hand_out(ID, 1, TABLE);
    broker.say(BrokerToWriter::Checkpoint, &[]);
    broker.say(BrokerToWriter::Ping(5), &[]);
    assert_eq!(broker.receive(), WriterToBroker::Pong(5));
    done.send(()).unwrap();
    assert_eq!(broker.receive(), opened(1));
    // What came in between was kept.
    let mut client = broker.client();
    assert_eq!(client.ask(&update(TABLE, "a")), "status|0||");
}

#[test]
fn damaged_files_are_reported_and_their_salvage_is_imported_into_new_ones() {
    let fake = Fake::default();
    let rescue = || Rescue::Lmdb(File::open("/dev/null").unwrap().into());
    let mut attempt = 0;
    let shown = fake.clone();
    let opening: Opening = Box::new(move |_, _, left, _| {
        attempt += 1;
        match attempt {
            1 => {
                assert!(left.is_none());
                let what = "it is".to_owned();
                Err(Refused::Damaged { part: Part::Store, what, rescue: Some(rescue()) })
            }
            // The new files cannot be used at first: the salvaged entries are not dropped.
            2 => Err(Refused::Later(StoreError::Busy, left)),
            _ => {
                assert!(left.is_some(), "{attempt}");
                Ok(Fresh { rescued: Some("7 entries".to_owned()), ..shown.fresh() })
            }
        }
    });
    let broker = Broker::new(&[TABLE], opening);
    broker.hand_out(ID, 1, TABLE);
    assert_eq!(broker.receive(), corrupt(1, Part::Store));
    let mut client = broker.client();
    assert_eq!(client.ask(&update(TABLE, "a")), "status|2||");
    broker.hand_out(ID, 2, TABLE);
    assert_eq!(broker.receive(), WriterToBroker::Failed { id: ID, generation: 2 });
    broker.hand_out(ID, 3, TABLE);
    assert_eq!(broker.receive(), opened(3));
    assert_eq!(client.ask(&update(TABLE, "a")), "status|0||");

    // The same happens to one that is found damaged while it is open: nothing more is done to it.
    fake.script().get_fails = Some(StoreError::Corrupt("a page".to_owned()));
    client.send(&[update(TABLE, "b"), lookup(TABLE, "a"), update(TABLE, "c")].concat());
    for reply in ["status|2||", "status|2|value|||", "status|2||"] {
        assert_eq!(client.receive(), reply);
    }
    assert_eq!(broker.receive(), corrupt(3, Part::Lmdb));
    assert_eq!(fake.script().entries.len(), 1);
    assert_eq!(client.ask(&lookup(TABLE, "a")), "status|2|value|||");
    broker.hand_out(ID, 4, TABLE);
    assert_eq!(broker.receive(), opened(4));
    assert_eq!(client.ask(&lookup(TABLE, "a")), "status|0|value|v-a||");
}

#[test]
fn table_whose_file_has_been_removed_is_opened_again() {
    let (old, new) = (Fake::default(), Fake::default());
    let mut fakes = vec![new.clone(), old.clone()];
    let opening: Opening = Box::new(move |_, _, _, _| Ok(fakes.pop().unwrap().fresh()));
    let broker = Broker::new(&[TABLE], opening);
    broker.hand_out(ID, 1, TABLE);
    assert_eq!(broker.receive(), opened(1));
    let mut client = broker.client();
    // An error alone is no reason.
    old.script().put_fails = Some(StoreError::Io("broken disk".to_owned()));
    assert_eq!(client.ask(&update(TABLE, "a")), "status|2||");
    assert_eq!(client.ask(&update(TABLE, "a")), "status|0||");
    old.script().removed = true;
    old.script().put_fails = Some(StoreError::Io("it has been removed".to_owned()));
    assert_eq!(client.ask(&update(TABLE, "a")), "status|2||");
    assert_eq!(broker.receive(), WriterToBroker::Failed { id: ID, generation: 1 });
    assert_eq!(client.ask(&lookup(TABLE, "a")), "status|2|value|||");
    broker.hand_out(ID, 2, TABLE);
    assert_eq!(broker.receive(), opened(2));
    assert_eq!(client.ask(&lookup(TABLE, "a")), "status|1|value|||");
}

/// An opening whose store has yet to import `name`.
fn unread(fake: &Fake, broker_file: File) -> Opening {
    let (fake, mut file) = (fake.clone(), Some(broker_file));
    Box::new(move |_, _, _, _| Ok(Fresh { unread: file.take(), ..fake.fresh() }))
}

#[test]
fn file_of_another_program_is_imported_before_the_table_answers() {
    let scratch = crate::testing::Scratch::new();
    scratch.file("t.db").write_all(b"theirs").unwrap();
    let fake = Fake::with_checkpoints();
    let writer = scratch.open("t.db");
    writer.lock().unwrap();
    let broker = Broker::new(&[TABLE], unread(&fake, scratch.open("t.db")));
    broker.hand_out(ID, 1, TABLE);
    let mut client = broker.client();
    // Another program is writing it: nothing waits for that.
    for _ in 0..20 {
        assert_eq!(client.ask(&update(TABLE, "a")), "status|2||");
    }
    writer.unlock().unwrap();
    assert_eq!(broker.receive(), opened(1));
    assert_eq!(fake.script().taken_over, [b"theirs"]);
    assert_eq!(client.ask(&update(TABLE, "a")), "status|0||");
}

#[test]
fn damaged_file_is_set_aside_and_written_again() {
    let scratch = crate::testing::Scratch::new();
    scratch.file("t.db").write_all(b"torn").unwrap();
    let fake = Fake::with_checkpoints();
    fake.script().damage = Some("a loop".to_owned());
    let broker = Broker::new(&[TABLE], unread(&fake, scratch.open("t.db")));
    broker.hand_out(ID, 1, TABLE);
    assert_eq!(broker.receive(), corrupt(1, Part::File));
    assert_eq!(broker.receive(), opened(1));
    assert_eq!(broker.receive(), WriterToBroker::WantNew(ID));
}

#[test]
fn store_that_is_found_damaged_while_it_takes_a_file_over_is_replaced() {
    let scratch = crate::testing::Scratch::new();
    scratch.file("t.db").write_all(b"theirs").unwrap();
    let fake = Fake::with_checkpoints();
    fake.script().take_over_fails = Some(StoreError::Corrupt("a page".to_owned()));
    let broker = Broker::new(&[TABLE], unread(&fake, scratch.open("t.db")));
    broker.hand_out(ID, 1, TABLE);
    assert_eq!(broker.receive(), corrupt(1, Part::Lmdb));
    broker.hand_out(ID, 2, TABLE);
    assert_eq!(broker.receive(), opened(2));
}

#[test]
fn tables_without_files_are_ready_at_once_or_never() {
    let names = [
        "internal:i",
        "static:foo",
        "fail:x",
        "texthash:/t",
        "environ:x",
        "pipemap:{static:a,static:b}",
        "mysql:/m",
    ];
    let broker = Broker::new(&names, Box::new(|_, _, _, _| unreachable!()));
    let mut client = broker.client();
    assert_eq!(client.ask(&update("internal:i", "a")), "status|0||");
    assert_eq!(client.ask(&lookup("internal:i", "a")), "status|0|value|v-a||");
    assert_eq!(client.ask(&sequence("internal:i", 0)), "status|0|key|a|value|v-a||");
    assert_eq!(client.ask(&lookup("static:foo", "a")), "status|0|value|foo||");
    assert_eq!(client.ask(&update("static:foo", "a")), "status|5||");
    assert_eq!(client.ask(&sequence("static:foo", 1)), "status|5|key||value|||");
    for table in ["fail:x", "texthash:/t", "environ:x", "pipemap:{static:a,static:b}", "mysql:/m"] {
        assert_eq!(client.ask(&lookup(table, "a")), "status|2|value|||", "{table}");
        assert_eq!(client.ask(&update(table, "a")), "status|2||", "{table}");
        assert_eq!(client.ask(&sequence(table, 1)), "status|2|key||value|||", "{table}");
    }
}
