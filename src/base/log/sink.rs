//! Where lines go: the mail log itself, or the channel to the logger.

use crate::line::{Facility, Severity, sanitise};
use crate::{MAX_TEXT, line};
use mapkeep_sys::channel::Channel;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendto, socket};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one of our own lines waits for a slow log service: the kernel queues only about ten datagrams for it.
const WAIT: Duration = Duration::from_millis(100);
/// The number of lines that a locked-down process queues for a slow logger; further ones are dropped and counted.
const WAITING: usize = 2000;
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(2);

/// Accepts finished lines. A sink hardly blocks and never fails: a log that cannot be written must not stop mail.
pub trait Sink: Send {
    /// Writes one line of this process.
    fn line(&mut self, severity: Severity, text: &str);

    /// Tries again to write queued lines. True if none is left.
    fn flush(&mut self) -> bool {
        true
    }
}

/// The log channel of a locked-down process: one message a line, severity first.
///
/// The kernel queues about 200 of them; a process that loads many tables at once may log more, and queues the rest
/// until the logger has caught up.
#[derive(Debug)]
pub struct ChannelSink {
    channel: Channel,
    waiting: VecDeque<Vec<u8>>,
    lost: u64,
}

impl ChannelSink {
    /// Lines go to the logger at the other end.
    #[must_use]
    pub fn new(channel: Channel) -> ChannelSink {
        ChannelSink { channel, waiting: VecDeque::new(), lost: 0 }
    }

    /// Reads a message that a sink at the other end has sent.
    #[must_use]
    pub fn decode(message: &[u8]) -> Option<(Severity, String)> {
        let (tag, text) = message.split_first()?;
        Some((Severity::from_tag(*tag)?, sanitise(text, MAX_TEXT)))
    }

    fn message(severity: Severity, text: &str) -> Vec<u8> {
        let mut message = vec![severity as u8];
        message.extend(text.bytes().take(MAX_TEXT));
        message
    }

    /// Sends queued lines as far as there is room; false if some are left.
    fn send_waiting(&mut self) -> bool {
        while let Some(message) = self.waiting.front() {
            match self.channel.send(message, &[]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // A logger that has exited is replaced, on the same channel; lines sent to it are lost.
                Err(_) => self.lost = self.lost.saturating_add(1),
            }
            self.waiting.pop_front();
        }
        true
    }
}

impl Sink for ChannelSink {
    fn line(&mut self, severity: Severity, text: &str) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back(ChannelSink::message(severity, text));
        } else {
            self.lost = self.lost.saturating_add(1);
        }
        self.flush();
    }

    fn flush(&mut self) -> bool {
        if !self.send_waiting() {
            return false;
        }
        if self.lost > 0 {
            let note = format!(
                "{} log lines of this process were lost: the logger did not take them in time, or exited -- \
                 if this recurs, check that the log service (syslog or postlogd) keeps up",
                std::mem::take(&mut self.lost)
            );
            self.waiting.push_back(ChannelSink::message(Severity::Warning, &note));
            return self.send_waiting();
        }
        true
    }
}

/// Which log the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The system log. Each line is sent to the path afresh, so that it survives a restart of the log service.
    Syslog(PathBuf),
    /// Postfix's own log service; the socket of postlogd(8), which master(8) keeps across its restarts.
    Postlog(PathBuf),
    /// Standard error, for a service in the foreground.
    Stderr,
}

/// The mail log, written directly.
#[derive(Debug)]
pub struct MailLog {
    destination: Destination,
    socket: Option<OwnedFd>,
    ident: String,
    host: String,
    facility: Facility,
    pid: u32,
    /// The log service did not accept the last line in time: lines do not wait for it until it has caught up.
    stuck: bool,
}

