//! The stream to one process that answers.
//!
//! May: read and write it; by read(2) and write(2), as the connections of clients are. Never: wait, or keep more than is
//! bounded here.

use super::{Question, Wanted};
use mapkeep_proto::{self as proto, Asked, Frames, Group, TableId};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::unistd::{read, write};
use std::io;
use std::os::fd::OwnedFd;

/// Bytes that may wait for the peer to read them, before further questions wait elsewhere.
const UNREAD: usize = 64 << 10;
/// Questions that one peer may have at a time,
const AT_ONCE: usize = 16_384;
/// and their keys, in bytes: half of what the peer queues before it stops reading, so that it always reads what is
/// withdrawn.
const KEYS_AT_ONCE: usize = 16 << 20;
/// What a question counts for beside its key.
const OVERHEAD: usize = 200;

/// One process that answers.
#[derive(Debug)]
pub(super) struct Peer {
    stream: OwnedFd,
    group: Group,
    /// What has come from it and has not been taken yet.
    pub(super) frames: Frames,
    output: Vec<u8>,
    sent: usize,
    waits_for_room: bool,
    /// How much it has been asked that it has not answered,
    load: usize,
    /// and in bytes.
    bytes: usize,
}

/// What reading has come to.
pub(super) enum Read {
    Some,
    Nothing,
    Gone,
}

impl Peer {
    pub(super) fn new(epoll: &Epoll, stream: OwnedFd, number: u64, group: Group) -> io::Result<Peer> {
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
        Ok(Peer {
            stream,
            group,
            frames: Frames::default(),
            output: Vec::new(),
            sent: 0,
            waits_for_room: false,
            load: 0,
            bytes: 0,
        })
    }

    pub(super) fn close(self, epoll: &Epoll) -> io::Result<()> {
        Ok(epoll.delete(&self.stream)?)
    }

    /// Which tables it answers for.
    pub(super) fn group(&self) -> Group {
        self.group
    }

    /// Whether it may be asked one more question for this group.
    pub(super) fn takes(&self, group: Group) -> bool {
        let unread = self.output.len().saturating_sub(self.sent);
        self.group == group && self.load < AT_ONCE && self.bytes < KEYS_AT_ONCE && unread < UNREAD
    }

    /// Bytes that wait for it to read them.
    #[cfg(test)]
    pub(super) fn unsent(&self) -> usize {
        self.output.len()
    }

    /// How much it has to do.
    pub(super) fn load(&self) -> usize {
        self.load
    }

    /// It has answered a question with a key of this length.
    pub(super) fn answered(&mut self, key: usize) {
        self.load = self.load.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(key.saturating_add(OVERHEAD));
    }

    /// Adds a question to what is sent next.
    pub(super) fn ask(&mut self, ticket: u32, client: u64, question: &Question) {
        self.load = self.load.saturating_add(1);
        self.bytes = self.bytes.saturating_add(question.key().saturating_add(OVERHEAD));
        let asked = match &question.wanted {
            Wanted::Value { key, manner } => Asked::Lookup { key, manner: *manner },
            Wanted::Usable => Asked::Usable,
        };
        proto::Question { ticket, table: question.table, client, asked }.encode(&mut self.output);
    }

    /// Nobody waits for the answer to a question that it has. This is short, so that it needs no room.
    pub(super) fn withdraw(&mut self, ticket: u32, table: TableId, client: u64, key: usize) {
        self.answered(key);
        proto::Question { ticket, table, client, asked: Asked::Withdrawn }.encode(&mut self.output);
    }

    /// Sends as far as there is room, and has epoll tell of more. False: it has gone.
    pub(super) fn flush(&mut self, epoll: &Epoll, number: u64) -> io::Result<bool> {
        let waits = loop {
            let rest = self.output.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                // A long key must not be remembered by its buffer.
                if self.output.capacity() > UNREAD {
                    self.output = Vec::new();
                }
                self.output.clear();
                self.sent = 0;
                break false;
            }
            match write(&self.stream, rest) {
                Ok(count) => self.sent = self.sent.saturating_add(count),
                Err(Errno::EAGAIN) => {
                    self.output.drain(..self.sent);
                    self.sent = 0;
                    break true;
                }
                Err(Errno::EINTR) => {}
                Err(_) => return Ok(false),
            }
        };
        if waits != self.waits_for_room {
            self.waits_for_room = waits;
            let room = if waits { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            epoll.modify(&self.stream, &mut EpollEvent::new(EpollFlags::EPOLLIN | room, number))?;
        }
        Ok(true)
    }

    /// Reads once.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> Read {
        match read(&self.stream, scratch) {
            Ok(0) => Read::Gone,
            Ok(length) => {
                self.frames.add(scratch.get(..length).unwrap_or_default());
                Read::Some
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Read::Nothing,
            Err(_) => Read::Gone,
        }
    }
}
