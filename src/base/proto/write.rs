//! The words between the broker of the writing service and its writer.
//!
//! A hash or btree table has three files: `NAME.db`, which stock Postfix reads; the store, `NAME.mapkeep`, an SQLite
//! database that holds the truth while the service runs; and the store's log, `NAME.mapkeep-wal`. An lmdb table has one.
//! The writer gets descriptors of them and never a name. A checkpoint writes the store's content into a new file, which
//! the broker then puts in the place of `NAME.db`:
//! `WantNew` → `New`, then `Replace` → `Replaced`.

use crate::TableId;
use crate::codec::{DecodeError, Reader};
use crate::message::{Decode, Unavailable, fields};

/// A message from the write broker to the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerToWriter {
    /// The names of the tables, in the order of their ids; one descriptor (a sealed memfd).
    Names {
        /// Size of the names in bytes.
        size: u64,
        /// The value of `smtputf8_enable`.
        smtputf8: bool,
        /// False when the configuration could not be read: then no table may be denied.
        approval_known: bool,
    },
    /// An lmdb table; two descriptors of one file: read-write, and write-only with O_DSYNC for the meta pages.
    Lmdb {
        /// Which table.
        id: TableId,
        /// Increases each time this table is opened.
        generation: u32,
    },
    /// A hash or btree table that has no `NAME.db`; two descriptors, both read-write: the store and its log.
    Store {
        /// Which table.
        id: TableId,
        /// Increases each time this table is opened.
        generation: u32,
    },
    /// A hash or btree table; three descriptors: the store and its log, read-write, and `NAME.db`, read-only.
    StoreBeside {
        /// Which table.
        id: TableId,
        /// Increases each time this table is opened.
        generation: u32,
    },
    /// An empty file for a checkpoint; one descriptor, read-write.
    New(TableId),
    /// `NAME.db` is not the file that was last handed out or put in place: another program has written it. One
    /// descriptor, read-only. Import it; the checkpoint in progress is void.
    Changed(TableId),
    /// The checkpoint is in place.
    Replaced(TableId),
    /// No file could be created or put in place; the log says why. The new file no longer exists.
    NotReplaced(TableId),
    /// The table cannot be opened for writing. A writer that has it open continues.
    Unavailable {
        /// Which table.
        id: TableId,
        /// Why.
        reason: Unavailable,
    },
    /// A client connection; one descriptor.
    Client,
    /// Write every table's checkpoint now, whether or not anything has changed.
    Checkpoint,
    /// No more clients will come: answer pending requests, write the checkpoints that are due, and exit.
    Finish,
    /// Are you alive?
    Ping(u32),
}

impl Decode for BrokerToWriter {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => BrokerToWriter::Names {
                size: from.u64()?,
                smtputf8: from.flag()?,
                approval_known: from.flag()?,
            },
            2 => BrokerToWriter::Lmdb { id: TableId(from.u16()?), generation: from.u32()? },
            3 => BrokerToWriter::Store { id: TableId(from.u16()?), generation: from.u32()? },
            4 => BrokerToWriter::StoreBeside { id: TableId(from.u16()?), generation: from.u32()? },
            5 => BrokerToWriter::New(TableId(from.u16()?)),
            6 => BrokerToWriter::Changed(TableId(from.u16()?)),
            7 => BrokerToWriter::Replaced(TableId(from.u16()?)),
            8 => BrokerToWriter::NotReplaced(TableId(from.u16()?)),
            10 => BrokerToWriter::Unavailable {
                id: TableId(from.u16()?),
                reason: Unavailable::from_tag(from.u8()?)?,
            },
            11 => BrokerToWriter::Client,
            12 => BrokerToWriter::Checkpoint,
            13 => BrokerToWriter::Finish,
            14 => BrokerToWriter::Ping(from.u32()?),
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        let opened = |tag, id: TableId, generation: u32| {
            fields(tag, &[&id.0.to_le_bytes(), &generation.to_le_bytes()])
        };
        match *self {
            BrokerToWriter::Names { size, smtputf8, approval_known } => {
                fields(1, &[&size.to_le_bytes(), &[smtputf8.into()], &[approval_known.into()]])
            }
            BrokerToWriter::Lmdb { id, generation } => opened(2, id, generation),
            BrokerToWriter::Store { id, generation } => opened(3, id, generation),
            BrokerToWriter::StoreBeside { id, generation } => opened(4, id, generation),
            BrokerToWriter::New(id) => fields(5, &[&id.0.to_le_bytes()]),
            BrokerToWriter::Changed(id) => fields(6, &[&id.0.to_le_bytes()]),
            BrokerToWriter::Replaced(id) => fields(7, &[&id.0.to_le_bytes()]),
            BrokerToWriter::NotReplaced(id) => fields(8, &[&id.0.to_le_bytes()]),
            BrokerToWriter::Unavailable { id, reason } => fields(10, &[&id.0.to_le_bytes(), &[reason as u8]]),
            BrokerToWriter::Client => fields(11, &[]),
            BrokerToWriter::Checkpoint => fields(12, &[]),
            BrokerToWriter::Finish => fields(13, &[]),
            BrokerToWriter::Ping(number) => fields(14, &[&number.to_le_bytes()]),
        }
    }

    fn descriptors(&self) -> usize {
        match self {
            BrokerToWriter::StoreBeside { .. } => 3,
            BrokerToWriter::Lmdb { .. } | BrokerToWriter::Store { .. } => 2,
            BrokerToWriter::Names { .. }
            | BrokerToWriter::New(_)
            | BrokerToWriter::Changed(_)
            | BrokerToWriter::Client => 1,
            _ => 0,
        }
    }
}

