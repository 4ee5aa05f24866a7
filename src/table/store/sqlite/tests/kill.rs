//! A writer that is killed at any moment.

use std::env;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::super::testing::{Model, Numbers, Scratch, new_file, open_files};
use crate::sqlite::{Form, SqliteStore};
use crate::{Checkpoint, Progress, Store};

const KILLS: u64 = 120;
const PLACE: &str = "MAPKEEP_TEST_KILLED_STORE";
/// The number of the last group is an entry too.
const LAST: &[u8] = b"last";

/// What group `number` changes: always the same.
fn group(number: u64, model: &mut Model, store: &mut dyn Store) {
    let mut numbers = Numbers(number);
    for _ in 0..1 + numbers.below(12) {
        match numbers.below(3) {
            0 => model.delete(store, &numbers.key()),
            _ => model.put(store, &numbers.key(), &numbers.value()),
        }
    }
    model.put(store, LAST, &number.to_be_bytes());
}

fn last(store: &mut dyn Store) -> u64 {
    let mut value = Vec::new();
    match store.get(LAST, &mut value).unwrap() {
        true => u64::from_be_bytes(value.try_into().unwrap()),
        false => 0,
    }
}

/// The child: continues from the state of the store, until it is killed. In the parent this does nothing.
#[test]
fn killed_child() {
    let Some(place) = env::var_os(PLACE) else { return };
    let place = Path::new(&place);
    let (main, log) = open_files(place);
    let mut store = SqliteStore::open(main, log).unwrap();
    store.log_pages = 5;
    let mut model = Model { now: super::super::testing::list(&mut store), ..Model::default() };
    let first = last(&mut store) + 1;
    let mut out = std::io::stdout().lock();
    for number in first.. {
        group(number, &mut model, &mut store);
        store.commit().unwrap();
        writeln!(out, "\ndone {number}").unwrap();
        out.flush().unwrap();
        if number % 16 == 0 {
            let target = new_file(&place.with_extension("db"));
            let mut checkpoint = Checkpoint::begin(Form::Btree, target.into(), &mut store).unwrap();
            while checkpoint.step(&mut store) == Ok(Progress::More) {}
            store.saved().unwrap();
        }
    }
}

fn start(place: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "sqlite::tests::kill::killed_child", "--nocapture"])
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

#[test]
fn killed_writer_loses_nothing_acknowledged() {
    let scratch = Scratch::new();
    let place = scratch.path("t");
    let (mut model, mut applied, mut memory) = (Model::default(), 0, crate::MemoryStore::default());
    let mut numbers = Numbers(5);
    let mut cut_short = 0;
    for _ in 0..KILLS {
        let mut child = start(&place);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut acknowledged = applied;
        let mut note = |line: String| {
            if let Some(number) = line.strip_prefix("done ") {
                acknowledged = number.parse().unwrap();
            }
        };
        // Now and then the kill comes while the store is still being opened.
        for _ in 0..numbers.below(40) {
            lines.next().into_iter().for_each(&mut note);
        }
        black_box((0..numbers.below(300_000)).fold(0, |sum: usize, number| black_box(sum ^ number)));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(note);

        let mut store = scratch.open("t");
        let found = last(&mut store);
        assert!(
            acknowledged <= found && found <= acknowledged + 1,
            "{acknowledged} acknowledged, {found} found"
        );
        cut_short += found - acknowledged;
        for number in applied + 1..=found {
            group(number, &mut model, &mut memory);
        }
        applied = found;
        model.assert_same(&mut store);
    }
    assert!(applied > KILLS, "{applied}");
    println!("{KILLS} kills, {applied} groups, {cut_short} found that were not acknowledged");
}
