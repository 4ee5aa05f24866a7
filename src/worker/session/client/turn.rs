//! Replies that are sent at once, by a worker that serves each client for one turn after another.

use super::{Client, Context, Fate, Replies, Taken, UNREAD, log};
use crate as session;
use crate::{Answer, Answered, Tables};
use mapkeep_proto::Answered as Reported;
use std::time::Instant;

/// Requests that are answered to one client before others have their turn. Clients of Postfix send the next one when they
/// have read the last reply.
const REQUESTS: u32 = 256;

/// The replies to one client in one turn.
#[derive(Debug, Default)]
pub struct Turn {
    replies: Vec<u8>,
    requests: u32,
}

impl Turn {
    /// Begins the next turn.
    pub fn begin(&mut self) {
        self.requests = 0;
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

impl<T: Tables<Id = u32>> Client<T> {
    /// The client has sent something, or has room for replies again, or has gone, or waits for another turn: reads, answers
    /// and sends, for one turn. One whose request waits for another process has room at most. What was read and not answered stays here ([`Client::has_more`]).
    pub fn serve(&mut self, context: &mut Context<'_, T, Turn>, now: Instant) -> Fate {
        if !self.output.is_empty() {
            let fate = self.write(now);
            if fate != Fate::Reading || !self.has_more() {
                return fate;
            }
        }
        let taken = if self.more { self.answer_kept(context) } else { self.take_in(context, now) };
        self.end_turn(taken, context, now)
    }

    /// Another process has answered for the request that waits: goes on with that. What the client has sent after it is for
    /// its next turn.
    pub fn resume(
        &mut self,
        reported: Reported<'_>,
        context: &mut Context<'_, T, Turn>,
        now: Instant,
    ) -> Fate {
        let Some(pending) = self.pending.take() else { return self.waiting_for() };
        // It was our turn until now.
        self.last_active = now;
        match session::resume(*pending, reported, context.tables, context.replies.bytes(), &mut log) {
            Answer::Ready(answered) => context.replies.answered(&answered, 0, 0),
            Answer::Pending(pending) => self.pending = Some(Box::new(pending)),
        }
        let later = std::mem::take(&mut self.input);
        self.end_turn(Taken::Left(Some(later)), context, now)
    }

    fn end_turn(&mut self, taken: Taken, context: &mut Context<'_, T, Turn>, now: Instant) -> Fate {
        let answered = !context.replies.replies.is_empty();
        self.send_first(&mut context.replies.replies);
        if let Some(fate) = self.keep(taken, answered, context.room_for_input, now) {
            return fate;
        }
        let fate = if self.output.is_empty() { Fate::Reading } else { self.write(now) };
        // What was asked before the end has been answered.
        if self.ends { Fate::Closed } else { fate }
    }
}
