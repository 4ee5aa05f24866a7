//! Connecting within a time: to one of several addresses, or to a path.

use crate::reason::Why;
use mapkeep_process::milliseconds;
use mapkeep_sandbox::Confined;
use mapkeep_sys::deadline::left;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr, connect, getsockopt,
    socket, sockopt,
};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a path is left alone whose server has no room in its queue: the kernel tells nobody when there is some.
const PAUSE: Duration = Duration::from_millis(10);

/// Connects to the first address that answers, in their order. Each has an equal part of the time that is left, so that one
/// that is silent does not cost the others their turn. Demands the proof of lock-down.
///
/// # Errors
/// What became of each address.
pub(crate) fn to_any(
    addresses: &[SocketAddr],
    until: Instant,
    _confined: &Confined,
) -> Result<OwnedFd, Vec<(SocketAddr, Why)>> {
    let mut failures = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let still = u32::try_from(addresses.len().saturating_sub(number)).unwrap_or(u32::MAX);
        let part = left(until, now).checked_div(still).unwrap_or_default();
        match to_address(*address, now, part) {
            Ok(connected) => return Ok(connected),
            Err(why) => failures.push((*address, why)),
        }
    }
    Err(failures)
}

fn to_address(address: SocketAddr, now: Instant, part: Duration) -> Result<OwnedFd, Why> {
    match address {
        SocketAddr::V4(v4) => begin(AddressFamily::Inet, &SockaddrIn::from(v4), now, part),
        SocketAddr::V6(v6) => begin(AddressFamily::Inet6, &SockaddrIn6::from(v6), now, part),
    }
}

fn stream(family: AddressFamily) -> Result<OwnedFd, Why> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket(family, SockType::Stream, flags, None).map_err(Why::Error)
}

fn begin(
    family: AddressFamily,
    address: &dyn SockaddrLike,
    now: Instant,
    part: Duration,
) -> Result<OwnedFd, Why> {
    let socket = stream(family)?;
    match connect(socket.as_raw_fd(), address) {
        Ok(()) => return Ok(socket),
        Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(Why::Error(error)),
    }
    if !wait(Some(&socket), now.checked_add(part)) {
        return Err(Why::Silence(part.as_millis()));
    }
    match getsockopt(&socket, sockopt::SocketError) {
        Ok(0) => Ok(socket),
        Ok(number) => Err(Why::Error(Errno::from_raw(number))),
        Err(error) => Err(Why::Error(error)),
    }
}

/// Waits until a socket can be written to, or just waits; false when the time is over.
fn wait(socket: Option<&OwnedFd>, until: Option<Instant>) -> bool {
    loop {
        let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        let mut polled: Vec<PollFd<'_>> =
            socket.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLOUT)).collect();
        match poll(&mut polled, PollTimeout::from(milliseconds(left))) {
            Ok(0) if left.is_zero() => return false,
            Ok(count) if count > 0 => return true,
            // Interrupted, or the longest wait of one call is over.
            Ok(_) | Err(_) => {}
        }
    }
}

/// Waits until there may be room in the channel; false when the time is over.
pub(crate) fn room(channel: &impl AsFd, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    let mut polled = [PollFd::new(channel.as_fd(), PollFlags::POLLOUT)];
    matches!(poll(&mut polled, PollTimeout::from(milliseconds(left))), Ok(1..) | Err(Errno::EINTR))
}

/// Connects to the socket at a path. Demands the proof of lock-down.
///
/// # Errors
/// Why it cannot be.
pub(crate) fn to_path(path: &[u8], until: Instant, _confined: &Confined) -> Result<OwnedFd, Why> {
    let address = UnixAddr::new(path).map_err(Why::Error)?;
    let begun = Instant::now();
    let socket = stream(AddressFamily::Unix)?;
    loop {
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::EAGAIN | Errno::EINTR) if Instant::now() < until => {}
            Err(Errno::EAGAIN | Errno::EINTR) => return Err(Why::Silence(begun.elapsed().as_millis())),
            Err(error) => return Err(Why::Error(error)),
        }
        wait(None, Instant::now().checked_add(PAUSE).map(|end| end.min(until)));
    }
}
