//! The loop, with stores in memory, over socket pairs. The notation `|` is one NUL byte.

mod checkpoints;
mod ending;
mod groups;
mod openings;

use crate::testing::{Broker, Client, Fake, PATIENCE};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// The first table of every test, and a second one.
const TABLE: &str = "btree:/t";
const OTHER: &str = "lmdb:/o";

fn update(table: &str, key: &str) -> String {
    format!("request|update|table|{table}|flags|64|key|{key}|value|v-{key}||")
}

fn lookup(table: &str, key: &str) -> String {
    format!("request|lookup|table|{table}|flags|64|key|{key}||")
}

fn sequence(table: &str, function: u8) -> String {
    format!("request|sequence|table|{table}|flags|64|function|{function}||")
}

/// A stop in the middle of each commit of a store.
struct Gate {
    entered: Receiver<()>,
    leave: Sender<()>,
}

impl Gate {
    fn new(fake: &Fake) -> Gate {
        let ((enter, entered), (leave, left)) = (channel(), channel());
        fake.script().on_commit = Some(Arc::new(Mutex::new(move || {
            enter.send(()).unwrap();
            let _ = left.recv();
        })));
        Gate { entered, leave }
    }

    /// Waits until a commit has begun.
    fn entered(&self) {
        self.entered.recv_timeout(PATIENCE).unwrap();
    }

    fn leave(&self) {
        self.leave.send(()).unwrap();
    }

    /// Makes one client's update stop in its commit, so that all that is sent meanwhile is asked in the next turn.
    fn hold_up(&self, client: &mut Client) {
        client.send(&update(TABLE, "first"));
        self.entered();
    }

    /// No stop any more.
    fn open(self, fake: &Fake) {
        fake.script().on_commit = None;
    }
}
