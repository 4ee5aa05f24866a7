use super::*;
use crate::tables::TableSnapshot;
use crate::tables::testing::{prove, table_snapshot};
use mapkeep_name::Kind;
use mapkeep_proto::Unavailable;
use std::cell::RefCell;
use std::rc::Rc;

const NOW: fn() -> Instant = Instant::now;

/// The snapshot of each table; and its suspect snapshot.
#[derive(Default)]
struct Shelf {
    current: RefCell<BTreeMap<TableId, Rc<TableSnapshot>>>,
    suspect: RefCell<BTreeMap<TableId, Rc<TableSnapshot>>>,
    /// Tables whose snapshot another worker must try first.
    elsewhere: RefCell<BTreeSet<TableId>>,
    careful: bool,
}

impl Shelf {
    fn put(&self, table: u16, generation: u32, size: u64) {
        self.current.borrow_mut().insert(TableId(table), table_snapshot(generation, size));
    }

    /// Marks the snapshots of these tables as used by another worker.
    fn prove(&self, tables: std::ops::Range<u16>) {
        tables.for_each(|table| prove(&self.current.borrow()[&TableId(table)]));
    }

    fn offer(&self, table: TableId, suspect: bool) -> Offer {
        if self.elsewhere.borrow().contains(&table) {
            return Offer::Later;
        }
        let shelf = if suspect { &self.suspect } else { &self.current };
        shelf.borrow().get(&table).map_or(Offer::Nothing, |one| Offer::Snapshot(Kind::Cidr, Rc::clone(one)))
    }

    /// Takes everything that may be sent now: table and generation.
    fn send(&self, supply: &mut Supply) -> Vec<(u16, u32)> {
        let mut sent = Vec::new();
        while let Some((table, Offer::Snapshot(_, one))) =
            supply.next(NOW(), self.careful, |table, suspect| self.offer(table, suspect))
        {
            sent.push((table.0, one.generation));
        }
        sent
    }
}

fn load(table: u16, generation: u32) -> Load {
    Load { table: TableId(table), generation, size: 1, proven: false }
}

fn all(count: u16) -> impl Iterator<Item = TableId> {
    (0..count).map(TableId)
}

#[test]
fn few_snapshots_are_in_flight_at_a_time_and_all_arrive() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(1000), []));
    (0..1000).for_each(|table| shelf.put(table, 1, 100));
    let mut arrived = Vec::new();
    while !supply.is_settled() {
        let sent = shelf.send(&mut supply);
        assert!(!sent.is_empty() && sent.len() <= 64, "{}", sent.len());
        for (table, generation) in sent {
            assert!(supply.answered(TableId(table), generation, true, NOW()));
            arrived.push(table);
        }
    }
    assert_eq!(arrived, (0..1000).collect::<Vec<u16>>());
}

#[test]
fn one_large_snapshot_is_in_flight_at_a_time_and_small_ones_pass_it() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(4), []));
    (0..2).for_each(|table| shelf.put(table, 1, WINDOW_BYTES + 1));
    (2..4).for_each(|table| shelf.put(table, 1, 10));
    assert_eq!(shelf.send(&mut supply), [(0, 1), (2, 1), (3, 1)]);
    supply.answered(TableId(2), 1, true, NOW());
    assert_eq!(shelf.send(&mut supply), []);
    supply.answered(TableId(0), 1, true, NOW());
    assert_eq!(shelf.send(&mut supply), [(1, 1)]);
}

#[test]
fn small_snapshots_in_flight_have_few_bytes() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(9), []));
    (0..9).for_each(|table| shelf.put(table, 1, WINDOW_BYTES / 2));
    assert_eq!(shelf.send(&mut supply), [(0, 1), (1, 1)]);
    supply.answered(TableId(1), 1, true, NOW());
    assert_eq!(shelf.send(&mut supply), [(2, 1)]);
}

#[test]
fn newest_snapshot_is_sent_when_the_previous_one_has_been_answered() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(2), []));
    shelf.put(0, 1, 100);
    shelf.put(1, 1, 100);
    assert_eq!(shelf.send(&mut supply), [(0, 1), (1, 1)]);
    for generation in 2..10 {
        shelf.put(0, generation, 100);
        supply.owe(TableId(0));
        assert_eq!(shelf.send(&mut supply), [], "one on the way is enough");
    }
    assert!(supply.awaits(TableId(0)));
    supply.answered(TableId(0), 1, true, NOW());
    assert_eq!(shelf.send(&mut supply), [(0, 9)], "those between are never sent");
    supply.answered(TableId(0), 9, true, NOW());
    supply.owe(TableId(0));
    assert_eq!(shelf.send(&mut supply), [], "it has it");
    assert!(!supply.awaits(TableId(0)) && supply.awaits(TableId(1)));
}

