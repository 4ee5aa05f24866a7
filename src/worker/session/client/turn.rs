//! Replies that are sent at once, by a worker that serves each client for one turn after another.

use super::{Client, Context, Fate, Replies, Taken, UNREAD, log};
use crate as session;
use crate::{Answer, Answered, Tables};
use mapkeep_proto::Answered as Reported;
use std::time::{Duration, Instant};

/// Requests that are answered to one client before others have their turn. Clients of Postfix send the next one when they
/// have read the last reply.
const REQUESTS: u32 = 256;

/// The clock is read after this number of requests of a turn, and again after each further such number.
const BETWEEN_LOOKS: u32 = 16;
/// How long a turn may then last. Only tables with very many rules that cannot be indexed take this long.
const LONGEST: Duration = Duration::from_millis(20);

/// The replies to one client in one turn.
#[derive(Debug, Default)]
pub struct Turn {
    replies: Vec<u8>,
    requests: u32,
    /// When the clock was first read in it.
    seen: Option<Instant>,
    is_over: bool,
}

impl Turn {
    /// Begins the next turn.
    pub fn begin(&mut self) {
        (self.requests, self.seen, self.is_over) = (0, None, false);
    }

    fn count(&mut self) {
        self.requests = self.requests.saturating_add(1);
        if self.requests.is_multiple_of(BETWEEN_LOOKS) {
            self.look(Instant::now());
        }
    }

    fn look(&mut self, now: Instant) {
        let seen = *self.seen.get_or_insert(now);
        self.is_over = now.saturating_duration_since(seen) >= LONGEST;
    }
}

impl Replies for Turn {
    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.replies
    }

    fn has_room(&self) -> bool {
        self.requests < REQUESTS && self.replies.len() <= UNREAD && !self.is_over
    }

    fn answered(&mut self, _: &Answered<u32>, _: usize, _: usize) {
        self.count();
    }

    fn refused(&mut self) {
        self.count();
    }
}

impl<T: Tables<Id = u32>> Client<T> {
    /// The client has sent something, or has room for replies again, or has disconnected, or waits for another turn:
    /// reads, answers and sends, for one turn. While one of its requests waits for another process, only pending
    /// replies are sent. Input that was read and not answered stays here ([`Client::has_more`]).
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

    /// Another process has answered for the waiting request: continues with that. What the client has sent after it is
    /// left for its next turn.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_turn_ends_before_all_its_requests_are_answered() {
        let (mut turn, start) = (Turn::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        for (millis, goes_on) in [(0, true), (19, true), (20, false)] {
            turn.look(after(millis));
            assert_eq!(turn.has_room(), goes_on, "{millis}");
        }
        turn.begin();
        turn.look(after(999));
        assert!(turn.has_room(), "the next one has its own time");
    }
}
