//! Opens table files and proves who could have written them.
//!
//! A table's content decides where mail goes, so its file must be one that only root, or an owner that the
//! configuration declares, could have written: the file itself, and every directory and link on the way to it.
//! The rules are [`Rule`]; a refusal names the component, the rule and the remedy.
//!
//! May: look at and open the broker's own copy of a configured path. Never: take a path from a worker, follow a link in
//! the kernel, block on a FIFO, read from the file. Uses openat2, readlinkat, fstat, getxattr and close only, so that
//! it runs after lock-down.
//!
//! | file | purpose |
//! |---|---|
//! | `owners.rs` | whose files are trusted |
//! | `people.rs` | names of users, and who is in a group |
//! | `refusal.rs` | the rules by number, and messages |
//! | `rules.rs` | what a status says: pure functions |
//! | `stack.rs` | the checked directories on the way |
//! | `text.rs` | files that are read whole |
//! | `walk.rs` | the walk by descriptor |
//! | `places.rs` | directories of tables, for Landlock |
//! | `read.rs` | tables that are read: found and opened |
//! | `write.rs` | tables that are written: the walk to their directory, files opened and made in it |
//! | `write_files.rs` | the names of their files |
//! | `write_rules.rs` | what a status says of them: pure functions |
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod owners;
mod people;
mod places;
mod read;
mod refusal;
mod rules;
mod stack;
mod text;
mod walk;
mod write;
mod write_files;
mod write_rules;

#[cfg(test)]
mod races;
#[cfg(any(test, feature = "testbed"))]
pub mod testbed;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod write_tests;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use mapkeep_sys::status::Status;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

pub use owners::Owners;
pub use people::People;
pub use places::{anchor_at, located, write_directories};
pub use read::{holders, identity_by_name, open_table};
pub use refusal::{Refusal, Rule};
pub use text::read_file;
pub use write::{Place, WriteOpened, directory_of, inspect, place_of};
pub use write_files::{Access, WriteFile, WriteFiles};

/// Attempts made while files keep changing, before [`Refusal::Retry`].
const ATTEMPTS: u32 = 3;

/// Files that hold account secrets, below the host's root; those that exist are recognised under any name.
const SECRETS: [&[u8]; 5] =
    [b"etc/shadow", b"etc/shadow-", b"etc/gshadow", b"etc/gshadow-", b"etc/security/opasswd"];

/// Where every walk starts: the directory that `/` means in a configured path.
#[derive(Debug)]
pub struct Anchor {
    root: OwnedFd,
    /// The host's `/`, for finding its account databases.
    host: OwnedFd,
    /// Devices of pseudo file systems: reading their files may block, have side effects or never end.
    kernel_devices: Vec<u64>,
    /// Who is in which group.
    people: Rc<People>,
}

impl Anchor {
    /// The host's own root directory. Made at start; makes no call that the lock-down forbids.
    ///
    /// # Errors
    /// [`Refusal::Io`] if `/`, `/proc` or `/sys` cannot be examined.
    pub fn host() -> Result<Anchor, Refusal> {
        Anchor::inside(open_directory(AT_FDCWD, c"/".to_bytes())?)
    }

