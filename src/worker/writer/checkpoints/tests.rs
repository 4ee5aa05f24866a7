//! When checkpoints are due, with moments of the test's choice.

use super::plan::Plan;
use super::*;
use crate::testing::{Fake, Scratch};
use mapkeep_proto::Listed;
use std::time::Duration;

const ID: TableId = TableId(0);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn table_is_due_a_second_after_its_last_change() {
    let start = Instant::now();
    let mut plan = Plan::default();
    assert_eq!(plan.due(false), None);
    plan.changed(start);
    assert_eq!(plan.due(false), Some(start + seconds(1)));
    plan.changed(start + seconds(5));
    assert_eq!(plan.due(false), Some(start + seconds(6)));
    plan.begun();
    assert_eq!(plan.due(false), None);
    plan.saved(false, seconds(0), start + seconds(6));
    assert_eq!(plan.due(false), None);
}

#[test]
fn table_that_is_changed_all_the_time_is_due_after_ten_seconds_or_twenty_times_the_last_duration() {
    let start = Instant::now();
    let mut plan = Plan::default();
    for moment in 0..100 {
        plan.changed(start + seconds(moment) / 2);
    }
    assert_eq!(plan.due(false), Some(start + seconds(10)));
    plan.begun();
    plan.changed(start + seconds(11));
    plan.saved(true, seconds(2), start + seconds(12));
    for moment in 0..200 {
        plan.changed(start + seconds(12) + seconds(moment) / 2);
    }
    assert_eq!(plan.due(false), Some(start + seconds(11 + 40)));
}

#[test]
fn changes_that_a_checkpoint_did_not_take_are_due_again() {
    let start = Instant::now();
    let mut plan = Plan::default();
    plan.changed(start);
    plan.begun();
    plan.saved(true, seconds(0), start + seconds(3));
    assert_eq!(plan.due(false), Some(start + seconds(4)));
}

#[test]
fn pauses_after_failures_double_to_a_minute_and_a_request_ends_them() {
    let start = Instant::now();
    let mut plan = Plan::default();
    plan.changed(start);
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        plan.failed(start);
        assert_eq!(plan.due(false), Some(start + seconds(pause)));
    }
    plan.want(start + seconds(2));
    assert_eq!(plan.due(false), Some(start + seconds(2)));
    plan.begun();
    plan.saved(false, seconds(1), start);
    plan.failed(start);
    assert_eq!(plan.due(false), Some(start + seconds(1)));
}

#[test]
fn end_of_the_service_makes_changes_due_at_once_and_one_failure_final() {
    let start = Instant::now();
    let mut plan = Plan::default();
    plan.changed(start);
    plan.failed(start);
    plan.finish();
    assert!(plan.due(true).unwrap() <= start);
    plan.failed(start);
    assert_eq!(plan.due(true), None);
}

#[test]
fn table_whose_file_is_to_be_read_is_not_due() {
    let start = Instant::now();
    let mut plan = Plan::default();
    plan.want(start);
    plan.suspend();
    plan.changed(start);
    assert_eq!((plan.due(false), plan.due(true)), (None, None));
    plan.resume(start + seconds(3));
    assert_eq!(plan.due(false), Some(start + seconds(3)));
}

/// Open tables, all of them with something to save.
fn tables(fakes: &[&Fake]) -> (Tables, Checkpoints, Instant) {
    let listed = |number: usize| Listed {
        name: format!("btree:/{number}").into_bytes(),
        approved: true,
        incomplete: false,
    };
    let mut tables = Tables::new((0..fakes.len()).map(listed).collect(), true);
    let (mut checkpoints, start) = (Checkpoints::new(), Instant::now());
    for (id, fake) in (0..).zip(fakes) {
        fake.script().unsaved = true;
        tables.open(TableId(id), fake.fresh().engine);
        checkpoints.opened(TableId(id), &tables, false, start);
    }
    (tables, checkpoints, start)
}

