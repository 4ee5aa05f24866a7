//! A stand-in that ends, that is silent, or that sends what is no answer.

use crate::common::master::{Master, Site};
use crate::common::process::signal;
use crate::common::wire::Wire;
use crate::common::{PATIENCE, poll};
use crate::service::{
    Class, Dialect, FINE, Place, RETRY, next, others_are_served, put, until_counts, until_replaced,
};

/// Clients that wait for the stand-in: for a table, and for the second and third member of tables made of others.
struct Waiting {
    wires: Vec<(Wire, Dialect)>,
}

impl Waiting {
    fn tables(place: &Place) -> [String; 3] {
        let [a, b] = ["a", "b"].map(|label| place.later(label));
        [
            a.clone(),
            format!("pipemap:{{{b},{a}}}"),
            format!("unionmap:{{static:s,pipemap:{{{b},unionmap:{{{b},{a}}}}}}}"),
        ]
    }

    /// They come, and wait until the stand-in has all their questions. Each asks another table besides.
    fn come(place: &Place, master: &Master<'_>) -> Waiting {
        let mut wires = Vec::new();
        for dialect in Dialect::BOTH {
            for table in Waiting::tables(place) {
                let mut wire = master.wire();
                put(&mut wire, dialect, &table, "k;a=silent");
                put(&mut wire, dialect, FINE, "k");
                wires.push((wire, dialect));
            }
        }
        until_counts(place, &mut master.wire(), wires.len(), 0);
        Waiting { wires }
    }

    /// All get RETRY, and then the rest of their answers, so they keep their connections.
    fn are_told_to_try_again(mut self) -> Waiting {
        for (wire, dialect) in &mut self.wires {
            let reply = next(wire);
            assert!(reply.starts_with("status|2|") && reply.ends_with("value|||"), "{reply}");
            assert_eq!(next(wire), dialect.reply(0, Class::Fixed, "fine"));
        }
        self
    }

    /// They try again, and are answered.
    fn are_answered(mut self, place: &Place) {
        for ((wire, dialect), table) in self.wires.iter_mut().zip(Waiting::tables(place).iter().cycle()) {
            let reply = wire.ask(&dialect.lookup(table, "k"));
            assert!(reply.starts_with("status|0|") && reply.contains("a("), "{reply}");
        }
    }
}

/// Waits until this number of log lines have this text. The log may be slow.
fn until_logged(site: &Site, count: usize, text: &str) {
    let lines = || site.log().iter().filter(|line| line.text.contains(text)).count();
    assert!(poll(PATIENCE, || (lines() == count).then_some(())).is_some(), "{} lines: {text}", lines());
}

/// It ends by itself while many wait for it, and is killed.
pub fn process_that_ends_costs_temporary_errors_once() {
    let place = Place::new("lib");
    let master = place.start(1, &Waiting::tables(&place));
    for kill in [false, true] {
        let waiting = Waiting::come(&place, &master);
        let standin = master.only("rules worker");
        let mut last = master.wire();
        if kill {
            put(&mut last, Dialect::Old, &place.later("b"), "k;b=silent");
            until_counts(&place, &mut master.wire(), waiting.wires.len() + 1, 0);
            signal("KILL", standin);
        } else {
            put(&mut last, Dialect::Old, &place.later("b"), "k;b=die");
        }
        assert_eq!(next(&mut last), RETRY);
        let waiting = waiting.are_told_to_try_again();
        others_are_served(&place, &master);
        until_replaced(&place, &master, standin);
        waiting.are_answered(&place);
    }
    place.site.wait_for_log(0, &["the rules worker that had the question has exited"]);
}

/// It does nothing any more, and the broker has it replaced before the deadline of any question.
pub fn process_that_is_silent_is_replaced() {
    let place = Place::new("lib");
    let master = place.start(1, &Waiting::tables(&place));
    let waiting = Waiting::come(&place, &master);
    let standin = master.only("rules worker");
    signal("STOP", standin);
    let mut last = master.wire();
    put(&mut last, Dialect::Old, &place.later("b"), "asked of nobody who listens");
    others_are_served(&place, &master);
    assert_eq!(next(&mut last), RETRY);
    let waiting = waiting.are_told_to_try_again();
    until_replaced(&place, &master, standin);
    waiting.are_answered(&place);
}

/// A frame that is not an answer ends the stream; all clients that wait for that process get RETRY at once.
pub fn garbage_costs_the_stream_and_nobody_else() {
    let place = Place::new("lib");
    let master = place.start(1, &Waiting::tables(&place));
    let kinds = ["endless", "kind", "unasked", "half"];
    for (number, kind) in kinds.into_iter().enumerate() {
        let waiting = Waiting::come(&place, &master);
        let standin = master.only("rules worker");
        let mut last = master.wire();
        put(&mut last, Dialect::Old, &place.later("b"), &format!("k;b={kind}"));
        assert_eq!(next(&mut last), RETRY, "{kind}");
        let waiting = waiting.are_told_to_try_again();
        others_are_served(&place, &master);
        let wrong = (number + 1).min(3);
        until_logged(&place.site, wrong, "-- sending it no more questions");
        // It is no longer asked. New questions wait for another one, which gets its streams when it starts.
        put(&mut last, Dialect::Old, &place.later("b"), "k");
        signal("KILL", standin);
        assert_eq!(next(&mut last), "status|0|value|b(k)||", "{kind}");
        until_replaced(&place, &master, standin);
        waiting.are_answered(&place);
    }
}
