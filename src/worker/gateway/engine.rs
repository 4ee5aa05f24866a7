//! The languages of backends: from a question to bytes, and from bytes to answers, without any I/O.
//!
//! An engine is one connection's side of a protocol. It may have to log in before it can be asked, and may have several
//! questions in flight; their answers come in the order of the questions. May: compute. Never: keep more of what a server
//! sends than its bounds, or put a key or a value into a reason.

mod socketmap;
mod tcp;

use mapkeep_log::sanitise;
use mapkeep_proto::{Asks, MAX_VALUE, Manner, NoAnswer, Protocol};
use std::time::Duration;

/// The longest text of a server that a reason quotes, in bytes; that of Postfix's socketmap client.
const QUOTED: usize = 200;

/// One connection's side of a protocol.
pub trait Engine {
    /// What has to be sent before anything else; the answer to it comes to [`Engine::receive`].
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    /// How many more questions may be asked now; none as long as it has to log in.
    fn room(&self) -> usize;

    /// Appends a question to what is to be sent. The caller has seen that there is room.
    fn ask(&mut self, template: &Template, key: &[u8], out: &mut Vec<u8>);

    /// Takes bytes of the server off the front of `input`: up to the end of the answer to the oldest question, or all of
    /// them. What the protocol has to send in return is appended to `out`.
    ///
    /// # Errors
    /// The bytes are not what the protocol allows; nothing that follows can be read.
    fn receive(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Answer>, Garbage>;
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub reply: Reply,
    /// Whether nothing more is to be asked on this connection.
    pub ends: bool,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The value.
    Found(Vec<u8>),
    /// The backend has no such key.
    Absent,
    /// There is no answer, for this reason.
    Failed(NoAnswer, String),
}

/// Why bytes of a server are no answer: for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage(pub &'static str);

/// How a table is asked, worked out once from its settings.
#[derive(Debug)]
pub enum Template {
    /// A map of a socketmap server.
    Socketmap(socketmap::Template),
    /// A tcp server.
    Tcp,
}

impl Template {
    /// How a table with these settings is asked in this protocol; nothing if they do not belong together.
    #[must_use]
    pub fn new(protocol: &Protocol, asks: &Asks) -> Option<Template> {
        match (protocol, asks) {
            (Protocol::Socketmap { max_query, .. }, Asks::Socketmap { map }) => {
                Some(Template::Socketmap(socketmap::Template::new(map, *max_query)))
            }
            (Protocol::Tcp, Asks::Tcp) => Some(Template::Tcp),
            (Protocol::Socketmap { .. } | Protocol::Tcp, _) => None,
        }
    }

    /// Why a key is absent without a question, if it is.
    #[must_use]
    pub fn absent(&self, key: &[u8]) -> Option<String> {
        match self {
            Template::Socketmap(template) => template.absent(key),
            Template::Tcp => None,
        }
    }
}

/// The engine of a new connection to a backend that speaks this protocol.
#[must_use]
pub fn engine(protocol: &Protocol) -> Box<dyn Engine> {
    match protocol {
        Protocol::Socketmap { max_reply, .. } => Box::new(socketmap::Socketmap::new(*max_reply)),
        Protocol::Tcp => Box::new(tcp::Tcp::default()),
    }
}

/// How long a connection may stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Without a question.
    pub idle: Option<Duration>,
    /// In all; a question that is in flight by then is still answered.
    pub age: Option<Duration>,
}

/// How long connections of this protocol stay open: as in Postfix (its socketmap client closes after 10 seconds without a
/// lookup and after 100 seconds in all, its tcp client never).
#[must_use]
pub fn lifetime(protocol: &Protocol) -> Lifetime {
    let (idle, age) = (Duration::from_secs(10), Duration::from_secs(100));
    match protocol {
        Protocol::Socketmap { .. } => Lifetime { idle: Some(idle), age: Some(age) },
        Protocol::Tcp => Lifetime { idle: None, age: None },
    }
}

impl Reply {
    /// What the asker is told of it: a value that is too long, or not UTF-8 as was asked for, is a failure.
    #[must_use]
    pub fn checked(self, manner: Manner) -> Reply {
        match self {
            Reply::Found(value) if value.len() > MAX_VALUE => {
                Reply::Failed(NoAnswer::Later, format!("the value is longer than {MAX_VALUE} bytes"))
            }
            Reply::Found(value) if manner.utf8 && std::str::from_utf8(&value).is_err() => {
                Reply::Failed(NoAnswer::NotUtf8, String::new())
            }
            reply => reply,
        }
    }

    /// A failure in the server's words.
    fn failed(why: NoAnswer, what: &str, words: &[u8]) -> Reply {
        let words = words.trim_ascii();
        let colon = if words.is_empty() { "" } else { ": " };
        Reply::Failed(why, format!("{what}{colon}{}", sanitise(words, QUOTED)))
    }
}

/// As much of these bytes as a C string has.
fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// An answer after which the connection can be asked again.
fn goes_on(reply: Reply) -> Answer {
    Answer { reply, ends: false }
}

#[cfg(test)]
mod tests;