#[test]
fn careful_supply_sends_untried_snapshots_one_by_one() {
    let (shelf, mut supply) = (Shelf { careful: true, ..Shelf::default() }, Supply::new(all(5), []));
    (0..5).for_each(|table| shelf.put(table, 1, 1));
    shelf.prove(3..5);
    assert_eq!(shelf.send(&mut supply), [(0, 1), (3, 1), (4, 1)]);
    assert_eq!(supply.blame(0), Blame::One(load(0, 1)), "others have the rest in use");
    for table in 1..3 {
        supply.answered(TableId(table - 1), 1, true, NOW());
        assert_eq!(shelf.send(&mut supply), [(table, 1)]);
    }
}

#[test]
fn snapshot_that_another_worker_tries_is_sent_afterwards_and_delays_no_other() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(3), []));
    (0..3).for_each(|table| shelf.put(table, 1, 1));
    shelf.elsewhere.borrow_mut().insert(TableId(1));
    assert_eq!(shelf.send(&mut supply), [(0, 1), (2, 1)]);
    supply.answered(TableId(0), 1, true, NOW());
    supply.answered(TableId(2), 1, true, NOW());
    assert!(!supply.is_settled() && supply.awaits(TableId(1)));
    assert_eq!(shelf.send(&mut supply), []);
    shelf.elsewhere.borrow_mut().clear();
    assert_eq!(shelf.send(&mut supply), [(1, 1)]);
    supply.answered(TableId(1), 1, true, NOW());
    assert!(supply.is_settled());
}

#[test]
fn suspect_snapshots_come_last_and_alone() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(2), [TableId(0), TableId(1)]));
    (0..2).for_each(|table| shelf.put(table, 1, 1));
    (0..2).for_each(|table| drop(shelf.suspect.borrow_mut().insert(TableId(table), table_snapshot(2, 1))));
    assert_eq!(shelf.send(&mut supply), [(0, 1), (1, 1)]);
    supply.answered(TableId(0), 1, true, NOW());
    assert_eq!(shelf.send(&mut supply), []);
    supply.answered(TableId(1), 1, true, NOW());
    assert!(!supply.is_settled());
    assert_eq!(shelf.send(&mut supply), [(0, 2)]);
    assert_eq!(supply.blame(0), Blame::One(load(0, 2)));
    supply.answered(TableId(0), 2, false, NOW());
    assert_eq!(shelf.send(&mut supply), [(1, 2)]);
    assert!(!supply.is_settled());
    supply.answered(TableId(1), 2, true, NOW());
    assert!(supply.is_settled());
}

#[test]
fn table_that_has_only_a_suspect_snapshot_is_tried_before_the_worker_serves() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(2), [TableId(1)]));
    shelf.put(0, 1, 1);
    shelf.suspect.borrow_mut().insert(TableId(1), table_snapshot(2, 1));
    assert_eq!(shelf.send(&mut supply), [(0, 1)]);
    supply.answered(TableId(0), 1, true, NOW());
    assert!(!supply.is_settled());
    assert_eq!(shelf.send(&mut supply), [(1, 2)]);
    assert!(!supply.is_settled());
    supply.answered(TableId(1), 2, false, NOW());
    assert!(supply.is_settled());
}

#[test]
fn tables_that_change_all_the_time_do_not_delay_the_trial_of_a_suspect_snapshot() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(3), [TableId(2)]));
    (0..3).for_each(|table| shelf.put(table, 1, 1));
    shelf.suspect.borrow_mut().insert(TableId(2), table_snapshot(2, 1));
    assert_eq!(shelf.send(&mut supply), [(0, 1), (1, 1), (2, 1)]);
    let change = |supply: &mut Supply, table: u16, generation| {
        shelf.put(table, generation, 1);
        supply.owe(TableId(table));
        shelf.send(supply)
    };
    supply.answered(TableId(0), 1, true, NOW());
    assert_eq!(change(&mut supply, 0, 2), [(0, 2)]);
    supply.answered(TableId(1), 1, true, NOW());
    supply.answered(TableId(2), 1, true, NOW());
    assert_eq!(change(&mut supply, 1, 2), [], "it has a snapshot of each");
    supply.answered(TableId(0), 2, true, NOW());
    assert_eq!(change(&mut supply, 0, 3), [(2, 2)]);
    assert_eq!(change(&mut supply, 0, 4), [], "it is tried alone");
    supply.answered(TableId(2), 2, false, NOW());
    assert!(supply.is_settled());
    assert_eq!(change(&mut supply, 0, 5), [(1, 2), (0, 5)]);
}

