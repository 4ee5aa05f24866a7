//! What the writer may do and the lookup worker may not, and what it may say to its broker.
//!
//! It has the files of its tables, so it may write to them, lock them and wait for the disk. What matters is that these
//! calls reach nothing that it was not handed.

use super::messages::{BROKER, EPOLL, flood, say};
use crate::Outcome::{Allowed, Dismissed, Errno, Killed};
use crate::raw::Word;
use crate::{Answer, Attack, Attempt, Loot, Outcome, VICTIM, call, generation};
use libc::*;
use mapkeep_proto::{BrokerToWriter, Decode, Part, TableId, WriterToBroker};

/// The channel to the logger.
const LOG: i32 = 4;
/// A number that no descriptor has.
const NOTHING: i32 = 9999;
/// The harness lists an lmdb table under this number.
const LMDB: TableId = TableId(2);
/// No directory of tables may be filled with this number of files at once.
const MANY: i64 = 20;

/// Attempts of the common table that do not kill the writer: item, name, outcome. The descriptor that they are made on is
/// the list of names, which it was handed for reading.
pub(super) const DIFFERENT: &[(u8, &str, Outcome)] = &[
    (7, "ftruncate", Errno(&[EINVAL])),
    (7, "pwrite64", Errno(&[EBADF])),
    (11, "F_SETLK", Allowed),
    (11, "F_OFD_SETLK", Allowed),
    (16, "fdatasync", Allowed),
];

fn message(message: WriterToBroker) -> Answer {
    say(&message.encode())
}

fn sleep(clock: i32, flags: i32) -> Answer {
    call!(SYS_clock_nanosleep, clock, flags, &[0_i64, 1], 0)
}

/// Where copies of descriptors may begin.
const FIRST_FREE: i32 = 6;

/// As many copies of a descriptor as there is room for. They are closed again, so that the process can continue.
fn copies(loot: &Loot) -> Answer {
    let mut all = Vec::new();
    let last = loop {
        match call!(SYS_fcntl, loot.handed, F_DUPFD_CLOEXEC, FIRST_FREE) {
            Ok(copy) => all.push(copy),
            last => break last,
        }
    };
    for copy in all {
        let _ = call!(SYS_close, copy);
    }
    last
}

/// Reports each store that it is handed for the victim as damaged. When the broker hands out no more, it sends an
/// invalid message, for which it is killed; as long as the broker continues, that does not happen.
fn damaged_again_and_again() -> Answer {
    let mut generation = generation();
    for _ in 0..MANY {
        message(WriterToBroker::Corrupt { id: VICTIM, generation, part: Part::Store })?;
        match next_store()? {
            Some(next) => generation = next,
            None => return say(&[99]),
        }
    }
    Ok(MANY)
}

/// Waits for the victim's next store, or for the word that there is none.
fn next_store() -> Result<Option<u32>, i32> {
    let mut packet = [0_u8; 64];
    loop {
        let part = [packet.as_mut_ptr() as u64, 64];
        // struct msghdr, without room for descriptors: they are of no use here.
        let header = [0, 0, part.as_ptr() as u64, 1, 0, 0, 0];
        let length = match call!(SYS_recvmsg, BROKER, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) {
            Ok(length) => usize::try_from(length).unwrap_or_default(),
            Err(EAGAIN) => {
                let _ = call!(SYS_epoll_wait, EPOLL, &mut [0_u64; 8], 4, 1);
                continue;
            }
            Err(number) => return Err(number),
        };
        match BrokerToWriter::decode(packet.get(..length).unwrap_or_default()) {
            Ok(
                BrokerToWriter::Store { id: VICTIM, generation }
                | BrokerToWriter::StoreBeside { id: VICTIM, generation },
            ) => return Ok(Some(generation)),
            Ok(BrokerToWriter::Unavailable { id: VICTIM, .. }) => return Ok(None),
            Ok(BrokerToWriter::Ping(number)) => {
                let _ = message(WriterToBroker::Pong(number))?;
            }
            _ => {}
        }
    }
}

