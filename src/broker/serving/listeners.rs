//! The listening sockets of a broker: listened to only while there is somebody to take a client.
//!
//! Until then clients wait in the queues of the sockets.

use mapkeep_sys::deadline;
use mapkeep_sys::listen::{Accepted, accept};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Clients accepted in one turn, so that a burst of them does not delay other work.
pub const ACCEPTS: usize = 64;
/// How long to leave clients in the queue after running out of descriptors, in this process or in flight.
pub const PAUSE: Duration = Duration::from_millis(100);

/// The sockets, each with an event token of its own from `first` on.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<OwnedFd>,
    first: u64,
    listening: bool,
    paused_until: Option<Instant>,
}

impl Listeners {
    /// For these sockets; does not listen yet.
    pub fn new(sockets: Vec<OwnedFd>, first: u64) -> Listeners {
        Listeners { sockets, first, listening: false, paused_until: None }
    }

    /// The descriptor numbers.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.sockets.iter().map(AsRawFd::as_raw_fd)
    }

    /// When a pause ends.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Leaves clients in the queue for a while.
    pub fn pause(&mut self) {
        self.paused_until = Some(deadline::after(Instant::now(), PAUSE));
    }

    /// Registers the sockets, without listening yet.
    pub fn register(&self, epoll: &Epoll) -> io::Result<()> {
        for (token, listener) in (self.first..).zip(&self.sockets) {
            epoll.add(listener, EpollEvent::new(EpollFlags::empty(), token))?;
        }
        Ok(())
    }

    /// Listens if that is `wanted` and there is no pause.
    pub fn set(&mut self, epoll: &Epoll, wanted: bool, now: Instant) -> io::Result<()> {
        if self.paused_until.is_some_and(|moment| moment <= now) {
            self.paused_until = None;
        }
        let listening = wanted && self.paused_until.is_none();
        if listening != self.listening {
            let events = if listening { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
            for (token, listener) in (self.first..).zip(&self.sockets) {
                epoll.modify(listener, &mut EpollEvent::new(events, token))?;
            }
            self.listening = listening;
        }
        Ok(())
    }

    /// Whether this is the token of one.
    pub fn has(&self, token: u64) -> bool {
        let index = token.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        index.is_some_and(|index| index < self.sockets.len())
    }

    /// Accepts one client at the socket with this token; `None` if none is waiting, or no descriptor is free.
    pub fn accept(&mut self, token: u64) -> io::Result<Option<OwnedFd>> {
        let index = usize::try_from(token.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let Some(listener) = self.sockets.get(index) else { return Ok(None) };
        match accept(listener.as_fd())? {
            Accepted::Client(client) => Ok(Some(client)),
            Accepted::Nobody => Ok(None),
            Accepted::Exhausted => {
                tracing::warn!(
                    "out of file descriptors or memory -- new clients must wait until some are free"
                );
                self.pause();
                Ok(None)
            }
        }
    }

    /// Stops accepting clients.
    pub fn close(&mut self, epoll: &Epoll) -> io::Result<()> {
        for listener in std::mem::take(&mut self.sockets) {
            epoll.delete(&listener)?;
        }
        Ok(())
    }
}
