//! Walks a path component by component, by descriptor, and applies the rules to each.
//!
//! Every component is opened with `O_PATH | O_NOFOLLOW` below the descriptor of its parent, so what is checked
//! is what is used, whatever happens to the names meanwhile. The kernel never follows a link and never sees a
//! `..` for us: link targets are taken apart here, and `..` pops our own stack of checked directories.
//! `O_PATH` opens nothing: a FIFO does not block, a device does not act, a socket does not connect.
//!
//! May: openat2, fstat, readlinkat, close. Never: open a file for reading. Called by `trust`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use mapkeep_sys::status::{self, Status};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};

use super::refusal::{Refusal, Rule, quoted};
use super::rules::{self, Type};
use super::{Anchor, Directory, Owners};

/// Longest configured path, in bytes (Linux's own PATH_MAX).
const PATH_LIMIT: usize = 4096;
/// Most directories on the way to a table; bounds the descriptors that a walk holds.
const DEPTH_LIMIT: usize = 64;
/// Most symbolic links on the way to a table.
const LINK_LIMIT: usize = 16;

/// A table file that meets the rules, not yet opened for reading.
pub(super) struct Found {
    /// The directory that holds it.
    pub parent: OwnedFd,
    /// Its name in that directory.
    pub name: Vec<u8>,
    /// Its status.
    pub status: Status,
    /// Its absolute path, free of links.
    pub resolved: Vec<u8>,
    /// Every directory passed through, in order, those before a link included.
    pub parents: Vec<Directory>,
    /// Whether a symbolic link was followed.
    pub through_link: bool,
}

/// One checked directory that the walk stands in or below.
struct Level {
    handle: OwnedFd,
    name: Vec<u8>,
    status: Status,
}

/// The directories from the anchor to where the walk stands.
struct Stack {
    root: Level,
    below: Vec<Level>,
}

impl Stack {
    fn top(&self) -> &Level {
        self.below.last().unwrap_or(&self.root)
    }

    /// The absolute path of the directory the walk stands in; `/` for the anchor.
    fn path(&self) -> Vec<u8> {
        join(self.below.iter().map(|level| level.name.as_slice()))
    }

    /// The absolute path of `name` in that directory.
    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        join(self.below.iter().map(|level| level.name.as_slice()).chain([name]))
    }

    /// Every level with its path, the anchor first.
    fn levels(&self) -> impl Iterator<Item = (Vec<u8>, &Status)> {
        let below = self.below.iter().enumerate().map(|(index, level)| {
            let names = self.below.iter().take(index.saturating_add(1)).map(|level| level.name.as_slice());
            (join(names), &level.status)
        });
        [(b"/".to_vec(), &self.root.status)].into_iter().chain(below)
    }
}

pub(super) fn join<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut path = Vec::new();
    for name in names {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// Finds the table at `path` and checks every component on the way; `limit` bounds its size in bytes.
pub(super) fn find(anchor: &Anchor, path: &[u8], owners: &Owners, limit: u64) -> Result<Found, Refusal> {
    let mut pending = components_of(path)?;
    // Before anything is looked at; the path that links lead to is checked below.
    rules::secret_name(&join(pending.iter().rev().map(Vec::as_slice)))?;
    let mut stack = Stack { root: root_level(anchor, owners)?, below: Vec::new() };
    let mut parents = Vec::new();
    remember(&mut parents, b"/".to_vec(), &stack.root.status);
    let mut links = 0_usize;

    while let Some(name) = pending.pop() {
        if name == b".." {
            // Only link targets get here with one. At the anchor it stays there, as in the kernel.
            stack.below.pop();
            continue;
        }
        let component = stack.path_of(&name);
        let last = pending.is_empty();
        let handle = open_component(stack.top().handle.as_fd(), &name, last, &component)?;
        let status = status_of(handle.as_fd(), &component)?;
        stored(anchor, &component, &status)?;
        match rules::type_of(&status) {
            Type::Link => {
                links = links.saturating_add(1);
                if links > LINK_LIMIT {
                    let problem = format!("is one symbolic link too many (at most {LINK_LIMIT})");
                    return Err(rules::refuse(
                        &component,
                        Rule::T1,
                        problem,
                        "name the file behind the links",
                    ));
                }
                rules::link(&component, &status, stack.levels())?;
                if follow(handle.as_fd(), &component, &mut pending)? {
                    stack.below.clear();
                }
            }
            Type::Directory if last => return Err(rules::not_regular(&component, "a directory")),
            Type::Directory => {
                rules::directory(&component, &status, owners)?;
                if stack.below.len() >= DEPTH_LIMIT {
                    let problem = format!("is more than {DEPTH_LIMIT} directories deep");
                    return Err(rules::refuse(&component, Rule::T1, problem, "move the table nearer to /"));
                }
                remember(&mut parents, component, &status);
                stack.below.push(Level { handle, name, status });
            }
            _ if !last => {
                let remedy = "correct the path in the configuration";
                return Err(rules::refuse(&component, Rule::T2, "is not a directory", remedy));
            }
            _ => {
                rules::secret_name(&component)?;
                anchor.refuse_secret(&component, &status)?;
                rules::file(&component, &status, owners, limit)?;
                let Stack { root, mut below } = stack;
                let parent = below.pop().unwrap_or(root).handle;
                let through_link = links > 0;
                return Ok(Found { parent, name, status, resolved: component, parents, through_link });
            }
        }
    }
    // The path, or the last link on it, ended in a directory.
    Err(rules::not_regular(&stack.path(), "a directory"))
}

/// The components of a configured path, last one first. `.` and empty components mean nothing and are dropped.
pub(super) fn components_of(path: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    let refuse = |problem: &str, remedy: &str| Err(rules::refuse(path, Rule::T1, problem, remedy));
    if path.len() > PATH_LIMIT {
        let shown = path.get(..64).unwrap_or_default();
        let problem = format!("begins a path of {} bytes (at most {PATH_LIMIT})", path.len());
        return Err(rules::refuse(shown, Rule::T1, problem, "use a shorter path"));
    }
    if path.contains(&0) {
        return refuse("contains a NUL byte", "correct the path in the configuration");
    }
    if path.first() != Some(&b'/') {
        return refuse("is not an absolute path", "begin the path with /");
    }
    if path.last() == Some(&b'/') {
        return refuse("ends in a slash, as a directory does", "name a file");
    }
    let components = split(path);
    if components.iter().any(|name| name == b"..") {
        return refuse("contains a component `..`", "write the path without it");
    }
    Ok(components)
}

/// The components of a path or link target that mean something, last one first.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .rev()
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

/// Puts the target of a link before the components still to come. True if the target is absolute.
fn follow(link: BorrowedFd<'_>, component: &[u8], pending: &mut Vec<Vec<u8>>) -> Result<bool, Refusal> {
    // A target is shorter than PATH_MAX, so nix reads it in one call and has no cause to ask for its length,
    // which would take a system call that the broker may not make.
    let target = readlinkat(link, c"").map_err(|errno| failure(component, errno))?;
    let target = target.as_bytes();
    // A later target of up to 16 may add as much again: bounded by the two limits together.
    pending.extend(split(target));
    Ok(target.first() == Some(&b'/'))
}

/// The anchor itself as the first level, checked like any other directory.
fn root_level(anchor: &Anchor, owners: &Owners) -> Result<Level, Refusal> {
    let (handle, status) = open_root(anchor)?;
    rules::directory(b"/", &status, owners)?;
    Ok(Level { handle, name: Vec::new(), status })
}

/// The anchor itself, and its status.
pub(super) fn open_root(anchor: &Anchor) -> Result<(OwnedFd, Status), Refusal> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
    let handle = openat2(anchor.root(), c".", how).map_err(|errno| failure(b"/", errno))?;
    let status = status_of(handle.as_fd(), b"/")?;
    Ok((handle, status))
}

