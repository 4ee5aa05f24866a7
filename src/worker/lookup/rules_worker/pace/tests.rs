use super::debts::DEBTORS;
use super::*;

const MS: Duration = Duration::from_millis(1);
const ONE: TableId = TableId(7);
const OTHER: TableId = TableId(8);

/// Client `client` of the first asker, or of another.
fn who(client: u64) -> Who {
    Who { asker: 1, client }
}

fn of_second(client: u64) -> Who {
    Who { asker: 2, client }
}

type Asked = Pace<&'static str>;

fn join(pace: &mut Asked, table: TableId, who: Who, now: Instant) {
    pace.join(table, who, "question", now);
}

/// Whose turn it is, and in which table.
fn next(pace: &mut Asked, now: Instant) -> Option<(TableId, Who)> {
    pace.next(now, |_| true).map(|turn| (turn.table, turn.who))
}

/// The order in which all are answered whose turn it is.
fn order(pace: &mut Asked, now: Instant) -> Vec<u64> {
    std::iter::from_fn(|| next(pace, now)).map(|(_, who)| who.client).collect()
}

/// A lookup for `who` that took so long and has ended.
fn lookup(pace: &mut Asked, table: TableId, who: Who, took: Duration, now: Instant) -> Instant {
    join(pace, table, who, now);
    let turn = pace.next(now, |asker| asker == who.asker).unwrap();
    assert_eq!((turn.table, turn.who), (table, who));
    pace.ended(table, who, took, now + took);
    now + took
}

#[test]
fn tables_take_turns_and_so_do_clients_of_one() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    join(&mut pace, ONE, who(1), now);
    join(&mut pace, ONE, who(2), now);
    join(&mut pace, OTHER, who(3), now + MS);
    let later = now + 2 * MS;
    assert_eq!(pace.next_moment(later, |_| true), Some(later));
    assert_eq!(next(&mut pace, later), Some((ONE, who(1))));
    assert_eq!(next(&mut pace, later), Some((OTHER, who(3))));
    assert_eq!(next(&mut pace, later), Some((ONE, who(2))));
    assert_eq!(next(&mut pace, later), None);
    assert_eq!(pace.next_moment(later, |_| true), None);
}

#[test]
fn table_that_takes_long_rests_while_others_ask() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    lookup(&mut pace, OTHER, who(2), MS, now);
    let ended = lookup(&mut pace, ONE, who(1), 500 * MS, now);
    join(&mut pace, ONE, who(1), ended);
    join(&mut pace, OTHER, who(2), ended);
    assert_eq!(next(&mut pace, ended), Some((OTHER, who(2))), "another table does not rest");
    assert_eq!(next(&mut pace, ended + 499 * MS), None);
    assert_eq!(pace.next_moment(ended, |_| true), Some(ended + 500 * MS));
    assert_eq!(next(&mut pace, ended + 500 * MS), Some((ONE, who(1))));
    assert!(pace.is_quick(OTHER) && !pace.is_quick(ONE) && !pace.is_quick(TableId(9)));
}

#[test]
fn who_is_alone_does_not_wait_for_nobody() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    lookup(&mut pace, OTHER, who(1), MS, now);
    let ended = lookup(&mut pace, ONE, who(1), 500 * MS, now);
    join(&mut pace, ONE, who(1), ended);
    assert_eq!(pace.next_moment(ended, |_| true), Some(ended));
    assert_eq!(next(&mut pace, ended), Some((ONE, who(1))), "its own questions are no others");
    // The same number of a client of another asker is somebody else.
    let asked = lookup(&mut pace, OTHER, of_second(1), MS, ended);
    join(&mut pace, ONE, who(1), ended);
    assert_eq!(next(&mut pace, asked), None);
    // The rest is over.
    assert_eq!(next(&mut pace, asked + 499 * MS), Some((ONE, who(1))));
    pace.ended(ONE, who(1), 4 * QUIET, asked);
    join(&mut pace, ONE, who(1), asked);
    assert_eq!(next(&mut pace, asked + QUIET - MS), None);
    assert_eq!(pace.next_moment(asked, |_| true), Some(asked + QUIET), "it is looked again by then");
    assert_eq!(next(&mut pace, asked + QUIET), Some((ONE, who(1))));
}

#[test]
fn resting_table_comes_last_even_for_a_single_asker() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    // So long that nobody has asked lately, because nobody was read from.
    let ended = lookup(&mut pace, ONE, who(1), 3 * QUIET, now);
    lookup(&mut pace, OTHER, who(2), Duration::ZERO, now);
    join(&mut pace, ONE, who(1), ended);
    join(&mut pace, OTHER, who(2), ended);
    assert_eq!(next(&mut pace, ended), Some((OTHER, who(2))));
    assert_eq!(next(&mut pace, ended), Some((ONE, who(1))));
}

#[test]
fn many_tables_that_take_long_have_half_of_the_time_together() {
    let (mut pace, start) = (Pace::default(), Instant::now());
    let (mut now, mut used) = (start, Duration::ZERO);
    let last = TableId(99);
    (1..=4).for_each(|table| join(&mut pace, TableId(table), who(table.into()), now));
    while now < start + Duration::from_secs(100) {
        // Somebody asks a quick table all the time.
        join(&mut pace, last, of_second(99), now);
        let Some((table, who)) = next(&mut pace, now) else { panic!("the quick one waits, at least") };
        let took = if table == last { MS } else { 300 * MS };
        now += took;
        pace.ended(table, who, took, now);
        if table != last {
            used += took;
            join(&mut pace, table, who, now);
        }
    }
    let share = used.as_secs_f64() / now.saturating_duration_since(start).as_secs_f64();
    assert!((0.4..=0.51).contains(&share), "{share}");
}

