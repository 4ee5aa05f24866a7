//! Clients that ask a table of patterns for what takes it longest, as often as they can.

use crate::common::master::{Master, Site};
use crate::common::stopwatch::Stopwatch;
use crate::common::wire::{ANNOUNCEMENT, Received, Wire, attribute};
use crate::common::{BEAT, PATIENCE, poll};
use crate::{DEADLINE, FINE, Innocent, lookup};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Nested quantifiers, for which a search takes exponential time; and one rule that is found at once.
const SLOW: &str = "/^quick$/ found\n/^(a+)+$/ many\n/(x+x+)+y/ pairs\n";
/// Requests that each attacker sends at once.
const AT_ONCE: usize = 120;
/// How long each crowd does its worst.
const WHILE: Duration = Duration::from_secs(4);

/// Tells the attackers to stop, also when a test fails.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What takes longest: of 4 KB or of 250 KB, for either pattern.
fn worst(table: &str, number: usize) -> Vec<u8> {
    let length = if number.is_multiple_of(4) { 250_000 } else { 4_000 };
    let (letter, end) = if number.is_multiple_of(2) { ("a", "!") } else { ("x", "!y") };
    let key = format!("{}{end}", letter.repeat(length));
    lookup(table, &key).replace('|', "\0").into_bytes()
}

/// Sends as much as it can of `AT_ONCE` requests, and disconnects without reading the replies; again and again, as soon
/// as it is accepted. (A flood of connections without that wait would only fill the queue of the socket.)
fn hit_and_run(socket: &Path, table: &str, number: usize, stop: &AtomicBool) {
    let requests = worst(table, number).repeat(AT_ONCE);
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = UnixStream::connect(socket) else { continue };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if stream.read_exact(&mut [0; ANNOUNCEMENT.len()]).is_err() {
            continue;
        }
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(&requests);
        // The machine should be busy with their requests, not with making them.
        std::thread::sleep(BEAT);
    }
}

/// Sends `AT_ONCE` requests and reads the replies, one after another: each is a temporary error, in its order.
fn stay(socket: &Path, table: &str, number: usize, stop: &AtomicBool) {
    let mut wire = Wire::open(socket);
    // What fits into the connection; the rest of a longer request would wait for us.
    let requests = worst(table, number | 1).repeat(AT_ONCE.min(16));
    let quick = lookup(table, "quick").replace('|', "\0").into_bytes();
    wire.send(&[requests, quick].concat()).unwrap();
    let mut heard = 0;
    while !stop.load(Ordering::Relaxed) {
        match wire.receive(Duration::from_millis(100)) {
            Received::Reply(reply) => {
                assert_eq!(attribute(&reply, "status"), Some(if heard < 16 { "2" } else { "0" }), "{reply}");
                heard += 1;
                if heard == 17 {
                    return;
                }
            }
            Received::Silence => {}
            Received::Closed => panic!("closed after {heard} replies"),
        }
    }
}

/// Asks all tables but the slow one, on a connection that stays and on new ones. Returns the longest wait.
fn is_served(
    master: &Master<'_>,
    innocent: &mut Innocent,
    others: &[(String, &str)],
    kept: &mut Wire,
) -> Duration {
    let mut slowest = Duration::ZERO;
    innocent.is_served(master);
    for (table, value) in others {
        let before = Stopwatch::start();
        let reply = kept.ask(&lookup(table, "alice"));
        assert_eq!(attribute(&reply, "value"), Some(*value), "{reply}");
        let took = before.elapsed();
        assert!(took < DEADLINE, "a client of {table} waits {took:?}");
        slowest = slowest.max(took);
    }
    slowest.max(innocent.slowest)
}

pub fn slow_patterns_delay_no_other_table() {
    let site = Site::new();
    let slow = site.table("pcre", "slow", SLOW);
    let others = [
        (site.table("pcre", "quick", "/^alice$/ by-pattern\n"), "by-pattern"),
        (site.table("hash", "indexed", "alice by-key\n"), "by-key"),
        (site.table("texthash", "text", "alice by-line\n"), "by-line"),
    ];
    let names: Vec<&str> =
        others.iter().map(|(name, _)| name.as_str()).chain([slow.as_str(), FINE]).collect();
    site.approve(&names, "max_use = 1000000\n");
    let master = site.start();
    let (mut innocent, mut kept) = (Innocent::new(&master), master.wire());
    is_served(&master, &mut innocent, &others, &mut kept);
    let worker = master.only("lookup worker");
    for crowd in [1, 16, 40] {
        let stop = AtomicBool::new(false);
        let (socket, slow) = (master.socket(), slow.as_str());
        innocent.slowest = Duration::ZERO;
        let mut slowest = Duration::ZERO;
        let mut rounds = 0;
        std::thread::scope(|scope| {
            for number in 0..crowd {
                let (socket, stop) = (&socket, &stop);
                let attack = if number % 3 == 1 { stay } else { hit_and_run };
                scope.spawn(move || attack(socket, slow, number, stop));
            }
            let _stop = Stop(&stop);
            let watch = Instant::now();
            poll(PATIENCE, || {
                slowest = slowest.max(is_served(&master, &mut innocent, &others, &mut kept));
                rounds += 1;
                (watch.elapsed() > WHILE).then_some(())
            });
        });
        eprintln!("{crowd} attackers: {rounds} rounds, slowest answer {slowest:.1?}");
    }
    assert_eq!(master.only("lookup worker"), worker, "the same worker all along");
    // When they have disconnected, the table itself answers again.
    let mut fresh = master.wire();
    assert_eq!(attribute(&fresh.ask(&lookup(slow.as_str(), "quick")), "value"), Some("found"));
}
