//! Changes of names in a directory of tables: one system call each.
//!
//! A name that holds something is never overwritten unseen: it is exchanged, or the new name must be free. File systems
//! that can do neither (NFS) get a plain rename from callers that have looked before.
//!
//! May: renameat, renameat2, unlinkat, fsync, and openat2 of the directory itself.

use mapkeep_broker_trust::Place;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, RenameFlags, openat2, renameat, renameat2};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

/// Makes changes of names in the directory durable.
pub(super) fn sync(place: &Place<'_>) -> Result<(), Errno> {
    // The walk's descriptor was opened with `O_PATH` and cannot be synced.
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
    let directory = openat2(place.handle(), c".", how)?;
    match fsync(&directory) {
        // Some file systems cannot sync a directory, and return this.
        Err(Errno::EINVAL) => Ok(()),
        result => result,
    }
}

/// A file's path, for the log.
pub(super) fn shown(place: &Place<'_>, name: &[u8]) -> String {
    String::from_utf8_lossy(&place.path_of(name)).into_owned()
}

/// Removes a file, or a link; never a directory. False: there was none.
pub(super) fn remove(place: &Place<'_>, name: &[u8]) -> Result<bool, Errno> {
    match unlinkat(place.handle(), name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Renames the file `from` to `to`, which must not exist: `EEXIST` if it does, `EINVAL` if the file system does not
/// support this.
pub(super) fn rename_to_free(place: &Place<'_>, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    rename_as(place, from, to, RenameFlags::RENAME_NOREPLACE)
}

/// Exchanges two names; `EINVAL` if the file system does not support this.
pub(super) fn exchange(place: &Place<'_>, one: &[u8], other: &[u8]) -> Result<(), Errno> {
    #[cfg(test)]
    if let Some(act) = tests::BEFORE_EXCHANGE.take() {
        act();
    }
    rename_as(place, one, other, RenameFlags::RENAME_EXCHANGE)
}

fn rename_as(place: &Place<'_>, from: &[u8], to: &[u8], how: RenameFlags) -> Result<(), Errno> {
    #[cfg(test)]
    if tests::PLAIN_ONLY.get() {
        return Err(Errno::EINVAL);
    }
    renameat2(place.handle(), from, place.handle(), to, how)
}

/// Renames the file `from` to `to`, replacing any other file.
pub(super) fn rename_over(place: &Place<'_>, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    renameat(place.handle(), from, place.handle(), to)
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    thread_local! {
        /// Whether to simulate, for a test, a file system that supports plain renames only.
        pub(crate) static PLAIN_ONLY: Cell<bool> = const { Cell::new(false) };
        /// What another program does just before the next exchange, for a test.
        pub(crate) static BEFORE_EXCHANGE: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
    }
}
