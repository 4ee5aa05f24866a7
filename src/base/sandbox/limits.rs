//! Purpose: resource limits, so that a hijacked process can exhaust nothing but itself.
//! May: lower limits. Never: raises one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::{Layer, LockError};
use crate::role::Role;

/// Both the soft and the hard value of each limit, in the unit of setrlimit(2); [`Limits::UNLIMITED`] leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// RLIMIT_CORE in bytes. Must be 0: a core holds keys, values and credentials.
    pub core: u64,
    /// RLIMIT_NPROC, processes of this user. Must be 0 for a role that starts none.
    pub nproc: u64,
    /// RLIMIT_NOFILE: one more than the highest descriptor number.
    pub nofile: u64,
    /// RLIMIT_FSIZE in bytes: 0 for a process that writes no files. It applies to memfds as well, so the broker needs
    /// as much as its largest snapshot.
    pub fsize: u64,
    /// RLIMIT_AS in bytes: everything mapped, snapshots included.
    pub address_space: u64,
    /// RLIMIT_DATA in bytes: private writable memory.
    pub data: u64,
}

impl Limits {
    /// No limit beyond the one that is in force.
    pub const UNLIMITED: u64 = u64::MAX;

    pub(crate) fn check(&self, role: Role) -> Result<(), LockError> {
        if self.core != 0 {
            return Err(LockError::new(
                Layer::Request,
                "a limit on core files other than 0 would leak memory",
            ));
        }
        if self.nproc != 0 && !role.starts_others() {
            return Err(LockError::new(
                Layer::Request,
                "only the supervisor and the dialer start processes: NPROC must be 0",
            ));
        }
        Ok(())
    }

    /// Sets every limit, then reads it back. A limit that is already tighter stays.
    pub(crate) fn apply(&self) -> Result<(), LockError> {
        for (name, resource, wanted) in [
            ("CORE", Resource::RLIMIT_CORE, self.core),
            ("NPROC", Resource::RLIMIT_NPROC, self.nproc),
            ("NOFILE", Resource::RLIMIT_NOFILE, self.nofile),
            ("FSIZE", Resource::RLIMIT_FSIZE, self.fsize),
            ("AS", Resource::RLIMIT_AS, self.address_space),
            ("DATA", Resource::RLIMIT_DATA, self.data),
        ] {
            let failed =
                |e: nix::Error| LockError::new(Layer::Limits, format!("RLIMIT_{name} to {wanted}: {e}"));
            let (_, hard) = getrlimit(resource).map_err(failed)?;
            let value = wanted.min(hard);
            setrlimit(resource, value, value).map_err(failed)?;
            if getrlimit(resource).map_err(failed)? != (value, value) {
                return Err(LockError::new(Layer::Limits, format!("RLIMIT_{name} did not become {value}")));
            }
        }
        Ok(())
    }
}
