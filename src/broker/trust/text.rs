//! Configuration and account files, read whole.
//!
//! May: open one by name, before lock-down and, in the supervisor, at a reload.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

/// The largest file that is read, in bytes. Those of a large site have about 100 KB.
const LARGEST: u64 = 64 << 20;

/// Reads a regular file of at most 64 MiB. Reading anything else could block or never end.
///
/// # Errors
/// Those of open(2) and read(2); or the file is not regular, or too large.
#[allow(
    clippy::disallowed_methods,
    reason = "before the lock, or at a reload by the supervisor: openat and statx of an open file, which its list allows"
)]
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut content = Vec::new();
    file.take(LARGEST.saturating_add(1)).read_to_end(&mut content)?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 64 MB"));
    }
    Ok(content)
}
