//! Purpose: Landlock, which holds whatever a path or a descriptor says.
//! May: narrow. Never: settles for less than all of ABI 6.
//!
//! Handled are all file system rights of ABI 6 (truncate and device ioctls included), TCP bind and connect, abstract
//! unix sockets and signals to processes outside of the domain; for one role, whose forks are narrower, all but TCP connect. ABI 6 came with Linux 6.12. Not covered by it: UDP, unix
//! sockets with a path name, changes through descriptors that are open already; seccomp and the uid stand there.
//!
//! A domain also ends every ptrace-like access to processes outside of it. Among these is reading the link
//! /proc/PID/exe of a client: it fails with EACCES whatever capabilities the process has.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::error::{Layer, LockError};
use crate::role::Role;

const REQUIRED: ABI = ABI::V6;
const REMEDY: &str =
    "Linux 6.12 or later with CONFIG_SECURITY_LANDLOCK is needed, and landlock in the lsm= list";

/// What a role may still reach in the file system. Only the writing service can write, and only beneath
/// `write_beneath`.
#[derive(Clone, Debug, Default)]
pub struct FileRules {
    /// Files, and directories with all beneath them, that may be opened for reading and listed.
    pub read_beneath: Vec<PathBuf>,
    /// The same for paths that may be missing or inaccessible, which are then left out.
    pub read_if_there: Vec<PathBuf>,
    /// The same for execution. Only a supervisor may have any.
    pub execute_beneath: Vec<PathBuf>,
    /// Directories beneath which regular files may be read, created, written, truncated, renamed and removed, and the
    /// directories listed. Only the broker of the writing service and, since it inherits this domain, that service's
    /// supervisor may have any.
    pub write_beneath: Vec<PathBuf>,
    /// As `read_beneath`, for directories that the caller has found by its own walk.
    pub read_found: Vec<Located>,
    /// As `write_beneath`, likewise.
    pub write_found: Vec<Located>,
    /// The destinations to which TCP connections may be made.
    pub tcp: Tcp,
}

/// The destinations to which TCP connections may be made. None may be accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tcp {
    /// Nowhere.
    #[default]
    Nowhere,
    /// These ports, of any machine.
    Ports(Vec<u16>),
    /// Anywhere: for a process whose forks have [`Tcp::Ports`].
    Anywhere,
}

/// A directory that was found, and checked, component by component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Where `/` of `path` is.
    pub root: PathBuf,
    /// Absolute path, seen from there and free of links.
    pub path: PathBuf,
    /// Its device.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
}

impl Located {
    /// Its path, seen from the host's root. For messages and watches only: others may change what it leads to.
    #[must_use]
    pub fn seen_from_host(&self) -> PathBuf {
        self.root.join(self.path.strip_prefix("/").unwrap_or(&self.path))
    }
}

impl FileRules {
    pub(crate) fn check(&self, role: Role) -> Result<(), LockError> {
        let refuse = |reason: &str| Err(LockError::new(Layer::Request, reason));
        let may = role.row().files;
        let reads =
            !self.read_beneath.is_empty() || !self.read_found.is_empty() || !self.read_if_there.is_empty();
        let writes = !self.write_beneath.is_empty() || !self.write_found.is_empty();
        if writes && !may.write {
            return refuse("only the writing service writes files");
        }
        if !self.execute_beneath.is_empty() && !may.execute {
            return refuse("only the supervisor executes files");
        }
        if reads && !may.read {
            return refuse("this role works on descriptors and reaches no file");
        }
        if self.tcp != Tcp::Nowhere && !may.connect {
            return refuse("only the dialer and its connectors connect");
        }
        Ok(())
    }
}

