//! Tables that are written: the walk to their directory, and their files, opened and made in it.
//!
//! The walk is by descriptor, as for reading: every component is opened below the descriptor of its parent, so that
//! what is checked is what is used. Files are looked at before they are opened (a FIFO would not block and a device
//! would not act, but neither is opened at all), and again after. New ones are made in the checked directory, under a
//! name that is free, with mode 0600.
//!
//! May: openat2, fstat, readlinkat, getxattr, close, with the rights of the tables' owner. Never: open a file of
//! another user, read or write one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mapkeep_sys::status::Status;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use super::refusal::{Refusal, Rule, quoted};
use super::rules;
use super::stack::{self, Level, Openness, Stack};
use super::walk::{self, End, Policy, Walk, single_component};
use super::write_files::{Access, WriteFiles};
use super::write_rules;
use super::{Anchor, Directory, settled};

/// Flags for opening any file. `O_NONBLOCK` has no effect on a regular file once it is open.
const FLAGS: OFlag =
    OFlag::O_CLOEXEC.union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// A directory in which its user, and nobody else, can write; found and checked component by component.
#[derive(Debug)]
pub struct Place<'a> {
    anchor: &'a Anchor,
    handle: OwnedFd,
    path: Vec<u8>,
    /// Device and inode number.
    identity: (u64, u64),
    owner: u32,
}

/// A file of a table that is written.
#[derive(Debug)]
pub struct WriteOpened {
    /// An open file description of its own.
    pub file: OwnedFd,
    /// Its status when it was opened.
    pub status: Status,
}

/// Rules W4 and W5 on the way to the files of the user `owner`.
struct Writing<'a> {
    anchor: &'a Anchor,
    owner: u32,
}

impl Policy for Writing<'_> {
    fn whose(&self, at: &[u8], status: &Status, _above: Option<&Level>) -> Result<(), Refusal> {
        write_rules::ancestor(at, status, self.owner)
    }

    fn closed(&self, at: &[u8], status: &Status, handle: BorrowedFd<'_>) -> Result<Openness, Refusal> {
        write_rules::closed(at, status, self.owner, self.anchor.others_write(handle, status, self.owner))
    }

    fn link(&self, at: &[u8], status: &Status, stack: &Stack) -> Result<(), Refusal> {
        write_rules::link(at, status, stack)
    }

    fn not_directory(&self) -> Rule {
        Rule::W4
    }
}

/// Walks to the directory of the files; the rules have been applied to the directories above it, but not yet to itself.
fn stand_in<'a>(
    anchor: &'a Anchor,
    files: &WriteFiles,
    policy: &'a Writing<'a>,
) -> Result<Walk<'a, Writing<'a>>, Refusal> {
    let path = files.path(files.configured());
    let mut components = walk::components_of(&path)?;
    // The last component comes first: that is the file.
    if components.first().is_none_or(|file| file == b"..") {
        return Err(rules::refuse(
            &path,
            Rule::T1,
            "does not name a file",
            "correct the path in the configuration",
        ));
    }
    components.remove(0);
    // Before any file is examined.
    for file in files.lasting() {
        let name = files.name(*file);
        rules::secret_name(&stack::join(
            components.iter().rev().map(Vec::as_slice).chain([name.as_slice()]),
        ))?;
    }
    let mut walk = Walk::new(anchor, policy, components)?;
    match walk.run()? {
        End::Directory => Ok(walk),
        End::Other { path, .. } => {
            Err(rules::refuse(&path, Rule::W4, "is not a directory", "correct the path in the configuration"))
        }
    }
}

/// The directory that holds the files, or will hold them, if everything above it meets the rules; it may itself break
/// some.
///
/// # Errors
/// [`Refusal`].
pub fn directory_of(anchor: &Anchor, files: &WriteFiles, owner: u32) -> Result<Directory, Refusal> {
    let policy = Writing { anchor, owner };
    let walk = stand_in(anchor, files, &policy)?;
    let Status { dev, ino, .. } = walk.stack.top().status;
    Ok(Directory { path: walk.stack.path(), dev, ino })
}

/// Walks to the directory of the files of a table of the user `owner` and applies the rules to every component.
///
/// # Errors
/// [`Refusal`]; [`Refusal::Missing`] and [`Refusal::Retry`] may pass by themselves.
pub fn place_of<'a>(anchor: &'a Anchor, files: &WriteFiles, owner: u32) -> Result<Place<'a>, Refusal> {
    let policy = Writing { anchor, owner };
    let stack = stand_in(anchor, files, &policy)?.stack;
    let path = stack.path();
    let Level { handle, status, .. } = stack.into_top();
    let others = anchor.others_write(handle.as_fd(), &status, owner);
    write_rules::directory(&path, &status, owner, others)?;
    Ok(Place { anchor, handle, path, identity: (status.dev, status.ino), owner })
}

