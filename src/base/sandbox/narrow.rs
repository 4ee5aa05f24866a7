//! Purpose: the lock of a process that is a fork of a locked one: a narrower domain, a shorter list, and the check again.
//! May: narrow. Never: repeats what a fork inherits (limits, root directory, ids, capabilities), and never takes it on trust.
//! Called by: a connector, in the dialer's fork.

use crate::enter::{Confined, own_process};
use crate::error::{Layer, LockError};
use crate::mirror::Mirror;
use crate::role::Role;
use crate::status::Expected;
use crate::{FileRules, files, filter};

/// The narrower lock for a fork of a locked process.
#[derive(Debug)]
pub struct Narrower<'a> {
    /// Selects the system call list; a role that has the parent's among its [`Role::parents`].
    pub role: Role,
    /// What Landlock still lets the process reach, of what it lets the parent reach.
    pub files: FileRules,
    /// The descriptors that must be open, and no other, in any order.
    pub expected_descriptors: &'a [i32],
    /// The process that this one must not outlive.
    pub parent_pid: i32,
}

impl Confined {
    /// In a fork of the process to which this proof belongs: adds the narrower lock of another role to the one in
    /// force.
    ///
    /// The parent's list must allow the calls that this needs; /proc must be accessible.
    ///
    /// # Errors
    /// As for [`enter`](crate::enter). The process must then exit: the lock of its parent is in force, and perhaps more.
    pub fn narrow(&self, wanted: &Narrower<'_>) -> Result<Confined, LockError> {
        if !wanted.role.parents().contains(&self.role) {
            let (parent, role) = (self.role.name(), wanted.role.name());
            return Err(LockError::new(Layer::Request, format!("{parent} starts no {role}")));
        }
        wanted.files.check(wanted.role)?;
        let program = filter::compile(wanted.role)?;
        let mirror = Mirror::open()?;
        let ruleset = files::prepare(&wanted.files)?;
        // A fork does not inherit the death signal.
        own_process(Some(wanted.parent_pid))?;
        files::enforce(ruleset)?;
        let differences = self.stands.differences(&mirror.status()?);
        if !differences.is_empty() {
            return Err(LockError::new(Layer::SelfCheck, differences.join("; ")));
        }
        mirror.just(wanted.expected_descriptors)?;
        filter::install(&program)?;
        let seccomp_filters = self.stands.seccomp_filters.saturating_add(1);
        Ok(Confined { role: wanted.role, stands: Expected { seccomp_filters, ..self.stands.clone() } })
    }
}
