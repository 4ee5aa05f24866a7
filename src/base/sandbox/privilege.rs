//! Purpose: chroot, user and group ids, capabilities.
//! May: give up. Never: keeps more than was asked for.
//!
//! privdrop does the chroot and nothing else. Its id change asks the name service first, numeric ids included: a user
//! whose *name* is that number would win, modules of the name service would be loaded into the process that is being
//! locked, and those that use the network would die under the supervisor's filter. Ids are set here, by number.

use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::sys::{prctl, stat};
use nix::unistd::{Gid, Uid, fchdir, setgroups, setresgid, setresuid};
use privdrop::PrivDrop;

use crate::error::{Layer, LockError};
use crate::role::Role;
use crate::row::{Account, Root};

/// The ids and capabilities that the process takes.
#[derive(Clone, Debug)]
pub enum Privilege {
    /// Started by root: everything is enforced.
    Root {
        /// The role's own user id; 0 for the supervisor only.
        uid: u32,
        /// The role's own group id; 0 for the supervisor only. It has no supplementary groups.
        gid: u32,
        /// The new root directory: empty, owned by root, writable for nobody else. Required where [`Row::root`](crate::Row::root) says so.
        chroot: Option<PathBuf>,
        /// The capabilities that stay, as [`Row::keep`](crate::Row::keep) has them.
        keep: &'static [Capability],
    },
    /// Started by root, to be an account with all its groups, and with no capability: to other processes it looks like
    /// any process of that account.
    Account {
        /// The user id.
        uid: u32,
        /// The group id.
        gid: u32,
        /// The supplementary groups.
        groups: Vec<u32>,
    },
    /// Started by somebody else: ids, root directory and bounding set stay those of the starter. All other layers are
    /// enforced, and the report says what is missing.
    Rootless,
}

impl Privilege {
    /// The kept capabilities as in /proc/PID/status.
    pub(crate) fn kept_mask(&self) -> u64 {
        match self {
            Privilege::Root { keep, .. } => {
                keep.iter().fold(0, |mask, capability| mask | capability.bitmask())
            }
            Privilege::Account { .. } | Privilege::Rootless => 0,
        }
    }

    pub(crate) fn check(&self, role: Role) -> Result<(), LockError> {
        let refuse = |reason: &str| Err(LockError::new(Layer::Request, reason));
        match self {
            Privilege::Rootless if Uid::effective().is_root() => {
                refuse("root must give up its privileges; running as root without that is not supported")
            }
            Privilege::Rootless => Ok(()),
            Privilege::Root { .. } | Privilege::Account { .. } if !Uid::effective().is_root() => {
                refuse("this process must be started as root")
            }
            Privilege::Root { uid, gid, .. } if role.is_supervisor() => match (uid, gid) {
                (0, 0) => Ok(()),
                _ => refuse("the supervisor stays uid 0 and gid 0 with few capabilities"),
            },
            Privilege::Root { uid, gid, .. } | Privilege::Account { uid, gid, .. }
                if [0, u32::MAX].contains(uid) || [0, u32::MAX].contains(gid) =>
            {
                refuse(
                    "only the supervisor has uid 0 or gid 0; give the role an unprivileged pair of its own",
                )
            }
            Privilege::Root { chroot: None, .. } if role.row().root == Root::Empty => {
                refuse("a role that serves clients needs an empty root directory")
            }
            Privilege::Root { keep, .. } if role.row().keep.is_empty() && !keep.is_empty() => {
                refuse("this role keeps no capability")
            }
            Privilege::Account { .. } if role.row().account != Account::MailOwnerWithGroups => {
                refuse("this role has no supplementary group")
            }
            Privilege::Root { .. } | Privilege::Account { .. } => Ok(()),
        }
    }
}

/// The checked new root directory, held open so that nothing can be put in its place.
pub(crate) struct NewRoot(Dir);

/// The remedy for an unusable root directory. Never to empty it or to change its owner: it may have been named by
/// mistake.
const MADE_FOR_THIS: &str = "set chroot_directory in mapkeep.cf to a directory that is used for nothing else: \
                             install -d -o root -g root -m 755 DIRECTORY";

/// Whether a directory can be the empty root of a role that serves clients.
///
/// # Errors
/// It does not exist, is not empty, or somebody besides root can write in it; the reason includes the remedy.
pub fn check_root(path: &Path) -> Result<(), LockError> {
    open_new_root(path).map(drop)
}

