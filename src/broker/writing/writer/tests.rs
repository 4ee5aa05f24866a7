//! Everything that a writer can say, in everything that can be the case.

use super::*;

const ID: TableId = TableId(1);
const CURRENT: u32 = 7;

fn writer(stage: Stage, slot: Slot) -> Writer {
    let (channel, _) = Channel::pair().unwrap();
    let names = Rc::new(std::fs::File::open("/dev/null").unwrap().into());
    let hello = BrokerToWriter::Names { size: 0, smtputf8: true, approval_known: true };
    let mut writer = Writer::new(WorkerId(1), channel, 2, (hello, names), Instant::now());
    writer.stage = stage;
    writer.slots[1] = slot;
    writer
}

fn opened() -> Writer {
    let slot = Slot { used: Use::Opened, generation: CURRENT, beside: true, ..Slot::default() };
    writer(Stage::Admitted, slot)
}

const STAGES: [Stage; 4] = [Stage::Starting, Stage::Checking, Stage::Admitted, Stage::Draining];
const USES: [Use; 3] = [Use::Closed, Use::Handed, Use::Opened];
const CHECKPOINTS: [Checkpoint; 3] = [Checkpoint::None, Checkpoint::Handed, Checkpoint::Void];

/// Whether a table's state is one of those that a line of [`ALLOWED`] names.
type When = fn(&Slot) -> bool;

/// The messages allowed about a table: in which states, what follows, and the state of the table afterwards.
#[rustfmt::skip]
const ALLOWED: &[(WriterToBroker, When, Incoming, Use, Checkpoint)] = {
    use Checkpoint as C;
    use WriterToBroker as W;
    const IN_USE: When = |slot| slot.used != Use::Closed;
    const STORE_IN_USE: When = |slot| slot.used != Use::Closed && !slot.lmdb;
    const GENERATION: u32 = CURRENT;
    // Use::Closed and Checkpoint::None stand for "as before" where `same` below says so.
    &[
        (W::Opened { id: ID, generation: GENERATION }, |slot| slot.used == Use::Handed,
            Incoming::Opened(ID), Use::Opened, C::None),
        (W::Failed { id: ID, generation: GENERATION }, IN_USE, Incoming::Failed(ID), Use::Closed, C::Void),
        (W::Corrupt { id: ID, generation: GENERATION, part: Part::Store }, STORE_IN_USE,
            Incoming::Corrupt(ID, Part::Store), Use::Closed, C::Void),
        (W::Corrupt { id: ID, generation: GENERATION, part: Part::Lmdb }, |slot| slot.used != Use::Closed && slot.lmdb,
            Incoming::Corrupt(ID, Part::Lmdb), Use::Closed, C::Void),
        (W::Corrupt { id: ID, generation: GENERATION, part: Part::File }, |slot| slot.used != Use::Closed && slot.beside,
            Incoming::Corrupt(ID, Part::File), Use::Opened, C::None),
        (W::WantNew(ID), |slot| slot.used == Use::Opened && !slot.lmdb && slot.checkpoint != C::Handed,
            Incoming::WantNew(ID), Use::Opened, C::Handed),
        (W::Replace(ID), |slot| slot.used == Use::Opened && slot.checkpoint == C::Handed,
            Incoming::Replace(ID), Use::Opened, C::None),
        (W::Discard(ID), |slot| slot.checkpoint == C::Handed, Incoming::Discard(ID), Use::Opened, C::None),
        (W::Discard(ID), |slot| slot.checkpoint == C::Void, Incoming::Nothing, Use::Opened, C::None),
    ]
};

/// Every message about a table: with the right generation, and with wrong ones.
fn about_tables() -> Vec<WriterToBroker> {
    use WriterToBroker as W;
    let mut all = vec![W::WantNew(ID), W::Replace(ID), W::Discard(ID)];
    for generation in [CURRENT, CURRENT - 1, CURRENT + 1, 0] {
        all.push(W::Opened { id: ID, generation });
        all.push(W::Failed { id: ID, generation });
        for part in [Part::Lmdb, Part::Store, Part::File] {
            all.push(W::Corrupt { id: ID, generation, part });
        }
    }
    all
}

