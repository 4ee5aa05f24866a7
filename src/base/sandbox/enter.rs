//! Purpose: installs every layer of the lock, in the one order that works, and checks the result. May: end in an error
//! at any point. Never: goes on without a layer.

use std::fmt;

use nix::sys::{prctl, signal::Signal};
use nix::unistd::getppid;

use crate::error::{Layer, LockError};
use crate::mirror::Mirror;
use crate::privilege::Privilege;
use crate::role::Role;
use crate::status::{Expected, Found, expected};
use crate::{FileRules, Limits, files, filter, privilege};

/// Everything that distinguishes one process's lock from another's.
#[derive(Debug)]
pub struct Lock<'a> {
    /// Selects the system call list.
    pub role: Role,
    /// Ids, root directory, capabilities.
    pub privilege: Privilege,
    /// Resource limits.
    pub limits: Limits,
    /// What Landlock still lets the process reach.
    pub files: FileRules,
    /// The descriptors that must be open, and no other, in any order.
    pub expected_descriptors: &'a [i32],
    /// The process that this one must not outlive; `None` for the supervisor, whose starter may leave before it.
    pub parent_pid: Option<i32>,
}

/// Proof that [`enter`] succeeded in this process. Serving loops require it.
#[must_use = "a loop that serves clients must be given this"]
#[derive(Debug)]
pub struct Confined {
    pub(crate) role: Role,
    /// What the process must look like from now on.
    pub(crate) stands: Expected,
}

impl Confined {
    /// The role whose lock is in force.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }
}

/// What the self-check found, just before the system call filter was installed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The role.
    pub role: Role,
    /// The process's own status. Its `seccomp_filters` are the inherited ones.
    pub found: Found,
    /// The open descriptors, sorted.
    pub descriptors: Vec<i32>,
    /// The number of system calls that the filter allows.
    pub system_calls: usize,
    /// The layers that are not available without root, in plain words; empty if started by root.
    pub missing: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} landlock=full system_calls={} descriptors={:?}",
            self.role.name(),
            self.found,
            self.system_calls,
            self.descriptors
        )?;
        for missing in &self.missing {
            write!(f, "; without root: {missing}")?;
        }
        Ok(())
    }
}

/// Locks the calling process in: limits, chroot, ids, capabilities, process attributes, Landlock, system calls.
///
/// Must be called while the process has one thread. Returns the proof and what was found.
///
/// # Errors
/// If any layer cannot be installed in full, or if the process then differs from what was asked for in any point. The
/// process must then exit: some layers may be in force.
pub fn enter(lock: Lock<'_>) -> Result<(Confined, Report), LockError> {
    check_request(&lock)?;

    // Everything that needs a path or a free descriptor comes first: after the chroot there is no /proc, and after the
    // limits there may be no descriptor to spare.
    let program = filter::compile(lock.role)?;
    let mirror = Mirror::open()?;
    let before = mirror.status()?;
    if before.threads != 1 {
        // Capabilities and Landlock hold for the calling thread only.
        return Err(LockError::new(
            Layer::Request,
            format!("{} threads; lock before starting any", before.threads),
        ));
    }
    let ruleset = files::prepare(&lock.files)?;
    let new_root = match &lock.privilege {
        Privilege::Root { chroot: Some(path), .. } => Some(privilege::open_new_root(path)?),
        _ => None,
    };

    lock.limits.apply()?;
    // The chroot needs root, so it precedes the change of ids, which is final.
    if let Some(new_root) = new_root {
        privilege::enter_new_root(new_root)?;
    }
    match &lock.privilege {
        Privilege::Root { uid, gid, keep, .. } => privilege::become_user(*uid, *gid, &[], keep)?,
        Privilege::Account { uid, gid, groups } => privilege::become_user(*uid, *gid, groups, &[])?,
        Privilege::Rootless => {}
    }
    // A change of ids resets both of these attributes, so they follow it.
    own_process(lock.parent_pid)?;
    // Landlock requires no_new_privs, so it follows, too. The descriptors of the mirror keep their rights.
    files::enforce(ruleset)?;

    let found = mirror.status()?;
    let locked = expected(lock.role, &lock.privilege, before.seccomp_filters);
    // Everything that the role requires, except for the filter, which is installed next.
    let now = Expected { seccomp_filters: before.seccomp_filters, ..locked.clone() };
    let differences = now.differences(&found);
    if !differences.is_empty() {
        return Err(LockError::new(Layer::SelfCheck, differences.join("; ")));
    }
    let descriptors = mirror.just(lock.expected_descriptors)?;
    let report = Report {
        role: lock.role,
        found,
        descriptors,
        system_calls: lock.role.rules().len(),
        missing: missing(&lock.privilege),
    };

    // The filter is last, since all of the above needs calls that it forbids. The supervisor checks from outside that
    // it is in force: most roles can no longer check themselves.
    filter::install(&program)?;
    Ok((Confined { role: lock.role, stands: locked }, report))
}

/// Refuses requests that contradict the role, before anything is changed.
fn check_request(lock: &Lock<'_>) -> Result<(), LockError> {
    lock.privilege.check(lock.role)?;
    lock.limits.check(lock.role)?;
    lock.files.check(lock.role)?;
    if lock.role.is_fork() {
        return Err(LockError::new(Layer::Request, "this role narrows the lock of its parent"));
    }
    if lock.parent_pid.is_none() && !lock.role.is_supervisor() {
        return Err(LockError::new(Layer::Request, "every process but the supervisor dies with its parent"));
    }
    Ok(())
}

/// No dump, no debugger of the same uid, no new privileges by exec, and death with the parent.
pub(crate) fn own_process(parent_pid: Option<i32>) -> Result<(), LockError> {
    let failed = |reason: String| LockError::new(Layer::Process, reason);
    prctl::set_dumpable(false).map_err(|e| failed(format!("PR_SET_DUMPABLE: {e}")))?;
    prctl::set_no_new_privs().map_err(|e| failed(format!("PR_SET_NO_NEW_PRIVS: {e}")))?;
    if let Some(parent) = parent_pid {
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| failed(format!("PR_SET_PDEATHSIG: {e}")))?;
        // The parent may have exited before the signal was requested; then there is another parent now.
        if getppid().as_raw() != parent {
            return Err(failed(format!("the parent {parent} is gone")));
        }
    }
    if prctl::get_dumpable() != Ok(false) {
        return Err(failed("the process can still be dumped".into()));
    }
    Ok(())
}

fn missing(privilege: &Privilege) -> Vec<String> {
    match privilege {
        Privilege::Root { .. } | Privilege::Account { .. } => Vec::new(),
        Privilege::Rootless => vec![
            "a user id of its own (it runs as the user who started it and can signal that user's other processes \
             only as far as Landlock lets it)"
                .into(),
            "an empty root directory (Landlock alone keeps it from files)".into(),
            "an empty capability bounding set (no_new_privs keeps it from gaining any)".into(),
        ],
    }
}