    /// The directory behind `root` (an `O_PATH` descriptor is enough), for paths seen from inside a chroot.
    ///
    /// # Errors
    /// As for [`Anchor::host`].
    pub fn inside(root: OwnedFd) -> Result<Anchor, Refusal> {
        let host = open_directory(AT_FDCWD, c"/".to_bytes())?;
        let mut kernel_devices = Vec::new();
        for base in [host.as_fd(), root.as_fd()] {
            let base_device = walk::status_of(base, b"/")?.dev;
            for name in [b"proc".as_slice(), b"sys"] {
                match open_directory(base, name) {
                    Ok(directory) => {
                        let device = walk::status_of(directory.as_fd(), name)?.dev;
                        // An empty directory that nothing is mounted on is not the kernel's.
                        if device != base_device && !kernel_devices.contains(&device) {
                            kernel_devices.push(device);
                        }
                    }
                    Err(Refusal::Missing { .. }) => {}
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        Ok(Anchor { root, host, kernel_devices, people: Rc::default() })
    }

    /// Adds what is known about users and groups. Without it, no group counts as private.
    #[must_use]
    pub fn among(self, people: Rc<People>) -> Anchor {
        Anchor { people, ..self }
    }

    /// Whether anybody but root and the user `owner` can write the file behind this descriptor.
    fn others_write(&self, handle: BorrowedFd<'_>, status: &Status, owner: u32) -> bool {
        self.people.others_write(handle, status, owner)
    }

    /// The numbers of the descriptors that it holds, for the check of open descriptors at lock-down.
    #[must_use]
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.root.as_raw_fd(), self.host.as_raw_fd()]
    }

    fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn is_kernel_device(&self, device: u64) -> bool {
        self.kernel_devices.contains(&device)
    }

    /// Rule T6 by identity: whatever the name, refuse the file if it is currently one of the host's account secrets.
    fn refuse_secret(&self, component: &[u8], status: &Status) -> Result<(), Refusal> {
        for path in SECRETS {
            // Links are followed: what matters is the file that the account tools use. It is only compared.
            let how = OpenHow::new()
                .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
                .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
            match openat2(&self.host, path, how) {
                Ok(secret) => {
                    let secret = walk::status_of(secret.as_fd(), component)?;
                    if (secret.dev, secret.ino) == (status.dev, status.ino) {
                        return Err(rules::secret_refusal(component));
                    }
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                // A rename elsewhere disturbed the lookup, so the answer is not known.
                Err(Errno::EAGAIN) => return Err(Refusal::Retry { component: component.to_vec() }),
                Err(errno) => {
                    let component = [b"/", path].concat();
                    return Err(Refusal::Io { component, errno });
                }
            }
        }
        Ok(())
    }
}

/// A directory on the way to a table, for watching it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Absolute path, free of links, seen from the anchor.
    pub path: Vec<u8>,
    /// Its device.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
}

/// A directory and a name that is looked up in it.
pub type Holder = (Directory, Vec<u8>);

/// A table file, open for reading, that only root or a declared owner could have written.
#[derive(Debug)]
pub struct Trusted {
    /// Opened `O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY`. An open file description of its own,
    /// so locks on it are not shared. Never leaves the broker.
    pub file: OwnedFd,
    /// The status of `file` when it was opened.
    pub status: Status,
    /// Whether the table may change without an event in its own directory: a symbolic link was followed, or the file is
    /// a mount point.
    pub elsewhere: bool,
}

/// Distinguishes one version of a table file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Last change of the contents, nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Last change of contents or status, nanoseconds since 1970.
    pub ctime_ns: i128,
    /// Length in bytes.
    pub size: u64,
}

impl From<&Status> for Identity {
    fn from(status: &Status) -> Identity {
        let Status { dev, ino, mtime_ns, ctime_ns, size, .. } = *status;
        Identity { dev, ino, mtime_ns, ctime_ns, size }
    }
}

/// Repeats an attempt that met a change in progress. A name may also be missing for a moment: when a link is swapped
/// and its old target removed, the walk may run between the two.
pub fn settled<T>(mut attempt: impl FnMut() -> Result<T, Refusal>) -> Result<T, Refusal> {
    let mut result = attempt();
    for _ in 1..ATTEMPTS {
        match result {
            Err(Refusal::Retry { .. } | Refusal::Missing { .. }) => result = attempt(),
            settled => return settled,
        }
    }
    result
}

/// A reference to a directory, for comparison and as a starting point.
fn open_directory(base: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Refusal> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
    openat2(base, name, how).map_err(|errno| match errno {
        Errno::ENOTDIR => Refusal::Missing { component: name.to_vec() },
        errno => walk::failure(name, errno),
    })
}