/// Creates the ruleset. Must happen before the chroot (the paths are outside it) and before the limit on descriptors.
pub(crate) fn prepare(rules: &FileRules) -> Result<RulesetCreated, LockError> {
    let network = match rules.tcp {
        Tcp::Anywhere => AccessNet::from_all(REQUIRED) & !AccessNet::ConnectTcp,
        Tcp::Nowhere | Tcp::Ports(_) => AccessNet::from_all(REQUIRED),
    };
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))
        .and_then(|ruleset| ruleset.handle_access(network))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(REQUIRED)))
        .and_then(Ruleset::create)
        .map_err(|e| failed(format!("{e}; {REMEDY}")))?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in &rules.read_beneath {
        ruleset = allow(ruleset, path, read)?;
    }
    for path in &rules.read_if_there {
        ruleset = allow_if_there(ruleset, path, read)?;
    }
    if let Tcp::Ports(ports) = &rules.tcp {
        for port in ports {
            let rule = NetPort::new(*port, AccessNet::ConnectTcp);
            ruleset = ruleset.add_rule(rule).map_err(|e| failed(format!("port {port}: {e}")))?;
        }
    }
    for found in &rules.read_found {
        ruleset = allow_found(ruleset, found, read)?;
    }
    // Directories, because one in the place of a table is renamed out of the way. No list of system calls has mkdir or
    // rmdir.
    let write = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::MakeDir
        | AccessFs::RemoveDir;
    for path in &rules.write_beneath {
        ruleset = allow(ruleset, path, write)?;
    }
    for found in &rules.write_found {
        ruleset = allow_found(ruleset, found, write)?;
    }
    for path in &rules.execute_beneath {
        ruleset = allow(ruleset, path, AccessFs::Execute.into())?;
    }
    Ok(ruleset)
}

#[allow(clippy::disallowed_methods, reason = "before the filter: see `enter`")]
fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, LockError> {
    let problem = |e: &dyn std::fmt::Display| failed(format!("{}: {e}", path.display()));
    // Rights that apply only to directories are an error on a file.
    let is_directory = path.metadata().map_err(|e| problem(&e))?.is_dir();
    let access = if is_directory { access } else { access & AccessFs::from_file(REQUIRED) };
    let beneath = PathFd::new(path).map_err(|e| problem(&e))?;
    ruleset.add_rule(PathBeneath::new(beneath, access)).map_err(|e| problem(&e))
}

/// Allows a file, or a directory with everything beneath it, unless it cannot be opened: the process could not open it
/// in the domain either.
#[allow(clippy::disallowed_methods, reason = "before the filter: see `narrow`")]
fn allow_if_there(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, LockError> {
    let problem = |e: &dyn std::fmt::Display| failed(format!("{}: {e}", path.display()));
    let opened = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path);
    let Ok(there) = opened else { return Ok(ruleset) };
    let is_directory = there.metadata().map_err(|e| problem(&e))?.is_dir();
    let access = if is_directory { access } else { access & AccessFs::from_file(REQUIRED) };
    ruleset.add_rule(PathBeneath::new(there, access)).map_err(|e| problem(&e))
}

/// Allows a found directory, if its path still leads to it without a link. Otherwise the domain stays narrower: a user
/// who can change names there must be able neither to widen it nor to prevent the process from starting.
#[allow(clippy::disallowed_methods, reason = "before the filter: see `enter`")]
fn allow_found(
    ruleset: RulesetCreated,
    found: &Located,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, LockError> {
    let problem = |e: &dyn std::fmt::Display| failed(format!("{}: {e}", found.path.display()));
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = openat2(AT_FDCWD, &found.root, OpenHow::new().flags(flags)).map_err(|e| problem(&e))?;
    let resolve =
        ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let Ok(directory) = openat2(&root, &found.path, OpenHow::new().flags(flags).resolve(resolve)) else {
        return Ok(ruleset);
    };
    let directory = File::from(directory);
    let status = directory.metadata().map_err(|e| problem(&e))?;
    if (status.dev(), status.ino()) != (found.dev, found.ino) {
        return Ok(ruleset);
    }
    ruleset.add_rule(PathBeneath::new(directory, access)).map_err(|e| problem(&e))
}

/// Enters the domain. Irrevocable, inherited by children, never widened.
pub(crate) fn enforce(ruleset: RulesetCreated) -> Result<(), LockError> {
    let status = ruleset.restrict_self().map_err(|e| failed(format!("{e}; {REMEDY}")))?;
    if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
        return Err(failed(format!("only partly in force ({:?}); {REMEDY}", status.ruleset)));
    }
    Ok(())
}

fn failed(reason: String) -> LockError {
    LockError::new(Layer::Landlock, reason)
}
