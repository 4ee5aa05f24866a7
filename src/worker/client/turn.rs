//! Replies that are sent at once, by a worker that serves each client for one turn after another.

use super::{Client, Desk, Fate, Replies, UNREAD};
use crate::session::{Answered, Tables};
use std::time::{Duration, Instant};

/// Requests that are answered to one client before others have their turn. Clients of Postfix send the next one when they
/// have read the last reply.
const REQUESTS: u32 = 256;

/// The replies to one client in one turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    replies: Vec<u8>,
    requests: u32,
}

impl Turn {
    /// Begins the next turn.
    pub(crate) fn begin(&mut self) {
        self.requests = 0;
    }

    /// Whether a request has been answered in this turn.
    pub(crate) fn has_answered(&self) -> bool {
        self.requests > 0
    }
}

impl Replies for Turn {
    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.replies
    }

    fn has_room(&self) -> bool {
        self.requests < REQUESTS && self.replies.len() <= UNREAD
    }

    fn answered(&mut self, _: &Answered<u32>, _: usize, _: usize) {
        self.requests = self.requests.saturating_add(1);
    }

    fn refused(&mut self) {
        self.requests = self.requests.saturating_add(1);
    }
}

impl<C: Default, I> Client<C, I> {
    /// The client has sent something, or has room for replies again, or has gone, or waits for us: reads, answers and
    /// sends, for one turn. What was read and not answered stays here ([`Client::has_more`]).
    pub(crate) fn serve<T: Tables<Id = u32, Cursor = C>>(
        &mut self,
        desk: &mut Desk<'_, T, Turn>,
        now: Instant,
    ) -> Fate {
        if !self.output.is_empty() {
            let fate = self.write(now);
            if fate != Fate::Reading || !self.more {
                return fate;
            }
        }
        let taken = if self.more { self.answer_held(desk) } else { self.take_in(desk, now) };
        let answered = !desk.replies.replies.is_empty();
        self.send_first(&mut desk.replies.replies);
        if let Some(fate) = self.keep(taken, answered, desk.room_for_input, now) {
            return fate;
        }
        let fate = if self.output.is_empty() { Fate::Reading } else { self.write(now) };
        // What was asked before the end has been answered.
        if self.ends { Fate::Closed } else { fate }
    }

    /// Gives it more time for what it is at: for so long we were busy with its requests.
    pub(crate) fn extend_deadline(&mut self, used: Duration) {
        self.deadline = self.deadline.and_then(|deadline| deadline.checked_add(used));
    }

    /// The table for which it stands in line.
    pub(crate) fn waits_for(&self) -> Option<u32> {
        self.waits_for
    }
}
