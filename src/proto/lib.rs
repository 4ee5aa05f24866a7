//! The only words that the processes exchange.
//!
//! Purpose: table kinds, table ids, and one enum of messages for each direction of each channel, with a
//! hand-written codec. May: nothing but compute. Never: I/O, paths, client bytes.
//! Called by: broker and worker, at the two ends of each channel.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod accounts;
mod arguments;
mod codec;
mod composite;
mod kind;
mod message;
mod names;
mod program;
mod write;

pub use accounts::{account_names, empty_fields, redact_accounts};
pub use arguments::{ArgumentError, Arguments};
pub use codec::{DecodeError, MAX_MESSAGE};
pub use composite::leaves;
pub use kind::{
    Class, Kind, MAX_NESTING, braced, class_of, file_of, is_known_type, is_type_of_postfix, members,
    needs_file, next_element, remedy_unknown, split, trim, why_unknown,
};
pub use message::{
    BrokerToLookup, BrokerToSupervisor, Decode, LookupToBroker, SupervisorToBroker, SupervisorToLogger,
    Unavailable,
};
pub use names::{Listed, NamesError, decode_names, encode_names};
pub use program::{ByHand, WRONG_USAGE, version_text};
pub use write::{BrokerToWriter, Part, WriterToBroker};

/// The place of a table in the approved list; the only way in which a worker can name a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub u16);

/// The number of a spawned process within one life of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u32);

/// Workers of one broker that still have clients of before; with more of them, none is replaced for its age.
pub const MAX_DRAINING: usize = 4;

/// A group of callers that may ask the same set of tables, served by workers of their own.
///
/// There is one class for now: every caller may ask every approved table, as in stock Postfix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrustClass(pub u16);

impl TrustClass {
    /// The class of every caller, as long as no policy tells them apart.
    pub const EVERYONE: TrustClass = TrustClass(0);
}