#[test]
fn refreshes_do_not_wait_for_a_suspect_snapshot_that_is_settled_meanwhile() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(2), [TableId(1)]));
    (0..2).for_each(|table| shelf.put(table, 1, 1));
    shelf.send(&mut supply);
    shelf.put(0, 2, 1);
    supply.owe(TableId(0));
    (0..2).for_each(|table| assert!(supply.answered(TableId(table), 1, true, NOW())));
    assert_eq!(shelf.send(&mut supply), [(0, 2)]);
    assert!(supply.is_settled());
}

#[test]
fn suspect_snapshot_that_is_settled_meanwhile_delays_nobody() {
    let mut supply = Supply::new(all(1), [TableId(0)]);
    assert_eq!(Shelf::default().send(&mut supply), []);
    assert!(supply.is_settled());
}

#[test]
fn snapshot_is_blamed_if_only_it_had_reached_the_worker() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(3), []));
    (0..3).for_each(|table| shelf.put(table, 7, 1));
    assert_eq!(supply.blame(0), Blame::Nobody);
    shelf.send(&mut supply);
    let one = |table| Blame::One(load(table, 7));
    assert_eq!((supply.blame(0), supply.blame(1)), (Blame::OneOfSome, Blame::OneOfSome));
    assert_eq!((supply.blame(2), supply.blame(3)), (one(0), Blame::Nobody), "the others have not reached it");
    supply.answered(TableId(0), 7, true, NOW());
    assert_eq!(supply.blame(0), Blame::OneOfSome);
    supply.answered(TableId(2), 7, false, NOW());
    assert_eq!(supply.blame(0), one(1));
    supply.answered(TableId(1), 7, true, NOW());
    assert_eq!(supply.blame(0), Blame::Nobody);
}

#[test]
fn answers_must_match_what_was_sent() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(1), []));
    shelf.put(0, 5, 1);
    shelf.send(&mut supply);
    assert!(!supply.answered(TableId(0), 4, true, NOW()));
    assert!(!supply.answered(TableId(1), 5, true, NOW()));
    assert!(supply.answered(TableId(0), 5, true, NOW()));
    assert!(!supply.answered(TableId(0), 5, true, NOW()), "a replay");
}

#[test]
fn worker_waits_for_the_first_snapshot_of_a_table_and_not_for_later_ones() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(1), []));
    assert_eq!(shelf.send(&mut supply), []);
    assert!(supply.is_settled(), "there is none");
    shelf.put(0, 1, 1);
    supply.owe(TableId(0));
    assert!(!supply.is_settled());
    shelf.send(&mut supply);
    supply.answered(TableId(0), 1, true, NOW());
    assert!(supply.is_settled());
    shelf.put(0, 2, 1);
    supply.owe(TableId(0));
    assert!(supply.is_settled());
}

#[test]
fn table_without_a_snapshot_is_reported_once() {
    let mut supply = Supply::new(all(1), []);
    let offer = |_, _| Offer::Unavailable(Unavailable::Missing);
    assert!(matches!(supply.next(NOW(), false, offer), Some((TableId(0), Offer::Unavailable(_)))));
    assert!(supply.next(NOW(), false, offer).is_none());
    assert!(supply.is_settled());
}

#[test]
fn load_without_end_is_late() {
    let (shelf, mut supply) = (Shelf::default(), Supply::new(all(2), []));
    (0..2).for_each(|table| shelf.put(table, 1, 1));
    let start = NOW();
    shelf.send(&mut supply);
    assert!(!supply.is_late(start + LOAD_TIME / 2));
    assert!(supply.is_late(start + LOAD_TIME * 2));
    supply.answered(TableId(0), 1, true, start + LOAD_TIME);
    assert!(!supply.is_late(start + LOAD_TIME * 3 / 2), "the second has its own time");
}
