//! A request that waits for another process, and the reply once that has answered.
//!
//! May: keep what the reply depends on. Never: keep the key or the name, which the search keeps as far as it needs them.

use std::fmt;

use mapkeep_proto::Answered as Reported;
use mapkeep_query::{Outcome, text_of};

use super::{Answer, Answered, Event, Failure, Got, Nature, Search, Tables, report, rules};
use crate::flags::Flags;
use crate::wire::{Dialect, Reply, Request, Status, Verb, encode_reply};

/// What the reply to a request depends on, beside the outcome.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) verb: Verb,
    pub(super) dialect: Dialect,
    pub(super) flags: Flags,
    pub(super) nature: Nature,
    /// Whether the value must be UTF-8.
    pub(super) utf8: bool,
    /// False for an empty key in a table that has none.
    pub(super) may_be_found: bool,
}

impl Form {
    /// That of a request for a table of this nature; `flags` are those of a reply without an answer.
    pub(super) fn of(request: &Request<'_>, flags: Flags, nature: Nature) -> Form {
        let (verb, dialect) = (request.call.verb(), request.dialect);
        Form { verb, dialect, flags, nature, utf8: false, may_be_found: true }
    }

    /// Appends the reply to a lookup.
    pub(super) fn reply_to_lookup(
        &self,
        name: &[u8],
        found: Result<Outcome, Failure>,
        value: &[u8],
        out: &mut Vec<u8>,
        log: &mut dyn FnMut(Event<'_>),
    ) {
        // A found key shows how the table stores its keys, even if the value cannot be returned.
        let flags_now = match &found {
            Ok(Outcome::Found(mode)) => rules::after_hit(self.flags, *mode, self.nature),
            _ => self.flags,
        };
        let text = text_of(value);
        let outcome = match found {
            Ok(Outcome::Found(_)) if !self.may_be_found => Ok(Outcome::Absent),
            Ok(Outcome::Found(_)) if self.utf8 && std::str::from_utf8(text).is_err() => {
                Err(Failure::ValueNotUtf8)
            }
            other => other,
        };
        let reply = match &outcome {
            Ok(Outcome::Found(_)) => Reply::Lookup(Status::Ok, flags_now, text),
            Ok(Outcome::Absent) => Reply::Lookup(Status::NoKey, self.flags, b""),
            Err(failure) => {
                report(name, self.verb, failure, log);
                Reply::Lookup(failure.status(), flags_now, b"")
            }
        };
        encode_reply(&reply, self.dialect, out);
    }

    /// Appends the reply to a sequence request, which nothing that another process answers for supports.
    fn reply_to_sequence(
        &self,
        name: &[u8],
        usable: Result<Outcome, Failure>,
        out: &mut Vec<u8>,
        log: &mut dyn FnMut(Event<'_>),
    ) {
        let failure = usable.err().unwrap_or(Failure::Unsupported);
        report(name, self.verb, &failure, log);
        encode_reply(&Reply::Sequence(failure.status(), self.flags, b"", b""), self.dialect, out);
    }
}

/// A request that waits. It owns what it needs.
pub struct Pending<I, S> {
    table: I,
    form: Form,
    search: S,
}

impl<I, S: Search> Pending<I, S> {
    pub(super) fn new(table: I, form: Form, search: S) -> Pending<I, S> {
        Pending { table, form, search }
    }

    /// What the table keeps.
    pub fn search(&mut self) -> &mut S {
        &mut self.search
    }

    /// Gives up waiting.
    #[must_use]
    pub fn into_search(self) -> S {
        self.search
    }

    /// Bytes that are kept for it, for the bound on what all clients together may have kept.
    #[must_use]
    pub fn held(&self) -> usize {
        self.search.held()
    }
}

/// Shows nothing that a client has sent.
impl<I: fmt::Debug, S> fmt::Debug for Pending<I, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("table", &self.table).finish_non_exhaustive()
    }
}

/// Continues a request whose search has been answered: appends the reply to `out`, unless the answer leads to another
/// question.
pub fn resume<T: Tables>(
    pending: Pending<T::Id, T::Search>,
    reported: Reported<'_>,
    tables: &T,
    out: &mut Vec<u8>,
    log: &mut dyn FnMut(Event<'_>),
) -> Answer<T::Id, T::Search> {
    let Pending { table, form, search } = pending;
    let name = tables.name(&search);
    let mut value = Vec::new();
    let found = match tables.resume(search, reported, &mut value) {
        Ok(Got::Later(search)) => return Answer::Pending(Pending { table, form, search }),
        Ok(Got::Now(outcome)) => Ok(outcome),
        Err(failure) => Err(failure),
    };
    match form.verb {
        Verb::Sequence => form.reply_to_sequence(name, found, out, log),
        _ => form.reply_to_lookup(name, found, &value, out, log),
    }
    let Form { verb, dialect, flags, .. } = form;
    Answer::Ready(Answered { table: Some(table), verb, dialect, flags })
}