#[test]
fn no_table_rests_for_longer_than_a_question_is_waited_for() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    for table in 0..100 {
        lookup(&mut pace, TableId(table), who(1), 300 * MS, now);
    }
    lookup(&mut pace, TableId(100), who(2), MS, now);
    let ended = now + 300 * MS;
    join(&mut pace, TableId(99), who(1), ended);
    assert_eq!(next(&mut pace, ended + LONGEST_REST - MS), Some((TableId(99), who(1))), "alone by then");
    lookup(&mut pace, TableId(100), who(2), MS, ended + LONGEST_REST - MS);
    join(&mut pace, TableId(99), who(1), ended);
    assert_eq!(next(&mut pace, ended + LONGEST_REST - MS), None);
    assert_eq!(next(&mut pace, ended + LONGEST_REST), Some((TableId(99), who(1))));
}

#[test]
fn client_that_has_used_much_time_comes_after_others() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    lookup(&mut pace, OTHER, who(99), MS, now);
    (1..=3).for_each(|client| join(&mut pace, ONE, who(client), now));
    assert_eq!(next(&mut pace, now), Some((ONE, who(1))));
    let ended = now + 500 * MS;
    pace.ended(ONE, who(1), 500 * MS, ended);
    let owes = ended + 2 * 2 * 500 * MS;
    assert_eq!(pace.debts.of(who(1)), Some(owes), "twice for each of the two that wait");
    join(&mut pace, ONE, who(1), ended);
    // One that comes a second later is served before it, but not one that comes when the debt is paid.
    join(&mut pace, ONE, who(4), ended + Duration::from_secs(1));
    join(&mut pace, ONE, who(5), owes + MS);
    assert_eq!(order(&mut pace, owes + Duration::from_secs(1)), [2, 3, 4, 1, 5]);
}

#[test]
fn asker_that_uses_much_time_comes_after_another_whatever_clients_it_names() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    // A new client for each question: none of them owes anything.
    (0..1000).for_each(|client| join(&mut pace, ONE, who(client), now));
    join(&mut pace, ONE, of_second(5), now + MS);
    let mut time = now + MS;
    assert_eq!(next(&mut pace, time), Some((ONE, who(0))));
    time += 15 * MS;
    pace.ended(ONE, who(0), 15 * MS, time);
    // It owes twice what it has used, since one other waits.
    for _ in 0..3 {
        assert_eq!(next(&mut pace, time), Some((ONE, of_second(5))));
        time += 15 * MS;
        pace.ended(ONE, of_second(5), 15 * MS, time);
        join(&mut pace, ONE, of_second(5), now + MS);
        let standing = &pace.tables[&ONE].askers;
        let (first, second) = (standing[&1].owes_until.unwrap(), standing[&2].owes_until.unwrap());
        if second > first {
            assert_eq!(
                next(&mut pace, time),
                Some((ONE, who(1))),
                "and then it is the first one's turn again"
            );
            return;
        }
    }
    panic!("the first asker has no turn any more");
}

#[test]
fn asker_that_does_not_read_is_skipped_and_causes_no_wakeups() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    join(&mut pace, ONE, who(1), now);
    join(&mut pace, ONE, of_second(2), now + MS);
    let reads = |asker| asker == 2;
    assert_eq!(pace.next(now + MS, reads).map(|turn| turn.who), Some(of_second(2)));
    assert_eq!(pace.next(now + MS, reads), None);
    assert_eq!(pace.next_moment(now + MS, reads), None);
    assert_eq!(next(&mut pace, now + MS), Some((ONE, who(1))));
}

#[test]
fn what_is_withdrawn_or_of_an_asker_that_has_gone_is_answered_to_nobody() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    let place = pace.join(ONE, who(1), "first", now);
    join(&mut pace, ONE, who(2), now);
    join(&mut pace, ONE, of_second(3), now);
    assert_eq!(pace.withdraw(ONE, 2, place), None, "another asker's");
    assert_eq!(pace.withdraw(ONE, 1, place), Some("first"));
    assert_eq!(pace.withdraw(ONE, 1, place), None);
    pace.forget(2);
    assert_eq!(order(&mut pace, now), [2]);
    pace.tidy(now);
    assert!(pace.tables.is_empty());
}

#[test]
fn debts_are_forgotten_and_never_more_than_a_bound() {
    let (mut pace, now) = (Asked::default(), Instant::now());
    join(&mut pace, ONE, who(u64::MAX), now);
    for client in 0..2 * DEBTORS as u64 {
        pace.ended(ONE, who(client), MS, now);
    }
    assert_eq!(pace.debts.count(), DEBTORS);
    // What the first asker has no room for costs the second one nothing.
    join(&mut pace, ONE, of_second(1), now);
    pace.ended(ONE, of_second(2), MS, now);
    assert_eq!(pace.debts.of(of_second(2)), Some(now + 2 * MS));
    pace.tidy(now + MS);
    assert_eq!(pace.debts.count(), DEBTORS + 1, "nobody has paid yet");
    pace.tidy(now + MS + Duration::from_secs(1));
    assert_eq!(pace.debts.count(), 0);
    // Tables that nobody asks are forgotten, too, once they need not rest.
    order(&mut pace, now);
    pace.ended(ONE, who(1), 300 * MS, now);
    pace.tidy(now + 299 * MS);
    assert_eq!(pace.tables.len(), 1);
    pace.tidy(now + 300 * MS);
    assert!(pace.tables.is_empty());
}
