//! The start of the writer: what it is given, and its lock-down.

use crate::opening::Stores;
use crate::serve::Writer;
use mapkeep_log::ChannelSink;
use mapkeep_process::{CHANNEL, EPOLL, LOG, PROGRAM, fixed_epoll, leave, privilege, taken_arguments};
use mapkeep_proto::Arguments;
use mapkeep_sandbox::{FileRules, Limits, Lock, Role, enter};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::{inherit, signals};
use std::error::Error;
use std::path::PathBuf;

/// Memory, in bytes: connections, what the stores keep of their files, files and damaged stores that are taken over.
const HEAP: u64 = 4 << 30;
/// The map of one lmdb file, in bytes, as far as it may grow; old and new map may be there at the same time.
const MAP: u64 = 2 * mapkeep_table_store::lmdb::MAP_LIMIT;

/// Entry point of the `mapkeep-writer` program.
pub fn main() -> ! {
    let arguments = taken_arguments("mapkeep-writer");
    let ended = match arguments.text("role") {
        Ok("writer") => run(&arguments),
        Ok(_) => Err("unknown role".into()),
        Err(error) => Err(error.into()),
    };
    leave(ended)
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let broker = Channel::without_freight(inherit::take(CHANNEL)?);
    let log = Channel::without_freight(inherit::take(LOG)?);
    mapkeep_log::install(Box::new(ChannelSink::new(log)), arguments.value("verbose")?, 10)?;
    // A file that may not grow any more is an error of the write, not the end of the process.
    signals::ignore_pipe_and_size()?;
    let epoll = fixed_epoll()?;
    mapkeep_table_store::prepare()?;
    let mut writer = Writer::new(broker, epoll, Stores)?;
    let tables: u64 = arguments.value("tables")?;
    let chroot: PathBuf = arguments.text("chroot")?.into();
    let lock = Lock {
        role: Role::Writer,
        privilege: privilege(Role::Writer, arguments, Some(chroot))?,
        limits: Limits {
            core: 0,
            nproc: 0,
            nofile: arguments.value("descriptors")?,
            // The file systems have limits enough.
            fsize: Limits::UNLIMITED,
            address_space: MAP.saturating_mul(tables).saturating_add(HEAP).saturating_add(PROGRAM),
            data: HEAP,
        },
        files: FileRules::default(),
        expected_descriptors: &[0, 1, 2, CHANNEL, LOG, EPOLL],
        parent_pid: Some(arguments.value("parent")?),
    };
    let (confined, report) = enter(lock)?;
    tracing::debug!("{report}");
    let ended = writer.run(&confined);
    // The writer is not dropped: a channel that closes before the process has gone looks like one that was closed on
    // purpose, and has the process killed.
    leave(ended.map_err(Into::into))
}
