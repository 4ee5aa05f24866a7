//! What answering needs besides the connection.

use crate::{Answered, Service, Settings};

/// Replies to one client that may wait for it to read them, in bytes. Over this its further requests wait, too; one
/// reply may be as long as the longest value.
pub const UNREAD: usize = 128 << 10;

/// Where replies are gathered.
pub trait Replies {
    /// The replies so far; the next is appended.
    fn bytes(&mut self) -> &mut Vec<u8>;

    /// Whether another request may be answered now.
    fn has_room(&self) -> bool;

    /// A request of `length` bytes has been answered, from `start` on in the replies.
    fn answered(&mut self, answered: &Answered<u32>, start: usize, length: usize) {
        let _ = (answered, start, length);
    }

    /// A malformed request has been answered.
    fn refused(&mut self) {}
}

/// What answering needs besides the connection.
pub struct Context<'d, T, R> {
    /// The tables.
    pub tables: &'d T,
    /// The service that the clients have connected to.
    pub service: Service,
    /// What of main.cf the answers depend on.
    pub settings: Settings,
    /// Room for what is read in one go.
    pub scratch: &'d mut [u8],
    /// The replies to one client; empty between clients.
    pub replies: &'d mut R,
    /// Whether bytes of incomplete requests may still be kept.
    pub room_for_input: bool,
}
