//! Reading a Berkeley DB file that other programs may write.

use mapkeep_table_store::{Stamp, StoreError};
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// The largest file that is read, in bytes: 1 GiB. It is held in memory, and so are its entries.
const LARGEST: u64 = 1 << 30;
/// The number of bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// The bytes of a file, read under the lock that Postfix's programs take, and its stamp at that time. `pause` is called
/// now and then.
pub(crate) fn read_locked(file: &File, pause: &mut dyn FnMut()) -> Result<(Vec<u8>, Stamp), StoreError> {
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::Busy),
        Err(TryLockError::Error(error)) => return Err(failed("locked", &error)),
    }
    let read = read(file, pause);
    // If this failed, the lock would end with the descriptor.
    let _ = file.unlock();
    read
}

fn read(file: &File, pause: &mut dyn FnMut()) -> Result<(Vec<u8>, Stamp), StoreError> {
    let stamp = || Stamp::of(file.as_fd()).map_err(|error| failed("looked at", &error));
    let before = stamp()?;
    let too_large = || StoreError::Io(format!("the file is too large to be read ({} bytes)", before.size));
    let size = usize::try_from(before.size).map_err(|_| too_large())?;
    let mut bytes = Vec::new();
    if before.size > LARGEST || bytes.try_reserve_exact(size).is_err() {
        return Err(too_large());
    }
    bytes.resize(size, 0);
    let mut at = 0;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let length = rest.len().min(CHUNK);
        let part = rest.get_mut(..length).unwrap_or_default();
        match file.read_at(part, u64::try_from(at).unwrap_or(u64::MAX)) {
            Ok(0) => break,
            Ok(count) => at = at.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read", &error)),
        }
        pause();
    }
    bytes.truncate(at);
    // Another program is writing it without a lock: what was read may be half old and half new.
    if stamp()? != before { Err(StoreError::Busy) } else { Ok((bytes, before)) }
}

fn failed(what: &str, error: &io::Error) -> StoreError {
    StoreError::Io(format!("the file cannot be {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use std::io::Write;

    #[test]
    fn whole_file_is_read_unless_it_is_locked_by_a_writer() {
        let scratch = Scratch::new();
        let content: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let mut file = scratch.file("t.db");
        file.write_all(&content).unwrap();
        let mut pauses = 0;
        let (bytes, stamp) = read_locked(&scratch.open("t.db"), &mut || pauses += 1).unwrap();
        assert!(bytes == content && stamp == Stamp::of(file.as_fd()).unwrap() && pauses >= 3);

        let writer = scratch.open("t.db");
        writer.lock().unwrap();
        assert_eq!(read_locked(&scratch.open("t.db"), &mut || {}), Err(StoreError::Busy));
        writer.unlock().unwrap();
        // Other readers do not matter, and the lock is given up.
        let reader = scratch.open("t.db");
        reader.try_lock_shared().unwrap();
        assert!(read_locked(&scratch.open("t.db"), &mut || {}).is_ok());
        reader.unlock().unwrap();
        writer.try_lock().unwrap();
    }

    #[test]
    fn file_that_changes_while_it_is_read_is_to_be_read_again() {
        let scratch = Scratch::new();
        let mut file = scratch.file("t.db");
        file.write_all(&[7; 100]).unwrap();
        let mut write = || file.write_all(b"more").unwrap();
        assert_eq!(read_locked(&scratch.open("t.db"), &mut write), Err(StoreError::Busy));
    }
}