impl MailLog {
    /// Opens the log, if there is anything to open. `ident` is the prefix before the pid (`postfix/proxymap`), `host`
    /// the host name without domain.
    ///
    /// # Errors
    /// Those of socket(2). A log service that is not running is no error: lines are lost until it is.
    pub fn open(
        destination: Destination,
        facility: Facility,
        ident: &str,
        host: &str,
        pid: u32,
    ) -> io::Result<MailLog> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let datagram = || socket(AddressFamily::Unix, SockType::Datagram, flags, None);
        let socket = match &destination {
            Destination::Stderr => None,
            Destination::Syslog(_) => Some(datagram()?),
            Destination::Postlog(path) => {
                // Connected now: the socket is in a directory that only root can enter, and the logger is
                // not root. Postfix's daemons connect before they drop privileges for the same reason.
                let made = datagram()?;
                match connect(made.as_raw_fd(), &UnixAddr::new(path)?) {
                    Ok(()) => Some(made),
                    Err(_) => None,
                }
            }
        };
        let (ident, host) = (ident.to_owned(), host.to_owned());
        // Reads the time zone now: no file can be opened afterwards.
        let _ = mapkeep_sys::clock::local_now()?;
        Ok(MailLog { destination, socket, ident, host, facility, pid, stuck: false })
    }

    /// The log over a socket that another process has opened.
    ///
    /// # Errors
    /// A clock that cannot be read.
    pub fn inherited(
        destination: Destination,
        socket: Option<OwnedFd>,
        facility: Facility,
        ident: &str,
        host: &str,
    ) -> io::Result<MailLog> {
        let (ident, host) = (ident.to_owned(), host.to_owned());
        let _ = mapkeep_sys::clock::local_now()?;
        Ok(MailLog { destination, socket, ident, host, facility, pid: std::process::id(), stuck: false })
    }

    /// The socket, for the check of open descriptors.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Releases the socket, for the logger.
    #[must_use]
    pub fn into_socket(self) -> Option<OwnedFd> {
        self.socket
    }

    /// Writes one line on behalf of the process `pid`, or loses it.
    pub fn line_of(&self, pid: u32, severity: Severity, text: &str) {
        // A line that cannot be written has nowhere else to go.
        let _ = self.try_line_of(pid, severity, text);
    }

    /// Writes one line on behalf of the process `pid`, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` while the log service is behind; the other errors of sendto(2) when it is not there.
    pub fn try_line_of(&self, pid: u32, severity: Severity, text: &str) -> io::Result<()> {
        let ident = &self.ident;
        let prefix = severity.prefix();
        let text = line::sanitise(text.as_bytes(), MAX_TEXT);
        match (&self.destination, &self.socket) {
            (Destination::Stderr, _) => {
                let line = format!("{ident}[{pid}]: {prefix}{text}\n");
                io::stderr().write_all(line.as_bytes())
            }
            (Destination::Syslog(path), Some(socket)) => {
                let priority = self.facility.priority(severity);
                self.to_path(socket, path, &format!("<{priority}>{ident}[{pid}]: {prefix}{text}"))
            }
            (Destination::Postlog(_), Some(socket)) => {
                let line = format!("{} {} {ident}[{pid}]: {prefix}{text}", stamp(), self.host);
                let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
                nix::sys::socket::send(socket.as_raw_fd(), line.as_bytes(), flags)
                    .map(|_| ())
                    .map_err(io::Error::from)
            }
            (_, None) => Ok(()),
        }
    }

    fn to_path(&self, socket: &OwnedFd, path: &Path, line: &str) -> io::Result<()> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendto(socket.as_raw_fd(), line.as_bytes(), &UnixAddr::new(path)?, flags)?;
        Ok(())
    }
}