impl<'a> Place<'a> {
    /// The directory, opened with `O_PATH`.
    #[must_use]
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Its device and inode number.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// The absolute path of `name` in it, for messages.
    #[must_use]
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let separator: &[u8] = if self.path == b"/" { b"" } else { b"/" };
        [&self.path, separator, name].concat()
    }

    /// The status of the file `name`, without applying a rule to it; `None` if there is none.
    ///
    /// # Errors
    /// [`Refusal::Retry`], [`Refusal::Io`], and rule T5 for a mount point.
    pub fn status(&self, name: &[u8]) -> Result<Option<Status>, Refusal> {
        let component = self.path_of(name);
        Ok(self.reference(name, &component)?.map(|(_, status)| status))
    }

    /// The file `name`, opened with `O_PATH`, and its status.
    fn reference(&self, name: &[u8], component: &[u8]) -> Result<Option<(OwnedFd, Status)>, Refusal> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat2(self.handle(), name, OpenHow::new().flags(flags).resolve(resolve())) {
            Ok(handle) => {
                let status = walk::status_of(handle.as_fd(), component)?;
                Ok(Some((handle, status)))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(failure(component, errno)),
        }
    }

    /// Whether there is a directory of the owner where the file `name` should be.
    ///
    /// # Errors
    /// As for [`Place::status`].
    pub fn holds_directory(&self, name: &[u8]) -> Result<bool, Refusal> {
        let status = self.status(name)?;
        Ok(status.is_some_and(|one| rules::type_of(&one) == rules::Type::Directory && one.uid == self.owner))
    }

    /// The status of the file `name`, if the file meets the rules.
    ///
    /// # Errors
    /// [`Refusal`], but never [`Refusal::Missing`].
    pub fn look(&self, name: &[u8], access: Access) -> Result<Option<Status>, Refusal> {
        let component = self.path_of(name);
        rules::secret_name(&component)?;
        let Some((handle, status)) = self.reference(name, &component)? else { return Ok(None) };
        self.check_file(&component, (handle.as_fd(), &status), access)?;
        Ok(Some(status))
    }

    fn check_file(
        &self,
        component: &[u8],
        (handle, status): (BorrowedFd<'_>, &Status),
        access: Access,
    ) -> Result<(), Refusal> {
        walk::stored(self.anchor, component, status)?;
        self.anchor.refuse_secret(component, status)?;
        let others = self.anchor.others_write(handle, status, self.owner);
        write_rules::file(component, status, self.owner, others, access)
    }

    /// Opens the file `name` if it meets the rules; `None` if there is none.
    ///
    /// # Errors
    /// [`Refusal`], but never [`Refusal::Missing`].
    pub fn open(&self, name: &[u8], access: Access) -> Result<Option<WriteOpened>, Refusal> {
        let Some(expected) = self.look(name, access)? else { return Ok(None) };
        self.open_expected(name, access, &expected).map(Some)
    }

    /// Opens the file that was found, and makes sure that it is still the same.
    pub(super) fn open_expected(
        &self,
        name: &[u8],
        access: Access,
        expected: &Status,
    ) -> Result<WriteOpened, Refusal> {
        let component = self.path_of(name);
        let changed = || Refusal::Retry { component: component.clone() };
        let how = OpenHow::new().flags(access.flags() | FLAGS).resolve(resolve());
        let file = openat2(self.handle(), name, how).map_err(|errno| match errno {
            // The name was a regular file a moment ago: it was removed, or something else took its place.
            Errno::ENOENT | Errno::ELOOP | Errno::ENXIO | Errno::EISDIR => changed(),
            _ => failure(&component, errno),
        })?;
        let status = walk::status_of(file.as_fd(), &component)?;
        let same = |status: &Status| (status.dev, status.ino, status.mode, status.uid, status.gid);
        if same(&status) != same(expected) {
            return Err(changed());
        }
        // The same inode, but its link count may have changed since, and the inode may have been reused for a secret
        // file.
        self.check_file(&component, (file.as_fd(), &status), access)?;
        Ok(WriteOpened { file, status })
    }

    /// Creates the file `name`, which must not exist: empty, with mode 0600, open for reading and writing.
    ///
    /// # Errors
    /// [`Refusal::Retry`] if it exists now; [`Refusal::Io`], with `ENOSPC` or `EDQUOT` when there is no room.
    pub fn create(&self, name: &[u8]) -> Result<WriteOpened, Refusal> {
        let component = self.path_of(name);
        rules::secret_name(&component)?;
        let flags = Access::Write.flags() | FLAGS | OFlag::O_CREAT | OFlag::O_EXCL;
        let how = OpenHow::new().flags(flags).mode(Mode::S_IRUSR | Mode::S_IWUSR).resolve(resolve());
        let file = openat2(self.handle(), name, how).map_err(|errno| match errno {
            Errno::EEXIST => Refusal::Retry { component: component.clone() },
            _ => failure(&component, errno),
        })?;
        let status = walk::status_of(file.as_fd(), &component)?;
        self.check_file(&component, (file.as_fd(), &status), Access::Write)?;
        Ok(WriteOpened { file, status })
    }
}

/// Checks a table that is written without opening or creating anything: whether the rules let the user `owner` write
/// it, and in which directory (device and inode number) its files are, or will be. Missing files are accepted.
///
/// # Errors
/// [`Refusal`].
pub fn inspect(anchor: &Anchor, files: &WriteFiles, owner: u32) -> Result<(u64, u64), Refusal> {
    settled(|| {
        let place = place_of(anchor, files, owner)?;
        for file in files.lasting() {
            place.look(&files.name(*file), file.access())?;
        }
        Ok(place.identity())
    })
}

/// As [`walk::failure`]; a file that is a mount point cannot be renamed, as checkpoints must.
fn failure(component: &[u8], errno: Errno) -> Refusal {
    if errno != Errno::EXDEV {
        return walk::failure(component, errno);
    }
    let remedy = format!("mount the directory that holds {} instead", quoted(component));
    rules::refuse(component, Rule::T5, "is a mount point of its own", remedy)
}

/// How every file is resolved: in its directory, without following any link, on the same file system.
fn resolve() -> ResolveFlag {
    single_component() | ResolveFlag::RESOLVE_NO_XDEV
}
