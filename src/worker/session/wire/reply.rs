//! Replies as bytes. Every attribute of a shape is always there, as empty text where there is nothing
//! to say: a client that misses one, or finds one byte too many, drops the connection.

use mapkeep_query::text_of;

use super::{Dialect, Verb};
use crate::flags::Flags;

/// The outcome of a request; the number is what goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done, or found.
    Ok = 0,
    /// No such key, or nothing more.
    NoKey = 1,
    /// Temporary error: the client answers 451 and tries later. Never in reply to open.
    Retry = 2,
    /// Malformed request. Clients exit on this.
    Bad = 3,
    /// The table is not approved, or the service is read-only. Clients exit on this.
    Deny = 4,
    /// The table exists but its configuration or contents cannot be used. Never in reply to open.
    Config = 5,
}

/// What to send back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// To open: status and flags in both dialects.
    Open(Status, Flags),
    /// To lookup: the flags are left out in the old dialect.
    Lookup(Status, Flags, &'a [u8]),
    /// To update and delete: the flags are left out in the old dialect.
    Change(Status, Flags),
    /// To sequence: key and value; the flags are left out in the old dialect.
    Sequence(Status, Flags, &'a [u8], &'a [u8]),
    /// To a request of unknown name: the status BAD alone, in both dialects.
    Unrecognized,
}

impl Reply<'_> {
    /// The reply that carries nothing but a status, in the shape for this request.
    #[must_use]
    pub fn refusal(verb: Verb, status: Status) -> Reply<'static> {
        Reply::empty(verb, status, Flags::NONE)
    }

    /// The reply without key and value, in the shape for this request.
    #[must_use]
    pub fn empty(verb: Verb, status: Status, flags: Flags) -> Reply<'static> {
        match verb {
            Verb::Open => Reply::Open(status, flags),
            Verb::Lookup => Reply::Lookup(status, flags, b""),
            Verb::Update | Verb::Delete => Reply::Change(status, flags),
            Verb::Sequence => Reply::Sequence(status, flags, b"", b""),
        }
    }
}

/// Appends the bytes of `reply` to `out`. Keys and values end at their first NUL, as they do in stock,
/// where they are C strings: nothing that a table holds can break the framing.
pub fn encode_reply(reply: &Reply<'_>, dialect: Dialect, out: &mut Vec<u8>) {
    let flags_follow = dialect == Dialect::New;
    match *reply {
        Reply::Open(status, flags) => {
            put_status(out, status);
            put_flags(out, flags);
        }
        Reply::Lookup(status, flags, value) => {
            put_status(out, status);
            if flags_follow {
                put_flags(out, flags);
            }
            put(out, b"value", value);
        }
        Reply::Change(status, flags) => {
            put_status(out, status);
            if flags_follow {
                put_flags(out, flags);
            }
        }
        Reply::Sequence(status, flags, key, value) => {
            put_status(out, status);
            if flags_follow {
                put_flags(out, flags);
            }
            put(out, b"key", key);
            put(out, b"value", value);
        }
        Reply::Unrecognized => put_status(out, Status::Bad),
    }
    out.push(0);
}

fn put_status(out: &mut Vec<u8>, status: Status) {
    put(out, b"status", &[b'0' | status as u8]);
}

fn put_flags(out: &mut Vec<u8>, flags: Flags) {
    put(out, b"flags", flags.0.to_string().as_bytes());
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.push(0);
    out.extend_from_slice(text_of(value));
    out.push(0);
}