#[test]
fn changes_without_a_checkpoint_before_the_opening_are_due_soon() {
    let fake = Fake::with_checkpoints();
    let (tables, mut checkpoints, start) = tables(&[&fake]);
    assert_eq!(checkpoints.next(start), When::At(start + seconds(1)));
    assert_eq!(checkpoints.go_on(&tables, start), Effect::default());
    let later = start + seconds(1);
    assert_eq!(checkpoints.next(later), When::Now);
    assert_eq!(checkpoints.go_on(&tables, later).say, Some(WriterToBroker::WantNew(ID)));
    assert_eq!(checkpoints.next(later), When::Later, "until the broker answers");
    assert_eq!(checkpoints.go_on(&tables, later), Effect::default());
}

#[test]
fn table_that_waits_longest_comes_first() {
    let (one, two) = (Fake::with_checkpoints(), Fake::with_checkpoints());
    let (tables, mut checkpoints, start) = tables(&[&one, &two]);
    checkpoints.changed(ID, start + seconds(1));
    let due = start + seconds(5);
    assert_eq!(checkpoints.go_on(&tables, due).say, Some(WriterToBroker::WantNew(TableId(1))));
    checkpoints.not_placed(&tables, TableId(1), due);
    assert_eq!(checkpoints.go_on(&tables, due).say, Some(WriterToBroker::WantNew(ID)));
}

#[test]
fn answers_about_another_table_change_nothing() {
    let (one, two) = (Fake::with_checkpoints(), Fake::with_checkpoints());
    let (tables, mut checkpoints, start) = tables(&[&one, &two]);
    let scratch = Scratch::new();
    let due = start + seconds(5);
    assert_eq!(checkpoints.go_on(&tables, due).say, Some(WriterToBroker::WantNew(ID)));
    let file = scratch.file("new").into();
    assert_eq!(
        checkpoints.file(&tables, TableId(1), file, due).say,
        Some(WriterToBroker::Discard(TableId(1)))
    );
    assert_eq!(checkpoints.placed(&tables, ID, due), Effect::default());
    checkpoints.not_placed(&tables, TableId(1), due);
    assert_eq!((one.look(|script| script.placed), two.look(|script| script.placed)), (0, 0));
    assert_eq!(checkpoints.next(due), When::Later);
}

#[test]
fn table_that_is_closed_in_the_middle_gives_its_file_back() {
    let fake = Fake::with_checkpoints();
    let (mut tables, mut checkpoints, start) = tables(&[&fake]);
    let scratch = Scratch::new();
    let due = start + seconds(5);
    checkpoints.go_on(&tables, due);
    assert_eq!(checkpoints.file(&tables, ID, scratch.file("new").into(), due), Effect::default());
    assert_eq!(checkpoints.next(due), When::Now);
    drop(tables.close(ID, "it is closed".to_owned()));
    assert_eq!(checkpoints.closed(ID), Some(WriterToBroker::Discard(ID)));
    assert!(checkpoints.is_idle() && checkpoints.is_done());
    // The same while the broker makes the file.
    let (mut tables, mut checkpoints, start) = self::tables(&[&fake]);
    checkpoints.go_on(&tables, start + seconds(5));
    drop(tables.close(ID, "it is closed".to_owned()));
    assert_eq!(checkpoints.closed(ID), None);
    assert!(!checkpoints.is_done());
    let file = scratch.file("newer").into();
    assert_eq!(checkpoints.file(&tables, ID, file, due).say, Some(WriterToBroker::Discard(ID)));
    assert!(checkpoints.is_done());
}

#[test]
fn store_that_cannot_note_its_checkpoint_tries_again() {
    let fake = Fake::with_checkpoints();
    let (tables, mut checkpoints, start) = tables(&[&fake]);
    let scratch = Scratch::new();
    let due = start + seconds(5);
    checkpoints.go_on(&tables, due);
    checkpoints.file(&tables, ID, scratch.file("new").into(), due);
    while checkpoints.next(due) == When::Now {
        checkpoints.go_on(&tables, due);
    }
    fake.script().placed_fails = Some(StoreError::NoRoom("quota".to_owned()));
    assert_eq!(checkpoints.placed(&tables, ID, due), Effect::default());
    assert_eq!(checkpoints.next(due), When::At(due + seconds(1)));
}
