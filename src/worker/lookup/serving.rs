//! Whose turn it is.

use super::{BROKER, EVENTS, Lookup};
use crate::client::{Client, Desk, Fate};
use crate::clients::GONE;
use nix::sys::epoll::EpollEvent;
use std::io;
use std::time::Instant;

/// Why a client is served.
#[derive(Clone, Copy)]
enum Call {
    /// epoll has told of it.
    Told(EpollEvent),
    /// It has waited for another turn.
    Carried(u64),
    /// It stood in line for this table.
    InLine(u32, u64),
}

impl Lookup {
    /// Everybody has been heard. Gives how many of those that wait for another turn have it in this round.
    pub(super) fn begin_round(&mut self) -> usize {
        let pace = &mut self.catalogue.pace;
        pace.meter.begin_slice();
        if !pace.line.is_empty() {
            pace.line.tidy(Instant::now());
        }
        self.carried.len().min(EVENTS)
    }

    /// Gives everybody who has sent something a turn.
    pub(super) fn hear_clients(&mut self, events: &[EpollEvent], now: Instant) -> io::Result<()> {
        let mut clients = events.iter().filter(|event| event.data() != BROKER);
        clients.try_for_each(|event| self.give_turn(Call::Told(*event), now))
    }

    /// Gives those a turn who have waited for another, `carried` of them, and then those who stand in line.
    pub(super) fn hear_waiting(&mut self, carried: usize, now: Instant) -> io::Result<()> {
        for _ in 0..carried {
            let Some(client) = self.carried.pop_front() else { break };
            self.give_turn(Call::Carried(client), now)?;
        }
        self.serve_line()
    }

    /// Serves those who stand in line, as long as there is time for them.
    fn serve_line(&mut self) -> io::Result<()> {
        self.pressed = false;
        while !self.catalogue.pace.line.is_empty() {
            let now = Instant::now();
            if self.catalogue.pace.meter.slice_is_over() {
                self.pressed = self.catalogue.pace.has_next(now);
                break;
            }
            let Some((table, client)) = self.catalogue.pace.next(now) else { break };
            self.give_turn(Call::InLine(table, client), now)?;
        }
        Ok(())
    }

    /// Serves one client, and draws the consequences.
    fn give_turn(&mut self, call: Call, now: Instant) -> io::Result<()> {
        let Lookup { clients, epoll, catalogue, service, settings, scratch, turn, .. } = self;
        let (service, settings) = (*service, *settings);
        let (number, table, gone) = match call {
            Call::Told(event) => (event.data(), None, event.events().intersects(GONE)),
            Call::Carried(client) => (client, None, false),
            Call::InLine(table, client) => (client, Some(table), false),
        };
        catalogue.pace.meter.begin_turn(table, gone);
        turn.begin();
        let mut waits = None;
        let work = |client: &mut Client<_, _>, room_for_input| {
            catalogue.interrupted.replace(client.interrupted.take());
            let tables = &*catalogue;
            let replies = &mut *turn;
            let fate =
                client.serve(&mut Desk { tables, service, settings, scratch, replies, room_for_input }, now);
            client.interrupted = catalogue.interrupted.take();
            let answered = turn.has_answered();
            if let Some((used, _)) = catalogue.pace.meter.used() {
                client.extend_deadline(used);
            }
            client.owes_until = catalogue.pace.end_turn(number, answered, client.owes_until, now);
            if fate != Fate::Closed && client.has_more() {
                waits = Some((client.waits_for(), client.owes_until));
            }
            fate
        };
        match call {
            Call::Told(event) => clients.hear(epoll, event, work)?,
            Call::Carried(_) | Call::InLine(..) => clients.with(epoll, number, work)?,
        }
        match waits {
            Some((Some(table), owes)) => {
                let since = owes.map_or(now, |owes| owes.max(now));
                self.catalogue.pace.line.join(table, number, since);
            }
            Some((None, _)) => self.carried.push_back(number),
            None => {}
        }
        Ok(())
    }
}