impl Sink for MailLog {
    fn line(&mut self, severity: Severity, text: &str) {
        let behind = |result: &io::Result<()>| {
            result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        let mut waited = Duration::ZERO;
        let mut result = self.try_line_of(self.pid, severity, text);
        while !self.stuck && behind(&result) && waited < WAIT {
            std::thread::sleep(PAUSE);
            waited = waited.saturating_add(PAUSE);
            result = self.try_line_of(self.pid, severity, text);
        }
        self.stuck = behind(&result);
    }
}

/// `Nov 21 04:05:06`, as postlogd(8) expects it at the start of a line.
fn stamp() -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    match mapkeep_sys::clock::local_now() {
        Ok(now) => {
            let month = MONTHS.get(now.month).copied().unwrap_or("???");
            format!("{month} {:2} {:02}:{:02}:{:02}", now.day, now.hour, now.minute, now.second)
        }
        Err(_) => "??? ?? ??:??:??".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapkeep_sys::channel::Received;
    use std::os::unix::net::UnixDatagram;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("mapkeep-log-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn syslog_line_has_priority_ident_and_survives_a_restarted_log() {
        let folder = Folder::new("syslog");
        let path = folder.0.join("log");
        let first = UnixDatagram::bind(&path).unwrap();
        let to = Destination::Syslog(path.clone());
        let mut log = MailLog::open(to, Facility::MAIL, "postfix/proxymap", "mail", 42).unwrap();
        log.line(Severity::Warning, "a\nb");
        assert_eq!(received(&first), "<20>postfix/proxymap[42]: warning: a?b");
        drop(first);
        log.line(Severity::Info, "lost");
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        log.line_of(7, Severity::Fatal, "c");
        assert_eq!(received(&second), "<18>postfix/proxymap[7]: fatal: c");
    }

    #[test]
    fn postlog_line_has_time_and_host() {
        let folder = Folder::new("postlog");
        let path = folder.0.join("postlog");
        let socket = UnixDatagram::bind(&path).unwrap();
        let to = Destination::Postlog(path);
        let mut log = MailLog::open(to, Facility::MAIL, "postfix/proxymap", "mail", 42).unwrap();
        log.line(Severity::Error, "x");
        let line = received(&socket);
        assert!(line.ends_with(" mail postfix/proxymap[42]: error: x"), "{line}");
        assert_eq!(line.len(), "Nov 21 04:05:06".len() + " mail postfix/proxymap[42]: error: x".len());
    }

    #[test]
    fn log_service_that_is_behind_is_waited_for_once() {
        let folder = Folder::new("behind");
        let path = folder.0.join("postlog");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut log =
            MailLog::open(Destination::Postlog(path), Facility::MAIL, "postfix/proxymap", "mail", 42)
                .unwrap();
        let mut room = 0;
        let behind = loop {
            match log.try_line_of(42, Severity::Info, "x") {
                Ok(()) => room += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(behind.kind(), io::ErrorKind::WouldBlock);
        log.line(Severity::Info, "lost");
        assert!(log.stuck, "the next line does not wait");
        log.line(Severity::Info, "lost");
        for _ in 0..room {
            assert!(received(&socket).ends_with(": x"));
        }
        log.line(Severity::Info, "after");
        assert!(!log.stuck);
        assert!(received(&socket).ends_with(": after"));
    }

    #[test]
    fn channel_keeps_lines_for_a_logger_that_is_behind_and_counts_what_it_lost() {
        let (near, far) = Channel::pair().unwrap();
        let mut sink = ChannelSink::new(near);
        for number in 0..10_000 {
            sink.line(Severity::Info, &number.to_string());
        }
        let mut buffer = [0; 4096];
        let mut came = Vec::new();
        loop {
            while let Received::Message(length, _) = far.receive_plain(&mut buffer).unwrap() {
                came.push(ChannelSink::decode(&buffer[..length]).unwrap());
            }
            if sink.flush() {
                break;
            }
        }
        while let Received::Message(length, _) = far.receive_plain(&mut buffer).unwrap() {
            came.push(ChannelSink::decode(&buffer[..length]).unwrap());
        }
        let (severity, note) = came.pop().unwrap();
        assert!(came.len() > WAITING, "{}", came.len());
        assert!(came.iter().zip(0..).all(|((_, text), number)| *text == number.to_string()), "in order");
        let lost = 10_000 - came.len();
        assert_eq!(severity, Severity::Warning);
        assert!(note.starts_with(&format!("{lost} log lines of this process were lost: ")), "{note}");
        assert!(note.contains("check that the log service"), "{note}");
    }
}
