//! Signal dispositions that a service needs before it is locked down.

use nix::sys::signal::{SigHandler, Signal, signal};
use std::io;

/// Ignores SIGPIPE (a client that has disconnected is an error value, and must not kill the process) and SIGXFSZ (a log
/// file at its limit must not kill the writer).
///
/// # Errors
/// Those of sigaction(2), which do not happen for these signals.
pub fn ignore_pipe_and_size() -> io::Result<()> {
    for number in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        // SAFETY: ignoring a signal installs no handler, so no code can run at a bad moment.
        unsafe { signal(number, SigHandler::SigIgn) }?;
    }
    Ok(())
}

/// Ignores SIGIO, which is sent to the holder of a lease when another process wants to open the file (see
/// [`crate::lease`]).
///
/// # Errors
/// Those of sigaction(2), which do not happen for this signal.
pub fn ignore_lease_breaks() -> io::Result<()> {
    // SAFETY: ignoring a signal installs no handler, so no code can run at a bad moment.
    unsafe { signal(Signal::SIGIO, SigHandler::SigIgn) }?;
    Ok(())
}

/// Restores the default action of the signals that a parent may have ignored or blocked for us.
///
/// # Errors
/// Those of sigaction(2) and sigprocmask(2).
pub fn defaults() -> io::Result<()> {
    for number in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        // SAFETY: the default action installs no handler, so no code can run at a bad moment.
        unsafe { signal(number, SigHandler::SigDfl) }?;
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()?;
    Ok(())
}
