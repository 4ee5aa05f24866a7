//! What hijacked processes of every kind try, and how each attempt must end: under the whole lock of the product, and
//! where its filters let everything through.
//!
//! To add one: an entry in one of the tables. Beside the folder of the scene is `elsewhere`, where everybody may make files,
//! with a file that everybody may write.

mod channels;
mod files;
mod system;

use crate::Answer;
use crate::Outcome::{self, Errno};
use Process::{Broker, Logger, Lookup, Starting, Supervisor, WriteBroker, WriteSupervisor, Writer};
use libc::{EACCES, ENOENT, EPERM};
use std::ffi::{CStr, CString};

/// A process of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Process {
    /// The supervisor of the read service.
    Supervisor = 1,
    /// That of the writing service.
    WriteSupervisor,
    /// The broker.
    Broker,
    /// That of the writing service.
    WriteBroker,
    /// The logger.
    Logger,
    /// A lookup worker.
    Lookup,
    /// The writer.
    Writer,
    /// A lookup worker before its lock, when it has that of the supervisor and is root.
    Starting,
}

/// What a hijacked process has to work with.
#[derive(Debug)]
pub struct Scene<'s> {
    /// The directory of the service.
    pub folder: &'s CStr,
    /// A process of root that does not belong to the service.
    pub target: i32,
    /// A TCP port of this machine on which a process listens.
    pub port: u16,
}

impl Scene<'_> {
    fn path(&self, name: &str) -> CString {
        CString::new(format!("{}/{name}", self.folder.to_string_lossy())).unwrap_or_default()
    }
}

const SUPERVISORS: &[Process] = &[Supervisor, WriteSupervisor];
/// Those that have the supervisor's list of calls.
const OUTER: &[Process] = &[Supervisor, WriteSupervisor, Starting];
const BROKERS: &[Process] = &[Broker, WriteBroker];
/// Those that read from clients.
const WORKERS: &[Process] = &[Lookup, Writer];
/// Those of the supervisor's children that read from no client.
const SERVANTS: &[Process] = &[Broker, WriteBroker, Logger];
/// Those that have a lock of their own.
const CHILDREN: &[Process] = &[Broker, WriteBroker, Logger, Lookup, Writer];

/// Who tries a deed, and how it must end in each of them.
pub type Ends = &'static [(&'static [Process], Outcome)];

/// Something to try.
#[derive(Debug)]
pub struct Deed {
    /// The attempt.
    pub what: &'static str,
    /// Tries it.
    pub run: fn(&Scene<'_>) -> Answer,
    /// Under the whole lock.
    pub locked: Ends,
    /// Where filters let everything through.
    pub open: Ends,
}

const NO_ACCESS: Outcome = Errno(&[EACCES]);
const NO_PERMISSION: Outcome = Errno(&[EPERM]);
const NOT_THERE: Outcome = Errno(&[ENOENT]);

/// The abstract name on which the test listens.
pub const ABSTRACT: &[u8; 17] = b"mapkeep-hijacking";

/// Attempts of all processes, in the order in which they are made.
pub fn deeds() -> impl Iterator<Item = &'static Deed> {
    [files::DEEDS, system::DEEDS, channels::DEEDS].into_iter().flatten()
}
