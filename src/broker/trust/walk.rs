//! Walks a path component by component, by descriptor, and applies the rules to each.
//!
//! Every component is opened with `O_PATH | O_NOFOLLOW` below the descriptor of its parent, so what is checked
//! is what is used, whatever happens to the names meanwhile. The kernel never follows a link and never sees a
//! `..` for us: link targets are taken apart here, and `..` pops our own stack of checked directories.
//! `O_PATH` opens nothing: a FIFO does not block, a device does not act, a socket does not connect.
//!
//! May: openat2, fstat, readlinkat, close; getxattr of its own descriptors. Never: open a file for reading. Called by
//! `read` and `write`, which say what the rules are.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use mapkeep_sys::status::{self, Status};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};

use super::refusal::{Refusal, Rule};
use super::rules::{self, Type};
use super::stack::{Level, Openness, Stack};
use super::{Anchor, Directory, Holder};

/// Longest configured path, in bytes (Linux's own PATH_MAX).
const PATH_LIMIT: usize = 4096;
/// Most directories on the way to a table; bounds the descriptors that a walk holds.
const DEPTH_LIMIT: usize = 64;
/// Most symbolic links on the way to a table.
const LINK_LIMIT: usize = 16;

/// The rules for the components on the way to a table, one implementation for tables that are read and one for those
/// that are written.
pub(super) trait Policy {
    /// Checks the owner of the directory. `above` is its parent directory.
    fn whose(&self, at: &[u8], status: &Status, above: Option<&Level>) -> Result<(), Refusal>;

    /// Checks who else can write in the directory.
    fn closed(&self, at: &[u8], status: &Status, handle: BorrowedFd<'_>) -> Result<Openness, Refusal>;

    /// Checks a symbolic link in the current directory of `stack`.
    fn link(&self, at: &[u8], status: &Status, stack: &Stack) -> Result<(), Refusal>;

    /// The rule that is broken by a component that should be a directory and is not.
    fn not_directory(&self) -> Rule;
}

/// What a path leads to.
pub(super) enum End {
    /// A directory, which is the current one now. Only those above it have been checked.
    Directory,
    /// Anything else, in the current directory.
    Other { name: Vec<u8>, path: Vec<u8>, handle: OwnedFd, status: Status },
}

/// A walk in progress.
pub(super) struct Walk<'a, P> {
    anchor: &'a Anchor,
    policy: &'a P,
    pub stack: Stack,
    /// Components still to come, the next one last.
    pending: Vec<Vec<u8>>,
    links: usize,
    /// The directories in which the path's last name, and those of links behind it, are looked up: also one in which
    /// others can write, but none that the rules forbid to enter.
    pub holders: Vec<Holder>,
}

