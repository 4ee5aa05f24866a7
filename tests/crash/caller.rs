//! A client that does not give up, as Postfix's do not: a request whose reply was lost is sent again on a new connection.

use crate::common::PATIENCE;
use crate::common::writing::{Client, RETRY, Reply};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pause before a request is sent again; Postfix's clients take a second.
const PAUSE: Duration = Duration::from_millis(2);

pub struct Caller {
    socket: PathBuf,
    connection: Option<Client>,
    /// Connections that ended under a request.
    pub lost: usize,
    /// Requests that were answered RETRY, before they were answered otherwise.
    pub retried: usize,
    /// The longest time from a request to its answer.
    pub longest: Duration,
}

/// An answer other than RETRY.
pub struct Answer {
    pub reply: Reply,
    /// The request was sent more than once: an earlier one may have been carried out.
    pub resent: bool,
}

impl Caller {
    pub fn new(socket: &Path) -> Self {
        Caller {
            socket: socket.to_path_buf(),
            connection: None,
            lost: 0,
            retried: 0,
            longest: Duration::ZERO,
        }
    }

    /// Asks until there is an answer.
    pub fn ask(&mut self, request: &[u8]) -> Answer {
        let start = Instant::now();
        let mut resent = false;
        loop {
            match self.attempt(request) {
                Some(reply) if reply.status() != RETRY => {
                    self.longest = self.longest.max(start.elapsed());
                    return Answer { reply, resent };
                }
                Some(_) => self.retried += 1,
                None => {
                    self.lost += 1;
                    resent = true;
                }
            }
            assert!(
                start.elapsed() < PATIENCE,
                "no answer in {PATIENCE:?} to {:?}; {} connections lost, {} times RETRY",
                Reply(request.to_vec()),
                self.lost,
                self.retried
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// One attempt; `None` when the connection ended.
    fn attempt(&mut self, request: &[u8]) -> Option<Reply> {
        if self.connection.is_none() {
            self.connection = Client::try_open(&self.socket).ok();
        }
        let reply = self.connection.as_mut()?.try_ask(request).ok();
        if reply.is_none() {
            self.connection = None;
        }
        reply
    }
}
