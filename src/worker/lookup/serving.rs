//! Whose turn it is.

use super::{BROKER, EVENTS, Lookup};
use crate::elsewhere::PEERS;
use mapkeep_proto::Answered;
use mapkeep_worker_session::Search as _;
use mapkeep_worker_session::client::{Client, Context, Fate};
use nix::sys::epoll::EpollEvent;
use std::io;
use std::time::Instant;

/// Why a client is served.
#[derive(Clone, Copy)]
pub(super) enum Call<'a> {
    /// epoll has told of it.
    Told(EpollEvent),
    /// It has waited for another turn.
    Carried(u64),
    /// Another process has answered its question.
    Answered(u64, Answered<'a>),
}

impl Lookup {
    /// Gives everybody who has something for us a turn.
    pub(super) fn serve_clients(&mut self, events: &[EpollEvent], now: Instant) -> io::Result<()> {
        let waiting = self.carried.len().min(EVENTS);
        for event in events.iter().filter(|event| event.data() != BROKER && event.data() < PEERS) {
            self.give_turn(Call::Told(*event), now)?;
        }
        for _ in 0..waiting {
            let Some(client) = self.carried.pop_front() else { break };
            self.give_turn(Call::Carried(client), now)?;
        }
        Ok(())
    }

    /// Serves one client, and draws the consequences.
    pub(super) fn give_turn(&mut self, call: Call<'_>, now: Instant) -> io::Result<()> {
        let Lookup {
            clients, elsewhere, patience, epoll, catalogue, service, settings, scratch, turn, ..
        } = self;
        let (service, settings) = (*service, *settings);
        let number = match call {
            Call::Told(event) => event.data(),
            Call::Carried(client) | Call::Answered(client, _) => client,
        };
        turn.begin();
        let mut has_more = false;
        let work = |client: &mut Client<_>, room_for_input| {
            let (tables, replies) = (&*catalogue, &mut *turn);
            let mut context = Context { tables, service, settings, scratch, replies, room_for_input };
            let fate = match call {
                Call::Told(_) | Call::Carried(_) => client.serve(&mut context, now),
                Call::Answered(_, answered) => client.resume(answered, &mut context, now),
            };
            if fate == Fate::Closed {
                return fate;
            }
            has_more = client.has_more();
            if let Some(search) = client.search()
                && let Some(question) = search.question.take()
                && let Some(deadline) = now.checked_add(question.route.patience(*patience))
            {
                // That of the request was settled with its first question.
                let of_request = *search.deadline.get_or_insert(deadline);
                search.ticket = elsewhere.ask(number, question, search.held(), deadline.min(of_request));
            }
            fate
        };
        match call {
            Call::Told(event) => clients.receive(epoll, event, work)?,
            Call::Carried(_) | Call::Answered(..) => clients.with(epoll, number, work)?,
        }
        if has_more {
            self.carried.push_back(number);
        }
        Ok(())
    }
}
