//! The status protocol of master(8): one native-endian record of 12 bytes for each change of state.
//!
//! The pid is that of the process which master(8) has started: it ignores records of pids that it does not know, so no
//! worker could report for itself.

use nix::unistd::write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The state that a record reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Busy with a client: master(8) starts another process when a client waits.
    Taken = 0,
    /// Ready for clients.
    Available = 1,
}

/// The channel to master(8).
#[derive(Debug)]
pub(crate) struct Status {
    channel: OwnedFd,
    generation: u32,
    pid: i32,
}

impl Status {
    /// `generation` is the value of the GENERATION variable, an octal number.
    pub(crate) fn new(channel: OwnedFd, generation: &str, pid: u32) -> Status {
        let generation = u32::from_str_radix(generation, 8).unwrap_or_default();
        Status { channel, generation, pid: i32::try_from(pid).unwrap_or_default() }
    }

    /// Reports that a client has been taken, and that others can be.
    ///
    /// Both records are one write: with the first alone, master(8) would start another process for a client that waits
    /// just then.
    pub(crate) fn report_client(&self) {
        let both =
            [Availability::Taken, Availability::Available].map(|availability| self.record(availability));
        // The channel is shared with every sibling, so its mode is left as it came. When master(8) has gone, the end of
        // the channel says so.
        let _ = write(&self.channel, both.as_flattened());
    }

    fn record(&self, availability: Availability) -> [u8; 12] {
        let fields =
            [self.pid.to_ne_bytes(), self.generation.to_ne_bytes(), (availability as i32).to_ne_bytes()];
        let mut record = [0; 12];
        for (to, from) in record.iter_mut().zip(fields.as_flattened()) {
            *to = *from;
        }
        record
    }
}

impl AsFd for Status {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn records_have_pid_octal_generation_and_state_and_come_together() {
        let (mut master, ours) = std::io::pipe().unwrap();
        let status = Status::new(ours.into(), "17", 4242);
        status.report_client();
        let mut records = [0; 25];
        assert_eq!(master.read(&mut records).unwrap(), 24);
        for (record, state) in records.chunks(12).zip([0_i32, 1]) {
            assert_eq!(record[0..4], 4242i32.to_ne_bytes());
            assert_eq!(record[4..8], 15u32.to_ne_bytes());
            assert_eq!(record[8..12], state.to_ne_bytes());
        }
    }
}
