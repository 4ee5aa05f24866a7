//! Why a snapshot was not made.

use std::fmt;

use nix::errno::Errno;

/// Why a table file could not be copied. Messages name no path: the caller knows which table it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The file changed or was replaced during the copy. Open it again and start over.
    Changed,
    /// The file has grown over the limit.
    TooLarge {
        /// The file's length, in bytes.
        size: u64,
        /// The largest length that is copied, in bytes.
        limit: u64,
    },
    /// This kind of table has no file.
    NoFile,
    /// An account file may only be copied through a filter, and none was given.
    Unfiltered,
    /// A line of an account file is longer than this many bytes.
    LineTooLong {
        /// The longest line that is read.
        limit: usize,
    },
    /// The kernel does not support memory files that can never be made executable.
    KernelTooOld,
    /// The copy has finished or failed already.
    Over,
    /// A system call failed.
    Io {
        /// What was being done.
        action: &'static str,
        /// The kernel's error.
        errno: Errno,
    },
}

impl Failure {
    /// For `map_err` on a system call.
    pub(super) fn io(action: &'static str) -> impl Fn(Errno) -> Failure {
        move |errno| Failure::Io { action, errno }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Changed => formatter.write_str("the file changed while it was being copied"),
            Failure::TooLarge { size, limit } => write!(
                formatter,
                "the file is {size} bytes long, over the limit of {limit}; make it smaller or raise snapshot_limit"
            ),
            Failure::NoFile => formatter.write_str("a table of this type has no file"),
            Failure::Unfiltered => formatter.write_str("an account file is never copied unfiltered"),
            Failure::LineTooLong { limit } => write!(formatter, "a line is longer than {limit} bytes"),
            Failure::KernelTooOld => {
                formatter.write_str("the kernel lacks MFD_NOEXEC_SEAL; Linux 6.3 or later is required")
            }
            Failure::Over => formatter.write_str("the copy is already over"),
            Failure::Io { action, errno } => write!(formatter, "cannot {action}: {}", errno.desc()),
        }
    }
}

impl std::error::Error for Failure {}
