//! What the writing service's broker does in the event loop of both (broker/serving): accept clients, hand tables to the one writer, and do for it what
//! needs a name.
//!
//! May: everything that policy/seccomp.json lists for `write_broker`. Never: read from a client's connection, look into
//! a table, start a process, or use a string that came from the writer.

use super::tables::Tables;
use super::writer::{Incoming, Writer};
use mapkeep_broker_serving::event_loop::{self, Front, Standing};
use mapkeep_broker_serving::rhythm::Stage;
use mapkeep_proto::{BrokerToSupervisor, BrokerToWriter, Duty, TrustClass, WorkerId};
use mapkeep_sys::channel::Channel;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

const WRITER: u64 = 1;

/// Numbers from the configuration that the loop goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Clients that the writer has descriptors for.
    pub(super) room: u32,
    /// How long the writer may be silent at most (`daemon_timeout`).
    pub(super) daemon_timeout: Duration,
}

/// The state of the writer. There is one at a time: two must never have the same files.
pub(super) enum WriterState {
    /// There is none.
    Absent,
    /// One has been requested.
    Asked,
    /// It serves, is about to, or finishes.
    Present(Box<Writer>),
    /// It is given up, and its process may still exist.
    Ending(WorkerId),
}

impl WriterState {
    fn get(&self) -> Option<&Writer> {
        match self {
            WriterState::Present(writer) => Some(writer),
            WriterState::Absent | WriterState::Asked | WriterState::Ending(_) => None,
        }
    }

    fn get_mut(&mut self) -> Option<&mut Writer> {
        match self {
            WriterState::Present(writer) => Some(writer),
            WriterState::Absent | WriterState::Asked | WriterState::Ending(_) => None,
        }
    }
}

/// The state of the write broker.
pub(super) struct WriteBroker {
    pub(super) front: Front,
    pub(super) tables: Tables,
    /// What every writer gets first: the message, and the sealed list of names.
    pub(super) hello: (BrokerToWriter, Rc<OwnedFd>),
    pub(super) bounds: Bounds,
    pub(super) writer: WriterState,
    /// Clients that were assigned to a writer that was given up before it received them.
    pub(super) waiting: VecDeque<Rc<OwnedFd>>,
}

impl event_loop::Broker for WriteBroker {
    type Seat = ();

    fn front(&mut self) -> &mut Front {
        &mut self.front
    }

    fn work(&mut self, now: Instant) -> io::Result<()> {
        self.hand_out(now);
        self.beat(now)?;
        self.want_writer()?;
        self.seat_waiting();
        self.flush()
    }

    fn standing(&self) -> Standing {
        let clients = self.writer.get().map_or(0, |writer| writer.clients);
        Standing { complete: true, takes_clients: self.takes_clients(), clients }
    }

    fn is_deserted(&self) -> bool {
        self.writer.get().is_none()
    }

    fn moments(&mut self, _now: Instant) -> [Option<Instant>; 2] {
        let Some(writer) = self.writer.get() else { return [None, None] };
        [self.tables.next_due(), self.front.next_beat().filter(|_| !writer.is_resting())]
    }

    fn ready(&mut self, token: u64) -> io::Result<()> {
        match token {
            WRITER => self.receive_from_writer(),
            // A listening socket that has been closed.
            _ => Ok(()),
        }
    }

    fn seat(&mut self) -> Option<()> {
        self.takes_clients().then_some(())
    }

    fn hand_over(&mut self, (): (), client: OwnedFd) {
        if let Some(writer) = self.writer.get_mut() {
            writer.client(Rc::new(client));
        }
    }

    fn started(&mut self, id: WorkerId, _: TrustClass, _: Duty, channel: Channel) -> io::Result<()> {
        match self.writer {
            WriterState::Asked | WriterState::Absent => {}
            // Our supervisor starts no second one.
            WriterState::Present(_) | WriterState::Ending(_) => {
                return self.front.say(BrokerToSupervisor::Kill(id));
            }
        }
        let now = Instant::now();
        self.front.watch(&channel, WRITER)?;
        let hello = (self.hello.0, Rc::clone(&self.hello.1));
        self.writer =
            WriterState::Present(Box::new(Writer::new(id, channel, self.tables.count(), hello, now)));
        self.tables.reset(now);
        Ok(())
    }

    fn admitted(&mut self, id: WorkerId) {
        if let Some(writer) = self.writer.get_mut().filter(|writer| writer.id == id)
            && writer.stage == Stage::Checking
        {
            writer.stage = Stage::Admitted;
        }
    }

