//! The broker of the writing service: it opens, makes, renames and removes the files of tables that are written, and
//! accepts clients. The writer, which hears the clients, gets descriptors and nothing else.
//!
//! May: what mail_owner, the owner of the tables, may do in the directories that Landlock leaves; no capability. Never:
//! see a client's byte, a key or a value.
//! Called by: the `mapkeepd` program, in a process of its own (`role=write_broker`).
//!
//! | file | purpose |
//! |---|---|
//! | `serve.rs` | the event loop |
//! | `writer.rs` | what the writer may say, and is owed |
//! | `tables.rs` | each table: handed out, refused, damaged |
//! | `opening.rs` | a table's files, opened and made |
//! | `trouble.rs` | why a table is not handed out |
//! | `checkpoint.rs` | a written file in the place of `NAME.db` |
//! | `quarantine.rs` | damaged files, set aside |
//! | `claim.rs` | `NAME.db`, kept from everybody else who would write it |
//! | `change.rs` | renames and removals |

mod change;
mod checkpoint;
mod claim;
mod opening;
mod quarantine;
mod serve;
mod tables;
mod trouble;
mod writer;

use crate::start::{DESCRIPTORS, FIXED, HEAP, PROGRAM, Prepared, prepare, privilege};
use crate::trust::WriteFiles;
use mapkeep_proto::{Arguments, BrokerToWriter, Listed};
use mapkeep_sandbox::{FileRules, Limits, Lock, Role, enter};
use serve::{Bounds, State, WriteBroker};
use std::error::Error;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tables::Tables;

/// Prepares, locks down and serves until the supervisor says that it is over.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Prepared { link, epoll, door, names, size, list, inside, anchor } = prepare(arguments)?;
    let hello = BrokerToWriter::Names {
        size,
        smtputf8: arguments.value("smtputf8")?,
        approval_known: arguments.value("approval_known")?,
    };
    // Tables are those of the user that this process becomes.
    let owner = match arguments.value("rootless")? {
        true => nix::unistd::geteuid().as_raw(),
        false => arguments.value("uid")?,
    };
    let directories = directories(&list, &inside);
    mapkeep_sys::signals::ignore_lease_breaks()?;
    let broker = WriteBroker {
        supervisor: link,
        epoll,
        door,
        tables: Tables::new(list, anchor, owner),
        hello: (hello, Rc::new(names)),
        bounds: Bounds {
            room: arguments.value("room")?,
            daemon_timeout: Duration::from_secs(arguments.value("daemon_timeout")?),
        },
        writer: None,
        state: State::default(),
    };
    broker.register()?;
    let expected = broker.descriptors();
    let lock = Lock {
        role: Role::WriteBroker,
        privilege: privilege(arguments, &[])?,
        limits: Limits {
            core: 0,
            nproc: 0,
            nofile: DESCRIPTORS,
            // It makes files, and writes none.
            fsize: 0,
            address_space: HEAP.saturating_add(PROGRAM),
            data: HEAP,
        },
        files: FileRules { write_beneath: directories, ..FileRules::default() },
        expected_descriptors: &expected,
        parent_pid: Some(arguments.value("parent")?),
    };
    let (confined, report) = enter(lock)?;
    tracing::debug!("{report}");
    broker.run(&confined)?;
    Ok(())
}

/// The directories of the tables, as far as they are there: nothing else can be written. Those that break a rule are
/// among them, for they may be mended; until then their tables are refused.
fn directories(list: &[Listed], inside: &Path) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = Vec::new();
    for table in list.iter().filter(|table| table.approved) {
        let Some(files) = WriteFiles::of(&table.name) else { continue };
        let path = files.path(files.configured());
        let relative = Path::new(OsStr::from_bytes(&path)).strip_prefix("/").unwrap_or(Path::new(""));
        let here = Path::new("/").join(inside).join(relative);
        let Some(directory) = here.parent().filter(|directory| directory.is_dir()) else { continue };
        if !directories.iter().any(|known| known == directory) {
            directories.push(directory.to_owned());
        }
    }
    directories
}

impl WriteBroker {
    /// Every descriptor that must be open when it locks down, the standard ones and the log included.
    fn descriptors(&self) -> Vec<RawFd> {
        let mut numbers = FIXED.to_vec();
        numbers.push(self.hello.1.as_raw_fd());
        numbers.extend(self.door.descriptors());
        numbers.extend(self.tables.anchor_descriptors());
        numbers
    }
}