pub(super) const LIST: &[Attack] = &[
    Attack {
        item: 7,
        name: "write to what is no table",
        outcome: Errno(&[ESPIPE]),
        attempts: &[
            Attempt("pwrite64 to the broker", |_| call!(SYS_pwrite64, BROKER, b"x", 1, 0)),
            Attempt("pwrite64 to the logger", |_| call!(SYS_pwrite64, LOG, b"x", 1, 0)),
            Attempt("pwrite64 to a client", |loot| call!(SYS_pwrite64, loot.client, b"x", 1, 0)),
            Attempt("pread64 from a client", |loot| call!(SYS_pread64, loot.client, &mut [0_u8; 8], 8, 0)),
        ],
    },
    Attack {
        item: 7,
        name: "cut or sync what is no table",
        outcome: Errno(&[EINVAL]),
        attempts: &[
            Attempt("ftruncate the broker's channel", |_| call!(SYS_ftruncate, BROKER, 0)),
            Attempt("fdatasync the broker's channel", |_| call!(SYS_fdatasync, BROKER)),
        ],
    },
    Attack {
        item: 7,
        name: "a file that it was not handed",
        outcome: Errno(&[EBADF]),
        attempts: &[
            Attempt("pread64 of no descriptor", |_| call!(SYS_pread64, NOTHING, &mut [0_u8; 8], 8, 0)),
            Attempt("pwrite64 to no descriptor", |_| call!(SYS_pwrite64, NOTHING, b"x", 1, 0)),
            Attempt("pwrite64 to the working directory", |_| call!(SYS_pwrite64, AT_FDCWD, b"x", 1, 0)),
            Attempt("F_GETLK", |_| call!(SYS_fcntl, NOTHING, F_GETLK, &[0_u64; 4])),
            Attempt("LOCK_SH|LOCK_NB", |_| call!(SYS_flock, NOTHING, LOCK_SH | LOCK_NB)),
        ],
    },
    Attack {
        item: 10,
        name: "locks that make others wait without end",
        outcome: Killed,
        attempts: &[
            Attempt("LOCK_EX|LOCK_NB", |loot| call!(SYS_flock, loot.handed, LOCK_EX | LOCK_NB)),
            Attempt("F_OFD_SETLKW", |loot| call!(SYS_fcntl, loot.handed, F_OFD_SETLKW, &[1_u64, 0, 0, 0])),
            Attempt("sleep by another clock", |_| sleep(CLOCK_REALTIME, 0)),
            Attempt("sleep until a moment", |_| sleep(CLOCK_MONOTONIC, TIMER_ABSTIME)),
        ],
    },
    Attack {
        item: 10,
        name: "a short sleep",
        outcome: Allowed,
        attempts: &[Attempt("clock_nanosleep", |_| sleep(CLOCK_MONOTONIC, 0))],
    },
    Attack {
        item: 44,
        name: "all descriptors that it can get",
        outcome: Errno(&[EMFILE]),
        attempts: &[Attempt("F_DUPFD_CLOEXEC", copies)],
    },
    // After a close(2) the channel's number would be a client's: whose descriptors recvmsg(2) would then take.
    Attack {
        item: 44,
        name: "a number that the list of calls goes by",
        outcome: Killed,
        attempts: &[
            Attempt("a client from 0 on", |loot| call!(SYS_fcntl, loot.client, F_DUPFD_CLOEXEC, 0)),
            Attempt("from the channel's number on", |loot| {
                call!(SYS_fcntl, loot.client, F_DUPFD_CLOEXEC, BROKER)
            }),
            Attempt("from the last fixed number on", |loot| {
                call!(SYS_fcntl, loot.client, F_DUPFD_CLOEXEC, EPOLL)
            }),
            Attempt("F_DUPFD", |loot| call!(SYS_fcntl, loot.client, F_DUPFD, FIRST_FREE)),
        ],
    },
    Attack {
        item: 17,
        name: "names beside its tables",
        outcome: Killed,
        attempts: &[
            Attempt("openat a table", |_| call!(SYS_openat, AT_FDCWD, c"victim.db", O_RDWR)),
            Attempt("openat O_CREAT", |_| {
                call!(SYS_openat, AT_FDCWD, c"data/new.db", O_RDWR | O_CREAT | O_EXCL, 0o600)
            }),
            Attempt("openat O_TMPFILE", |_| call!(SYS_openat, AT_FDCWD, c".", O_RDWR | O_TMPFILE, 0o600)),
            Attempt("openat2 O_CREAT", |_| {
                let how = [(O_RDWR | O_CREAT).word(), 0o600, RESOLVE_BENEATH];
                call!(SYS_openat2, AT_FDCWD, c"new.db", &how, 24)
            }),
            Attempt("the store of another service", |_| {
                call!(SYS_openat, AT_FDCWD, c"../../1/data/answers.mapkeep", O_RDWR)
            }),
            Attempt("rename", |_| call!(SYS_rename, c"victim.mapkeep", c"answers.mapkeep")),
            Attempt("renameat", |_| call!(SYS_renameat, AT_FDCWD, c"victim.db", AT_FDCWD, c"answers.db")),
            Attempt("unlink", |_| call!(SYS_unlink, c"answers.mapkeep")),
            Attempt("link", |_| call!(SYS_link, c"answers.db", c"new.db")),
            Attempt("truncate", |_| call!(SYS_truncate, c"answers.db", 0)),
        ],
    },
];

