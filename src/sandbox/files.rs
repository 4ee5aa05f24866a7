//! Purpose: Landlock, which holds whatever a path or a descriptor says.
//! May: narrow. Never: settles for less than all of ABI 6.
//! Called by: `enter`.
//!
//! Handled are all file system rights of ABI 6 (truncate and device ioctls included), TCP bind and connect, abstract
//! unix sockets and signals to processes outside of the domain. ABI 6 came with Linux 6.12. Not covered by it: UDP, unix
//! sockets with a path name, changes through descriptors that are open already; seccomp and the uid stand there.
//!
//! A domain also ends every ptrace-like access to processes outside of it. Among these is reading the link
//! /proc/PID/exe of a client: it fails with EACCES whatever capabilities the process has.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
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
    /// The same for execution. Only a supervisor may have any.
    pub execute_beneath: Vec<PathBuf>,
    /// Directories beneath which regular files may be read, made, written, truncated, renamed and removed, and the
    /// directories be listed. Only the broker of the writing service and, since it inherits this domain, that service's
    /// supervisor may have any.
    pub write_beneath: Vec<PathBuf>,
}

impl FileRules {
    pub(crate) fn check(&self, role: Role) -> Result<(), LockError> {
        let refuse = |reason: &str| Err(LockError::new(Layer::Request, reason));
        match role {
            Role::WriteSupervisor => Ok(()),
            Role::WriteBroker if self.execute_beneath.is_empty() => Ok(()),
            _ if !self.write_beneath.is_empty() => refuse("only the writing service writes files"),
            Role::Supervisor => Ok(()),
            _ if !self.execute_beneath.is_empty() => refuse("only the supervisor executes files"),
            Role::Broker => Ok(()),
            _ if !self.read_beneath.is_empty() => {
                refuse("this role works on descriptors and reaches no file")
            }
            _ => Ok(()),
        }
    }
}

/// Makes the ruleset. Must happen before the chroot (the paths are those of the outer tree) and before the limit on
/// descriptors.
pub(crate) fn prepare(rules: &FileRules) -> Result<RulesetCreated, LockError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(REQUIRED)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(REQUIRED)))
        .and_then(Ruleset::create)
        .map_err(|e| failed(format!("{e}; {REMEDY}")))?;
    for path in &rules.read_beneath {
        ruleset = allow(ruleset, path, AccessFs::ReadFile | AccessFs::ReadDir)?;
    }
    // Directories, because one that stands in the place of a table is renamed out of the way. No list of system calls
    // has mkdir or rmdir.
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
    for path in &rules.execute_beneath {
        ruleset = allow(ruleset, path, AccessFs::Execute.into())?;
    }
    Ok(ruleset)
}

fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, LockError> {
    let problem = |e: &dyn std::fmt::Display| failed(format!("{}: {e}", path.display()));
    // Rights that only directories have are an error on a file.
    let is_directory = path.metadata().map_err(|e| problem(&e))?.is_dir();
    let access = if is_directory { access } else { access & AccessFs::from_file(REQUIRED) };
    let beneath = PathFd::new(path).map_err(|e| problem(&e))?;
    ruleset.add_rule(PathBeneath::new(beneath, access)).map_err(|e| problem(&e))
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
