//! The error that a process of ours ends with.

use mapkeep_sandbox::{LOCK_FAILED, LockError};
use std::error::Error;

/// Why a process must exit. Any error converts into it, so it does not implement `Error` itself.
#[derive(Debug)]
pub struct Fatal {
    /// The text for the log.
    pub(crate) text: String,
    /// The exit status, which tells the supervisor whether the lock could not be installed.
    pub(crate) status: u8,
}

impl Fatal {
    /// With a text of its own.
    pub fn new(text: impl Into<String>) -> Fatal {
        Fatal { text: text.into(), status: 1 }
    }
}

impl<E: Error + 'static> From<E> for Fatal {
    fn from(error: E) -> Fatal {
        let locking = (&error as &dyn Error).is::<LockError>();
        Fatal { text: error.to_string(), status: if locking { LOCK_FAILED } else { 1 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lock_that_fails_has_its_own_exit_status() {
        let lock = mapkeep_sandbox::inspect(1, "").unwrap_err();
        let (text, fatal) = (lock.to_string(), Fatal::from(lock));
        assert_eq!((fatal.text, fatal.status), (text, LOCK_FAILED));
        let fatal = Fatal::from(std::io::Error::other("no room"));
        assert_eq!((fatal.text.as_str(), fatal.status), ("no room", 1));
        assert_eq!(Fatal::new("no more").status, 1);
    }
}
