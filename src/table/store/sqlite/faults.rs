//! Faults for tests: the next calls that change a file fail as they are told to.

use std::cell::RefCell;
use std::io;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// With this error.
    Errno(i32),
    /// A write stops half way, and the rest of it fails with this error.
    Short(i32),
}

#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    fault: Option<Fault>,
    /// How many calls go well before the first one that fails.
    good: u64,
    /// How many calls fail then.
    bad: u64,
    /// Calls since the plan was made.
    calls: u64,
    failed: u64,
    /// The rest of a short write is to fail.
    rest: bool,
}

thread_local! {
    static PLAN: RefCell<Plan> = RefCell::default();
}

/// From now on in this thread, `good` calls go well, and `bad` calls after them fail.
pub(crate) fn plan(fault: Fault, good: u64, bad: u64) {
    PLAN.set(Plan { fault: Some(fault), good, bad, ..Plan::default() });
}

/// Ends all faults, and returns how many calls there were and how many of them failed.
pub(crate) fn end() -> (u64, u64) {
    let plan = PLAN.take();
    (plan.calls, plan.failed)
}

/// The fault of the present call.
fn present(is_write: bool) -> Option<Fault> {
    PLAN.with_borrow_mut(|plan| {
        if let (true, Some(Fault::Short(errno))) = (plan.rest, plan.fault) {
            plan.rest = false;
            return Some(Fault::Errno(errno));
        }
        let index = plan.calls;
        plan.calls += 1;
        let fails = plan.good <= index && index - plan.good < plan.bad;
        let fault = plan.fault.filter(|_| fails)?;
        plan.failed += 1;
        match fault {
            Fault::Short(errno) if !is_write => Some(Fault::Errno(errno)),
            Fault::Short(_) => {
                plan.rest = true;
                Some(fault)
            }
            Fault::Errno(_) => Some(fault),
        }
    })
}

pub(super) fn before_write(bytes: &[u8]) -> io::Result<&[u8]> {
    match present(true) {
        None => Ok(bytes),
        Some(Fault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
        Some(Fault::Short(_)) => Ok(&bytes[..bytes.len().div_ceil(2)]),
    }
}

fn before_other() -> io::Result<()> {
    match present(false) {
        Some(Fault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}

pub(super) fn before_truncate() -> io::Result<()> {
    before_other()
}

pub(super) fn before_sync() -> io::Result<()> {
    before_other()
}
