//! Tables that are read: the walk to their file, and its opening.
//!
//! May: what `walk` may; open the file that it has found for reading. Never: read from it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mapkeep_sys::status::Status;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::refusal::{Refusal, Rule};
use super::stack::{self, Level, Openness, Stack};
use super::walk::{self, End, Policy, Walk};
use super::{Anchor, Holder, Identity, Owners, Trusted, rules, settled};

/// Rules T2 and T3.
struct Reading<'a>(&'a Owners);

impl Policy for Reading<'_> {
    fn whose(&self, at: &[u8], status: &Status, above: Option<&Level>) -> Result<(), Refusal> {
        rules::whose(at, status, above, self.0)
    }

    fn closed(&self, at: &[u8], status: &Status, handle: BorrowedFd<'_>) -> Result<Openness, Refusal> {
        rules::closed(at, status, self.0.others_write(handle, status), self.0)
    }

    fn link(&self, at: &[u8], status: &Status, stack: &Stack) -> Result<(), Refusal> {
        rules::link(at, status, stack)
    }

    fn not_directory(&self) -> Rule {
        Rule::T2
    }
}

/// A table file that meets the rules, not yet opened for reading.
pub(super) struct Found {
    /// The directory that holds it.
    parent: Level,
    /// Its name in that directory.
    name: Vec<u8>,
    /// Its status.
    pub status: Status,
    /// Its absolute path, free of links.
    resolved: Vec<u8>,
    elsewhere: bool,
}

/// Opens the table file at `path` (absolute, from the broker's own configuration) if it meets every [`Rule`].
/// `limit` bounds its size in bytes. Nothing is read from it.
///
/// # Errors
/// [`Refusal`]; [`Refusal::Missing`] and [`Refusal::Retry`] may pass by themselves.
pub fn open_table(anchor: &Anchor, path: &[u8], owners: &Owners, limit: u64) -> Result<Trusted, Refusal> {
    settled(|| {
        let found = find(anchor, path, owners, limit)?;
        open_found(anchor, found, owners, limit)
    })
}

/// The identity of the table file that `path` names now, after the same checks as [`open_table`], without opening it: a
/// periodic check for changes compares this.
///
/// # Errors
/// As for [`open_table`].
pub fn identity_by_name(
    anchor: &Anchor,
    path: &[u8],
    owners: &Owners,
    limit: u64,
) -> Result<Identity, Refusal> {
    settled(|| find(anchor, path, owners, limit).map(|found| Identity::from(&found.status)))
}

/// The directories that hold the table's name, and the file behind it: what a process must be able to read beneath in
/// order to open the table now and later. A directory is among them if everything above it meets the rules, whatever
/// its own mode; behind a link, only if the link does. Also returned: why the walk found no file.
#[must_use]
pub fn holders(anchor: &Anchor, path: &[u8], owners: &Owners) -> (Vec<Holder>, Option<Refusal>) {
    let policy = Reading(owners);
    match walk::components_of(path).and_then(|pending| Walk::new(anchor, &policy, pending)) {
        Ok(mut walk) => {
            let trouble = walk.run().err();
            (walk.holders, trouble)
        }
        Err(refusal) => (Vec::new(), Some(refusal)),
    }
}

/// Finds the table at `path` and checks every component on the way; `limit` bounds its size in bytes.
pub(super) fn find(anchor: &Anchor, path: &[u8], owners: &Owners, limit: u64) -> Result<Found, Refusal> {
    let pending = walk::components_of(path)?;
    // Before any file is examined; the path after following links is checked below.
    rules::secret_name(&stack::join(pending.iter().rev().map(Vec::as_slice)))?;
    let policy = Reading(owners);
    let mut walk = Walk::new(anchor, &policy, pending)?;
    let End::Other { name, path: resolved, handle, status } = walk.run()? else {
        // The path, or the last link on it, ended in a directory.
        return Err(rules::not_regular(&walk.stack.path(), "a directory"));
    };
    check_file(anchor, &resolved, (handle.as_fd(), &status), walk.stack.top(), owners, limit)?;
    let elsewhere = walk.through_link() || is_mounted(&walk.stack.top().handle, &name);
    Ok(Found { parent: walk.stack.into_top(), name, status, resolved, elsewhere })
}

/// Whether the file is a mount point of its own.
fn is_mounted(parent: &OwnedFd, name: &[u8]) -> bool {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(walk::single_component() | ResolveFlag::RESOLVE_NO_XDEV);
    matches!(openat2(parent, name, how), Err(Errno::EXDEV))
}

/// Applies the rules to the file.
fn check_file(
    anchor: &Anchor,
    path: &[u8],
    (handle, status): (BorrowedFd<'_>, &Status),
    parent: &Level,
    owners: &Owners,
    limit: u64,
) -> Result<(), Refusal> {
    rules::secret_name(path)?;
    anchor.refuse_secret(path, status)?;
    rules::file(path, status, parent, owners.others_write(handle, status), owners, limit)
}

/// Opens for reading what the walk found, and makes sure that it is the same file.
pub(super) fn open_found(
    anchor: &Anchor,
    found: Found,
    owners: &Owners,
    limit: u64,
) -> Result<Trusted, Refusal> {
    let Found { parent, name, status: expected, resolved, elsewhere } = found;
    let changed = || Refusal::Retry { component: resolved.clone() };
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let how = OpenHow::new().flags(flags).resolve(walk::single_component());
    let file = openat2(&parent.handle, name.as_slice(), how).map_err(|errno| match errno {
        // The name was a regular file a moment ago: it was removed, or a link or socket took its place.
        Errno::ENOENT | Errno::ELOOP | Errno::ENXIO => changed(),
        _ => walk::failure(&resolved, errno),
    })?;
    let status = walk::status_of(file.as_fd(), &resolved)?;
    let same = |status: &Status| (status.dev, status.ino, status.mode, status.uid, status.gid);
    if same(&status) != same(&expected) {
        return Err(changed());
    }
    // The same inode, but its link count and size may have changed since, and the inode may have been reused for a
    // secret file.
    check_file(anchor, &resolved, (file.as_fd(), &status), &parent, owners, limit)?;
    Ok(Trusted { file, status, elsewhere })
}
