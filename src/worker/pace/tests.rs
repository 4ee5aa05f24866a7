use super::*;

const MS: Duration = Duration::from_millis(1);

/// A turn of `client` that used these times in `table`.
fn turn(pace: &mut Pace, client: u64, table: u32, used: &[Duration], now: Instant) -> Option<Instant> {
    let mut ended = now;
    for took in used {
        ended += *took;
        pace.meter.note(table, *took, ended);
    }
    pace.end_turn(client, true, None, ended)
}

#[test]
fn a_turn_and_a_slice_end_when_their_time_is_used() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    pace.meter.begin_slice();
    pace.meter.begin_turn(None, false);
    assert!(!pace.is_tight());
    turn(&mut pace, 1, 7, &[TURN - MS], now);
    assert!(!pace.turns_away(7));
    turn(&mut pace, 1, 7, &[MS], now);
    assert!(pace.is_tight() && pace.turns_away(7), "the turn is over");
    pace.meter.begin_turn(None, false);
    assert!(!pace.turns_away(7), "another client's is not");
    for _ in 0..5 {
        pace.meter.begin_turn(None, false);
        turn(&mut pace, 1, 7, &[TURN], now);
    }
    pace.meter.begin_turn(None, false);
    assert!(pace.turns_away(7) && pace.turns_away(8), "the slice is over for every table that is measured");
    pace.meter.begin_slice();
    assert!(!pace.is_tight());
}

#[test]
fn nothing_that_takes_time_is_done_for_who_has_gone() {
    let pace = Pace::default();
    pace.meter.begin_turn(None, true);
    assert!(pace.is_tight() && pace.turns_away(7));
    pace.meter.begin_turn(None, false);
    assert!(!pace.is_tight() && !pace.turns_away(7));
}

#[test]
fn whoever_waits_is_not_overtaken_and_has_his_turn() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    pace.line.join(7, 1, now);
    pace.line.join(7, 2, now + MS);
    pace.line.join(8, 3, now + 2 * MS);
    pace.meter.begin_turn(None, false);
    assert!(pace.turns_away(7) && pace.turns_away(9));
    // Tables take turns, and clients within a table.
    assert_eq!(pace.next(now), Some((7, 1)));
    pace.meter.begin_turn(Some(7), false);
    assert!(!pace.turns_away(7) && pace.turns_away(8), "only for what it stood in line");
    assert_eq!(pace.next(now), Some((8, 3)));
    assert_eq!(pace.next(now), Some((7, 2)));
    assert_eq!(pace.next(now), None);
    pace.line.tidy(now);
    assert!(pace.line.is_empty());
}

#[test]
fn a_table_that_takes_long_rests_while_others_ask() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    pace.askers.note(2, now);
    pace.meter.begin_turn(None, false);
    turn(&mut pace, 1, 7, &[500 * MS], now);
    let ended = now + 500 * MS;
    pace.line.join(7, 1, ended);
    pace.line.join(8, 2, ended);
    assert_eq!(pace.next(ended), Some((8, 2)), "another table does not rest");
    assert_eq!(pace.next(ended + 499 * MS), None);
    assert!(!pace.has_next(ended + 499 * MS));
    assert_eq!(pace.line.next_moment(ended), Some(ended + 500 * MS));
    assert!(pace.has_next(ended + 500 * MS));
    assert_eq!(pace.next(ended + 500 * MS), Some((7, 1)));
}

#[test]
fn no_table_rests_for_longer_than_some_seconds() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    pace.askers.note(99, now);
    (0..200).for_each(|table| pace.line.join(table, u64::from(table), now));
    assert_eq!(pace.next(now), Some((0, 0)));
    turn(&mut pace, 0, 0, &[300 * MS], now);
    let ended = now + 300 * MS;
    pace.line.join(0, 0, ended);
    // The others have had their turns, or have gone.
    while pace.next(ended).is_some() {}
    pace.askers.note(99, ended + LONGEST_REST);
    assert!(!pace.has_next(ended + LONGEST_REST - MS));
    assert_eq!(pace.next(ended + LONGEST_REST), Some((0, 0)), "and not two minutes");
}

#[test]
fn whoever_is_alone_does_not_wait_for_nobody() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    pace.askers.note(1, now);
    pace.meter.begin_turn(None, false);
    turn(&mut pace, 1, 7, &[500 * MS], now);
    pace.line.join(7, 1, now + 500 * MS);
    assert_eq!(pace.next(now + 500 * MS), Some((7, 1)), "its own requests are no others");
    pace.askers.note(2, now + 400 * MS);
    pace.line.join(7, 1, now + 500 * MS);
    assert_eq!(pace.next(now + 500 * MS), None);
    assert_eq!(pace.next(now + 400 * MS + QUIET), Some((7, 1)));
}

#[test]
fn a_table_that_rests_comes_last_even_for_who_is_alone() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    // So long that nobody has asked lately, because nobody was heard.
    turn(&mut pace, 1, 7, &[3 * QUIET], now);
    let ended = now + 3 * QUIET;
    pace.line.join(7, 1, ended);
    pace.line.join(8, 2, ended);
    assert_eq!(pace.next(ended), Some((8, 2)));
    assert_eq!(pace.next(ended), Some((7, 1)));
}

#[test]
fn many_tables_that_take_long_have_half_of_the_time_together() {
    let (mut pace, start) = (Pace::default(), Instant::now());
    let (mut now, mut used) = (start, Duration::ZERO);
    (1..=4).for_each(|table| pace.line.join(table, u64::from(table), now));
    while now < start + Duration::from_secs(100) {
        pace.askers.note(99, now);
        pace.meter.begin_slice();
        match pace.next(now) {
            Some((table, client)) => {
                pace.meter.begin_turn(Some(table), false);
                turn(&mut pace, client, table, &[300 * MS], now);
                (now, used) = (now + 300 * MS, used + 300 * MS);
                pace.line.join(table, client, now);
            }
            None => now = pace.line.next_moment(now).unwrap(),
        }
    }
    let share = used.as_secs_f64() / now.saturating_duration_since(start).as_secs_f64();
    assert!((0.4..=0.51).contains(&share), "{share}");
}

#[test]
fn who_has_used_much_stands_behind_who_has_not() {
    let (mut pace, now) = (Pace::default(), Instant::now());
    pace.askers.note(99, now);
    (1..=3).for_each(|client| pace.line.join(7, client, now));
    assert_eq!(pace.next(now), Some((7, 1)));
    pace.meter.begin_turn(Some(7), false);
    let owes = turn(&mut pace, 1, 7, &[500 * MS], now).unwrap();
    assert_eq!(owes, now + 500 * MS + 2 * 2 * 500 * MS, "twice for each of the two that wait");
    pace.line.join(7, 1, owes);
    // One that comes a second later is served before it, but not one that comes when the debt is paid.
    pace.line.join(7, 4, now + 1500 * MS);
    pace.line.join(7, 5, owes + MS);
    let later = owes + Duration::from_secs(1);
    let order: Vec<u64> = std::iter::from_fn(|| pace.next(later)).map(|(_, client)| client).collect();
    assert_eq!(order, [2, 3, 4, 1, 5]);
}
