//! Talking to somebody else, and sending descriptors.

use crate::raw::Word;
use crate::{Attack, Attempt, Loot, Outcome::Killed, call};
use libc::*;

/// The descriptor of the channel to the broker.
const BROKER: i32 = 3;

/// The abstract name on which the harness listens.
pub(crate) const ABSTRACT: &[u8; 18] = b"\x01\0\0mapkeep-escape\0";

/// `struct sockaddr_un` of a socket that many systems have.
const PATH_NAME: &[u8; 26] = b"\x01\0/run/systemd/notify-xyz\0";

/// `struct sockaddr_in` of 127.0.0.1, port 25.
const SMTP: &[u8; 16] = b"\x02\0\0\x19\x7f\0\0\x01\0\0\0\0\0\0\0\0";

fn socket(family: i32, kind: i32) -> crate::Answer {
    call!(SYS_socket, family, kind | SOCK_CLOEXEC, 0)
}

/// Without the end of the C string: an abstract name has no end but its length.
fn connect_abstract(socket: i64) -> crate::Answer {
    call!(SYS_connect, socket, ABSTRACT, 17)
}

/// sendmsg with a descriptor beside the message.
fn send_descriptor(nr: c_long, loot: &Loot) -> crate::Answer {
    let rights = [20, u64::from(SOL_SOCKET.cast_unsigned()) | (1 << 32), loot.handed.word() & 0xffff_ffff];
    let part = [b"x".word(), 1];
    // struct msghdr (and, for sendmmsg, the count of struct mmsghdr after it).
    let message = [0, 0, part.as_ptr() as u64, 1, rights.as_ptr() as u64, 24, 0, 0];
    let flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    if nr == SYS_sendmmsg {
        call!(nr, BROKER, &message, 1, flags)
    } else {
        call!(nr, BROKER, &message, flags)
    }
}

pub(super) const LIST: &[Attack] = &[
    Attack {
        item: 24,
        name: "abstract unix sockets",
        outcome: Killed,
        attempts: &[
            Attempt("socket, then connect", |_| connect_abstract(socket(AF_UNIX, SOCK_STREAM)?)),
            Attempt("connect the broker's channel", |_| connect_abstract(BROKER.into())),
            Attempt("sendto an address", |_| {
                call!(SYS_sendto, BROKER, b"x", 1, MSG_NOSIGNAL | MSG_DONTWAIT, ABSTRACT, 17)
            }),
        ],
    },
    Attack {
        item: 25,
        name: "unix sockets with path names",
        outcome: Killed,
        attempts: &[
            Attempt("connect", |loot| call!(SYS_connect, loot.client, PATH_NAME, 26)),
            Attempt("sendto an address", |_| {
                call!(SYS_sendto, BROKER, b"x", 1, MSG_NOSIGNAL | MSG_DONTWAIT, PATH_NAME, 26)
            }),
            Attempt("socket of datagrams", |_| socket(AF_UNIX, SOCK_DGRAM)),
            Attempt("socketpair", |_| call!(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, &mut [0_i32; 2])),
        ],
    },
    Attack {
        item: 26,
        name: "the network",
        outcome: Killed,
        attempts: &[
            Attempt("socket: TCP", |_| socket(AF_INET, SOCK_STREAM)),
            Attempt("socket: TCP over IPv6", |_| socket(AF_INET6, SOCK_STREAM)),
            Attempt("socket: UDP", |_| socket(AF_INET, SOCK_DGRAM)),
            Attempt("socket: UDP over IPv6", |_| socket(AF_INET6, SOCK_DGRAM)),
            Attempt("socket: raw", |_| socket(AF_INET, SOCK_RAW)),
            Attempt("socket: netlink", |_| socket(AF_NETLINK, SOCK_RAW)),
            Attempt("socket: vsock", |_| socket(AF_VSOCK, SOCK_STREAM)),
            Attempt("socket: packet", |_| socket(AF_PACKET, SOCK_RAW)),
            Attempt("socket: alg", |_| socket(AF_ALG, SOCK_SEQPACKET)),
            Attempt("connect", |loot| call!(SYS_connect, loot.client, SMTP, 16)),
            Attempt("bind", |loot| call!(SYS_bind, loot.client, SMTP, 16)),
            Attempt("listen", |loot| call!(SYS_listen, loot.client, 1)),
            Attempt("accept4", |loot| call!(SYS_accept4, loot.client, 0, 0, SOCK_CLOEXEC)),
            Attempt("setsockopt", |loot| {
                call!(SYS_setsockopt, loot.client, SOL_SOCKET, SO_RCVBUF, &[1_i32], 4)
            }),
        ],
    },
    Attack {
        item: 32,
        name: "send or take descriptors",
        outcome: Killed,
        attempts: &[
            Attempt("sendmsg", |loot| send_descriptor(SYS_sendmsg, loot)),
            Attempt("sendmmsg", |loot| send_descriptor(SYS_sendmmsg, loot)),
            Attempt("recvmsg from a client", |loot| {
                call!(SYS_recvmsg, loot.client, &mut [0_u64; 8], MSG_CMSG_CLOEXEC | MSG_DONTWAIT)
            }),
            Attempt("recvmmsg", |_| call!(SYS_recvmmsg, BROKER, &mut [0_u64; 8], 1, MSG_DONTWAIT, 0)),
        ],
    },
];
