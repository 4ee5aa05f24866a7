//! Asks both servers one question and compares their replies.

use crate::common::PATIENCE;
use crate::common::master::Site;
use crate::common::wire::{Received, Wire};
use crate::differences::{self, Case};
use crate::questions::{Mode, Question};
use crate::stock::Stock;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often each thread asks a question that is known to make stock exit, for each reason.
const DEATHS: usize = 2;
/// After this number of unexplained deaths of stock, a thread asks no more; each costs a second.
const SURPRISES: usize = 20;

/// Stock, mapkeepd, and the state that stock is in.
pub struct Pair<'s> {
    stock: Stock<'s>,
    socket: PathBuf,
    ours: Wire,
    mode: Mode,
    /// The tables that the running stock process has opened as a client does, each with its instance bits.
    opened: BTreeSet<(String, u32)>,
    deaths: BTreeMap<&'static str, usize>,
    surprises: usize,
    known: Known,
    pub tally: Tally,
}

/// What stock has replied where everything it was asked had the same flags, by question.
#[derive(Default)]
pub struct Known(BTreeMap<Vec<u8>, Received>);

impl Known {
    /// Stock's reply to this question, asked with these flags.
    pub fn reply(&self, question: &Question<'_>, flags: u32) -> Option<&str> {
        let plain = Question { around: ("", ""), flags, what: question.what.clone(), ..*question };
        match self.0.get(&plain.bytes(None)) {
            Some(Received::Reply(reply)) => Some(reply),
            _ => None,
        }
    }
}

/// What came of all questions.
#[derive(Default)]
pub struct Tally {
    pub requests: usize,
    /// How often each allowed difference occurred, by its words in docs/COMPATIBILITY.md.
    pub allowed: BTreeMap<&'static str, usize>,
    /// Differences that nothing allows.
    pub wrong: Vec<String>,
}

impl<'s> Pair<'s> {
    pub fn new(site: &'s Site, socket: &Path) -> Self {
        Pair {
            stock: Stock::new(site),
            socket: socket.to_path_buf(),
            ours: Wire::open(socket),
            mode: Mode::SameFlags,
            opened: BTreeSet::new(),
            deaths: BTreeMap::new(),
            surprises: 0,
            known: Known::default(),
            tally: Tally::default(),
        }
    }

    /// From here on a stock process that has been asked nothing.
    pub fn fresh(&mut self, mode: Mode) {
        self.mode = mode;
        self.stock.stop();
        self.ours = Wire::open(&self.socket);
    }

    /// Asks both. Returns stock's reply and ours; `None` if the question was left out, because stock has exited on
    /// similar ones often enough.
    pub fn ask(&mut self, question: &Question<'_>) -> Option<[Received; 2]> {
        if self.surprises > SURPRISES {
            return None;
        }
        let expected = differences::expected_death(question);
        if let Some(reason) = expected {
            let count = self.deaths.entry(reason).or_default();
            *count += 1;
            if *count > DEATHS {
                return None;
            }
        }
        self.prepare(question);
        let open = question.open_of_a_later_client();
        let told = open.as_ref().and_then(|open| differences::flags_of(&self.stock.ask(open)));
        let stock = self.stock.ask(&question.bytes(told));
        self.surprises += usize::from(expected.is_none() && stock == Received::Closed);
        let told = open.as_ref().and_then(|open| differences::flags_of(&self.ask_ours(open)));
        let ours = self.ask_ours(&question.bytes(told));
        self.tally.judge(&Case { question, mode: self.mode, known: &self.known, stock: &stock, ours: &ours });
        if self.mode == Mode::SameFlags && question.around == ("", "") {
            self.known.0.insert(question.bytes(None), stock.clone());
        }
        Some([stock, ours])
    }

    fn ask_ours(&mut self, request: &[u8]) -> Received {
        let heard = match self.ours.send(request) {
            Ok(()) => self.ours.receive(PATIENCE),
            Err(_) => Received::Closed,
        };
        if heard == Received::Closed {
            self.ours = Wire::open(&self.socket);
        }
        heard
    }

    /// Both servers' replies to a request to which stock's is no reply at all, for so long; compared by the caller.
    pub fn ask_apart(&mut self, request: &[u8], silence: Duration) -> [Received; 2] {
        let wires = [(self.stock.second_wire(), silence), (Wire::open(&self.socket), PATIENCE)];
        self.tally.requests += 1;
        wires.map(|(mut wire, patience)| {
            wire.send(request).expect("the connection is open");
            wire.receive(patience)
        })
    }

    /// The replies to two clients, each with one request, the second after the first has been answered. From both servers.
    pub fn ask_in_turn(&mut self, requests: [&[u8]; 2]) -> [Vec<Received>; 2] {
        let ours = [Wire::open(&self.socket), Wire::open(&self.socket)];
        let stock = [self.stock.second_wire(), self.stock.second_wire()];
        self.tally.requests += 2;
        [stock, ours].map(|wires| {
            let asked = wires.into_iter().zip(requests);
            let hear = |(mut wire, request): (Wire, &[u8])| {
                wire.send(request).expect("the connection is open");
                wire.receive(PATIENCE)
            };
            asked.map(hear).collect()
        })
    }

    /// The keys that two clients get who walk a table in turn: first, first, next, next. From both servers.
    pub fn walk_in_turn(&mut self, first: &[u8], next: &[u8]) -> [Vec<Received>; 2] {
        let ours = [Wire::open(&self.socket), Wire::open(&self.socket)];
        let stock = [self.stock.second_wire(), self.stock.second_wire()];
        self.tally.requests += 4;
        [stock, ours].map(|mut wires| {
            let mut replies = Vec::new();
            for request in [first, next] {
                for wire in &mut wires {
                    wire.send(request).expect("the connection is open");
                    replies.push(wire.receive(PATIENCE));
                }
            }
            replies
        })
    }

    /// Puts stock into the state that the mode asks for.
    fn prepare(&mut self, question: &Question<'_>) {
        if !self.stock.runs() {
            self.opened.clear();
            // A new stock process is in the middle of no sequence, and neither shall we be.
            self.ours = Wire::open(&self.socket);
        }
        let (Mode::AsClients, Some(open)) = (self.mode, question.open_of_a_client()) else { return };
        let table = (question.table_name().to_string(), question.flags);
        if self.opened.insert(table) {
            let heard = self.stock.ask(&open);
            assert!(matches!(heard, Received::Reply(_)), "{}: {heard:?}", open.escape_ascii());
        }
    }
}

impl Tally {
    /// Counts a question, and a difference if there is one.
    fn judge(&mut self, case: &Case<'_>) {
        self.requests += 1;
        if case.stock == case.ours && matches!(case.stock, Received::Reply(_)) {
            return;
        }
        match differences::allowing(case) {
            Some(line) => self.allow(line),
            None => self.wrong.push(case.to_string()),
        }
    }

    /// Counts an allowed difference.
    pub fn allow(&mut self, line: &'static str) {
        *self.allowed.entry(line).or_default() += 1;
    }

    /// Both tallies together.
    pub fn and(mut self, other: Tally) -> Tally {
        self.requests += other.requests;
        self.wrong.extend(other.wrong);
        for (line, count) in other.allowed {
            *self.allowed.entry(line).or_default() += count;
        }
        self
    }

    pub fn print(&self, tables: usize, time: Duration) {
        eprintln!("{} requests over {tables} tables in {:.1} s", self.requests, time.as_secs_f32());
        for (line, count) in &self.allowed {
            eprintln!("{count:>7}  {line}");
        }
        eprintln!("{:>7}  not allowed", self.wrong.len());
    }
}