    fn gone(&mut self, id: WorkerId) -> io::Result<()> {
        match &self.writer {
            WriterState::Present(writer) if writer.id == id => self.part(WriterState::Absent),
            WriterState::Ending(ending) if *ending == id => {
                self.writer = WriterState::Absent;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Tells the writer to exit when it has done its work. It is still served until then, because its checkpoints need
    /// the broker.
    fn finish(&mut self) -> io::Result<()> {
        self.waiting.clear();
        match self.writer.get_mut().map(|writer| (writer.stage, writer)) {
            // It has not begun any work.
            Some((Stage::Starting, _)) => self.lose(),
            Some((Stage::Checking | Stage::Admitted, writer)) => {
                writer.finish();
                Ok(())
            }
            Some((Stage::Draining, _)) | None => Ok(()),
        }
    }

    fn checkpoint(&mut self) {
        if let Some(writer) = self.writer.get_mut().filter(|one| one.stage != Stage::Draining) {
            writer.say(BrokerToWriter::Checkpoint);
        }
    }
}

impl WriteBroker {
    fn takes_clients(&self) -> bool {
        self.writer.get().is_some_and(|writer| writer.takes_clients(self.bounds.room))
    }

    /// Hands the writer the tables that it lacks, as far as they are available.
    fn hand_out(&mut self, now: Instant) {
        let Some(writer) = self.writer.get_mut() else { return };
        for id in self.tables.due(now) {
            if !writer.lacks(id) {
                continue;
            }
            match self.tables.open(id, now) {
                Ok(files) => writer.hand_out(id, files),
                Err(reason) => writer.unavailable(id, reason),
            }
        }
    }

    fn beat(&mut self, now: Instant) -> io::Result<()> {
        let Some(writer) = self.writer.get_mut().filter(|writer| !writer.is_resting()) else { return Ok(()) };
        if !self.front.takes_beat(now) {
            return Ok(());
        }
        if writer.is_silent(now, self.bounds.daemon_timeout) {
            tracing::error!("writer {} does not respond -- replacing it", writer.id.0);
            self.lose()?;
        }
        Ok(())
    }

    /// Requests a writer if there is none, not even one that is about to exit.
    fn want_writer(&mut self) -> io::Result<()> {
        if matches!(self.writer, WriterState::Absent) && !self.front.is_finishing() {
            self.front.say(BrokerToSupervisor::Need(TrustClass::EVERYONE, Duty::Clients))?;
            self.writer = WriterState::Asked;
        }
        Ok(())
    }

    /// Hands over the clients that the previous writer did not receive.
    fn seat_waiting(&mut self) {
        let Some(writer) = self.writer.get_mut() else { return };
        while writer.takes_clients(self.bounds.room)
            && let Some(client) = self.waiting.pop_front()
        {
            writer.client(client);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let WriterState::Present(writer) = &mut self.writer else { return Ok(()) };
        let sent = writer.flush();
        if !self.front.sent(&sent, &writer.channel, WRITER, &mut writer.waits_for_room)? {
            return self.receive_from_writer();
        }
        Ok(())
    }

    fn receive_from_writer(&mut self) -> io::Result<()> {
        let now = Instant::now();
        // A writer that sends messages without end must not keep clients waiting.
        for _ in 0..256 {
            let Some(writer) = self.writer.get_mut() else { return Ok(()) };
            match writer.receive() {
                None => return Ok(()),
                Some(Incoming::Nothing) => {}
                Some(Incoming::Ready) => self.front.say(BrokerToSupervisor::WorkerReady(writer.id))?,
                Some(Incoming::Opened(id)) => self.tables.opened(id),
                Some(Incoming::Failed(id)) => self.tables.failed(id, now),
                Some(Incoming::Corrupt(id, part)) => self.tables.corrupt(id, part, now),
                Some(Incoming::WantNew(id)) => {
                    let (message, file) = self.tables.want_new(id);
                    writer.answer(id, message, file);
                }
                Some(Incoming::Replace(id)) => {
                    let (message, file) = self.tables.replace(id, now);
                    writer.answer(id, message, file);
                }
                Some(Incoming::Discard(id)) => self.tables.discard(id),
                // The process may still be running: an empty message looks like the end of the channel.
                Some(Incoming::Gone) => return self.lose(),
                Some(Incoming::Violation(what)) => {
                    tracing::error!("writer {} sent {what} -- replacing it", writer.id.0);
                    return self.lose();
                }
            }
        }
        Ok(())
    }

    /// Kills a writer that is no longer trusted, or has closed its channel.
    fn lose(&mut self) -> io::Result<()> {
        let Some(id) = self.writer.get().map(|writer| writer.id) else { return Ok(()) };
        self.front.say(BrokerToSupervisor::Kill(id))?;
        self.part(WriterState::Ending(id))
    }

    /// The writer is no longer served. Clients that it has not received go to the next one.
    fn part(&mut self, then: WriterState) -> io::Result<()> {
        if let WriterState::Present(writer) = std::mem::replace(&mut self.writer, then) {
            self.front.epoll.delete(&writer.channel)?;
            if !self.front.is_finishing() {
                self.waiting.extend(writer.into_clients());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