pub(super) const MESSAGES: &[Attack] = &[
    Attack {
        item: 34,
        name: "wrong order",
        outcome: Dismissed("sent ready twice"),
        attempts: &[Attempt("ready again", |_| message(WriterToBroker::Ready))],
    },
    Attack {
        item: 34,
        name: "malformed words about a table",
        outcome: Dismissed("sent a malformed message"),
        attempts: &[
            Attempt("replace, cut short", |_| say(&[6, 1])),
            Attempt("replace, too long", |_| say(&[6, 1, 0, 0])),
            Attempt("damage of an unknown part", |_| say(&[4, 1, 0, 1, 0, 0, 0, 9])),
        ],
    },
    Attack {
        item: 34,
        name: "checkpoints",
        outcome: Dismissed("sent a checkpoint out of turn"),
        attempts: &[
            // Each twice: on a slow machine the worker may have asked for a new file before it was hijacked.
            Attempt("replace without a new file", |_| {
                message(WriterToBroker::Replace(VICTIM))?;
                message(WriterToBroker::Replace(VICTIM))
            }),
            Attempt("discard without a new file", |_| {
                message(WriterToBroker::Discard(VICTIM))?;
                message(WriterToBroker::Discard(VICTIM))
            }),
            Attempt("two new files", |_| {
                message(WriterToBroker::WantNew(VICTIM))
                    .and_then(|_| message(WriterToBroker::WantNew(VICTIM)))
            }),
            Attempt("discard twice", |_| {
                message(WriterToBroker::WantNew(VICTIM))?;
                message(WriterToBroker::Discard(VICTIM))?;
                message(WriterToBroker::Discard(VICTIM))
            }),
            Attempt("a new file for lmdb", |_| message(WriterToBroker::WantNew(LMDB))),
            Attempt("replace lmdb", |_| message(WriterToBroker::Replace(LMDB))),
        ],
    },
    Attack {
        item: 34,
        name: "replays",
        outcome: Dismissed("sent an answer about a table that it was not handed"),
        attempts: &[
            Attempt("opened again", |_| {
                message(WriterToBroker::Opened { id: VICTIM, generation: generation() })
            }),
            Attempt("opened, not yet handed", |_| {
                let generation = generation().wrapping_add(1);
                message(WriterToBroker::Opened { id: VICTIM, generation })
            }),
            Attempt("failed, previous generation", |_| {
                let generation = generation().wrapping_sub(1);
                message(WriterToBroker::Failed { id: VICTIM, generation })
            }),
        ],
    },
    Attack {
        item: 35,
        name: "a table that it was not handed",
        outcome: Dismissed("sent a table number that does not exist"),
        attempts: &[
            Attempt("opened", |_| message(WriterToBroker::Opened { id: TableId(999), generation: 1 })),
            Attempt("failed", |_| message(WriterToBroker::Failed { id: TableId(3), generation: 1 })),
            Attempt("replace", |_| message(WriterToBroker::Replace(TableId(u16::MAX)))),
            Attempt("new", |_| message(WriterToBroker::WantNew(TableId(3)))),
        ],
    },
    Attack {
        item: 35,
        name: "damage of what it was not handed",
        outcome: Dismissed("sent a report of damage in a file that it was not handed"),
        attempts: &[
            Attempt("lmdb of a btree table", |_| {
                message(WriterToBroker::Corrupt { id: VICTIM, generation: generation(), part: Part::Lmdb })
            }),
            Attempt("a store of the previous generation", |_| {
                let generation = generation().wrapping_sub(1);
                message(WriterToBroker::Corrupt { id: VICTIM, generation, part: Part::Store })
            }),
            Attempt("the same store twice", |_| {
                let damage =
                    WriterToBroker::Corrupt { id: VICTIM, generation: generation(), part: Part::Store };
                message(damage).and_then(|_| message(damage))
            }),
        ],
    },
    Attack {
        item: 35,
        name: "damage without end",
        outcome: Dismissed("sent a malformed message"),
        attempts: &[Attempt("each store that it gets, then nonsense", |_| damaged_again_and_again())],
    },
    Attack {
        item: 34,
        name: "inventions",
        outcome: Dismissed("sent an answer without a ping"),
        attempts: &[
            Attempt("a pong", |_| message(WriterToBroker::Pong(u32::MAX))),
            Attempt("a flood of pongs", |_| flood(&WriterToBroker::Pong(7).encode()).or(Ok(0))),
        ],
    },
    Attack {
        item: 34,
        name: "wrong counts",
        outcome: Dismissed("sent a count of more closed connections than it had"),
        attempts: &[Attempt("1000 clients gone", |_| message(WriterToBroker::Closed(1000)))],
    },
    Attack {
        item: 34,
        name: "a flood of messages",
        outcome: Dismissed("a count of zero closed connections"),
        attempts: &[Attempt("100,000 times no client gone", |_| flood(&WriterToBroker::Closed(0).encode()))],
    },
];
