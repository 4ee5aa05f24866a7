//! Copies an account file line by line through a filter, so that what is not for mail never leaves the broker.
//!
//! Works in fixed buffers below the allocator's mmap threshold (128 KiB in glibc), since mmap is not among the
//! broker's system calls, and wipes them after use.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::unistd::{read, write};
use zeroize::{Zeroize, Zeroizing};

use super::{Failure, Redact};

/// Bytes read at a time, and the longest line: enough for a group of some thousand members.
pub(super) const LINE_LIMIT: usize = 96 * 1024;

/// A filter with its buffers.
pub(super) struct Filter {
    redact: Redact,
    /// Bytes read and not yet filtered are at the front, `held` of them.
    input: Zeroizing<Vec<u8>>,
    held: usize,
    output: Zeroizing<Vec<u8>>,
}

impl Filter {
    pub(super) fn new(redact: Redact) -> Filter {
        Filter {
            redact,
            input: Zeroizing::new(vec![0; LINE_LIMIT]),
            held: 0,
            // Filters only remove bytes, so this vector never grows (growing would leave a copy behind).
            output: Zeroizing::new(Vec::with_capacity(LINE_LIMIT)),
        }
    }

    /// Reads at most `budget` bytes at the file's position and writes the filtered form of the complete lines, and at
    /// the end of the file of a last line without a newline. Returns the bytes read, 0 at the end of the file, and the
    /// bytes written.
    pub(super) fn round(
        &mut self,
        file: &OwnedFd,
        memory: &OwnedFd,
        budget: usize,
    ) -> Result<(u64, u64), Failure> {
        let end = self.held.saturating_add(budget.max(1)).min(self.input.len());
        let space = self.input.get_mut(self.held..end).unwrap_or_default();
        if space.is_empty() {
            return Err(Failure::LineTooLong { limit: LINE_LIMIT });
        }
        let count = uninterrupted(|| read(file, &mut *space)).map_err(Failure::io("read the file"))?;
        self.held = self.held.saturating_add(count).min(self.input.len());

        let bytes = self.input.get(..self.held).unwrap_or_default();
        let complete = match bytes.iter().rposition(|byte| *byte == b'\n') {
            _ if count == 0 => self.held,
            Some(newline) => newline.saturating_add(1),
            None => 0,
        };
        let lines = bytes.get(..complete).unwrap_or_default();
        if !lines.is_empty() {
            (self.redact)(lines, &mut self.output);
        }
        self.input.copy_within(complete..self.held, 0);
        self.held = self.held.saturating_sub(complete);

        let mut rest = self.output.as_slice();
        let written = u64::try_from(rest.len()).unwrap_or(u64::MAX);
        while !rest.is_empty() {
            let done = uninterrupted(|| write(memory, rest)).map_err(Failure::io("write the memory file"))?;
            rest = rest.get(done..).unwrap_or_default();
        }
        self.output.zeroize();
        Ok((u64::try_from(count).unwrap_or(u64::MAX), written))
    }
}

/// Repeats a call that a signal interrupted.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
