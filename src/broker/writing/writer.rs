//! The writer as its broker sees it: what it may say now, and what it is still owed.
//!
//! A writer reads from clients, so an attacker may have taken it over. It can only say the few things that
//! [`Writer::judge`] lists; anything else ends it.

use super::tables::HandOut;
use mapkeep_broker_serving::rhythm::Stage;
use mapkeep_process::outbox;
use mapkeep_process::outbox::{Outbox, Sent};
use mapkeep_proto::{BrokerToWriter, Decode, Part, TableId, Unavailable, WorkerId, WriterToBroker};
use mapkeep_sys::channel::{Channel, Received};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a writer may take from its start to its first message. It does no work before that.
const START_TIME: Duration = Duration::from_secs(60);

/// Descriptors that travel with a message.
#[derive(Debug, Default)]
pub(super) struct Freight(Vec<Rc<OwnedFd>>);

impl outbox::Freight for Freight {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(|descriptor| descriptor.as_fd()).collect()
    }
}

/// What the writer has been handed of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Use {
    /// Nothing that it may use.
    #[default]
    Closed,
    /// Files that it has not answered about.
    Handed,
    /// Files that it serves.
    Opened,
}

/// The state of a table's checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Checkpoint {
    #[default]
    None,
    /// The writer has requested a file, and has it or will get it.
    Handed,
    /// The same, but the table has been closed since, and the file no longer exists.
    Void,
}

/// One table: what the writer has, and what it may say about it.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    used: Use,
    generation: u32,
    lmdb: bool,
    /// Whether it has a `NAME.db` that it may report as damaged.
    beside: bool,
    checkpoint: Checkpoint,
    /// The reason it was last told for an unavailable table.
    told: Option<Unavailable>,
}

impl Slot {
    /// Whether it has this file.
    fn has(&self, part: Part) -> bool {
        match part {
            Part::Lmdb => self.lmdb,
            Part::Store => !self.lmdb,
            Part::File => self.beside,
        }
    }

    fn close(&mut self) {
        self.used = Use::Closed;
        self.beside = false;
        if self.checkpoint == Checkpoint::Handed {
            self.checkpoint = Checkpoint::Void;
        }
    }
}

/// What a message from the writer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Nothing,
    /// It reports its lock-down.
    Ready,
    /// It serves this table.
    Opened(TableId),
    /// It cannot use this table as handed out.
    Failed(TableId),
    /// This file of a table is damaged.
    Corrupt(TableId, Part),
    /// It requests a file for a checkpoint.
    WantNew(TableId),
    /// Its checkpoint is complete.
    Replace(TableId),
    /// Its checkpoint is abandoned.
    Discard(TableId),
    /// It sent a message that it may not send.
    Violation(&'static str),
    /// Its channel is closed.
    Gone,
}

/// The one process that writes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) id: WorkerId,
    pub(super) channel: Channel,
    pub(super) stage: Stage,
    pub(super) clients: u32,
    /// Whether it has had a client.
    serves: bool,
    outbox: Outbox<BrokerToWriter, Freight>,
    /// Whether the event loop waits for room in its channel.
    pub(super) waits_for_room: bool,
    slots: Vec<Slot>,
    started: Instant,
    ping: Option<(u32, Instant)>,
    pings: u32,
}

impl Writer {
    /// A writer that has been started; `tables` is the number of listed tables. `hello` and the list of names are sent
    /// first.
    pub(super) fn new(
        id: WorkerId,
        channel: Channel,
        tables: usize,
        (hello, names): (BrokerToWriter, Rc<OwnedFd>),
        now: Instant,
    ) -> Writer {
        let mut outbox = Outbox::default();
        outbox.push(hello, Freight(vec![names]));
        Writer {
            id,
            channel,
            stage: Stage::Starting,
            clients: 0,
            serves: false,
            outbox,
            waits_for_room: false,
            slots: vec![Slot::default(); tables],
            started: now,
            ping: None,
            pings: 0,
        }
    }

    /// Sends what is waiting.
    ///
    /// # Errors
    /// Its end is closed.
    pub(super) fn flush(&mut self) -> io::Result<Sent> {
        self.outbox.flush(&self.channel)
    }

