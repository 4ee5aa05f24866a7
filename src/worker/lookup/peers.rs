//! What is asked of other processes, and what they answer.

use super::{Lookup, serving::Call};
use crate::elsewhere::{PEERS, Recipient};
use mapkeep_proto::{Answer, Answered, Frames, NoAnswer};
use nix::sys::epoll::EpollEvent;
use std::io;
use std::time::Instant;

/// How often a peer is read from in one round; there may be more, and others who wait.
const READS: usize = 4;

impl Lookup {
    /// Gives everybody a turn whose answer has come.
    pub(super) fn serve_peers(&mut self, events: &[EpollEvent], now: Instant) -> io::Result<()> {
        for event in events.iter().filter(|event| event.data() >= PEERS) {
            for _ in 0..READS {
                let read = self.elsewhere.read(&self.epoll, event.data(), &mut self.scratch)?;
                let Some(mut frames) = read else { break };
                match self.take_answers(event.data(), &mut frames, now)? {
                    Ok(()) => self.elsewhere.put_back(event.data(), frames),
                    Err(fault) => self.elsewhere.violated(&self.epoll, event.data(), fault)?,
                }
            }
        }
        Ok(())
    }

    /// Takes the whole answers that have come from a peer. The inner error: what is wrong with them.
    fn take_answers(
        &mut self,
        peer: u64,
        frames: &mut Frames,
        now: Instant,
    ) -> io::Result<Result<(), &'static str>> {
        loop {
            let answer = match frames.next(Answer::LONGEST) {
                Ok(None) => return Ok(Ok(())),
                Ok(Some(body)) => Answer::decode(body),
                Err(error) => Err(error),
            };
            let Ok(Answer { ticket, answered }) = answer else { return Ok(Err("an invalid answer")) };
            match self.elsewhere.answered(peer, ticket) {
                Recipient::Client(client) => self.give_turn(Call::Answered(client, answered), now)?,
                Recipient::Nobody => {}
                Recipient::NeverAsked => return Ok(Err("an answer to a question that it was not asked")),
            }
        }
    }

    /// Sends what is to be asked, and tells those who get no answer.
    pub(super) fn ask_peers(&mut self, now: Instant) -> io::Result<()> {
        loop {
            for search in self.clients.take_given_up() {
                search.ticket.map(|ticket| self.elsewhere.forget(ticket));
            }
            self.elsewhere.send(&self.epoll)?;
            let Some((client, reason)) = self.elsewhere.next_unanswered(now) else { return Ok(()) };
            let answered = Answered::Failed { why: NoAnswer::Later, reason };
            self.give_turn(Call::Answered(client, answered), now)?;
        }
    }
}
