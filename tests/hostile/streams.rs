//! How requests may come in: in any portions, and with the end of the connection close behind.
//!
//! The worker is stopped while a client sends, so that everything waits for it at once. It is told once of what has
//! arrived (epoll's edges): nothing of it may stay unread.

use crate::common::PATIENCE;
use crate::common::master::{Master, Site};
use crate::common::process::signal;
use crate::common::wire::{Received, bytes};
use crate::{FINE, Innocent, is_as_before, lookup, settled};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::io::IoSlice;
use std::os::fd::AsRawFd;

/// What the worker reads in one go.
const CHUNK: usize = 16 << 10;
const ANSWER: &str = "status|0|value|fine||";

/// A service with one client that is served already.
fn served(site: &Site) -> (Master<'_>, Innocent) {
    site.approve(&[FINE], "max_use = 1000000\n");
    let master = site.start();
    let mut innocent = Innocent::new(&master);
    innocent.is_served(&master);
    (master, innocent)
}

/// Has all of `sending` arrive at the worker in one go.
fn while_it_is_stopped(master: &Master<'_>, sending: impl FnOnce()) {
    let worker = master.only("lookup worker");
    signal("STOP", worker);
    sending();
    signal("CONT", worker);
}

/// A lookup of this length in bytes.
fn request_of(length: usize) -> Vec<u8> {
    let rest = bytes(&lookup(FINE, "")).len();
    let request = bytes(&lookup(FINE, &"k".repeat(length - rest)));
    assert_eq!(request.len(), length);
    request
}

pub fn portions_of_any_size_are_read_whole() {
    let site = Site::new();
    let (master, mut innocent) = served(&site);
    let short = request_of(100);
    for first in [CHUNK - 100, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 100, 2 * CHUNK, 4 * CHUNK] {
        // Alone, and with another request behind.
        for behind in [0, 1, 2 * CHUNK / short.len()] {
            let mut wire = master.wire();
            let all = [request_of(first), short.repeat(behind)].concat();
            while_it_is_stopped(&master, || wire.send(&all).unwrap());
            for _ in 0..=behind {
                assert_eq!(
                    wire.receive(PATIENCE),
                    Received::Reply(ANSWER.into()),
                    "{first} bytes, {behind} behind"
                );
            }
            assert_eq!(wire.ask(&lookup(FINE, "x")), ANSWER);
        }
    }
    innocent.is_served(&master);
}

pub fn whoever_has_nothing_more_to_say_gets_all_answers() {
    let site = Site::new();
    let (master, mut innocent) = served(&site);
    let before = settled(&master, 1);
    for count in [0, 1, 3 * CHUNK / 100] {
        let mut wire = master.wire();
        while_it_is_stopped(&master, || {
            wire.send(&request_of(100).repeat(count)).unwrap();
            wire.finish_sending();
        });
        for number in 0..count {
            assert_eq!(wire.receive(PATIENCE), Received::Reply(ANSWER.into()), "answer {number} of {count}");
        }
        assert_eq!(wire.receive(PATIENCE), Received::Closed, "after {count} answers");
    }
    is_as_before(&master, &before);
    innocent.is_served(&master);
}

pub fn connections_that_end_behind_a_request_are_closed() {
    let site = Site::new();
    let (master, mut innocent) = served(&site);
    let before = settled(&master, 1);
    for request in [request_of(100), request_of(CHUNK), request_of(2 * CHUNK), b"request\0look".to_vec()] {
        let mut wire = master.wire();
        while_it_is_stopped(&master, || {
            wire.send(&request).unwrap();
            drop(wire);
        });
        is_as_before(&master, &before);
    }
    innocent.is_served(&master);
}

/// A client that neither reads nor sends more has a second, in which no process spins because of the end of its input.
pub fn half_a_connection_that_is_not_read_is_closed() {
    let site = Site::new();
    let (master, mut innocent) = served(&site);
    let before = settled(&master, 1);
    let ticks = crate::limits::ticks(&master);
    let mut wire = master.wire();
    wire.send(&request_of(100).repeat(8192)).unwrap();
    wire.finish_sending();
    is_as_before(&master, &before);
    let used = crate::limits::ticks(&master) - ticks;
    assert!(used < 50, "{used} ticks");
    drop(wire);
    innocent.is_served(&master);
}

/// The kernel ends a portion where descriptors or urgent bytes came along. Nothing is promised to a client that sends
/// such things but that nothing of them stays.
pub fn descriptors_and_urgent_bytes_are_dropped() {
    let site = Site::new();
    let (master, mut innocent) = served(&site);
    let before = settled(&master, 1);
    let request = bytes(&lookup(FINE, "x"));
    for flags in [MsgFlags::empty(), MsgFlags::MSG_OOB] {
        let mut wire = master.wire();
        while_it_is_stopped(&master, || {
            let own = [std::io::stdin().as_raw_fd()];
            let along = [ControlMessage::ScmRights(&own)];
            // Urgent bytes carry no descriptors.
            let along = if flags.is_empty() { &along[..] } else { &[] };
            let sent = sendmsg::<()>(wire.as_raw_fd(), &[IoSlice::new(&request)], along, flags, None);
            assert_eq!(sent, Ok(request.len()));
            wire.send(&request).unwrap();
        });
        // Whatever was made of it, the worker has no descriptor more than the connection.
        settled(&master, 2);
        if flags.is_empty() {
            // The bytes after the descriptor arrive with the next ones that are sent.
            wire.send(&request).unwrap();
            for _ in 0..3 {
                assert_eq!(wire.receive(PATIENCE), Received::Reply(ANSWER.into()));
            }
        }
        drop(wire);
        is_as_before(&master, &before);
    }
    innocent.is_served(&master);
}
