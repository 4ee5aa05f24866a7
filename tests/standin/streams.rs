//! The streams to lookup workers.
//!
//! May: read and write them, by read(2) and write(2), which the lock allows. Never: wait.

use mapkeep_proto::{Asked, Frames, Question};
use nix::errno::Errno;
use nix::unistd::{read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A question, and its bytes.
pub(crate) struct Put {
    pub(crate) ticket: u32,
    pub(crate) table: u16,
    pub(crate) wanted: Wanted,
}

/// What is asked.
pub(crate) enum Wanted {
    Value(Vec<u8>),
    Usable,
    Withdrawn,
}

/// One lookup worker's stream.
pub(crate) struct Stream {
    socket: OwnedFd,
    frames: Frames,
    output: Vec<u8>,
}

/// The other end is closed.
pub(crate) struct Gone;

impl Stream {
    pub(crate) fn new(socket: OwnedFd) -> Stream {
        Stream { socket, frames: Frames::default(), output: Vec::new() }
    }

    /// Reads once, and returns the complete questions.
    pub(crate) fn questions(&mut self) -> Result<Vec<Put>, Gone> {
        let mut chunk = [0; 16 << 10];
        match read(&self.socket, &mut chunk) {
            Ok(0) => return Err(Gone),
            Ok(length) => self.frames.add(chunk.get(..length).unwrap_or_default()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => return Err(Gone),
        }
        let mut questions = Vec::new();
        while let Some(body) = self.frames.next(Question::LONGEST).map_err(|_| Gone)? {
            let Question { ticket, table, asked, .. } = Question::decode(body).map_err(|_| Gone)?;
            let wanted = match asked {
                Asked::Lookup { key, .. } => Wanted::Value(key.to_vec()),
                Asked::Usable => Wanted::Usable,
                Asked::Withdrawn => Wanted::Withdrawn,
            };
            questions.push(Put { ticket, table: table.0, wanted });
        }
        Ok(questions)
    }

    /// The bytes to be sent next.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends what there is room for.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        while !self.output.is_empty() {
            match write(&self.socket, &self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Whether something waits for room.
    pub(crate) fn waits(&self) -> bool {
        !self.output.is_empty()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