impl<'a, P: Policy> Walk<'a, P> {
    /// Begins at the anchor; `pending` are the path's components, last one first.
    pub(super) fn new(
        anchor: &'a Anchor,
        policy: &'a P,
        pending: Vec<Vec<u8>>,
    ) -> Result<Walk<'a, P>, Refusal> {
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
        let handle = openat2(anchor.root(), c".", how).map_err(|errno| failure(b"/", errno))?;
        let status = status_of(handle.as_fd(), b"/")?;
        let root = Level { handle, name: Vec::new(), status, openness: Openness::Closed };
        let stack = Stack { root, below: Vec::new() };
        Ok(Walk { anchor, policy, stack, pending, links: 0, holders: Vec::new() })
    }

    /// Walks to the end.
    pub(super) fn run(&mut self) -> Result<End, Refusal> {
        self.check_current()?;
        while let Some(name) = self.pending.pop() {
            if name == b".." {
                // `..` at the anchor stays there, as in the kernel.
                self.stack.below.pop();
                continue;
            }
            let path = self.stack.path_of(&name);
            let last = self.pending.is_empty();
            if last {
                self.hold(&name);
            }
            let handle = open_component(self.stack.top().handle.as_fd(), &name, last, &path)?;
            let status = status_of(handle.as_fd(), &path)?;
            stored(self.anchor, &path, &status)?;
            match rules::type_of(&status) {
                Type::Link => self.follow(handle.as_fd(), &path, &status)?,
                Type::Directory => {
                    self.enter(Level { handle, name, status, openness: Openness::Closed }, &path)?
                }
                _ if last => return Ok(End::Other { name, path, handle, status }),
                _ => {
                    let remedy = "correct the path in the configuration";
                    return Err(rules::refuse(
                        &path,
                        self.policy.not_directory(),
                        "is not a directory",
                        remedy,
                    ));
                }
            }
        }
        Ok(End::Directory)
    }

    /// Whether a symbolic link was followed.
    pub(super) fn through_link(&self) -> bool {
        self.links > 0
    }

    /// Enters a directory. It is checked if a name is to be looked up in it.
    fn enter(&mut self, level: Level, path: &[u8]) -> Result<(), Refusal> {
        if self.stack.below.len() >= DEPTH_LIMIT {
            let problem = format!("is more than {DEPTH_LIMIT} directories deep");
            return Err(rules::refuse(
                path,
                Rule::T1,
                problem,
                "move the table to a directory that is less deep",
            ));
        }
        self.stack.below.push(level);
        if self.pending.is_empty() { Ok(()) } else { self.check_current() }
    }

    /// Applies the rules to the current directory.
    fn check_current(&mut self) -> Result<(), Refusal> {
        let path = self.stack.path();
        let level = self.stack.top();
        self.policy.whose(&path, &level.status, self.stack.above_top())?;
        let openness = match self.policy.closed(&path, &level.status, level.handle.as_fd()) {
            Ok(openness) => openness,
            Err(refusal) => {
                // Its mode may be corrected while the service runs.
                if let [name] = self.pending.as_slice() {
                    let name = name.clone();
                    self.hold(&name);
                }
                return Err(refusal);
            }
        };
        match self.stack.below.last_mut() {
            Some(level) => level.openness = openness,
            None => self.stack.root.openness = openness,
        }
        Ok(())
    }

    /// Records the current directory as one that may hold the file, or a link to it, under this name.
    fn hold(&mut self, name: &[u8]) {
        let Status { dev, ino, .. } = self.stack.top().status;
        let holder = (Directory { path: self.stack.path(), dev, ino }, name.to_vec());
        if !self.holders.contains(&holder) {
            self.holders.push(holder);
        }
    }

    /// Puts the target of a link before the components still to come.
    fn follow(&mut self, link: BorrowedFd<'_>, path: &[u8], status: &Status) -> Result<(), Refusal> {
        self.links = self.links.saturating_add(1);
        if self.links > LINK_LIMIT {
            let problem = format!("is one symbolic link too many (at most {LINK_LIMIT} are followed)");
            return Err(rules::refuse(path, Rule::T1, problem, "name the file behind the links"));
        }
        self.policy.link(path, status, &self.stack)?;
        // A target is shorter than PATH_MAX, so nix reads it in one call and need not ask for its length, which would
        // take a system call that the filter forbids.
        let target = readlinkat(link, c"").map_err(|errno| failure(path, errno))?;
        let target = target.as_bytes();
        // Each of up to 16 links may add as much: the two limits together bound it.
        self.pending.extend(split(target));
        if target.first() == Some(&b'/') {
            self.stack.below.clear();
        }
        Ok(())
    }
}

/// The components of a configured path, last one first. `.` and empty components are dropped.
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
    if path.last() == Some(&b'/') || path.ends_with(b"/.") {
        return refuse("ends in a slash, as a directory does", "name a file");
    }
    Ok(split(path))
}

/// The components of a path or link target, without `.` and empty ones, last one first.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .rev()
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

/// Rule T5: a pseudo file is never a table.
pub(super) fn stored(anchor: &Anchor, component: &[u8], status: &Status) -> Result<(), Refusal> {
    if !anchor.is_kernel_device(status.dev) {
        return Ok(());
    }
    let remedy = "put the table into a file of its own, such as one in /etc/postfix";
    Err(rules::refuse(component, Rule::T5, "is generated by the kernel, not stored", remedy))
}

/// Opens one component with `O_PATH`. It may be on another file system than its parent: only root mounts.
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
    openat2(parent, name, OpenHow::new().flags(flags).resolve(single_component()))
        .map_err(|errno| failure(component, errno))
}

/// How every name is resolved: below its parent, without following any link.
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
        _ => Refusal::Io { component: component.to_vec(), errno },
    }
}
