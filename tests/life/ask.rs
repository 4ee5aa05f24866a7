//! Requests of the old dialect, their replies, and waiting for an answer.

use crate::common::stopwatch::poll_promise;
use crate::common::wire::Wire;
use crate::common::{PATIENCE, poll};
use std::time::{Duration, Instant};

pub const ABSENT: &str = "status|1|value|||";
pub const RETRY: &str = "status|2|value|||";
pub const DENIED: &str = "status|4|value|||";

/// No answer may take longer than this to become right once a file has been corrected.
pub const LIMIT: Duration = Duration::from_secs(3);

pub fn lookup(table: &str, key: &str) -> String {
    format!("request|lookup|table|{table}|flags|64|key|{key}||")
}

pub fn open(table: &str) -> String {
    format!("request|open|table|{table}|flags|0||")
}

pub fn found(value: &str) -> String {
    format!("status|0|value|{value}||")
}

/// Asks on one connection until the answer is `wanted`; prints and returns the time that took. Any answer but `wanted`
/// and `before` fails at once.
pub fn until(what: &str, wire: &mut Wire, request: &str, before: &str, wanted: &str) -> Duration {
    let start = Instant::now();
    let look = || {
        let reply = wire.ask(request);
        assert!(reply == before || reply == wanted, "{what}: {reply} while waiting for {wanted}");
        (reply == wanted).then(|| start.elapsed())
    };
    let time = poll_promise(LIMIT, look).unwrap_or_else(|| panic!("{what}: not {wanted} within {LIMIT:?}"));
    eprintln!("{what}: served after {} ms", time.as_millis());
    time
}

/// Waits until this much time has passed, watching `still` meanwhile.
pub fn for_a_while(time: Duration, mut still: impl FnMut()) {
    let start = Instant::now();
    let passed = || {
        still();
        (start.elapsed() >= time).then_some(())
    };
    poll(PATIENCE, passed).unwrap();
}
