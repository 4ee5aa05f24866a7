//! The broker of the writing service: it opens, makes, renames and removes the files of tables that are written, and
//! accepts clients. The writer, which serves the clients, gets descriptors and nothing else.
//!
//! May: what mail_owner, the owner of the tables, may do in the directories that Landlock leaves; no capability. Never:
//! see a client's byte, a key or a value.
//!
//! | file | purpose |
//! |---|---|
//! | `serve.rs` | what it does in the event loop of both brokers |
//! | `writer.rs` | what the writer may say, and is owed |
//! | `tables.rs` | each table: handed out, refused, damaged |
//! | `opening.rs` | a table's files, opened and made |
//! | `trouble.rs` | why a table is not handed out |
//! | `checkpoint.rs` | a written file in the place of `NAME.db` |
//! | `quarantine.rs` | damaged files, set aside |
//! | `claim.rs` | `NAME.db`, kept from everybody else who would write it |
//! | `change.rs` | renames and removals |
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod change;
mod checkpoint;
mod claim;
mod opening;
mod quarantine;
mod serve;
mod tables;
mod trouble;
mod writer;

use mapkeep_broker_serving::event_loop;
use mapkeep_broker_serving::prepare::{DESCRIPTORS, FIXED, HEAP, Prepared, prepare};
use mapkeep_broker_trust::{People, write_directories};
use mapkeep_process::{Fatal, leave, limits, privilege};
use mapkeep_proto::{BrokerToWriter, WriteBrokerLaunch};
use mapkeep_sandbox::{FileRules, Lock, Role, enter};
use serve::{Bounds, WriteBroker, WriterState};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use tables::Tables;

/// Entry point of the process; `channel` is the one to the supervisor.
pub fn main(launch: WriteBrokerLaunch, channel: OwnedFd) -> ! {
    leave(run(launch, channel))
}

/// Prepares, locks down and serves until the supervisor tells it to exit.
fn run(launch: WriteBrokerLaunch, channel: OwnedFd) -> Result<(), Fatal> {
    let WriteBrokerLaunch { process, serving } = &launch;
    let Prepared { front, names, size, list, inside, anchor } =
        prepare(Role::WriteBroker, process, serving, channel)?;
    let hello =
        BrokerToWriter::Names { size, smtputf8: serving.smtputf8, approval_known: serving.approval_known };
    // Tables are those of the user that this process becomes.
    let owner = process.ids.map_or_else(|| nix::unistd::geteuid().as_raw(), |ids| ids.uid);
    let anchor = anchor.among(Rc::new(People::read()));
    let approved = list.iter().filter(|table| table.approved).map(|table| table.name.as_slice());
    let directories = write_directories(approved, &inside, &anchor, owner);
    mapkeep_sys::signals::ignore_lease_breaks()?;
    let mut broker = WriteBroker {
        front,
        tables: Tables::new(list, anchor, owner),
        hello: (hello, Rc::new(names)),
        bounds: Bounds { room: serving.room, daemon_timeout: serving.daemon_timeout },
        writer: WriterState::Absent,
        waiting: VecDeque::new(),
    };
    broker.front.register()?;
    let expected = broker.descriptors();
    let lock = Lock {
        role: Role::WriteBroker,
        // Like the other broker's.
        privilege: privilege(Role::WriteBroker, process, None),
        // It creates files but writes nothing into them.
        limits: limits(DESCRIPTORS, HEAP),
        files: FileRules { write_found: directories, ..FileRules::default() },
        expected_descriptors: &expected,
        parent_pid: Some(process.parent),
    };
    let (confined, report) = enter(lock)?;
    tracing::debug!("{report}");
    Ok(event_loop::run(&mut broker, &confined)?)
}

impl WriteBroker {
    /// Every descriptor that must be open at lock-down, including the standard ones and the log.
    fn descriptors(&self) -> Vec<RawFd> {
        let mut numbers = FIXED.to_vec();
        numbers.push(self.hello.1.as_raw_fd());
        numbers.extend(self.front.listeners.descriptors());
        numbers.extend(self.tables.anchor_descriptors());
        numbers
    }
}
