//! Stock proxymap(8) and mapkeepd get the same questions; their replies must be the same bytes, but for the
//! differences that docs/COMPATIBILITY.md lists.
//!
//! Old dialect: the installed stock server is asked side by side. What stock answers depends on what it was asked before:
//! the first request for a table opens it, with that request's flags, for all clients, and hits narrow the ways of
//! storing keys that it tries. So its state is defined here: for each set of flags a fresh stock process is asked, and
//! everything it is asked has these flags (`Mode::SameFlags`); `open` comes first. A second pass asks as clients of
//! Postfix 3.7 do (`Mode::AsClients`): each table is first opened with the bits that such a client sends with `open`, and
//! then asked with all of its bits. A stock process that dies is replaced, and the new one is put into the same state.
//! Stock dies slowly (it sleeps a second), so questions of which it is known to die are asked a few times only.
//!
//! New dialect: the replies on record of stock 3.12, in compliance/new_dialect.rs. Where `MAPKEEP_LATER_STOCK` names a
//! proxymap of Postfix 3.11 or later, that one is asked side by side, in its dialect, in the place of the installed one:
//! as clients do, each lookup carries the flags that the server itself has told.
//!
//! Differences that one request and one reply cannot show (pipelining, stalls, changes of files, the log) have tests in
//! tests/wire.rs, tests/life.rs and tests/postfix.rs.
#![cfg(test)]

mod common;
#[path = "compliance/compare.rs"]
mod compare;
#[path = "compliance/differences/mod.rs"]
mod differences;
#[path = "compliance/later.rs"]
mod later;
#[path = "compliance/new_dialect.rs"]
mod new_dialect;
#[path = "compliance/questions.rs"]
mod questions;
#[path = "compliance/stock.rs"]
mod stock;
#[path = "compliance/tables.rs"]
mod tables;

use common::master::Site;
use compare::{Pair, Tally};
use questions::{FLAGS, Mode};
use std::time::Instant;
use tables::Table;

/// Threads, each with a stock process and a share of the tables of its own. Stock mostly sleeps or dies.
const SHARES: usize = 6;

#[test]
fn replies_are_those_of_stock_but_for_the_listed_differences() {
    if !common::can_run("compliance with stock") {
        return;
    }
    let begun = Instant::now();
    let site = Site::new();
    let mut tables = tables::make(&site);
    tables.extend(later::make(&site));
    // main.cf expands what begins with a dollar sign.
    let names: Vec<String> = tables.iter().map(|table| table.name.replace('$', "$$")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let settings = "smtputf8_enable = yes\nmax_use = 1000000\nmax_idle = 3600s\n";
    site.approve(&names, settings);
    let ours = site.start();
    drop(ours.wire());
    let socket = ours.socket();

    let mut tally = std::thread::scope(|scope| {
        let shares: Vec<_> = (0..SHARES)
            .map(|share| {
                let mine: Vec<&Table> = tables.iter().skip(share).step_by(SHARES).collect();
                let (names, tables, socket) = (&names, &tables, &socket);
                scope.spawn(move || {
                    let home = Site::new();
                    home.approve(names, settings);
                    let mut pair = Pair::new(&home, socket);
                    for flags in FLAGS {
                        pair.fresh(Mode::SameFlags);
                        mine.iter().for_each(|table| questions::ask_all(&mut pair, table, *flags));
                    }
                    pair.fresh(Mode::AsClients);
                    for table in &mine {
                        questions::ask_as_clients(&mut pair, table);
                    }
                    if share == 0 {
                        pair.fresh(Mode::SameFlags);
                        questions::ask_odd_forms(&mut pair, tables);
                    }
                    std::mem::take(&mut pair.tally)
                })
            })
            .collect();
        shares.into_iter().map(|share| share.join().unwrap()).fold(Tally::default(), Tally::and)
    });

    tally.print(tables.len(), begun.elapsed());
    assert!(tables.len() >= 60, "{} tables", tables.len());
    assert!(tally.requests >= 5000, "{} requests", tally.requests);
    tally.wrong.sort();
    let shown = tally.wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(tally.wrong.is_empty(), "{} differences that no line allows:\n{shown}", tally.wrong.len());
    differences::assert_documented();
    if stock::is_later() {
        // Some differences are of earlier versions only.
        return;
    }
    let unseen: Vec<&str> = differences::unseen(&tally);
    assert!(unseen.is_empty(), "allowed differences that never occurred: {unseen:#?}");
}

#[test]
fn new_dialect_replies_are_those_on_record() {
    if common::can_run("the new dialect on record") {
        new_dialect::compare();
    }
}
