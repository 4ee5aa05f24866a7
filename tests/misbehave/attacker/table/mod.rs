//! The attempts, by kind; docs/SECURITY.md says what each process may and never does.
//!
//! To add one: a line in an `attempts` list. Where a call is allowed to the worker in some form, the arguments are those
//! of the allowed form but for the one that makes it an attack.

mod descriptors;
mod kernel;
mod messages;
mod paths;
mod processes;
mod sockets;
mod writer;

use crate::{Attack, Attempt, Outcome, Role, call};
use libc::{CLOCK_MONOTONIC, EBADF, SYS_clock_gettime, SYS_read};

/// Every attack on this process.
pub fn attacks(role: Role) -> impl Iterator<Item = &'static Attack> {
    let own = match role {
        Role::Lookup => [messages::LIST, &[]],
        Role::Writer => [writer::LIST, writer::MESSAGES],
    };
    let parts = [CONTROLS, paths::LIST, descriptors::LIST, processes::LIST, sockets::LIST, kernel::LIST];
    parts.into_iter().chain([messages::BOTH]).chain(own).flatten()
}

/// How an attempt must end in this process.
#[must_use]
pub fn outcome(role: Role, attack: &Attack, Attempt(what, _): &Attempt) -> Outcome {
    let mut others = writer::DIFFERENT.iter().filter(|_| role == Role::Writer);
    let other = others.find(|(item, name, _)| *item == attack.item && name == what);
    other.map_or(attack.outcome, |(_, _, outcome)| *outcome)
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
        attempts: &[Attempt("read from no descriptor", |_| call!(SYS_read, 9999, &mut [0_u8; 8], 8))],
    },
];