#[test]
fn every_message_about_a_table_in_every_state() {
    let (mut allowed, mut refused) = (0, 0);
    for stage in STAGES {
        for (used, checkpoint) in USES.into_iter().flat_map(|used| CHECKPOINTS.map(|one| (used, one))) {
            for (lmdb, beside) in [(false, false), (false, true), (true, false)] {
                let slot = Slot { used, generation: CURRENT, lmdb, beside, checkpoint, told: None };
                for message in about_tables() {
                    let mut writer = writer(stage, slot);
                    let incoming = writer.interpret(message);
                    let after = writer.slots[1];
                    let line = ALLOWED.iter().find(|line| line.0 == message && line.1(&slot));
                    let what = format!("{message:?} when {stage:?} {slot:?}: {incoming:?} {after:?}");
                    match line.filter(|_| stage != Stage::Starting) {
                        None => {
                            assert!(matches!(incoming, Incoming::Violation(_)), "{what}");
                            refused += 1;
                        }
                        Some((_, _, expected, used, checkpoint)) => {
                            assert_eq!(&incoming, expected, "{what}");
                            allowed += 1;
                            let closes = *used == Use::Closed;
                            match message {
                                WriterToBroker::Opened { .. } => {
                                    assert_eq!(
                                        (after.used, after.checkpoint),
                                        (*used, slot.checkpoint),
                                        "{what}"
                                    );
                                }
                                _ if closes => {
                                    assert!(!after.beside && after.used == Use::Closed, "{what}");
                                    let kept = slot.checkpoint == Checkpoint::None;
                                    let left = if kept { Checkpoint::None } else { *checkpoint };
                                    assert_eq!(after.checkpoint, left, "{what}");
                                }
                                WriterToBroker::Corrupt { .. } => {
                                    assert!(!after.beside && after.used == slot.used, "{what}");
                                    assert_eq!(after.checkpoint, slot.checkpoint, "{what}");
                                }
                                _ => {
                                    assert_eq!(
                                        (after.used, after.checkpoint),
                                        (slot.used, *checkpoint),
                                        "{what}"
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    // The counts show whether a state has become reachable or unreachable.
    assert_eq!((allowed, refused), (228, 2256));
}

#[test]
fn messages_about_tables_that_do_not_exist() {
    for id in [2, 500, u16::MAX].map(TableId) {
        for message in [
            WriterToBroker::Opened { id, generation: CURRENT },
            WriterToBroker::Failed { id, generation: CURRENT },
            WriterToBroker::Corrupt { id, generation: CURRENT, part: Part::File },
            WriterToBroker::WantNew(id),
            WriterToBroker::Replace(id),
            WriterToBroker::Discard(id),
        ] {
            assert_eq!(
                opened().interpret(message),
                Incoming::Violation("a table number that does not exist")
            );
        }
    }
}

#[test]
fn ready_is_accepted_once_and_first() {
    for stage in STAGES {
        let mut one = writer(stage, Slot::default());
        let incoming = one.interpret(WriterToBroker::Ready);
        if stage == Stage::Starting {
            assert_eq!((incoming, one.stage), (Incoming::Ready, Stage::Checking));
        } else {
            assert_eq!((incoming, one.stage), (Incoming::Violation("ready twice"), stage));
        }
    }
}

#[test]
fn closed_clients_cannot_be_invented() {
    for stage in STAGES {
        for (had, count, left) in [(3, 1, Some(2)), (3, 3, Some(0)), (3, 4, None), (3, 0, None), (0, 1, None)]
        {
            let mut one = writer(stage, Slot::default());
            one.clients = had;
            let incoming = one.interpret(WriterToBroker::Closed(count));
            let fits = matches!(stage, Stage::Admitted | Stage::Draining);
            match left.filter(|_| fits) {
                Some(left) => assert_eq!((incoming, one.clients), (Incoming::Nothing, left)),
                None => assert!(matches!(incoming, Incoming::Violation(_)) && one.clients == had),
            }
        }
    }
}

#[test]
fn pong_answers_the_one_ping() {
    let mut one = opened();
    assert!(matches!(one.interpret(WriterToBroker::Pong(0)), Incoming::Violation(_)));
    assert!(!one.is_silent(Instant::now(), Duration::from_secs(9)));
    assert_eq!(one.interpret(WriterToBroker::Pong(1)), Incoming::Nothing);
    assert!(
        matches!(one.interpret(WriterToBroker::Pong(1)), Incoming::Violation(_)),
        "answered once already"
    );
    assert!(!one.is_silent(Instant::now(), Duration::from_secs(9)));
    assert!(matches!(one.interpret(WriterToBroker::Pong(1)), Incoming::Violation(_)), "an old one");
}

#[test]
fn slow_writer_may_take_as_long_as_the_configuration_allows() {
    let (start, limit) = (Instant::now(), Duration::from_secs(18_000));
    let mut one = opened();
    assert!(!one.is_silent(start, limit));
    assert!(!one.is_silent(start + limit, limit), "it may be in the middle of an update");
    assert!(one.is_silent(start + limit + Duration::from_secs(1), limit));
    // One that has sent nothing yet is not in the middle of an update.
    let mut one = writer(Stage::Starting, Slot::default());
    let late = one.started + START_TIME + Duration::from_secs(1);
    assert!(!one.is_silent(one.started + START_TIME, limit) && one.is_silent(late, limit));
    assert!(one.outbox.waiting().all(|message| !matches!(message, BrokerToWriter::Ping(_))));
}

#[test]
fn clients_wait_for_the_first_answer_about_every_table() {
    let mut one = writer(Stage::Admitted, Slot { used: Use::Handed, ..Slot::default() });
    assert!(!one.takes_clients(10) && !one.is_resting());
    one.slots[1].used = Use::Opened;
    assert!(one.takes_clients(10) && !one.takes_clients(0) && one.is_resting());
    for stage in [Stage::Starting, Stage::Checking, Stage::Draining] {
        one.stage = stage;
        assert!(!one.takes_clients(10));
    }
    one.stage = Stage::Admitted;
    one.client(Rc::new(std::fs::File::open("/dev/null").unwrap().into()));
    one.slots[1].used = Use::Handed;
    assert!(
        one.takes_clients(2) && !one.takes_clients(1),
        "a table that is opened again keeps nobody waiting"
    );
    one.slots[1].used = Use::Opened;
    assert!(!one.is_resting());
}

#[test]
fn answers_change_which_messages_are_allowed_next() {
    let mut one = opened();
    one.slots[1].beside = false;
    let corrupt = WriterToBroker::Corrupt { id: ID, generation: CURRENT, part: Part::File };
    assert_eq!(one.interpret(WriterToBroker::WantNew(ID)), Incoming::WantNew(ID));
    one.answer(ID, BrokerToWriter::NotReplaced(ID), None);
    assert_eq!(one.slots[1].checkpoint, Checkpoint::None, "it has got no file");
    for answer in [BrokerToWriter::Replaced(ID), BrokerToWriter::Changed(ID)] {
        one.slots[1].beside = false;
        assert_eq!(one.interpret(WriterToBroker::WantNew(ID)), Incoming::WantNew(ID));
        one.answer(ID, BrokerToWriter::New(ID), None);
        assert_eq!(one.slots[1].checkpoint, Checkpoint::Handed);
        assert_eq!(one.interpret(WriterToBroker::Replace(ID)), Incoming::Replace(ID));
        one.answer(ID, answer, None);
        assert_eq!(one.interpret(corrupt), Incoming::Corrupt(ID, Part::File), "{answer:?}");
        assert!(matches!(one.interpret(corrupt), Incoming::Violation(_)), "once");
    }
}

#[test]
fn trouble_is_reported_once_and_again_after_a_change() {
    let mut one = writer(Stage::Admitted, Slot::default());
    let told = |one: &Writer| {
        one.outbox.waiting().filter(|message| matches!(message, BrokerToWriter::Unavailable { .. })).count()
    };
    one.unavailable(ID, Unavailable::Missing);
    one.unavailable(ID, Unavailable::Missing);
    assert_eq!(told(&one), 1);
    one.unavailable(ID, Unavailable::NoRoom);
    assert_eq!(told(&one), 2);
    let message = BrokerToWriter::Store { id: ID, generation: 8 };
    one.hand_out(ID, HandOut { message, descriptors: Vec::new(), generation: 8 });
    assert!(!one.lacks(ID));
    assert_eq!(one.interpret(WriterToBroker::Failed { id: ID, generation: 8 }), Incoming::Failed(ID));
    one.unavailable(ID, Unavailable::NoRoom);
    assert_eq!(told(&one), 3);
}
