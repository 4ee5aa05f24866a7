//! The logger: writes the lines of the locked-down processes to the mail log, under their own pids.
//!
//! A process of its own, since lines may hold bytes that a client chose, and since reaching the log after a
//! restart of the log service takes a path, which no other process of ours may name. May: read lines, write
//! them to one socket or to standard error. Never: open, connect, or act on what a line says.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod start;

pub use start::main;

use mapkeep_log::{ChannelSink, Limiter, MailLog, Severity};
use mapkeep_process::milliseconds;
use mapkeep_proto::{Decode, SupervisorToLogger};
use mapkeep_sandbox::Confined;
use mapkeep_sys::channel::{Channel, Received};
use mapkeep_sys::deadline;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

/// Lines of one process in each window; the processes limit themselves further, by kind of line. A window is this long
/// because a process that starts has something to say of each table that has a fault.
const LINES: u32 = 2000;
const WINDOW: Duration = Duration::from_secs(10);
/// Lines that wait for a log service that is behind; those beyond are left out and counted.
const BACKLOG: usize = 4000;
/// How soon a log service that is behind is tried again, in milliseconds.
const PAUSE: u8 = 10;
/// Room for the longest line.
const BUFFER: usize = mapkeep_log::MAX_TEXT + 64;

const SUPERVISOR: u64 = 0;

/// A process that sends lines.
struct Source {
    pid: u32,
    channel: Channel,
    limiter: Limiter,
}

impl Source {
    /// Tells how many lines were left out, once their window has ended; returns when that is.
    fn settle(&mut self, now: Instant, outbox: &mut Outbox<'_>) -> Option<Instant> {
        if let Some(count) = self.limiter.left_out(now) {
            outbox.push(self.pid, Severity::Warning, format!("{count} lines of this process were left out"));
        }
        self.limiter.due()
    }
}

/// Lines queued for the log service. The kernel queues only about ten datagrams for it, and many lines come at once
/// when a service starts with many problems in its configuration.
struct Outbox<'l> {
    log: &'l MailLog,
    lines: VecDeque<(u32, Severity, String)>,
    lost: u64,
}

impl Outbox<'_> {
    fn push(&mut self, pid: u32, severity: Severity, text: String) {
        if self.lines.len() < BACKLOG {
            self.lines.push_back((pid, severity, text));
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Writes until the log service is behind.
    fn flush(&mut self) {
        while let Some((pid, severity, text)) = self.lines.front() {
            match self.log.try_line_of(*pid, *severity, text) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It does not wait for a log service that is not running.
                _ => drop(self.lines.pop_front()),
            }
        }
        if self.lost > 0 {
            let text = format!(
                "{} log lines of the service were lost: the log service did not take them in time -- if this \
                 recurs, check that it (syslog or postlogd) runs and keeps up",
                std::mem::take(&mut self.lost)
            );
            self.lines.push_back((std::process::id(), Severity::Warning, text));
        }
    }
}

/// Serves until the supervisor goes. Demands the proof of lock-down.
pub(crate) fn run(
    supervisor: &Channel,
    epoll: &Epoll,
    log: &MailLog,
    _confined: &Confined,
) -> io::Result<()> {
    let mut sources: BTreeMap<u64, Source> = BTreeMap::new();
    let mut next = SUPERVISOR;
    let mut events = [EpollEvent::empty(); 64];
    let mut outbox = Outbox { log, lines: VecDeque::new(), lost: 0 };
    let mut leaving = false;
    loop {
        let now = Instant::now();
        let due = sources.values_mut().filter_map(|source| source.settle(now, &mut outbox)).min();
        outbox.flush();
        let timeout = match (outbox.lines.is_empty(), leaving, due) {
            (false, ..) => EpollTimeout::from(PAUSE),
            (true, true, _) => EpollTimeout::ZERO,
            (true, false, None) => EpollTimeout::NONE,
            (true, false, Some(due)) => milliseconds(deadline::left(due, now)).into(),
        };
        let count = match epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in events.iter().take(count) {
            let number = event.data();
            if number == SUPERVISOR {
                if !meet(supervisor, epoll, &mut sources, &mut next)? {
                    // Lines that have arrived are still written: they may say why the service stops.
                    leaving = true;
                    epoll.delete(supervisor)?;
                }
            } else if let Some(source) = sources.get_mut(&number)
                && !take_lines(source, &mut outbox)
            {
                epoll.delete(&source.channel)?;
                sources.remove(&number);
            }
        }
        outbox.flush();
        if leaving && count == 0 && outbox.lines.is_empty() {
            return Ok(());
        }
    }
}

/// Takes new sources from the supervisor. False if the supervisor has exited.
fn meet(
    supervisor: &Channel,
    epoll: &Epoll,
    sources: &mut BTreeMap<u64, Source>,
    next: &mut u64,
) -> io::Result<bool> {
    let mut buffer = [0; 64];
    loop {
        let (length, mut freight) = match supervisor.receive(&mut buffer)? {
            Received::Message(length, freight) => (length, freight),
            Received::Empty => return Ok(true),
            Received::Closed => return Ok(false),
            Received::Oversized => return Err(io::ErrorKind::InvalidData.into()),
        };
        let message = SupervisorToLogger::decode(buffer.get(..length).unwrap_or_default());
        let SupervisorToLogger::Source { pid } = message.map_err(io::Error::other)?;
        let Some(channel) = freight.pop().filter(|_| freight.is_empty()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        *next = next.saturating_add(1);
        let channel = Channel::from_descriptor(channel);
        epoll.add(&channel, EpollEvent::new(EpollFlags::EPOLLIN, *next))?;
        let limiter = Limiter::new(LINES, Instant::now()).within(WINDOW);
        sources.insert(*next, Source { pid, channel, limiter });
    }
}

/// Reads lines of a source, a bounded number of them. False if the process has exited.
fn take_lines(source: &mut Source, outbox: &mut Outbox<'_>) -> bool {
    let mut buffer = [0; BUFFER];
    for _ in 0..64 {
        let length = match source.channel.receive_plain(&mut buffer) {
            Ok(Received::Message(length, _)) => length,
            Ok(Received::Empty) => return true,
            Ok(Received::Oversized) => continue,
            Ok(Received::Closed) | Err(_) => return false,
        };
        let line = ChannelSink::decode(buffer.get(..length).unwrap_or_default());
        let Some((severity, text)) = line else { continue };
        let now = Instant::now();
        source.settle(now, outbox);
        if source.limiter.passes(now) {
            outbox.push(source.pid, severity, text);
        }
    }
    true
}
