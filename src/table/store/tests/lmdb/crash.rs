//! Killed at any moment: what was acknowledged is there, and nothing is there by halves.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use mapkeep_table_store::Store;

use crate::support::{Chance, Content, Directory, child, content, get, open};

/// How many groups stay in the table; each group removes the one that is so much older.
const KEPT: u64 = 30;

/// The entries of a group; some are long.
fn group(number: u64) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let mut chance = Chance(number);
    (0..1 + chance.below(5)).map(move |at| {
        let length = if chance.below(8) == 0 { chance.below(9000) } else { chance.below(90) };
        (format!("{:02} {number} {at}", number % 17).into_bytes(), chance.text(length).into_bytes())
    })
}

/// The whole table after group `number`.
fn after_group(number: u64) -> Content {
    let first = number.saturating_sub(KEPT) + 1;
    let mut all: Content = (first..=number).flat_map(group).collect();
    all.insert(b"last".to_vec(), number.to_string().into_bytes());
    all
}

/// What a child does: commits group after group, and reports each, until it is killed.
pub fn writer(path: &Path) {
    let mut store = open(path);
    let last = get(&mut store, b"last").map_or(0, |last| String::from_utf8(last).unwrap().parse().unwrap());
    for number in last + 1.. {
        for (key, value) in group(number) {
            store.put(&key, &value).unwrap();
        }
        for (key, _) in number.checked_sub(KEPT).into_iter().flat_map(group) {
            store.delete(&key).unwrap();
        }
        store.put(b"last", number.to_string().as_bytes()).unwrap();
        store.commit().unwrap();
        store.rest();
        println!("\ndone {number}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let directory = Directory::new();
    let table = directory.table();
    drop(open(&table));
    let mut chance = Chance(4);
    let mut acknowledged = 0;
    for kill in 0..120 {
        let mut writer =
            child(&format!("writer {}", table.display())).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut numbers =
            lines.filter_map(|line| line.strip_prefix("done ").and_then(|number| number.parse().ok()));
        for _ in 0..chance.below(12) {
            acknowledged = numbers.next().expect("the writer writes until it is killed");
        }
        // Nothing is awaited here: the kill is to come at a moment that nothing decides.
        sleep(Duration::from_micros(chance.next() % 4000));
        writer.kill().unwrap();
        writer.wait().unwrap();
        acknowledged = numbers.last().unwrap_or(acknowledged);
        let found: Content = content(&mut open(&table)).unwrap().into_iter().collect();
        let whole = [acknowledged, acknowledged + 1].into_iter().any(|number| {
            let expected = if number == 0 { Content::new() } else { after_group(number) };
            found == expected
        });
        assert!(whole, "kill {kill}: the table is not what it was after group {acknowledged} or the next");
        acknowledged =
            found.get(&b"last"[..]).map_or(0, |last| String::from_utf8_lossy(last).parse().unwrap());
    }
    assert!(acknowledged > 100, "only {acknowledged} groups were committed");
}
