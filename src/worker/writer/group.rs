//! What one turn of the loop gathers: replies that are held back, and what each depends on.

use mapkeep_worker_session::Answered;
use mapkeep_worker_session::client::{Replies, UNREAD};
use mapkeep_worker_session::wire::Verb;

/// Requests that are answered in one turn, at most: others wait for no more than these.
const REQUESTS: usize = 1000;
/// Bytes of requests and replies in one turn, after which no further request is begun.
const BYTES: usize = 4 << 20;

/// A reply that depends on a table: where it begins and ends in the replies to its client, and what was answered.
pub(crate) type Mark = (usize, usize, Answered<u32>);

/// The replies of one turn.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Those to the client that is being served.
    replies: Vec<u8>,
    marks: Vec<Mark>,
    /// The clients that have been served, by number.
    served: Vec<(u64, Vec<Mark>)>,
    requests: usize,
    changes: usize,
    bytes: usize,
}

impl Group {
    /// Whether the turn may continue.
    pub(crate) fn is_open(&self) -> bool {
        self.requests < REQUESTS && self.bytes < BYTES
    }

    /// Ends the service of one client for this turn.
    pub(crate) fn served(&mut self, client: u64) {
        self.served.push((client, std::mem::take(&mut self.marks)));
    }

    /// How many changes have been asked for in this turn.
    pub(crate) fn changes(&self) -> usize {
        self.changes
    }

    /// How many clients wait for their replies.
    pub(crate) fn clients(&self) -> usize {
        self.served.len()
    }

    /// The clients that have been served and wait for their replies, with those replies that depend on a table. The bounds
    /// of the turn stay as they are.
    pub(crate) fn take(&mut self) -> Vec<(u64, Vec<Mark>)> {
        std::mem::take(&mut self.served)
    }
}

impl Replies for Group {
    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.replies
    }

    fn has_room(&self) -> bool {
        self.is_open() && self.replies.len() <= UNREAD
    }

    fn answered(&mut self, answered: &Answered<u32>, start: usize, length: usize) {
        let end = self.replies.len();
        self.requests = self.requests.saturating_add(1);
        let change = matches!(answered.verb(), Verb::Update | Verb::Delete);
        self.changes = self.changes.saturating_add(usize::from(change));
        self.bytes = self.bytes.saturating_add(length).saturating_add(end.saturating_sub(start));
        if answered.table.is_some() {
            self.marks.push((start, end, *answered));
        }
    }
}
