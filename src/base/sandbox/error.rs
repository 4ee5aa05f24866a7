//! Purpose: says which layer of the lock could not be installed, and what to do about it. May: format text. Never:
//! decides whether a failure matters; every one does.

use std::fmt;

/// The exit status of a process whose lock could not be installed (sysexits' EX_CONFIG).
pub const LOCK_FAILED: u8 = 78;

/// One layer of the lock, in the order of installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The request contradicts itself or the role.
    Request,
    /// RLIMIT_CORE, NPROC, NOFILE, FSIZE, AS, DATA.
    Limits,
    /// The empty root directory.
    Chroot,
    /// User and group ids.
    Identity,
    /// The five capability sets.
    Capabilities,
    /// Death with the parent, no dumps, no new privileges.
    Process,
    /// Landlock: file system, network and scopes.
    Landlock,
    /// The final self-check, before the filter is installed.
    SelfCheck,
    /// The system call filter.
    Seccomp,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Request => "request",
            Layer::Limits => "resource limits",
            Layer::Chroot => "chroot",
            Layer::Identity => "identity",
            Layer::Capabilities => "capabilities",
            Layer::Process => "process attributes",
            Layer::Landlock => "landlock",
            Layer::SelfCheck => "self-check",
            Layer::Seccomp => "seccomp",
        })
    }
}

/// Why a process must not serve.
///
/// The process may be half locked by then: the only safe reaction is to log the reason and exit.
#[derive(Debug, PartialEq, Eq)]
pub struct LockError {
    /// The layer that failed.
    pub layer: Layer,
    /// What happened and, where one is known, the remedy.
    pub reason: String,
}

impl LockError {
    pub(crate) fn new(layer: Layer, reason: impl Into<String>) -> Self {
        LockError { layer, reason: reason.into() }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the process cannot be confined ({}): {}", self.layer, self.reason)
    }
}

impl std::error::Error for LockError {}
