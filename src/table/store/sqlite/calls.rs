//! The three system calls that change a file.
//!
//! Purpose: one place for all of them, so that tests can make each of them fail. May: pwrite, ftruncate, fdatasync.
//! Called by: `descriptors`; checkpoints.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

#[cfg(test)]
use super::faults;

/// Writes all of `bytes` at `at`.
pub(crate) fn write(file: &File, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let now = bytes;
        #[cfg(test)]
        let now = faults::before_write(now)?;
        match file.write_at(now, at) {
            Ok(0) => return Err(io::Error::from_raw_os_error(libc::EIO)),
            Ok(count) => {
                at = at.saturating_add(count as u64);
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Cuts the file, or grows it by zeros.
pub(crate) fn truncate(file: &File, size: u64) -> io::Result<()> {
    #[cfg(test)]
    faults::before_truncate()?;
    file.set_len(size)
}

/// Makes what was written durable, with the length of the file; not its times, which nothing depends on.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    faults::before_sync()?;
    file.sync_data()
}