    /// Hands out a table.
    pub(super) fn hand_out(&mut self, id: TableId, files: HandOut) {
        let HandOut { message, descriptors, generation } = files;
        if let Some(slot) = self.slots.get_mut(usize::from(id.0)) {
            slot.used = Use::Handed;
            slot.generation = generation;
            slot.lmdb = matches!(message, BrokerToWriter::Lmdb { .. });
            slot.beside = matches!(message, BrokerToWriter::StoreBeside { .. });
            slot.told = None;
        }
        self.outbox.push(message, Freight(descriptors));
    }

    /// Tells it that a table is not available, unless it knows that already.
    pub(super) fn unavailable(&mut self, id: TableId, reason: Unavailable) {
        if let Some(slot) = self.slots.get_mut(usize::from(id.0))
            && slot.told.replace(reason) != Some(reason)
        {
            self.say(BrokerToWriter::Unavailable { id, reason });
        }
    }

    /// Answers its request about a checkpoint of a table.
    pub(super) fn answer(&mut self, id: TableId, message: BrokerToWriter, file: Option<Rc<OwnedFd>>) {
        if let Some(slot) = self.slots.get_mut(usize::from(id.0)) {
            match message {
                BrokerToWriter::Changed(_) | BrokerToWriter::Replaced(_) => slot.beside = true,
                BrokerToWriter::NotReplaced(_) => slot.checkpoint = Checkpoint::None,
                _ => {}
            }
        }
        self.outbox.push(message, Freight(file.into_iter().collect()));
    }

    /// Hands a connection over.
    pub(super) fn client(&mut self, client: Rc<OwnedFd>) {
        self.outbox.push(BrokerToWriter::Client, Freight(vec![client]));
        self.clients = self.clients.saturating_add(1);
        self.serves = true;
    }

    /// The connections that it has not been sent, for the next writer.
    pub(super) fn into_clients(self) -> impl Iterator<Item = Rc<OwnedFd>> {
        let unsent = self.outbox.into_unsent().filter(|(message, _)| *message == BrokerToWriter::Client);
        unsent.flat_map(|(_, Freight(clients))| clients)
    }

    /// Tells it to answer pending requests, write its checkpoints, and exit.
    pub(super) fn finish(&mut self) {
        self.stage = Stage::Draining;
        self.say(BrokerToWriter::Finish);
    }

    /// Sends it a message without descriptors.
    pub(super) fn say(&mut self, message: BrokerToWriter) {
        self.outbox.push(message, Freight::default());
    }

    /// Whether it takes one more client, of `room` at most. At first it must have answered about every table that it
    /// was handed: until then, clients wait in the queue instead of getting temporary errors.
    pub(super) fn takes_clients(&self, room: u32) -> bool {
        let settled = self.serves || !self.slots.iter().any(|slot| slot.used == Use::Handed);
        self.stage == Stage::Admitted && settled && self.clients < room
    }

    /// Whether this table must be handed out once it is available.
    pub(super) fn lacks(&self, id: TableId) -> bool {
        self.slots.get(usize::from(id.0)).is_some_and(|slot| slot.used == Use::Closed)
    }

    /// Whether nobody waits for anything from it.
    pub(super) fn is_resting(&self) -> bool {
        let busy = |slot: &Slot| slot.used == Use::Handed || slot.checkpoint == Checkpoint::Handed;
        self.stage != Stage::Starting && self.clients == 0 && !self.slots.iter().any(busy)
    }

    /// Pings it; true if it has owed an answer for longer than `limit`. A writer may wait long for a slow disk, and
    /// must not be killed in the middle of an update.
    pub(super) fn is_silent(&mut self, now: Instant, limit: Duration) -> bool {
        if self.stage == Stage::Starting {
            return now.saturating_duration_since(self.started) > START_TIME.min(limit);
        }
        if let Some((_, sent)) = self.ping {
            return now.saturating_duration_since(sent) > limit;
        }
        self.pings = self.pings.wrapping_add(1);
        self.ping = Some((self.pings, now));
        self.say(BrokerToWriter::Ping(self.pings));
        false
    }