/// Rule T5: what the kernel makes up is never a table.
pub(super) fn stored(anchor: &Anchor, component: &[u8], status: &Status) -> Result<(), Refusal> {
    if !anchor.is_kernel_device(status.dev) {
        return Ok(());
    }
    let remedy = "put the table into a file of its own, such as one in /etc/postfix";
    Err(rules::refuse(component, Rule::T5, "is made up by the kernel, not stored", remedy))
}

/// Opens one component as a mere reference. Only the last one may not be a mount point: directories on the
/// way may be on other file systems, but a file mounted over a file hides who could have written it.
pub(super) fn open_component(
    parent: BorrowedFd<'_>,
    name: &[u8],
    last: bool,
    component: &[u8],
) -> Result<OwnedFd, Refusal> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    if !last {
        // As a directory first, because only this wakes an automount.
        let how = OpenHow::new().flags(flags | OFlag::O_DIRECTORY).resolve(single_component());
        match openat2(parent, name, how) {
            Err(Errno::ENOTDIR) => {}
            result => return result.map_err(|errno| failure(component, errno)),
        }
    }
    let mut resolve = single_component();
    resolve.set(ResolveFlag::RESOLVE_NO_XDEV, last);
    openat2(parent, name, OpenHow::new().flags(flags).resolve(resolve))
        .map_err(|errno| failure(component, errno))
}

/// How every name is resolved: below its parent, through no link of any kind.
pub(super) fn single_component() -> ResolveFlag {
    ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS
}

/// The status of an open component.
pub(super) fn status_of(handle: BorrowedFd<'_>, component: &[u8]) -> Result<Status, Refusal> {
    status::of(handle).map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
        Refusal::Io { component: component.to_vec(), errno }
    })
}

/// What an error of openat2(2) or readlinkat(2) on a component means.
pub(super) fn failure(component: &[u8], errno: Errno) -> Refusal {
    match errno {
        Errno::ENOENT => Refusal::Missing { component: component.to_vec() },
        // openat2(2) gives EAGAIN when a rename elsewhere made RESOLVE_BENEATH unsure; a lease gives it too.
        Errno::EAGAIN => Refusal::Retry { component: component.to_vec() },
        Errno::EXDEV => {
            let problem = "is a mount point of its own";
            let remedy = format!("mount the directory that holds {} instead", quoted(component));
            rules::refuse(component, Rule::T5, problem, remedy)
        }
        _ => Refusal::Io { component: component.to_vec(), errno },
    }
}

/// Adds a directory to those passed through, once.
fn remember(parents: &mut Vec<Directory>, path: Vec<u8>, status: &Status) {
    if !parents.iter().any(|known| known.path == path) {
        parents.push(Directory { path, dev: status.dev, ino: status.ino });
    }
}
