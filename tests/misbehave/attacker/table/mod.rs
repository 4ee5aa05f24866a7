//! The attempts, by item of the threat table (docs: SECURITY.md; the numbers are those of its list).
//!
//! To add one: a line in an `attempts` list. Where a call is allowed to the worker in some form, the arguments are those
//! of the allowed form but for the one that makes it an attack.

mod descriptors;
mod kernel;
mod messages;
mod paths;
mod processes;
mod sockets;

use crate::{Attack, Attempt, Outcome, call};
use libc::{CLOCK_MONOTONIC, EBADF, MSG_DONTWAIT, SYS_clock_gettime, SYS_recvfrom};

/// Every attack.
pub fn attacks() -> impl Iterator<Item = &'static Attack> {
    let parts = [CONTROLS, paths::LIST, descriptors::LIST, processes::LIST];
    parts.into_iter().chain([sockets::LIST, kernel::LIST, messages::LIST]).flatten()
}

/// What the worker may do, seen with the same eyes: a harness that took everything for a death would fail here.
const CONTROLS: &[Attack] = &[
    Attack {
        item: 0,
        name: "an allowed call comes back",
        outcome: Outcome::Allowed,
        attempts: &[Attempt("clock_gettime", |_| call!(SYS_clock_gettime, CLOCK_MONOTONIC, &mut [0_i64; 2]))],
    },
    Attack {
        item: 0,
        name: "an allowed call that fails comes back",
        outcome: Outcome::Errno(&[EBADF]),
        attempts: &[Attempt("recvfrom on no descriptor", |_| {
            call!(SYS_recvfrom, 9999, &mut [0_u8; 8], 8, MSG_DONTWAIT, 0, 0)
        })],
    },
];