    /// Receives one message.
    pub(super) fn receive(&mut self) -> Option<Incoming> {
        // Longer than any message: one that fills it is too long.
        let mut buffer = [0; 64];
        let length = match self.channel.receive_plain(&mut buffer) {
            Ok(Received::Message(length, _)) => length,
            Ok(Received::Empty) => return None,
            Ok(Received::Closed) | Err(_) => return Some(Incoming::Gone),
            Ok(Received::Oversized) => return Some(Incoming::Violation("an oversized message")),
        };
        let Ok(message) = WriterToBroker::decode(buffer.get(..length).unwrap_or_default()) else {
            return Some(Incoming::Violation("a malformed message"));
        };
        Some(self.interpret(message))
    }

    /// Which messages a writer may send, and when; those about a table are in [`Writer::interpret_table`].
    fn interpret(&mut self, message: WriterToBroker) -> Incoming {
        match (self.stage, message) {
            (Stage::Starting, WriterToBroker::Ready) => {
                self.stage = Stage::Checking;
                Incoming::Ready
            }
            (_, WriterToBroker::Ready) => Incoming::Violation("ready twice"),
            (_, WriterToBroker::Pong(number)) => match self.ping.take() {
                Some((asked, _)) if asked == number => Incoming::Nothing,
                _ => Incoming::Violation("an answer without a ping"),
            },
            (Stage::Admitted | Stage::Draining, WriterToBroker::Closed(count)) => {
                match self.clients.checked_sub(count) {
                    _ if count == 0 => Incoming::Violation("a count of zero closed connections"),
                    Some(left) => {
                        self.clients = left;
                        Incoming::Nothing
                    }
                    None => Incoming::Violation("a count of more closed connections than it had"),
                }
            }
            (_, WriterToBroker::Closed(_)) => {
                Incoming::Violation("a count of closed connections before it had any")
            }
            (Stage::Starting, _) => Incoming::Violation("a message about a table before it was ready"),
            (
                _,
                WriterToBroker::Opened { id, .. }
                | WriterToBroker::Failed { id, .. }
                | WriterToBroker::Corrupt { id, .. }
                | WriterToBroker::WantNew(id)
                | WriterToBroker::Replace(id)
                | WriterToBroker::Discard(id),
            ) => self.interpret_table(id, message),
        }
    }

    /// Which messages it may send about a table, and when.
    fn interpret_table(&mut self, id: TableId, message: WriterToBroker) -> Incoming {
        let Some(slot) = self.slots.get_mut(usize::from(id.0)) else {
            return Incoming::Violation("a table number that does not exist");
        };
        match (slot.used, slot.checkpoint, message) {
            (Use::Handed, _, WriterToBroker::Opened { generation, .. }) if generation == slot.generation => {
                slot.used = Use::Opened;
                Incoming::Opened(id)
            }
            (Use::Handed | Use::Opened, _, WriterToBroker::Failed { generation, .. })
                if generation == slot.generation =>
            {
                slot.close();
                Incoming::Failed(id)
            }
            (Use::Handed | Use::Opened, _, WriterToBroker::Corrupt { generation, part, .. })
                if generation == slot.generation && slot.has(part) =>
            {
                match part {
                    // The store goes on without it.
                    Part::File => slot.beside = false,
                    Part::Lmdb | Part::Store => slot.close(),
                }
                Incoming::Corrupt(id, part)
            }
            (Use::Opened, Checkpoint::None | Checkpoint::Void, WriterToBroker::WantNew(_)) if !slot.lmdb => {
                slot.checkpoint = Checkpoint::Handed;
                Incoming::WantNew(id)
            }
            (Use::Opened, Checkpoint::Handed, WriterToBroker::Replace(_)) => {
                slot.checkpoint = Checkpoint::None;
                Incoming::Replace(id)
            }
            (_, Checkpoint::Handed, WriterToBroker::Discard(_)) => {
                slot.checkpoint = Checkpoint::None;
                Incoming::Discard(id)
            }
            // It did not know yet that its file no longer exists.
            (_, Checkpoint::Void, WriterToBroker::Discard(_)) => {
                slot.checkpoint = Checkpoint::None;
                Incoming::Nothing
            }
            (_, _, WriterToBroker::Opened { .. } | WriterToBroker::Failed { .. }) => {
                Incoming::Violation("an answer about a table that it was not handed")
            }
            (_, _, WriterToBroker::Corrupt { .. }) => {
                Incoming::Violation("a report of damage in a file that it was not handed")
            }
            _ => Incoming::Violation("a checkpoint out of turn"),
        }
    }
}

#[cfg(test)]
mod tests;
