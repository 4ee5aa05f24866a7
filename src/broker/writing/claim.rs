//! `NAME.db`, claimed: while a claim lives, nobody else writes the file, or begins to.
//!
//! Postfix's programs take an exclusive flock(2) for as long as they have a hash or btree file open (postmap(1), verify(8),
//! postscreen(8)), or for each change. Some take none: stock's proxywrite, where a client asks for none, as smtp(8) does
//! for smtp_sasl_auth_cache_name. What it writes into a file that is not `NAME.db` any more, nobody reads. But it has the
//! file open for writing all the time, and while somebody has, there is no lease on it.
//!
//! May: flock(2), leases, open files by `trust`. Never: wait.

use super::trouble::Trouble;
use mapkeep_broker_trust::{Access, Place, Refusal, WriteOpened, settled};
use mapkeep_sys::lease;
use mapkeep_sys::status::{self, Status};
use nix::errno::Errno;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::AsFd;

/// A file that no other program writes until this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    file: File,
    has_lease: bool,
    /// Its status since it was claimed.
    pub(super) status: Status,
}

impl Claim {
    /// Claims the file `name`; `None` if there is none.
    ///
    /// # Errors
    /// [`Trouble::InUse`] while another program has it locked, or open for writing.
    pub(super) fn of(place: &Place<'_>, name: &[u8]) -> Result<Option<Claim>, Trouble> {
        settled(|| match Claim::attempt(place, name) {
            Err(Trouble::Refusal(refusal)) => Err(refusal),
            settled => Ok(settled),
        })?
    }

    fn attempt(place: &Place<'_>, name: &[u8]) -> Result<Option<Claim>, Trouble> {
        let Some(WriteOpened { file, .. }) = place.open(name, Access::Read)? else { return Ok(None) };
        let (file, path) = (File::from(file), || place.path_of(name));
        let failed = |error: io::Error| Trouble::Lock(path(), errno_of(&error));
        if !lock(&file).map_err(failed)? {
            return Err(Trouble::InUse(path()));
        }
        let has_lease = match take_lease(&file) {
            Ok(true) => true,
            Ok(false) => return Err(Trouble::InUse(path())),
            // A file system without leases: there, the lock must suffice.
            Err(_) => false,
        };
        let status = status::of(file.as_fd()).map_err(failed)?;
        // The previous holder of the lock may have replaced this file with another.
        let named = place.look(name, Access::Read)?;
        if named.is_none_or(|named| (named.dev, named.ino) != (status.dev, status.ino)) {
            return Err(Refusal::Retry { component: path() }.into());
        }
        Ok(Some(Claim { file, has_lease, status }))
    }

    /// Whether another program is about to open the file for writing, and waits for the end of the claim. It has
    /// already looked up the name, so it will get this file, even if the name has been given to another since.
    pub(super) fn is_awaited(&self) -> bool {
        self.has_lease && lease::is_awaited(self.file.as_fd())
    }
}

/// Takes the lock that writers take. False if another program holds it.
///
/// If only readers hold locks, a shared lock is taken: that excludes writers as well, and need not wait for readers,
/// who may come and go without a pause.
fn lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => return Ok(true),
        Err(TryLockError::WouldBlock) => {}
        // NFS grants an exclusive lock only on a file that is open for writing.
        Err(TryLockError::Error(error)) if errno_of(&error) == Errno::EBADF => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    match file.try_lock_shared() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn take_lease(file: &File) -> io::Result<bool> {
    // A child that another test is just starting has a copy of every descriptor for a moment, and with it the lock.
    #[cfg(test)]
    for _ in 0..200 {
        match lease::take(file.as_fd()) {
            Ok(false) => std::thread::sleep(std::time::Duration::from_millis(1)),
            settled => return settled,
        }
    }
    lease::take(file.as_fd())
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

#[cfg(test)]
mod tests;
