//! Why a table is not handed out, for the log and for the writer.
//!
//! Pure.

use mapkeep_broker_trust::Refusal;
use mapkeep_proto::Unavailable;
use nix::errno::Errno;
use std::time::Instant;

/// Why a table is not handed out, or a file not set aside.
#[derive(Debug)]
pub(super) enum Trouble {
    Refusal(Refusal),
    /// Its files have been reported as damaged too often; until when no more are set aside.
    TooOften(Instant),
    /// Another program has this file locked, or open for writing.
    InUse(Vec<u8>),
    /// This file cannot be locked.
    Lock(Vec<u8>, Errno),
    /// A damaged file could not be renamed.
    Rename(Vec<u8>, Errno),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Trouble {
        Trouble::Refusal(refusal)
    }
}

impl Trouble {
    /// What the writer is told.
    pub(super) fn reason(&self) -> Unavailable {
        match self {
            Trouble::Refusal(Refusal::Missing { .. }) => Unavailable::Missing,
            Trouble::Refusal(Refusal::Untrusted { .. }) => Unavailable::Refused,
            Trouble::Refusal(Refusal::Io { errno: Errno::ENOSPC | Errno::EDQUOT, .. }) => Unavailable::NoRoom,
            Trouble::Refusal(Refusal::Retry { .. }) | Trouble::InUse(_) => Unavailable::Loading,
            Trouble::Refusal(Refusal::Io { .. })
            | Trouble::TooOften(_)
            | Trouble::Lock(..)
            | Trouble::Rename(..) => Unavailable::Unreadable,
        }
    }

    /// What the log is told.
    pub(super) fn text(&self) -> String {
        match self {
            Trouble::Refusal(refusal) => text_of(refusal),
            Trouble::TooOften(_) => {
                "its files have been set aside as damaged too often lately; the next one is set \
                                     aside only after some time"
                    .to_owned()
            }
            Trouble::InUse(path) => {
                let path = String::from_utf8_lossy(path);
                format!(
                    "{path} is locked, or open for writing, by another program (fuser -v {path} names it), and is \
                     not replaced until that program has exited; no change is lost"
                )
            }
            Trouble::Lock(path, errno) => {
                format!("{} cannot be locked: {}", String::from_utf8_lossy(path), errno.desc())
            }
            Trouble::Rename(path, errno) => {
                format!("{} cannot be set aside: {}", String::from_utf8_lossy(path), errno.desc())
            }
        }
    }
}

/// A refusal for the log.
pub(super) fn text_of(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Io { component, errno: errno @ (Errno::ENOSPC | Errno::EDQUOT) } => {
            format!("{} cannot be created: {}", String::from_utf8_lossy(component), errno.desc())
        }
        Refusal::Io { errno: Errno::EACCES, .. } => format!(
            "{refusal}; if its directory, or a link to it, was created, replaced or corrected after the start, \
             restart the service (\"postfix reload\", or \"systemctl restart\" of its own unit)"
        ),
        refusal => refusal.to_string(),
    }
}
