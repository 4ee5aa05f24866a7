//! A question on its way to the backend, and what is answered to it.

use crate::engine::Reply;
use crate::queue::Place;
use crate::tables::Table;
use mapkeep_proto::{Answered, Manner};
use std::rc::Rc;
use std::time::Instant;

/// A question that waits, or is in flight.
pub(crate) struct Question {
    /// Our number of the asker.
    pub(crate) asker: u64,
    /// The asker's number of it,
    pub(crate) ticket: u32,
    /// and of the client whose it is.
    pub(crate) client: u64,
    pub(crate) table: Rc<Table>,
    pub(crate) key: Box<[u8]>,
    pub(crate) manner: Manner,
    /// When it is answered at the latest.
    pub(crate) deadline: Instant,
    /// It has been asked on a connection that was closed before the answer had come.
    pub(crate) asked_before: bool,
}

/// Where a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// It waits for any connection.
    Waits(Place),
    /// It waits for a connection that nobody has used.
    WaitsForFresh(Place),
    /// It is in flight on the connection of this number.
    Asked(u64),
}

/// The answer as it is sent.
pub(crate) fn answered(reply: &Reply) -> Answered<'_> {
    match reply {
        // A server does not say how it keeps its keys.
        Reply::Found(value) => Answered::Found { with_nul: false, value },
        Reply::Absent => Answered::Absent,
        Reply::Failed(why, reason) => Answered::Failed { why: *why, reason },
    }
}