/// Which file of a table is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// The lmdb file.
    Lmdb = 1,
    /// The store and its log.
    Store = 2,
    /// `NAME.db`.
    File = 3,
}

impl Part {
    fn from_tag(tag: u8) -> Result<Self, DecodeError> {
        [Self::Lmdb, Self::Store, Self::File]
            .into_iter()
            .find(|part| *part as u8 == tag)
            .ok_or(DecodeError::Field)
    }
}

/// A message from the writer to the write broker. A writer that sends anything else is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterToBroker {
    /// It is locked down, has checked itself, and has the names.
    Ready,
    /// This table answers and takes updates.
    Opened {
        /// Which table.
        id: TableId,
        /// The broker's number of the opening.
        generation: u32,
    },
    /// This table cannot be used as it was handed out, but its files are not to blame (no room, a lock held by another
    /// program): hand it out again after a while.
    Failed {
        /// Which table.
        id: TableId,
        /// The broker's number of the opening.
        generation: u32,
    },
    /// This file does not open or fails a check: set it aside. For the lmdb file and the store, hand out new ones.
    Corrupt {
        /// Which table.
        id: TableId,
        /// The broker's number of the opening.
        generation: u32,
        /// Which of its files.
        part: Part,
    },
    /// A hash or btree table wants a file for a checkpoint.
    WantNew(TableId),
    /// The new file is complete and on disk: replace `NAME.db` with it.
    Replace(TableId),
    /// The checkpoint is abandoned: remove the new file.
    Discard(TableId),
    /// The number of clients that have disconnected since the last such message.
    Closed(u32),
    /// The answer to a ping.
    Pong(u32),
}

impl Decode for WriterToBroker {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => WriterToBroker::Ready,
            2 => WriterToBroker::Opened { id: TableId(from.u16()?), generation: from.u32()? },
            3 => WriterToBroker::Failed { id: TableId(from.u16()?), generation: from.u32()? },
            4 => WriterToBroker::Corrupt {
                id: TableId(from.u16()?),
                generation: from.u32()?,
                part: Part::from_tag(from.u8()?)?,
            },
            5 => WriterToBroker::WantNew(TableId(from.u16()?)),
            6 => WriterToBroker::Replace(TableId(from.u16()?)),
            7 => WriterToBroker::Discard(TableId(from.u16()?)),
            8 => WriterToBroker::Closed(from.u32()?),
            10 => WriterToBroker::Pong(from.u32()?),
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match *self {
            WriterToBroker::Ready => fields(1, &[]),
            WriterToBroker::Opened { id, generation } => {
                fields(2, &[&id.0.to_le_bytes(), &generation.to_le_bytes()])
            }
            WriterToBroker::Failed { id, generation } => {
                fields(3, &[&id.0.to_le_bytes(), &generation.to_le_bytes()])
            }
            WriterToBroker::Corrupt { id, generation, part } => {
                fields(4, &[&id.0.to_le_bytes(), &generation.to_le_bytes(), &[part as u8]])
            }
            WriterToBroker::WantNew(id) => fields(5, &[&id.0.to_le_bytes()]),
            WriterToBroker::Replace(id) => fields(6, &[&id.0.to_le_bytes()]),
            WriterToBroker::Discard(id) => fields(7, &[&id.0.to_le_bytes()]),
            WriterToBroker::Closed(count) => fields(8, &[&count.to_le_bytes()]),
            WriterToBroker::Pong(number) => fields(10, &[&number.to_le_bytes()]),
        }
    }

    fn descriptors(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::survives;

    #[test]
    fn broker_to_writer_roundtrip() {
        let (id, generation) = (TableId(513), 77);
        survives(&[
            BrokerToWriter::Names { size: 9, smtputf8: false, approval_known: true },
            BrokerToWriter::Lmdb { id, generation },
            BrokerToWriter::Store { id, generation },
            BrokerToWriter::StoreBeside { id, generation },
            BrokerToWriter::New(id),
            BrokerToWriter::Changed(id),
            BrokerToWriter::Replaced(id),
            BrokerToWriter::NotReplaced(id),
            BrokerToWriter::Unavailable { id, reason: Unavailable::Refused },
            BrokerToWriter::Client,
            BrokerToWriter::Checkpoint,
            BrokerToWriter::Finish,
            BrokerToWriter::Ping(3),
        ]);
    }

    #[test]
    fn writer_to_broker_roundtrip() {
        let (id, generation) = (TableId(2), u32::MAX);
        survives(&[
            WriterToBroker::Ready,
            WriterToBroker::Opened { id, generation },
            WriterToBroker::Failed { id, generation },
            WriterToBroker::Corrupt { id, generation, part: Part::Store },
            WriterToBroker::WantNew(id),
            WriterToBroker::Replace(id),
            WriterToBroker::Discard(id),
            WriterToBroker::Closed(1),
            WriterToBroker::Pong(0),
        ]);
    }

    #[test]
    fn unknown_part_is_an_error() {
        assert_eq!(WriterToBroker::decode(&[4, 0, 0, 1, 0, 0, 0, 9]), Err(DecodeError::Field));
    }
}
