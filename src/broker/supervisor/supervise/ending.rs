//! Why the supervisor ends, well or not.

use mapkeep_sandbox::Role;
use nix::sys::signal::Signal;
use std::fmt;
use std::io;

/// Why the supervisor gives up. It says so in the log and exits with a status that master(8) reports.
#[derive(Debug)]
pub(crate) enum Fatal {
    /// A process is not, or could not be, locked down as its role demands.
    Lock(Role, String),
    /// The kernel refused something that the service cannot do without.
    Io(&'static str, io::Error),
}

impl fmt::Display for Fatal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fatal::Lock(role, what) => write!(out, "the {} is not locked down: {what}", role.name()),
            Fatal::Io(what, error) => write!(out, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Fatal {}

/// Why the loop ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// master(8) has closed the status channel: a reload, a stop, or its own end.
    MasterGone,
    /// No client for `max_idle`.
    Idle,
    /// SIGTERM or SIGINT; under master(8) SIGHUP, too.
    Signal(Signal),
    /// The dialer has died, which only a new start can replace.
    DialerGone,
}

impl fmt::Display for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::MasterGone => {
                out.write_str("master(8) no longer needs it (reload, stop, or its own exit)")
            }
            Ending::Idle => out.write_str("no client for max_idle"),
            Ending::DialerGone => out.write_str("the dialer has exited, and only a restart brings another"),
            Ending::Signal(signal) => out.write_str(signal.as_str()),
        }
    }
}