/// Opens and checks the new root directory. Must happen before the limit on descriptors.
#[allow(clippy::disallowed_methods, reason = "before the filter: see `enter`")]
pub(crate) fn open_new_root(path: &Path) -> Result<NewRoot, LockError> {
    let failed = |reason: String| LockError::new(Layer::Chroot, format!("{}: {reason}", path.display()));
    let directory = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
        .map_err(|e| failed(format!("{e}; {MADE_FOR_THIS}")))?;
    let stat = stat::fstat(&directory).map_err(|e| failed(e.to_string()))?;
    if stat.st_uid != 0 || stat.st_gid != 0 || stat.st_mode & 0o022 != 0 {
        return Err(failed(format!("others could put files into it; {MADE_FOR_THIS}")));
    }
    let mut listing = Dir::from_fd(OwnedFd::from(directory)).map_err(|e| failed(e.to_string()))?;
    for entry in listing.iter() {
        let entry = entry.map_err(|e| failed(e.to_string()))?;
        if ![&b"."[..], b".."].contains(&entry.file_name().to_bytes()) {
            return Err(failed(format!("not empty; {MADE_FOR_THIS}")));
        }
    }
    Ok(NewRoot(listing))
}

/// Enters the new root directory. The descriptor is closed: an open directory outside would be a way out.
pub(crate) fn enter_new_root(new_root: NewRoot) -> Result<(), LockError> {
    let failed = |reason: String| LockError::new(Layer::Chroot, reason);
    fchdir(&new_root.0).map_err(|e| failed(format!("fchdir: {e}")))?;
    PrivDrop::default().chroot(".").apply().map_err(|e| failed(e.to_string()))
}

/// Becomes `uid` and `gid` for good, with exactly these supplementary groups and the capabilities of `keep`.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32], keep: &[Capability]) -> Result<(), LockError> {
    // The bounding set goes first, since shrinking it needs CAP_SETPCAP. It stays as wide as `keep` for uid 0 alone:
    // there an exec gives the child what the bounding set holds, and the supervisor's children set themselves up
    // with these. Nobody else can exec, so nobody else needs one.
    let bounding: &[Capability] = if uid == 0 { keep } else { &[] };
    for capability in caps::all() {
        if !bounding.contains(&capability)
            && caps::has_cap(None, CapSet::Bounding, capability).map_err(cap)?
        {
            caps::drop(None, CapSet::Bounding, capability).map_err(cap)?;
        }
    }
    caps::clear(None, CapSet::Ambient).map_err(cap)?;
    caps::clear(None, CapSet::Inheritable).map_err(cap)?;

    let identity = |what: &str, e: Errno| LockError::new(Layer::Identity, format!("{what}: {e}"));
    if uid != 0 && !keep.is_empty() {
        // Without this, the change of uid would clear the permitted set, and nothing could be kept.
        prctl::set_keepcaps(true).map_err(|e| identity("PR_SET_KEEPCAPS", e))?;
    }
    // Groups before the user: afterwards the right to change them is gone.
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).map_err(|e| identity("setgroups", e))?;
    setresgid(group, group, group).map_err(|e| identity("setresgid", e))?;
    setresuid(user, user, user).map_err(|e| identity("setresuid", e))?;
    prctl::set_keepcaps(false).map_err(|e| identity("PR_SET_KEEPCAPS", e))?;

    // Effective may never exceed permitted: empty the one, shrink the other, fill the one again.
    let kept: CapsHashSet = keep.iter().copied().collect();
    caps::clear(None, CapSet::Effective).map_err(cap)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(cap)?;
    caps::set(None, CapSet::Effective, &kept).map_err(cap)?;

    if uid != 0 {
        no_way_back()?;
    }
    Ok(())
}

/// The privileges must be gone, not merely inactive.
fn no_way_back() -> Result<(), LockError> {
    let (root, wheel) = (Uid::from_raw(0), Gid::from_raw(0));
    let attempts = [setresuid(root, root, root), setresgid(wheel, wheel, wheel), setgroups(&[wheel])];
    if attempts.iter().any(|attempt| *attempt != Err(Errno::EPERM)) {
        return Err(LockError::new(Layer::Identity, "the process could get uid 0, gid 0 or its groups back"));
    }
    Ok(())
}

fn cap(e: caps::errors::CapsError) -> LockError {
    LockError::new(Layer::Capabilities, e.to_string())
}
