//! Deeds at the channels between the processes.

use super::*;
use crate::Outcome::{Dismissed, Killed};
use crate::call;
use libc::*;

/// Sends the supervisor the same message of a broker again and again; the supervisor may be busy, but not for ever.
fn insist(message: &[u8]) -> Answer {
    let part = [message.as_ptr() as u64, message.len() as u64];
    // struct msghdr: no address, one part, no descriptors, no flags.
    let header = [0, 0, part.as_ptr() as u64, 1, 0, 0, 0];
    let flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    for _ in 0..100_000_000 {
        match call!(SYS_sendmsg, 3, &header, flags) {
            Ok(_) | Err(EAGAIN) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(0)
}

/// In the order in which they are made.
pub(super) const DEEDS: &[Deed] = &[
    Deed {
        what: "speak to the supervisor as the logger",
        run: |_| call!(SYS_sendto, 3, b"\0x", 2, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0),
        locked: &[(&[Logger], Killed)],
        open: &[],
    },
    Deed {
        what: "take descriptors from another channel than that of the supervisor",
        run: |_| call!(SYS_recvmsg, 6, &[0_u64; 7], MSG_CMSG_CLOEXEC | MSG_DONTWAIT),
        locked: &[(SERVANTS, Killed)],
        open: &[],
    },
    Deed {
        what: "have workers started without end",
        run: |_| insist(&[2, 0, 0, 0]),
        locked: &[(BROKERS, Dismissed("the broker asked for more workers than it may have"))],
        open: &[],
    },
    Deed {
        what: "have rules workers started where there are no rules",
        run: |_| insist(&[2, 0, 0, 1]),
        locked: &[(BROKERS, Dismissed("the broker asked for more workers than it may have"))],
        open: &[],
    },
    Deed {
        what: "be ready again and again",
        run: |_| insist(&[1]),
        locked: &[(BROKERS, Dismissed("the broker reported twice that it is ready"))],
        open: &[],
    },
];
