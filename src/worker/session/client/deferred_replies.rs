//! Replies that wait until what they say is durable, or turns out not to hold.

use super::{Client, Context, Fate, Replies};
use crate::wire::Verb;
use crate::{Answered, Tables};
use std::time::Instant;

impl<T: Tables<Id = u32>> Client<T> {
    /// The client has sent something, or has room for replies again, or has disconnected: reads and answers. The
    /// replies stay here until they are released; the client is not served again before that.
    pub fn defer<R: Replies>(&mut self, context: &mut Context<'_, T, R>, now: Instant) -> Fate {
        if self.defers_replies {
            return self.awaited;
        }
        if !self.output.is_empty() {
            let fate = self.write(now);
            if fate != Fate::Reading || !self.more {
                return fate;
            }
        }
        self.defers_replies = true;
        let taken = if self.more { self.answer_kept(context) } else { self.take_in(context, now) };
        self.output = std::mem::take(context.replies.bytes());
        let answered = !self.output.is_empty();
        self.keep(taken, answered, context.room_for_input, now).unwrap_or(self.awaited)
    }

    /// Takes replies back that do not hold, and puts a temporary error in the place of each. `replies` are the ends of
    /// those that may, and what was answered, in their order.
    pub fn take_back(&mut self, replies: &[(usize, usize, Answered<u32>)], lost: impl Fn(u32) -> bool) {
        let mut output = Vec::new();
        let mut kept = 0;
        for (start, end, answered) in replies {
            let Some(table) = answered.table.filter(|table| lost(*table)) else { continue };
            output.extend_from_slice(self.output.get(kept..*start).unwrap_or_default());
            answered.take_back(&mut output);
            kept = *end;
            if answered.verb() == Verb::Sequence {
                // The entry that it stands on was never seen.
                self.cursors.forget(table);
            }
        }
        output.extend_from_slice(self.output.get(kept..).unwrap_or_default());
        self.output = output;
    }

    /// Whether replies are held back.
    #[must_use]
    pub fn defers_replies(&self) -> bool {
        self.defers_replies
    }

    /// Sends what has been held.
    pub fn release(&mut self, now: Instant) -> Fate {
        self.defers_replies = false;
        let fate = if self.output.is_empty() { Fate::Reading } else { self.write(now) };
        if self.ends { Fate::Closed } else { fate }
    }
}
