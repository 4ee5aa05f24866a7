//! Purpose: a process's view of itself while it locks itself in: its status, and its open descriptors.
//! May: open both in /proc, before the lock. Never: judges what it shows.
//! Called by: `enter`, `narrow`.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::dir::Dir;
use nix::unistd::getpid;

use crate::error::{Layer, LockError};
use crate::status::{Found, inspect};

/// The process's view of itself, opened while /proc can still be reached.
pub(crate) struct Mirror {
    status: File,
    descriptors: Dir,
}

impl Mirror {
    #[allow(clippy::disallowed_methods, reason = "before the filter: see `enter`")]
    pub(crate) fn open() -> Result<Self, LockError> {
        let open = |path: &str| {
            File::open(path)
                .map_err(|e| LockError::new(Layer::SelfCheck, format!("{path}: {e}; mount /proc")))
        };
        let status = open("/proc/self/status")?;
        let descriptors = Dir::from_fd(OwnedFd::from(open("/proc/self/fd")?)).map_err(unlisted)?;
        Ok(Mirror { status, descriptors })
    }

    pub(crate) fn status(&self) -> Result<Found, LockError> {
        let failed = |e: std::io::Error| LockError::new(Layer::SelfCheck, format!("/proc/self/status: {e}"));
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let offset = u64::try_from(text.len()).unwrap_or(u64::MAX);
            match self.status.read_at(&mut chunk, offset).map_err(failed)? {
                0 => break,
                length => text.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            }
        }
        inspect(getpid().as_raw(), &String::from_utf8_lossy(&text))
    }

    /// The open descriptors, sorted, without the mirror's own two, which are closed.
    ///
    /// # Errors
    /// If they are not those that are `wanted`, in whatever order.
    pub(crate) fn just(self, wanted: &[i32]) -> Result<Vec<i32>, LockError> {
        // Reading the list ends with closing the two descriptors that show it.
        let descriptors = self.descriptors()?;
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        if descriptors != wanted {
            let reason = format!(
                "descriptors {descriptors:?} are open, should be {wanted:?}; close the others before"
            );
            return Err(LockError::new(Layer::SelfCheck, reason));
        }
        Ok(descriptors)
    }

    fn descriptors(mut self) -> Result<Vec<i32>, LockError> {
        let own = [self.status.as_raw_fd(), self.descriptors.as_raw_fd()];
        let mut list = Vec::new();
        for entry in self.descriptors.iter() {
            let entry = entry.map_err(unlisted)?;
            let name = entry.file_name().to_bytes();
            if [&b"."[..], b".."].contains(&name) {
                continue;
            }
            let number = std::str::from_utf8(name).ok().and_then(|name| name.parse::<i32>().ok());
            let number =
                number.ok_or_else(|| LockError::new(Layer::SelfCheck, "/proc/self/fd lists no number"))?;
            if !own.contains(&number) {
                list.push(number);
            }
        }
        list.sort_unstable();
        Ok(list)
    }
}

fn unlisted(e: nix::Error) -> LockError {
    LockError::new(Layer::SelfCheck, format!("/proc/self/fd: {e}"))
}
