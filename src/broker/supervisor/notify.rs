//! Messages to the service manager: ready, reloading, stopping, alive.
//!
//! May: send datagrams to the socket that NOTIFY_SOCKET names. Never: wait longer than a second, or fail the service
//! because nobody listens.
//!
//! Source of the facts: sd_notify(3). The socket is connected before lock-down, for Landlock then forbids connecting to
//! an abstract socket outside of the domain.

use nix::time::{ClockId, clock_gettime};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// How long a message may wait for room in the manager's queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// The connection to the service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    socket: Option<UnixDatagram>,
    /// How often the manager wants a sign of life, halved.
    beat: Option<Duration>,
    next_beat: Option<Instant>,
}

impl Notify {
    /// Connects to the socket that the environment names. The text says why it could not.
    pub(crate) fn from_environment() -> Result<Notify, String> {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let beat = number("WATCHDOG_USEC").filter(|time| for_us && *time > 0).map(|time| time / 2);
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Notify::default());
        };
        let socket = connect(&name).map_err(|error| format!("NOTIFY_SOCKET {}: {error}", name.display()))?;
        Ok(Notify { socket: Some(socket), beat: beat.map(Duration::from_micros), next_beat: None })
    }

    /// The descriptor, which stays open.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.socket.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Clients are served. `status` is one line for people.
    pub(crate) fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// The configuration is being read again; `ready` ends that.
    pub(crate) fn reloading(&self) {
        // The manager compares the time with that of its request.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.as_micros()));
    }

    /// The service is about to end.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1\n");
    }

    /// A sign of life, when one is due.
    pub(crate) fn beat(&mut self, now: Instant) {
        let Some(pause) = self.beat else { return };
        if self.next_beat.is_none_or(|moment| moment <= now) {
            self.say("WATCHDOG=1\n");
            self.next_beat = now.checked_add(pause);
        }
    }

    /// When the next sign of life is due.
    pub(crate) fn next_beat(&self) -> Option<Instant> {
        self.next_beat
    }

    fn say(&self, text: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(text.as_bytes())
        {
            tracing::warn!("cannot reach the service manager: {error}");
        }
    }
}

/// A datagram socket connected to `name`: a path, or an abstract name after `@`.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes().split_first() {
        Some((b'@', name)) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        Some((b'/', _)) => socket.connect(OsString::from(name))?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    }
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn messages_reach_an_abstract_socket() {
        let name = format!("mapkeep-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let socket = Some(connect(OsStr::new(&format!("@{name}"))).unwrap());
        let mut notify = Notify { socket, beat: Some(Duration::from_secs(3)), next_beat: None };
        notify.ready("up");
        assert_eq!(received(&manager), "READY=1\nSTATUS=up\n");
        notify.reloading();
        assert!(received(&manager).starts_with("RELOADING=1\nMONOTONIC_USEC="));
        let now = Instant::now();
        notify.beat(now);
        notify.beat(now);
        notify.stopping();
        assert_eq!(received(&manager), "WATCHDOG=1\n");
        assert_eq!(received(&manager), "STOPPING=1\n", "the second beat was not due");
        assert_eq!(notify.next_beat(), now.checked_add(Duration::from_secs(3)));
    }

    #[test]
    fn other_names_are_refused() {
        assert!(connect(OsStr::new("vsock:2:3")).is_err());
        assert!(connect(OsStr::new("/nowhere/there")).is_err());
    }
}
