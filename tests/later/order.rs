//! Answers that come in another order than they were asked for.

use crate::common::PATIENCE;
use crate::common::wire::{Received, Wire};
use crate::service::{Class, Dialect, FINE, Place, next, others_are_served, put, until_counts};
use crate::shapes::{Numbers, Shape};
use std::time::Duration;

/// Clients of a random conversation, and what each asks.
const CLIENTS: usize = 12;
const BURSTS: usize = 25;
/// Levels of tables made of others.
const DEEPEST: usize = 6;

/// The last to ask is answered first, each by the table that it has asked, and what a client has asked besides comes after.
pub fn answers_in_any_order_reach_each_client_in_its_order() {
    let place = Place::new("lib");
    let union = format!("unionmap:{{static:s,{},{}}}", place.later("b"), place.later("a"));
    let pipe = format!("pipemap:{{{},unionmap:{{{},static:s}}}}", place.later("b"), place.later("a"));
    let tables = [place.later("a"), union, pipe];
    let values: [fn(&str) -> String; 3] =
        [|key| format!("a({key})"), |key| format!("s,b({key}),a({key})"), |key| format!("a(b({key})),s")];
    let classes = [Class::Pattern, Class::Fixed, Class::Pattern];
    let master = place.start(1, &tables);
    let mut clients: Vec<(Wire, usize, Dialect)> = Vec::new();
    for dialect in Dialect::BOTH {
        clients.extend((0..tables.len()).map(|table| (master.wire(), table, dialect)));
    }
    let mut counting = master.wire();
    for (number, (wire, table, dialect)) in clients.iter_mut().enumerate() {
        put(wire, *dialect, FINE, "k");
        put(wire, *dialect, &tables[*table], &format!("k{number};a=hold"));
        put(wire, *dialect, FINE, "k");
        until_counts(&place, &mut counting, number + 1, 0);
    }
    for (wire, _, dialect) in &mut clients {
        assert_eq!(next(wire), dialect.reply(0, Class::Fixed, "fine"), "what comes before the question");
        assert_eq!(wire.receive(Duration::from_millis(10)), Received::Silence);
    }
    others_are_served(&place, &master);
    let free = Dialect::Old.lookup(&tables[0], "k;a=free");
    assert_eq!(master.wire().ask(&free), "status|0|value|a(k;a=free)||");
    for (number, (wire, table, dialect)) in clients.iter_mut().enumerate() {
        let value = values[*table](&format!("k{number};a=hold"));
        assert_eq!(next(wire), dialect.reply(0, classes[*table], &value));
        assert_eq!(next(wire), dialect.reply(0, Class::Fixed, "fine"), "what comes after the question");
        assert!(wire.left_over().is_empty());
    }
    until_counts(&place, &mut counting, 0, 0);
}

/// Several lookup workers and stand-ins; delays, absent keys and failures at any level; both dialects on one connection.
pub fn random_conversations_in_tables_of_any_depth() {
    let place = Place::new("lib");
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut shapes = vec![Shape::Later("a"), Shape::Inline, Shape::Fixed("s"), Shape::Random("r")];
    shapes
        .extend((1..=DEEPEST).flat_map(|depth| [depth; 3]).map(|depth| Shape::of_depth(depth, &mut numbers)));
    let names: Vec<String> = shapes.iter().map(|shape| shape.name(&place)).collect();
    let master = place.start(2, &names);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (shapes, names, mut wire) = (&shapes, &names, master.wire());
            scope.spawn(move || {
                let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ (client as u64 + 1));
                for burst in 0..BURSTS {
                    let mut expected = Vec::new();
                    for _ in 0..=numbers.below(3) {
                        let table = numbers.below(shapes.len());
                        let key = key(&format!("k{client}-{burst}"), &mut numbers);
                        let dialect = Dialect::BOTH[numbers.below(2)];
                        put(&mut wire, dialect, &names[table], &key);
                        let (status, value) =
                            shapes[table].value(&key).map_or((1, String::new()), |value| (0, value));
                        let reply = dialect.reply(status, shapes[table].class(), &value);
                        expected.push((names[table].clone(), key, reply));
                    }
                    for (table, key, reply) in expected {
                        assert_eq!(wire.receive(PATIENCE), Received::Reply(reply), "{key} in {table}");
                    }
                }
            });
        }
    });
}

/// A key with orders for some of the tables.
fn key(user: &str, numbers: &mut Numbers) -> String {
    let order = |label: &&str| {
        let what = match numbers.below(8) {
            0 => "absent".to_owned(),
            1 => "twice".to_owned(),
            2..5 => format!("{}ms", numbers.below(20)),
            _ => return None,
        };
        Some(format!(";{label}={what}"))
    };
    let orders: String = ["a", "b", "c", "inline"].iter().filter_map(order).collect();
    format!("{user}{orders}")
}

/// Of two answers to one question, one is used and the other ignored.
pub fn answers_that_come_twice_are_given_once() {
    let place = Place::new("lib");
    let pipe = format!("pipemap:{{{},{}}}", place.later("a"), place.later("b"));
    let master = place.start(1, std::slice::from_ref(&pipe));
    let mut wires = [master.wire(), master.wire()];
    for dialect in Dialect::BOTH {
        for round in 0..20 {
            let key = format!("k{round};a=twice;b=twice");
            wires.iter_mut().for_each(|wire| put(wire, dialect, &pipe, &key));
            for wire in &mut wires {
                assert_eq!(next(wire), dialect.reply(0, Class::Pattern, &format!("b(a({key}))")));
            }
        }
    }
    assert!(place.site.log().iter().all(|line| !line.text.contains("sending it no more questions")));
}
