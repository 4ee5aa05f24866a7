//! A connector: the fork of the dialer that makes one connection.
//!
//! It has no log: what went wrong is its answer.

use crate::{connect, reason, services};
use mapkeep_proto::{Decode, DialerToBroker, Host};
use mapkeep_sandbox::{Confined, FileRules, Narrower, Role, Tcp};
use mapkeep_sys::channel::Channel;
use mapkeep_sys::{exit, fork};
use nix::errno::Errno;
use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

/// Where the channel to the broker is. The system call lists know it by this number, of which no other descriptor has a bit:
/// what may be read is everything else.
pub(crate) const CHANNEL_NUMBER: RawFd = 256;
/// The port of name servers.
const DOMAIN: u16 = 53;
/// What the C library reads to make addresses of names; a file that is missing is left out. Modules of the name service are
/// libraries.
const NAME_SERVICE: [&str; 14] = [
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/ld.so.cache",
    "/proc/sys/net/ipv6/conf/all/disable_ipv6",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/gnu/store",
];

/// A connection that a broker wants.
#[derive(Debug)]
pub(crate) struct Wish {
    /// The number that comes back with the answer.
    pub(crate) number: u32,
    /// When the time for it is over.
    pub(crate) until: Instant,
    /// Where to.
    pub(crate) host: Host,
}

/// What a connector has to know of the dialer.
#[derive(Debug)]
pub(crate) struct Own {
    /// The name of the user that it runs as.
    pub(crate) account: String,
    /// Whether it may connect over IPv4.
    pub(crate) ipv4: bool,
    /// Whether it may connect over IPv6.
    pub(crate) ipv6: bool,
}

/// Makes the connection, answers the broker, and ends: with status 0 if the broker has an answer.
pub(crate) fn run(dialer: &Confined, pid: i32, channel: &Channel, wish: &Wish, own: &Own) -> ! {
    let answered = fork::keep_only(channel.as_fd(), CHANNEL_NUMBER).is_ok_and(|kept| {
        let channel = Channel::from_descriptor(kept);
        let number = wish.number;
        match connection(dialer, pid, wish, own) {
            Ok(socket) => {
                answer(&channel, &DialerToBroker::Connected { number }, &[socket.as_fd()], wish.until)
            }
            Err(reason) => answer(&channel, &DialerToBroker::Failed { number, reason }, &[], wish.until),
        }
        .is_ok()
    });
    exit::now(u8::from(!answered))
}

/// Says it, when the broker has room.
fn answer(
    channel: &Channel,
    message: &DialerToBroker,
    freight: &[BorrowedFd<'_>],
    until: Instant,
) -> io::Result<()> {
    let packet = message.encode();
    loop {
        match channel.send(&packet, freight) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && connect::room(channel, until) => {}
            ended => return ended,
        }
    }
}

fn connection(dialer: &Confined, pid: i32, wish: &Wish, own: &Own) -> Result<OwnedFd, String> {
    let lock = |tcp: Tcp| {
        let names = if tcp == Tcp::Nowhere { &[][..] } else { &NAME_SERVICE };
        let read_if_there = names.iter().map(Into::into).collect();
        let wanted = Narrower {
            role: Role::Connector,
            files: FileRules { read_if_there, tcp, ..FileRules::default() },
            expected_descriptors: &[0, 1, 2, CHANNEL_NUMBER],
            parent_pid: pid,
        };
        dialer.narrow(&wanted).map_err(|error| error.to_string())
    };
    match &wish.host {
        Host::Unix(path) => {
            let confined = lock(Tcp::Nowhere)?;
            connect::to_path(path, wish.until, &confined)
                .map_err(|why| reason::of_path(path, why, &own.account))
        }
        Host::Tcp { name, port } => {
            let port = services::port(port)?;
            let name =
                std::str::from_utf8(name).map_err(|_| format!("host {}: no name", reason::shown(name)))?;
            let confined = lock(Tcp::Ports(vec![port, DOMAIN]))?;
            // In the order that RFC 6724 gives them, and without the one twice.
            let found = (name, port).to_socket_addrs().map_err(|error| reason::of_name(name, &error))?;
            let (mut addresses, mut none_allowed) = (Vec::new(), false);
            for address in found {
                let allowed = if address.is_ipv4() { own.ipv4 } else { own.ipv6 };
                none_allowed |= !allowed;
                if allowed && !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            if addresses.is_empty() && none_allowed {
                return Err(reason::of_protocols(name));
            }
            if addresses.is_empty() {
                return Err(reason::of_name(name, &Errno::EADDRNOTAVAIL.into()));
            }
            connect::to_any(&addresses, wish.until, &confined)
                .map_err(|failures| reason::of_addresses(&failures))
        }
    }
}
