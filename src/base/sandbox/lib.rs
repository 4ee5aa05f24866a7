//! Purpose: turns `policy/seccomp.json` into an installed lock. May: give up privileges, and refuse to go on. Never:
//! chooses what to allow. Lists come from the policy, limits and paths from the caller; this room only refuses requests
//! that contradict a role.
//!
//! [`enter`] installs all layers or none counts: there is no switch, no environment variable and no build in which one
//! is left out. It returns [`Confined`], which nothing else can make and which the serving loops demand.
//!
//! A fork of such a process that needs less takes on a narrower lock by [`Confined::narrow`], which gives a proof of its own.
//!
//! What a process cannot see of itself after that (its filter, since most roles can open nothing), the supervisor reads
//! from /proc/PID/status with [`inspect`] and compares with [`expected`].
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod enter;
mod error;
mod files;
mod filter;
mod limits;
mod mirror;
mod narrow;
mod privilege;
mod role;
mod row;
mod rule;
mod status;

/// The capabilities that [`Privilege::Root`] can keep.
pub use caps::Capability;
pub use enter::{Confined, Lock, Report, enter};
pub use error::{LOCK_FAILED, Layer, LockError};
pub use files::{FileRules, Located, Tcp};
pub use filter::compile;
pub use limits::Limits;
pub use narrow::Narrower;
pub use privilege::{Privilege, check_root};
pub use role::{Role, Row};
pub use row::{Account, Files, Given, Root, Service};
pub use rule::{Condition, Length, Rule, Test};
/// A compiled filter, as [`compile`] returns it.
pub use seccompiler::BpfProgram;
pub use status::{Expected, Found, expected, inspect};
