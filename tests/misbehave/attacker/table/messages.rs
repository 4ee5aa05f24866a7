//! Messages that no honest worker sends, no messages, and greed. The calls are allowed; the broker has to object, or
//! the limits.

use crate::Outcome::{Dismissed, Ended, Errno};
use crate::raw::Word;
use crate::{Answer, Attack, Attempt, Loot, call};
use libc::*;
use mapkeep_proto::{Decode, LookupToBroker, TableId};

/// The descriptor of the channel to the broker.
pub(super) const BROKER: i32 = 3;
/// The descriptor of the process's epoll.
pub(super) const EPOLL: i32 = 5;
/// Messages of a flood.
const FLOOD: u32 = 100_000;

pub(super) fn say(packet: &[u8]) -> Answer {
    let flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    call!(SYS_sendto, BROKER, packet.as_ptr() as u64, packet.len().word(), flags, 0, 0)
}

fn message(message: LookupToBroker) -> Answer {
    say(&message.encode())
}

/// Sends a message as fast as the broker takes it.
pub(super) fn flood(packet: &[u8]) -> Answer {
    let mut sent = 0;
    while sent < FLOOD {
        match say(packet) {
            Ok(_) => sent += 1,
            Err(EAGAIN) => drop(call!(SYS_epoll_wait, EPOLL, &mut [0_u64; 8], 4, 1)),
            Err(number) => return Err(number),
        }
    }
    Ok(sent.into())
}

/// Lets the client go and does nothing any more.
fn stay(loot: &Loot) -> Answer {
    // Its hang-up would wake this process without end. It may be closed already.
    let _ = call!(SYS_epoll_ctl, EPOLL, EPOLL_CTL_DEL, BROKER, &[0_u64; 2]);
    call!(SYS_close, loot.client)?;
    loop {
        call!(SYS_epoll_wait, EPOLL, &mut [0_u64; 8], 4, -1)?;
    }
}

/// Address space until there is no more.
fn balloon() -> Answer {
    loop {
        let (rights, flags) = (PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
        call!(SYS_mmap, 0, 64 << 20, rights, flags, -1, 0)?;
    }
}

/// What every process of ours that reads from clients may try.
pub(super) const BOTH: &[Attack] = &[
    Attack {
        item: 34,
        name: "malformed messages",
        outcome: Dismissed("sent a malformed message"),
        attempts: &[
            Attempt("cut short", |_| say(&[2])),
            Attempt("too long by a byte", |_| say(&[1, 0])),
            Attempt("unknown type", |_| say(&[99])),
            Attempt("as long as the broker's buffer", |_| say(&[1; 64])),
        ],
    },
    Attack {
        item: 34,
        name: "oversized messages",
        outcome: Dismissed("sent an oversized message"),
        attempts: &[Attempt("65 bytes", |_| say(&[1; 65])), Attempt("64 KiB", |_| say(&[1; 65_536]))],
    },
    Attack {
        item: 34,
        name: "the end of the channel",
        outcome: Ended,
        attempts: &[
            Attempt("0 bytes", |_| say(&[])),
            // To the broker both look like the end of the worker; the process is still there.
            Attempt("0 bytes, and stay", |loot| say(&[]).and_then(|_| stay(loot))),
            Attempt("close the channel, and stay", |loot| call!(SYS_close, BROKER).and_then(|_| stay(loot))),
        ],
    },
    Attack {
        item: 44,
        name: "all memory that it can get",
        outcome: Errno(&[ENOMEM]),
        attempts: &[Attempt("mmap", |_| balloon())],
    },
    Attack {
        item: 45,
        name: "stop answering",
        outcome: Dismissed("does not respond"),
        attempts: &[Attempt("spin", |_| {
            loop {
                std::hint::spin_loop();
            }
        })],
    },
];

/// What a lookup worker may say at the wrong time.
pub(super) const LIST: &[Attack] = &[
    Attack {
        item: 34,
        name: "wrong order",
        outcome: Dismissed("sent ready twice"),
        attempts: &[Attempt("ready again", |_| message(LookupToBroker::Ready))],
    },
    Attack {
        item: 34,
        name: "replays",
        outcome: Dismissed("sent an outcome for a snapshot that it was not sent"),
        attempts: &[
            Attempt("loaded again", |_| message(LookupToBroker::Loaded { id: TableId(0), generation: 1 })),
            Attempt("rejected afterwards", |_| {
                message(LookupToBroker::Rejected { id: TableId(0), generation: 1 })
            }),
        ],
    },
    Attack {
        item: 34,
        name: "inventions",
        outcome: Dismissed("sent an answer without a ping"),
        attempts: &[
            Attempt("a pong", |_| message(LookupToBroker::Pong(u32::MAX))),
            Attempt("a flood of pongs", |_| flood(&LookupToBroker::Pong(7).encode()).or(Ok(0))),
        ],
    },
    Attack {
        item: 34,
        name: "wrong counts",
        outcome: Dismissed("sent a count of more closed connections than it had"),
        attempts: &[Attempt("1000 clients gone", |_| message(LookupToBroker::Closed(1000)))],
    },
    Attack {
        item: 34,
        name: "a flood of messages",
        outcome: Dismissed("a count of zero closed connections"),
        attempts: &[Attempt("100,000 times no client gone", |_| flood(&LookupToBroker::Closed(0).encode()))],
    },
    Attack {
        item: 35,
        name: "a table that it was not assigned",
        outcome: Dismissed("sent an outcome for a snapshot that it was not sent"),
        attempts: &[
            Attempt("loaded", |_| message(LookupToBroker::Loaded { id: TableId(999), generation: 1 })),
            Attempt("rejected", |_| {
                message(LookupToBroker::Rejected { id: TableId(u16::MAX), generation: 0 })
            }),
        ],
    },
];
