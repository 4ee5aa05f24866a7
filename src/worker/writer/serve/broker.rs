//! What the broker says, and what has become of the tables that it has opened.

use super::{GRACE, Writer};
use crate::engine::Import;
use crate::opening::{Event, Files, Fresh, Opener};
use crate::tables::Tables;
use mapkeep_name::Kind;
use mapkeep_proto::{BrokerToWriter, Part, TableId, WriterToBroker, decode_names};
use mapkeep_sys::mapping::Mapping;
use mapkeep_worker_session::Settings;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

impl<O: Opener> Writer<O> {
    /// Takes all that the broker has sent.
    pub(super) fn receive_from_broker(&mut self, now: Instant) -> io::Result<()> {
        self.broker_waits = false;
        while let Some((message, freight)) = self.line.next()? {
            self.obey(message, freight, now)?;
        }
        Ok(())
    }

    /// Messages are the broker's, which is trusted; one that makes no sense is still an error.
    fn obey(&mut self, message: BrokerToWriter, freight: Vec<OwnedFd>, now: Instant) -> io::Result<()> {
        let mut freight = freight.into_iter();
        match (message, freight.next(), freight.next(), freight.next()) {
            (BrokerToWriter::Names { size, smtputf8, approval_known }, Some(names), None, None) => {
                let block = Mapping::of(names.as_fd(), size)?;
                let names = decode_names(block.as_ref()).map_err(io::Error::other)?;
                self.settings = Settings { smtputf8_enable: smtputf8 };
                self.tables = Tables::new(names, approval_known);
                self.line.say(WriterToBroker::Ready)
            }
            (BrokerToWriter::Lmdb { id, generation }, Some(data), Some(meta), None) => {
                self.open(id, generation, Files::Lmdb { data, meta })
            }
            (BrokerToWriter::Store { id, generation }, Some(store), Some(log), None) => {
                self.open(id, generation, Files::Store { store, log, beside: None })
            }
            (BrokerToWriter::StoreBeside { id, generation }, Some(store), Some(log), beside) => {
                self.open(id, generation, Files::Store { store, log, beside })
            }
            (BrokerToWriter::New(id), Some(file), None, None) => {
                let effect = self.checkpoints.file(&self.tables, id, file, now);
                self.apply(effect)
            }
            (BrokerToWriter::Changed(id), Some(file), None, None) => {
                if self.tables.with(id, |_| ()).is_some() {
                    self.checkpoints.suspend(&self.tables, id);
                    self.openings.take_over(id, File::from(file), now);
                }
                Ok(())
            }
            (BrokerToWriter::Client, Some(socket), None, None) => {
                self.clients.add(&self.epoll, socket, now).map(drop)
            }
            (BrokerToWriter::Replaced(id), ..) => {
                let effect = self.checkpoints.placed(&self.tables, id, now);
                self.apply(effect)
            }
            (BrokerToWriter::NotReplaced(id), ..) => {
                self.checkpoints.not_placed(&self.tables, id, now);
                Ok(())
            }
            (BrokerToWriter::Unavailable { id, reason }, ..) => {
                self.tables.unavailable(id, reason);
                Ok(())
            }
            (BrokerToWriter::Checkpoint, ..) => {
                self.checkpoints.want_all(now);
                Ok(())
            }
            (BrokerToWriter::Finish, ..) => {
                self.finishing = self.finishing.or(now.checked_add(GRACE));
                self.next_tick = Some(now);
                self.checkpoints.finish();
                Ok(())
            }
            (BrokerToWriter::Ping(number), ..) => self.line.say(WriterToBroker::Pong(number)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The broker has opened a table's files.
    fn open(&mut self, id: TableId, generation: u32, files: Files) -> io::Result<()> {
        let kind = self.tables.kind(id);
        let fits = match (&files, kind) {
            (Files::Lmdb { .. }, Some(Kind::Lmdb)) => Kind::Lmdb,
            (Files::Store { .. }, Some(kind @ (Kind::Hash | Kind::Btree))) => kind,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        if let Some(message) = self.checkpoints.closed(id) {
            self.line.say(message)?;
        }
        self.tables.reopen(id, generation);
        self.openings.open(id, fits, files);
        Ok(())
    }

    /// Opens a table, or has one take its file over, if that is due. Whether it was.
    pub(super) fn step_openings(&mut self, now: Instant) -> io::Result<bool> {
        let Writer { openings, tables, line, .. } = self;
        let Some(step) = openings.step(tables, now, &mut || line.pulse()) else { return Ok(false) };
        let Some(event) = step else { return Ok(true) };
        let now = Instant::now();
        match event {
            Event::Opened { id, fresh, import } => self.opened(id, fresh, import, now)?,
            Event::TakenOver { id, import } => {
                self.note_import(id, &import)?;
                self.checkpoints.resume(id, now);
            }
            Event::Failed { id, error } => {
                if self.tables.tell(id, &error.to_string()) {
                    tracing::warn!("table {}: {error} -- retrying later", self.tables.shown(id));
                }
                self.hand_back(id, error.to_string())?;
            }
            Event::Damaged { id, part, what } => {
                let file = if part == Part::Store { "store" } else { "file" };
                tracing::error!(
                    "table {}: its {file} is damaged: {what} -- setting it aside and keeping what can be read of it",
                    self.tables.shown(id)
                );
                self.tables.close(id, format!("its {file} is damaged ({what}), and being replaced"));
                let generation = self.tables.generation(id);
                self.line.say(WriterToBroker::Corrupt { id, generation, part })?;
            }
            Event::Broken { id, what } => self.set_aside(id, &what)?,
        }
        Ok(true)
    }

    /// Closes a table, and has its files handed out again after a while.
    pub(super) fn hand_back(&mut self, id: TableId, reason: String) -> io::Result<()> {
        drop(self.tables.close(id, reason));
        if let Some(message) = self.checkpoints.closed(id) {
            self.line.say(message)?;
        }
        self.line.say(WriterToBroker::Failed { id, generation: self.tables.generation(id) })
    }

    /// A table answers from now on.
    fn opened(&mut self, id: TableId, fresh: Fresh, import: Option<Import>, now: Instant) -> io::Result<()> {
        let Fresh { engine, rescued, unsaved, .. } = fresh;
        if let Some(rescued) = rescued {
            tracing::warn!("table {}: {rescued}", self.tables.shown(id));
        }
        self.tables.open(id, engine);
        self.checkpoints.opened(id, &self.tables, unsaved, now);
        if let Some(import) = import {
            self.note_import(id, &import)?;
        }
        self.line.say(WriterToBroker::Opened { id, generation: self.tables.generation(id) })
    }

    /// Says what was taken over, and has a damaged file set aside.
    fn note_import(&mut self, id: TableId, import: &Import) -> io::Result<()> {
        let Import { taken, kept, left_out, damage } = import;
        let table = self.tables.shown(id);
        if *left_out > 0 {
            tracing::warn!(
                "table {table}: leaving out {left_out} entries of its file that no Postfix program can read"
            );
        }
        let Some(what) = damage else {
            tracing::info!("table {table}: imported {taken} entries from its file, kept {kept} newer ones");
            return Ok(());
        };
        tracing::error!(
            "table {table}: its file is damaged: {what} -- imported the {taken} entries that could be read, kept {kept} \
             newer ones, and setting the file aside"
        );
        let generation = self.tables.generation(id);
        self.line.say(WriterToBroker::Corrupt { id, generation, part: Part::File })
    }
}
