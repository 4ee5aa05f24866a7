//! From a `tracing` event to one line in the mail log.
//!
//! Purpose: format events in the style of Postfix, limit their rate, and send them where the mail log is. May: write to one
//! socket that was made before lock-down. Never: read, open, or show a key or a value.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod kinds;
mod limit;
mod line;
mod sink;
mod subscriber;

pub use limit::Limiter;
pub use line::{Facility, Severity, sanitise};
pub use sink::{ChannelSink, Destination, MailLog, Sink};
pub use subscriber::{install, settle};

/// The longest text of one line, in bytes; longer text is cut. Postfix's own limit is of this size.
pub const MAX_TEXT: usize = 2000;
